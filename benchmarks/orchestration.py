"""What a Prefect server costs and how quickly it reacts: a retrain of the plant, direct and through a worker.

    python benchmarks/orchestration.py --repeats 3 --out orchestration.json

Everything is as shipped: `watchkeeper up` in a home of its own, the deployments of prefect.yaml, one process worker.
Direct and orchestrated retrains take turns, each in a new process and on an empty lake, so both pay for imports inside
of steps and for the registry's first tables. Schedules are put off to a day that does not come.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

REPOSITORY = Path(__file__).parent.parent
UNTIL = datetime(2026, 1, 23, tzinfo=UTC)
"""18 of the plant's 21 days; the others are for scores after a promotion or a rollback."""
EVENTS = 5
STEPS = 9
"""Of a retrain: from ingest to ask."""
BUSY = 503
"""How the server answers when SQLite is locked: ask again."""
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
DIRECT = """
import resource, sys, time
from datetime import datetime
from flows.retrain import retrain
began = time.perf_counter()
retrain.fn("plant", until=datetime.fromisoformat(sys.argv[1]))
took = time.perf_counter() - began
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@dataclass
class Figures:
    """Seconds, and the most memory of the direct run in MiB; one value a repeat."""

    direct_s: list[float] = field(default_factory=list)
    direct_mb: list[float] = field(default_factory=list)
    orchestrated_s: list[float] = field(default_factory=list)
    outside_steps_s: list[float] = field(default_factory=list)
    queue_s: list[float] = field(default_factory=list)
    event_to_run_s: list[float] = field(default_factory=list)
    rollback_s: list[float] = field(default_factory=list)
    first_score_s: list[float] = field(default_factory=list)
    first_score_direct_s: list[float] = field(default_factory=list)

    @property
    def overhead(self) -> float:
        """What orchestration adds to the median run, as a share of it."""
        return statistics.median(self.orchestrated_s) / statistics.median(self.direct_s) - 1


class Server:
    """The stack's server, asked through its API."""

    def __init__(self, api: str) -> None:
        self.api = api

    def ask(self, path: str, question: Any = None) -> Any:
        """Ask the API."""
        body = None if question is None else json.dumps(question).encode()
        request = urllib.request.Request(f"{self.api}{path}", body, {"Content-Type": "application/json"})  # noqa: S310 - ours
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - the same
                    text = response.read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code != BUSY:
                    raise
                time.sleep(0.2)

    def run(self, deployment: str, **parameters: Any) -> dict[str, Any]:
        """Run a deployment to its end.

        Raises:
            RuntimeError: it did not complete.
        """
        found = self.ask(f"/deployments/name/{deployment}")
        run = self.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        while (now := self.ask(f"/flow_runs/{run['id']}"))["state_type"] not in ENDED:
            time.sleep(0.2)
        if now["state_type"] != "COMPLETED":
            raise RuntimeError(f"{deployment} ended as {now['state_name']}: {now['state']['message']}")
        return dict(now)


