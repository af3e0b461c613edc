"""One run of a flow at a time for a watch, without a server. With one: tests/flows/test_server.py."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.alone import alone
from watchkeeper.errors import BusyError

HOLDS = """
import sys
from tasks.alone import alone

@alone
def retrain(watch):
    print("holds", flush=True)
    sys.stdin.read()

retrain(sys.argv[1])
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))


@alone
def retrain(watch: str) -> str:
    return f"trained {watch}"


@pytest.fixture
def holder():
    """Another process that retrains `plant`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, "plant"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_a_second_run_says_since_when_the_first_is_under_way(holder: subprocess.Popen[str]) -> None:
    """The error names the watch and the time at which the other process began."""
    with pytest.raises(BusyError, match=r"^a retrain of plant is under way since .* UTC; wait for it$") as caught:
        retrain("plant")
    since = datetime.strptime(str(caught.value).split("since ")[1][:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=1)
    assert holder.poll() is None


def test_another_watch_is_not_in_the_way(holder: subprocess.Popen[str]) -> None:
    """A retrain of another watch runs meanwhile, by position and by name."""
    assert retrain("pumps") == "trained pumps"
    assert retrain(watch="pumps") == "trained pumps"
    assert holder.poll() is None


def test_a_killed_run_is_not_in_the_way(holder: subprocess.Popen[str]) -> None:
    """The lock goes with the process, however that ends."""
    holder.kill()
    holder.wait()
    assert retrain("plant") == "trained plant"


def test_a_run_that_fails_lets_go(tmp_path: Path) -> None:
    """After an error the next run has the lock again."""

    @alone
    def fail(watch: str) -> None:
        raise ValueError(watch)

    for _ in range(2):
        with pytest.raises(ValueError, match="plant"):
            fail("plant")
    assert (tmp_path / "home").is_dir()


def test_two_threads_are_two_runs() -> None:
    """In one process, too, the second run is refused."""
    began, done = threading.Event(), threading.Event()

    @alone
    def work(watch: str) -> str:
        began.set()
        done.wait(30)
        return watch

    thread = threading.Thread(target=work, args=("plant",))
    thread.start()
    try:
        assert began.wait(30)
        with pytest.raises(BusyError, match="a work of plant"):
            work("plant")
    finally:
        done.set()
        thread.join()


def test_a_name_from_the_network_stays_in_the_home(tmp_path: Path) -> None:
    """A watch called `../../x` makes no file outside of the home."""
    retrain("../../x")
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert all(path.is_file() for path in (tmp_path / "home").iterdir())
