"""A retrain that is killed and started again: nothing is lost, nothing done twice, the same version comes out."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed

from flows.ingest import ingest
from flows.retrain import retrain
from watchkeeper.lake import UNPUBLISHED, Lake
from watchkeeper.promotion import read_audit
from watchkeeper.records import Retrained
from watchkeeper.registry import Registry

APPEARS_TIMEOUT_S = 200
WATCHKEEPER = str(Path(sys.executable).with_name("watchkeeper"))
RETRAIN = ["retrain", "--watch", "tiny"]
KILLS_ITSELF = """
import os, signal, sys
from watchkeeper.cli import main, run
from watchkeeper.lake import Lake

when, what = sys.argv[1:3]
del sys.argv[1:3]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Steps(run.Steps):
    def advanced(self, step, share, words):
        if (when, what) == ("inside", step) and share >= 0.5:
            die()

    def finished(self, step, seconds, line):
        if (when, what) == ("after", step):
            die()

put = Lake.put

def put_or_die(lake, key, data):
    if when == "before writing" and key.startswith(what):
        die()
    put(lake, key, data)

run.Steps, Lake.put = Steps, put_or_die
main()
"""
"""Runs the command line and kills itself: inside a step, after it, or before it writes an object."""
BOUNDARIES = (
    ("after", "ingest", [1], False),
    ("after", "prepare", [1], False),
    ("inside", "train vae", [1], False),
    ("after", "train vae", [1], False),
    ("after", "warm up", [1], False),
    ("inside", "train agent", [1], False),
    ("after", "train agent", [1], False),
    ("after", "evaluate", [1], False),
    ("after", "register", [2, 1], False),
    ("after", "promote", [2, 1], True),
    ("before writing", "labels/", [2, 1], True),
    ("before writing", "queue/", [2, 1], True),
)
"""Where a retrain is killed, in its order, which versions there are then, and whether the gate has decided."""
THROUGH_PREFECT = (("inside", "train agent"), ("after", "register"), ("before writing", "queue/"))
"""Those of them at which a flow run is killed."""


def start(*command: str) -> "subprocess.Popen[str]":
    """Start a process that finds the settings of this test, in a folder in which the rooms do not lie."""
    return subprocess.Popen(
        command,
        cwd=os.environ["WATCHKEEPER_HOME"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def registry_of(home: Path) -> Registry:
    return Registry(f"sqlite:///{home / 'registry.db'}")


def state(home: Path) -> tuple[list[int], int]:
    """The numbers of the versions, and which one is champion."""
    registry = registry_of(home)
    champion = registry.alias("tiny", "champion")
    assert champion
    return [line.version for line in registry.versions("tiny")], champion.version


def outputs(home: Path) -> dict[str, tuple[int, int]]:
    """Every output of a step, with the file that holds it and when that was written."""
    files = [path for path in (home / "lake/runs").rglob("*.*") if not path.name.startswith(UNPUBLISHED)]
    return {str(path.relative_to(home)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def run(*command: str) -> tuple[int, str, str]:
    """Run a process to its end: its status, and what it printed."""
    process = start(*command)
    out, error = process.communicate(timeout=APPEARS_TIMEOUT_S)
    return process.returncode, out, error


def tell_of_crashes() -> None:
    """Tell the server what a worker tells it whose child was killed: its flow run crashed."""
    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    with get_client(sync_client=True) as client:
        for flow_run in client.read_flow_runs(flow_run_filter=running):
            client.set_flow_run_state(flow_run.id, Crashed(), force=True)


def killed(when: str, what: str, *options: str) -> None:
    """Run a retrain that kills itself."""
    status, out, error = run(sys.executable, "-c", KILLS_ITSELF, when, what, *options, *RETRAIN)
    assert status == -signal.SIGKILL, f"{when} {what}: {out}{error}"


def finished(*options: str) -> str:
    """Run a retrain to its end, and return what it printed."""
    status, out, error = run(WATCHKEEPER, *options, *RETRAIN)
    assert status == 0, error
    return out


def complete_of(files: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Those of the outputs that count: arrays without the JSON beside them do not."""
    return {
        name: about
        for name, about in files.items()
        if not name.endswith(".safetensors") or f"{name.removesuffix('.safetensors')}.json" in files
    }