def seconds(earlier: str, later: str) -> float:
    """Return the seconds between two times of the API."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


@contextmanager
def stack(home: Path, watches: Path) -> Iterator[Server]:
    """Bring a stack up, and down again."""
    environment = os.environ | {"WATCHKEEPER_HOME": str(home), "WATCHKEEPER_WATCHES": str(watches)}
    command = [sys.executable, "-m", "watchkeeper"]
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "up", "--detach"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    try:
        yield Server(re.findall(r"PREFECT_API_URL=(\S+)", done.stdout)[0])
    finally:
        subprocess.run([*command, "down"], cwd=REPOSITORY, env=environment, check=True)  # noqa: S603 - the same


def empty(home: Path) -> None:
    """Leave nothing of an earlier retrain."""
    shutil.rmtree(home / "lake", ignore_errors=True)
    for file in home.glob("registry.db*"):
        file.unlink()


def retrain_directly(home: Path, watches: Path) -> tuple[float, float]:
    """Return the seconds that the flow takes as a plain call in a process of its own, and that one's memory in MiB."""
    empty(home)
    environment = os.environ | {
        "WATCHKEEPER_HOME": str(home),
        "WATCHKEEPER_WATCHES": str(watches),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PREFECT_API_URL", None)
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", DIRECT, UNTIL.isoformat()],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    took, memory = done.stdout.split()[-2:]
    return float(took), float(memory)


def measure(repeats: int, folder: Path) -> Figures:
    """Measure everything, one thing after the other."""
    watches, figures = folder / "watches", Figures()
    watches.mkdir(parents=True)
    plant = (REPOSITORY / "watches/plant.toml").read_text()
    head, schedule = plant.split("[schedule]")
    never = re.sub(r'"[^"]+"', '"0 0 29 2 *"', schedule)
    (watches / "plant.toml").write_text(f"{head}[schedule]{never}")
    with stack(folder / "home", watches) as server:
        for repeat in range(repeats):
            took, memory = retrain_directly(folder / "direct", watches)
            figures.direct_s.append(took)
            figures.direct_mb.append(memory)
            empty(folder / "home")
            run = server.run("retrain/manual", watch="plant", until=UNTIL.isoformat())
            figures.orchestrated_s.append(seconds(run["start_time"], run["end_time"]))
            figures.outside_steps_s.append(figures.orchestrated_s[-1] - in_steps(server, run["id"]))
            figures.queue_s.append(seconds(run["created"], run["start_time"]))
            print(f"retrain {repeat + 1}: direct {figures.direct_s[-1]:.1f} s, run {figures.orchestrated_s[-1]:.1f} s")
        for _ in range(EVENTS):
            figures.event_to_run_s.append(event_to_run(server))
        server.run("retrain/manual", watch="plant", until=(UNTIL + timedelta(days=1)).isoformat())
        for repeat in range(repeats):
            change_champion(server, folder / "home", UNTIL + timedelta(days=1, hours=8 * (repeat + 1)), figures)
            print(f"change of champion {repeat + 1}: first score after {figures.first_score_s[-1]:.1f} s")
    figures.first_score_direct_s = score_directly(folder / "home", watches, repeats)
    return figures


def in_steps(server: Server, run: str) -> float:
    """Return the seconds that a run's steps say they took: what is left of the run is the engine's."""
    question = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
    while True:
        lines = [line["message"] for line in server.ask("/logs/filter", question)]
        took = [float(found[1]) for line in lines if (found := re.search(r"\((\d+\.\d) s\)$", line))]
        if len(took) >= STEPS:  # logs arrive in batches, after the run
            return sum(took)
        time.sleep(0.5)


def event_to_run(server: Server) -> float:
    """Send a drift event of a watch that does not exist, and return the seconds until its run is there."""
    watch = f"none-{uuid4().hex[:8]}"
    event = {
        "event": "watchkeeper.drift.detected",
        "resource": {"prefect.resource.id": f"watchkeeper.watch.{watch}"},
        "payload": {"watch": watch, "report": "none"},
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
    }
    server.ask("/events", [event])
    found = server.ask("/deployments/name/retrain/on-drift")
    question = {"deployments": {"id": {"any_": [found["id"]]}}, "sort": "EXPECTED_START_TIME_DESC"}
    while True:
        runs = [run for run in server.ask("/flow_runs/filter", question) if run["parameters"].get("watch") == watch]
        if runs:
            return seconds(event["occurred"], runs[0]["created"])
        time.sleep(0.2)


def change_champion(server: Server, home: Path, until: datetime, figures: Figures) -> None:
    """Let rows come in, make the other version champion, and score; both asked for as soon as can be."""
    server.run("ingest/scheduled", watch="plant", until=until.isoformat())
    began = datetime.now(UTC)
    server.run("rollback/manual", watch="plant", to=other_version(home), why="a benchmark")
    changed = datetime.now(UTC)
    server.run("score/scheduled", watch="plant")
    figures.rollback_s.append((changed - began).total_seconds())
    figures.first_score_s.append((datetime.now(UTC) - changed).total_seconds())


def other_version(home: Path) -> int:
    """Return the version, of the first two, that is not champion."""
    from watchkeeper.registry import CHAMPION, Registry

    champion = Registry(f"sqlite:///{home / 'registry.db'}").alias("plant", CHAMPION)
    return 1 if champion and champion.version == 2 else 2


def score_directly(home: Path, watches: Path, repeats: int) -> list[float]:
    """Return the seconds from a rollback to the scores of the new champion, as plain calls in this process."""
    os.environ.update(WATCHKEEPER_HOME=str(home), WATCHKEEPER_WATCHES=str(watches))
    from flows.ingest import ingest
    from flows.rollback import rollback
    from flows.score import score

    took = []
    for repeat in range(repeats):
        ingest.fn("plant", UNTIL + timedelta(days=2, hours=8 * repeat))
        rollback.fn("plant", other_version(home), "a benchmark")
        began = time.perf_counter()
        score.fn("plant")
        took.append(time.perf_counter() - began)
    return took


def table(figures: Figures) -> str:
    """Return the figures as a table."""
    rows = [
        ("retrain, direct", figures.direct_s),
        ("retrain, flow run on a worker", figures.orchestrated_s),
        ("  of it outside of steps", figures.outside_steps_s),
        ("  request to start of the run", figures.queue_s),
        ("drift event to run created", figures.event_to_run_s),
        ("rollback, request to done, on a worker", figures.rollback_s),
        ("new champion to its first scores, on a worker", figures.first_score_s),
        ("new champion to its first scores, direct", figures.first_score_direct_s),
    ]
    lines = [f"{'seconds':<48}{'median':>8}{'min':>8}{'max':>8}{'n':>4}"]
    for name, values in rows:
        lines.append(
            f"{name:<48}{statistics.median(values):>8.1f}{min(values):>8.1f}{max(values):>8.1f}{len(values):>4}"
        )
    lines.append(f"memory of the direct retrain: {max(figures.direct_mb):.0f} MiB")
    return "\n".join([*lines, f"orchestration adds {figures.overhead:+.1%} to the run (at most 15 % is wanted)"])


def main() -> None:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.repeats, Path(folder))
    print(table(figures))
    if arguments.out:
        arguments.out.write_text(json.dumps({**asdict(figures), "overhead": figures.overhead}, indent=1))


if __name__ == "__main__":
    main()
