"""The flows on a lake in a bucket: the same life as on a folder, to the byte, and a server that dies in the middle."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.check_drift import check_drift
from flows.retrain import retrain
from flows.rollback import rollback
from flows.score import score
from tasks import champion
from watchkeeper import s3
from watchkeeper.cli import run
from watchkeeper.errors import LakeError
from watchkeeper.lake import Lake, digest
from watchkeeper.registry import CHAMPION, Registry, folder_of

WATCHKEEPER = str(Path(sys.executable).with_name("watchkeeper"))
APPEARS_TIMEOUT_S = 120
NAMED_BY_CONTENT = ("raw", "snapshots", "prepared", "labels", "runs", "versions", "scores")
WATCH = """
window = 10
members = ["norm", "ridge"]
agent.enabled = false
gate.resamples = 20
split.held_out = 0.25
drift.days = 2
[source]
kind = "parquet"
folder = "{folder}"
"""


@pytest.fixture(scope="module")
def grow(module_source: Any) -> Callable[[int], None]:
    """Makes the source of the watch `unit` have so many rows."""
    (module_source.folder / "unit.toml").write_text(WATCH.format(folder=module_source.folder))

    def write(rows: int) -> None:
        label = {(at, at + 6): 1 for at in range(50, rows, 100)}
        module_source.write("pump", module_source.table(rows, label=label))

    return write


@pytest.fixture
def watch(grow: Callable[[int], None], module_source: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The same, where the settings name the watch."""
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(module_source.folder))
    return grow


@pytest.fixture(scope="module")
def in_a_folder(grow: Callable[[int], None], module_source: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake of the watch's life in a folder."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATCHKEEPER_WATCHES", str(module_source.folder))
        patch.setenv("WATCHKEEPER_HOME", str(home))
        live(grow)
    return Lake((home / "lake").as_uri())


def live(grow: Callable[[int], None]) -> None:
    """Train, score, check, train once more on more rows, and roll back and forth."""
    grow(900)
    assert retrain.fn("unit").decision.action == "promoted"
    assert score.fn("unit").rows > 100
    assert check_drift.fn("unit").version == 1
    grow(1200)
    second = retrain.fn("unit")
    assert second.version.version == 2
    current = 2 if second.decision.action == "promoted" else 1
    assert rollback.fn("unit", to=3 - current).version == 3 - current
    assert score.fn("unit").version == 3 - current
    assert rollback.fn("unit").version == current


def objects(lake: Lake) -> dict[str, str]:
    """Every object whose key holds no clock, with its digest."""
    return {key: digest(lake.get(key)) for folder in NAMED_BY_CONTENT for key in lake.list(folder)}


@pytest.mark.usefixtures("s3_server")
def test_the_life_of_a_watch_is_the_same_in_a_bucket_as_in_a_folder(
    in_a_folder: Lake, watch: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flow runs unchanged, and leaves equal objects under equal keys; nothing of data lies at home."""
    home = tmp_path / "home"
    monkeypatch.setenv("WATCHKEEPER_HOME", str(home))
    monkeypatch.setenv("WATCHKEEPER_LAKE", f"s3://lakes/{time.time_ns()}/größe")
    live(watch)
    ours, theirs = Lake(os.environ["WATCHKEEPER_LAKE"]), in_a_folder
    assert objects(ours) == objects(theirs)
    assert {key.split("/")[0] for key in objects(ours)} == set(NAMED_BY_CONTENT)
    assert len(ours.list("audit")) == len(theirs.list("audit"))
    assert len(ours.list("reports")) == len(theirs.list("reports"))
    assert ours.leftovers() == []
    assert not (home / "lake").exists()
    assert [line.version for line in run.versions("unit")] == [2, 1]
    found = run.report("unit")
    evaluation, metadata, check, audit = found.evaluation, found.metadata, found.check, found.audit
    assert found.quality is not None
    assert found.quality[1].startswith(f"{ours.uri}/reports/unit/")
    assert evaluation is not None
    assert metadata is not None
    assert metadata.snapshot == ours.list("snapshots/unit")[-1].rpartition("/")[2].removesuffix(".json")
    assert check is not None
    assert check.report.startswith(f"{ours.uri}/reports/unit/")
    assert len(audit) == 4


def start_retrain() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [WATCHKEEPER, "retrain", "-w", "unit"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_server_that_dies_is_one_line_and_the_next_run_completes(
    own_s3_server: Any, watch: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of a retrain: exit status 1, one clear line; started again, what is there is used."""
    watch(900)
    home = tmp_path / "home"
    monkeypatch.setenv("WATCHKEEPER_HOME", str(home))
    monkeypatch.setenv("WATCHKEEPER_LAKE", "s3://lakes/prefix")
    process = start_retrain()
    deadline = time.monotonic() + APPEARS_TIMEOUT_S
    runs = own_s3_server.data / "lakes/prefix/runs"
    while not list(runs.glob("**/prepare.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    own_s3_server.stop()
    _, error = process.communicate(timeout=APPEARS_TIMEOUT_S)
    assert process.returncode == 1
    assert error.startswith("error: cannot ")
    assert f"no usable answer from {own_s3_server.endpoint}" in error
    assert error.count("\n") == 1
    assert own_s3_server.environment["AWS_SECRET_ACCESS_KEY"] not in error

    own_s3_server.start()
    (prepared,) = runs.glob("**/prepare.json")
    before = prepared.stat().st_mtime_ns
    again = start_retrain()
    _, error = again.communicate(timeout=APPEARS_TIMEOUT_S)
    assert (again.returncode, error) == (0, "")
    assert prepared.stat().st_mtime_ns == before
    serving = Registry(f"sqlite:///{home / 'registry.db'}").alias("unit", CHAMPION)
    assert serving is not None
    assert serving.version == 1
    assert Lake("s3://lakes/prefix").exists(f"{folder_of(serving)}/manifest.json")
    assert score.fn("unit").version == 1


def test_a_server_that_is_away_costs_no_version_its_place(
    own_s3_server: Any, watch: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A champion that cannot be reached is not a damaged one: flows fail, and no successor is made for that."""
    watch(900)
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WATCHKEEPER_LAKE", "s3://lakes/prefix")
    retrain.fn("unit")
    registry = Registry(f"sqlite:///{tmp_path / 'home' / 'registry.db'}")
    before = registry.versions("unit")
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")  # another client, with fewer attempts
    own_s3_server.stop()
    for flow in (score, check_drift, retrain):
        with pytest.raises(LakeError, match="no usable answer from"):
            flow.fn("unit")
    with pytest.raises(LakeError, match="no usable answer from"):
        champion.readable(Lake("s3://lakes/prefix"), registry.get("unit", 1))
    assert registry.versions("unit") == before
    own_s3_server.start()
    assert score.fn("unit").version == 1
