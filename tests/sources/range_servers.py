"""Servers with Prometheus' API, filled with samples of a pump house: Prometheus itself, and VictoriaMetrics."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
from servers import Server, free_port, program

START_S = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
EVERY_S, OFFSET_S = 15, 7
SAMPLES = 1500
"""Six hours and a quarter."""
GAP = range(400, 480)
"""Samples that pump b has not."""


def samples() -> dict[tuple[str, str], dict[int, float]]:
    """Of each metric and instance, the value at each second after the start."""
    draw = np.random.default_rng(3)
    found: dict[tuple[str, str], dict[int, float]] = {}
    for metric in ("pressure", "flow"):
        for instance in ("a:9100", "b:9100"):
            values = draw.normal(size=SAMPLES).round(4)
            there = [at for at in range(SAMPLES) if not (instance == "b:9100" and at in GAP)]
            found[metric, instance] = {at * EVERY_S + OFFSET_S: float(values[at]) for at in there}
    return found


class RangeServer(Server):
    """One of them."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


class Prometheus(RangeServer):
    """Prometheus, with samples that its own tool made blocks of."""

    def __init__(self, folder: Path) -> None:
        port, text = free_port(), folder / "samples.txt"
        lines = []
        for metric in ("flow", "pressure"):
            lines.append(f"# TYPE {metric} gauge")
            lines += [
                f'{metric}{{instance="{instance}",job="pumps"}} {value} {START_S + second}'
                for (name, instance), values in samples().items()
                if name == metric
                for second, value in values.items()
            ]
        text.write_text("\n".join([*lines, "# EOF", ""]))
        (folder / "prometheus.yml").write_text("")
        tool = program("promtool", "prometheus")
        subprocess.run([tool, "tsdb", "create-blocks-from", "openmetrics", text, folder / "data"], check=True,
                       capture_output=True)  # fmt: skip
        super().__init__(
            [program("prometheus", "prometheus"), f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/data", "--storage.tsdb.retention.time=100y",
             f"--web.listen-address=127.0.0.1:{port}"],
            port, folder / "log", lambda: httpx.get(f"{self.url}/-/ready").is_success,
        )  # fmt: skip


class VictoriaMetrics(RangeServer):
    """VictoriaMetrics, with samples that came over HTTP."""

    def __init__(self, folder: Path, *options: str, filled: bool = True) -> None:
        port = free_port()
        super().__init__(
            [program("victoria-metrics", "victoria-metrics"), f"-storageDataPath={folder}/data",
             "-retentionPeriod=100y",
             f"-httpListenAddr=127.0.0.1:{port}", *options],
            port, folder / "log", lambda: httpx.get(f"{self.url}/health").is_success,
        )  # fmt: skip
        self._filled = filled

    def start(self) -> None:
        """Start it, and write the samples: what it had in memory is lost when it is killed."""
        super().start()
        if self._filled:
            lines = [
                f'{metric}{{instance="{instance}",job="pumps"}} {value} {(START_S + second) * 1000}'
                for (metric, instance), values in samples().items()
                for second, value in values.items()
            ]
            httpx.post(f"{self.url}/api/v1/import/prometheus", content="\n".join(lines)).raise_for_status()
            httpx.get(f"{self.url}/internal/force_flush").raise_for_status()


KINDS = {"prometheus": Prometheus, "victoria-metrics": VictoriaMetrics}
