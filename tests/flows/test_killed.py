"""A retrain that is killed and started again: nothing is lost, nothing done twice, the same version comes out."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.retrain import retrain
from watchkeeper.lake import UNPUBLISHED, Lake
from watchkeeper.promotion import read_audit
from watchkeeper.records import Retrained
from watchkeeper.registry import Registry

APPEARS_TIMEOUT_S = 200
WATCHKEEPER = str(Path(sys.executable).with_name("watchkeeper"))
RETRAIN = ["retrain", "--watch", "tiny"]
KILLS_ITSELF_IN_TRAINING = """
import os, signal
from watchkeeper.cli import main, run

class Steps(run.Steps):
    def advanced(self, step, share, words):
        if step == "train vae" and share >= 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

run.Steps = Steps
main()
"""


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
    return Registry(f"sqlite:///{home / 'registry.db'}", (home / "lake/mlflow").as_uri())


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


def test_a_killed_retrain_ends_in_the_version_of_one_that_was_not(home: Path, retrained: Path) -> None:
    """Killed in training, killed again as the training's output appeared: the third start does only the rest."""
    first = outputs(home)
    process = start(sys.executable, "-c", KILLS_ITSELF_IN_TRAINING, *RETRAIN)
    _, error = process.communicate(timeout=APPEARS_TIMEOUT_S)
    assert process.returncode == -signal.SIGKILL, error
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

    process = start(WATCHKEEPER, *RETRAIN)
    out, error = process.communicate(timeout=APPEARS_TIMEOUT_S)
    assert process.returncode == 0, error
    assert "version 2" in out
    done = outputs(home)
    finished = {name for name in trained if not name.endswith(".safetensors") or f"{name[:-12]}.json" in trained}
    assert {name: done[name] for name in finished} == {name: trained[name] for name in finished}
    assert {name: done[name] for name in in_training} == in_training

    assert state(home) == state(retrained)
    assert state(home)[0] == [2, 1]
    ours, theirs = (registry_of(folder).get("tiny", 2).sha256 for folder in (home, retrained))
    assert ours == theirs


class Killed(BaseException):
    """Ends a run where a kill would: nothing but a test catches it."""


def test_a_retrain_killed_after_each_write_in_turn_makes_one_version(
    module_source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after every object that it writes, a retrain still ends in one version, equal to the undisturbed one."""
    module_source.write("pump", module_source.table(900, label={(at, at + 6): 1 for at in range(50, 900, 100)}))
    (tmp_path / "unit.toml").write_text(
        f'window = 10\nmembers = ["norm", "ridge"]\nagent.enabled = false\ngate.resamples = 20\n'
        f'[source]\nkind = "parquet"\nfolder = "{module_source.folder}"\n'
    )
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "undisturbed"))
    undisturbed = retrain.fn("unit")

    home = tmp_path / "home"
    monkeypatch.setenv("WATCHKEEPER_HOME", str(home))
    written: set[str] = set()
    put = Lake.put

    def put_once_more(lake: Lake, key: str, data: bytes) -> None:
        put(lake, key, data)
        name = re.sub(r"\d{8}T\d{6}\.\d{6}Z", "", key)  # an audit record is named by its time
        if name not in written:
            written.add(name)
            raise Killed

    monkeypatch.setattr(Lake, "put", put_once_more)
    done: Retrained | None = None
    while done is None:
        before = len(written)
        try:
            done = retrain.fn("unit")
        except Killed:
            assert len(written) == before + 1
    folders = {key.split("/")[0] for key in written}
    assert folders == {"raw", "labels", "snapshots", "prepared", "runs", "audit"}
    assert len(written) > 15
    assert done.version.sha256 == undisturbed.version.sha256
    registry = registry_of(home)
    assert [(line.version, line.aliases) for line in registry.versions("unit")] == [(1, ("champion",))]
    actions = [decision.action for decision in read_audit(Lake((home / "lake").as_uri()), "unit")]
    assert actions == [
        "promoted",
        "promoted",
    ]  # the record is written before the alias moves, so a kill between repeats it