def sha256_of(home: Path, version: int = 2) -> str:
    return registry_of(home).get("tiny", version).sha256


def test_a_killed_retrain_ends_in_the_version_of_one_that_was_not(home: Path, retrained: Path) -> None:
    """Killed in training, killed again as the training's output appeared: the third start does only the rest."""
    first = outputs(home)
    killed("inside", "train vae")
    in_training = outputs(home)
    assert {Path(name).name for name in in_training.keys() - first.keys()} == {"prepare.json", "prepare.safetensors"}
    assert state(home) == ([1], 1)

    process = start(WATCHKEEPER, *RETRAIN)
    deadline = time.monotonic() + APPEARS_TIMEOUT_S
    (folder,) = {Path(name).parent for name in in_training.keys() - first.keys()}
    while not (home / folder / "base.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    _, error = process.communicate(timeout=APPEARS_TIMEOUT_S)
    assert process.returncode == -signal.SIGKILL, error
    trained = outputs(home)
    assert str(folder / "base.json") in trained
    assert str(folder / "agent.json") not in trained
    assert state(home) == ([1], 1)

    assert "version 2" in finished()
    done = outputs(home)
    complete = complete_of(trained)
    assert {name: done[name] for name in complete} == complete
    assert {name: done[name] for name in in_training} == in_training

    assert state(home) == state(retrained)
    assert state(home)[0] == [2, 1]
    assert sha256_of(home) == sha256_of(retrained)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # thirteen processes, each of which imports everything
def test_a_retrain_killed_at_every_boundary_in_turn_does_nothing_twice(home: Path, retrained: Path) -> None:
    """Killed after each step, inside each training and between the last writes: each start goes on where it was."""
    for when, what, versions, decided in BOUNDARIES:
        before = complete_of(outputs(home))
        killed(when, what)
        assert state(home) == (versions, state(retrained)[1] if decided else 1), f"{when} {what}"
        assert before.items() <= outputs(home).items(), f"{when} {what}"
    before = complete_of(outputs(home))
    assert "version 2" in finished()
    assert outputs(home) == before
    assert state(home) == state(retrained)
    assert sha256_of(home) == sha256_of(retrained)
    ours, theirs = (Lake((folder / "lake").as_uri()) for folder in (home, retrained))
    for folder in ("raw", "labels", "queue", "snapshots", "prepared"):
        assert ours.list(folder) == theirs.list(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_flow_run_that_was_killed_goes_on_as_another_one(
    prefect_server: None,  # noqa: ARG001 - must be there
    home: Path,
    retrained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through the engine: killed in training, after registering and in the last step; another flow run ends it."""
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    for when, what, versions, decided in [one for one in BOUNDARIES if one[:2] in THROUGH_PREFECT]:
        before = complete_of(outputs(home))
        killed(when, what, "--engine", "prefect")
        tell_of_crashes()
        assert state(home) == (versions, state(retrained)[1] if decided else 1), f"{when} {what}"
        assert before.items() <= outputs(home).items(), f"{when} {what}"
    before = complete_of(outputs(home))
    assert "version 2" in finished("--engine", "prefect")
    # Where version 2 took over before the last kill, it is judged once more, beside the champion that it now is.
    assert {key: value for key, value in outputs(home).items() if "evaluation-against-2" not in key} == before
    assert state(home) == state(retrained)
    assert sha256_of(home) == sha256_of(retrained)


class Killed(BaseException):
    """Ends a run where a kill would: nothing but a test catches it."""


REGISTRY_WRITES = (
    "create_registered_model",
    "create_experiment",
    "create_run",
    "log_batch",
    "set_terminated",
    "create_model_version",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)


class Killer:
    """Kills a run after each write to lake or registry that no run before it has got past."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
        """Begin to kill.

        Args:
            monkeypatch: takes the hands off in the end.
            last: folder of the lake whose objects are written last: with such a one the work is done.
        """
        self.passed: list[str] = []
        self._last = last
        self._counts: Counter[str] = Counter()
        for name in ("put", "put_tables"):
            monkeypatch.setattr(Lake, name, self._deadly_put(getattr(Lake, name)))
        for name in REGISTRY_WRITES:
            monkeypatch.setattr(MlflowClient, name, self._deadly(name, getattr(MlflowClient, name)))

    def _deadly_put(self, put: Callable[..., None]) -> Callable[..., None]:
        def put_and_die(lake: Lake, key: str, *what: Any) -> None:
            put(lake, key, *what)
            self._after(re.sub(r"\d{8}T\d{6}\.\d{6}Z", "", key))  # an audit record is named by its time

        return put_and_die

    def run(self, call: Callable[[], Retrained]) -> Retrained:
        """Call until it is not killed any more."""
        while True:
            self._counts.clear()
            before = len(self.passed)
            try:
                return call()
            except Killed:
                assert len(self.passed) == before + 1

    def _deadly(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            about = args[1:] if name.endswith("alias") else ()  # which alias, and for aliases that move, where to
            self._counts[name] += not about
            self._after("/".join([name, *map(str, about or [self._counts[name]])]))
            return result

        return call

    def _after(self, write: str) -> None:
        if write not in self.passed and not write.startswith(self._last):
            self.passed.append(write)
            raise Killed


@pytest.mark.parametrize("agent", [False, True])
def test_a_retrain_killed_after_each_write_in_turn_makes_one_version(
    agent: bool, module_source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each write to lake and registry, a retrain still ends in one version, the undisturbed one's."""
    module_source.write("pump", module_source.table(900, label={(at, at + 6): 1 for at in range(50, 900, 100)}))
    (tmp_path / "unit.toml").write_text(
        f'window = 10\nmembers = ["norm", "ridge"]\ngate.resamples = 20\nsplit.held_out = 0.25\n'
        f'agent = {{enabled = {str(agent).lower()}, episodes = 1}}\nlabels = {{budget = 4, imported = "oracle"}}\n'
        f'[source]\nkind = "parquet"\nfolder = "{module_source.folder}"\n'
    )
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "undisturbed"))
    undisturbed = retrain.fn("unit")
    home = tmp_path / "home"
    monkeypatch.setenv("WATCHKEEPER_HOME", str(home))
    with monkeypatch.context() as patch:
        killer = Killer(patch, last="queue/")
        done = killer.run(lambda: retrain.fn("unit"))

    places = {write.split("/")[0] for write in killer.passed}
    assert places >= {"raw", "labels", "snapshots", "prepared", "runs", "audit", *REGISTRY_WRITES}
    assert any("/answered-" in write for write in killer.passed) == agent
    assert done.version.sha256 == undisturbed.version.sha256
    lines = registry_of(home).versions("unit")
    assert [(line.version, line.aliases) for line in lines] == [(1, ("champion",))]
    ours, theirs = (Lake((folder / "lake").as_uri()) for folder in (home, tmp_path / "undisturbed"))
    for folder in ("raw", "labels", "queue", "snapshots", "prepared"):
        assert ours.list(folder) == theirs.list(folder)
    # The record is written before the alias moves, so a kill between repeats it.
    assert [decision.action for decision in read_audit(ours, "unit")] == ["promoted", "promoted"]


def test_answers_of_a_run_that_died_in_its_last_step_begin_no_other_run(
    home: Path, retrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between answers and questions, then ingested: no new snapshot; with the questions there, a new one."""
    lake = Lake((home / "lake").as_uri())
    before = lake.list("snapshots/tiny")
    put = Lake.put

    def put_or_die(lake: Lake, key: str, data: bytes) -> None:
        if key.startswith("queue/"):
            raise Killed
        put(lake, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put", put_or_die)
        with pytest.raises(Killed):
            retrain.fn("tiny")
    assert len(lake.list("snapshots/tiny")) == len(before) + 1
    snapshot = ingest.fn("tiny").snapshot
    assert lake.list("snapshots/tiny")[-1] == f"snapshots/tiny/{snapshot}.json"
    assert len(lake.list("snapshots/tiny")) == len(before) + 1

    assert retrain.fn("tiny").version.version == 2
    assert state(home) == state(retrained)
    theirs = Lake((retrained / "lake").as_uri())
    for folder in ("labels", "queue", "snapshots"):
        assert lake.list(folder) == theirs.list(folder)
    assert ingest.fn("tiny").snapshot != snapshot
