"""What a retrain and a score cost by the size of the data, and the constants of tasks/look/cost.py from it.

    OMP_NUM_THREADS=1 python benchmarks/cost.py [--small] [--out cost.json]

Each size is a folder of made-up series, a reading a minute, retrained and scored once with the default members and
the agent in a process of its own: CPU-seconds of retrain (imports included) and of score (without), and most memory.
The constants are the non-negative ones with the least relative error over all sizes; beside each measurement stands
what the formula that is shipped says.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

START_US = 1_750_000_000_000_000
SIZES = [
    # rows in all, channels, series, window
    (4_000, 4, 1, 50),
    (20_000, 4, 1, 50),
    (20_000, 38, 1, 50),
    (40_000, 8, 1, 20),
    (40_000, 38, 2, 100),
    (80_000, 8, 2, 50),
    (160_000, 8, 1, 50),
    (10_000, 100, 1, 50),
    (400_000, 38, 2, 50),
    (2_000_000, 8, 4, 50),
]
Found = dict[str, float]


def write_series(folder: Path, rows: int, channels: int, series: int) -> None:
    """Write made-up series: slow waves, noise, and a few labelled jumps."""
    random = np.random.default_rng(0)
    each = rows // series
    index = np.arange(each)
    label = np.zeros(each, np.int8)
    for begin in range(each // 20, each, each // 10):
        label[begin : begin + 20] = 1
    for number in range(series):
        waves = np.sin(index[:, None] / (20 + 3 * np.arange(channels)) + number)
        values = (
            waves + 0.2 * random.normal(size=(each, channels)) + 3 * label[:, None] * (np.arange(channels) % 3 == 0)
        )
        times = pa.array(START_US + index * 60_000_000).cast(pa.timestamp("us", "UTC"))
        columns = {f"c{at:03d}": values[:, at].astype(np.float32) for at in range(channels)}
        pq.write_table(pa.table({"timestamp": times} | columns | {"label": label}), folder / f"s{number}.parquet")


def measure_one(rows: int, channels: int, series: int, window: int) -> Found:
    """Retrain and score once, in this process: CPU-seconds and MiB."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        (home / "data").mkdir()
        (home / "watches").mkdir()
        write_series(home / "data", rows, channels, series)
        source = f'[source]\nkind = "parquet"\nfolder = {json.dumps(str(home / "data"))}\n'
        (home / "watches" / "cost.toml").write_text(f"window = {window}\n{source}", encoding="utf-8")
        os.environ |= {"WATCHKEEPER_HOME": place, "WATCHKEEPER_WATCHES": str(home / "watches")}
        os.environ |= {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
        began = time.process_time()
        from flows.retrain import retrain
        from flows.score import score

        retrain.fn("cost")
        trained = time.process_time()
        scored = score.fn("cost")
        ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"train_s": trained - began, "score_s": ended - trained, "scored": scored.rows, "peak_mib": peak}


def run(sizes: list[tuple[int, int, int, int]]) -> list[Found]:
    """Measure each size in a process of its own."""
    found = []
    for size in sizes:
        command = [sys.executable, __file__, "--one", *map(str, size)]
        # S603: the command is this file, with numbers of its own
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
        names = dict(zip(("rows", "channels", "series", "window"), size, strict=True))
        found.append({**names, **json.loads(done.stdout.splitlines()[-1])})
        print(found[-1], file=sys.stderr)
    return found


def fitted(found: list[Found], value: str, features: list[str]) -> dict[str, float]:
    """Return the non-negative constants with the least relative error."""
    from scipy.optimize import nnls

    def row(one: Found) -> list[float]:
        rows, channels = one["scored"] if value == "score_s" else one["rows"], one["channels"]
        known = {"one": 1.0, "channel": channels, "row": rows, "window_reading": rows * channels * one["window"]}
        return [known[name] / one[value] for name in features]

    constants, _ = nnls(np.array([row(one) for one in found]), np.ones(len(found)))
    return {name: float(constant) for name, constant in zip(features, constants, strict=True)}


def table_of(found: list[Found]) -> Table:
    """One row for each size, with what the shipped formula says beside it."""
    from tasks.look.cost import cost_of

    table = Table(title="measured / by the formula", title_justify="left", box=None)
    for heading in ("rows", "channels", "series", "window", "retrain CPU-s", "score rows/CPU-s", "MiB"):
        table.add_column(heading, justify="right")
    for one in found:
        told = cost_of(int(one["rows"]), int(one["channels"]), int(one["window"]), int(one["scored"]))
        table.add_row(
            f"{one['rows']:,}",
            f"{one['channels']:.0f}",
            f"{one['series']:.0f}",
            f"{one['window']:.0f}",
            f"{one['train_s']:.0f} / {told.train_s:.0f}",
            f"{one['scored'] / one['score_s']:,.0f} / {one['scored'] / told.score_day_s:,.0f}",
            f"{one['peak_mib']:,.0f} / {told.memory_mib:,.0f}",
        )
    return table


def main() -> None:
    """Measure, fit, print and write."""
    parser = argparse.ArgumentParser(description="what a retrain and a score cost by the size of the data")
    parser.add_argument("--one", type=int, nargs=4, help="rows, channels, series, window: measure one, print JSON")
    parser.add_argument("--small", action="store_true", help="the two smallest sizes: shows that the benchmark runs")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure_one(*given.one)))
        return
    found = run(SIZES[:2] if given.small else SIZES)
    Console(width=140).print(table_of(found))
    constants = {
        "train_s": fitted(found, "train_s", ["one", "channel", "row", "window_reading"]),
        "score_s": fitted(found, "score_s", ["one", "channel", "row", "window_reading"]),
        "peak_mib": fitted(found, "peak_mib", ["one", "channel", "window_reading"]),
    }
    print(json.dumps(constants, indent=1))
    if given.out:
        given.out.write_text(json.dumps({"sizes": found, "constants": constants}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
