"""MLflow's page beside the stack: full MLflow, in an environment of its own, on the registry that the flows write."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from watchkeeper.stack.state import MARK, read_stack
from watchkeeper.stack.supervise import MLFLOW

REPOSITORY = Path(__file__).parents[2]
WATCHKEEPER = Path(sys.executable).with_name("watchkeeper")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not MLFLOW.is_file(), reason="MLflow's page is not installed: make mlflow"),
]


def carries(process: psutil.Process, mark: str) -> bool:
    """Tell whether a process carries the mark of a stack."""
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_up_shows_the_registry_on_mlflows_page(
    trained: Path,
    copied: Callable[[Path, Path], Path],
    tiny_watches: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page that `up` names knows the watch's versions and who is champion; `down` ends it with all it started."""
    home = copied(trained, tmp_path / "home")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(home))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tiny_watches))

    def watchkeeper(*arguments: str) -> str:
        return subprocess.check_output([WATCHKEEPER, *arguments], cwd=REPOSITORY, text=True, timeout=400)

    said = watchkeeper("up", "--detach")
    stack = read_stack(home)
    try:
        assert stack
        assert stack.mlflow
        assert f"MLflow              {stack.mlflow}\n" in said
        address = f"{stack.mlflow}/api/2.0/mlflow/registered-models/get?name=tiny"
        with urllib.request.urlopen(address, timeout=60) as response:  # noqa: S310 - our own server
            model = json.load(response)["registered_model"]
        assert model["aliases"] == [{"alias": "champion", "version": "1"}]
        with urllib.request.urlopen(stack.mlflow, timeout=60) as response:  # noqa: S310 - the same
            assert "<title>MLflow</title>" in response.read().decode()
    finally:
        watchkeeper("down")
    assert not [process for process in psutil.process_iter() if carries(process, stack.mark)]
