"""The embedded stack's pieces: what is up, which process is whose, ports, watches. As a whole: flows/test_server.py."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from watchkeeper.cli import main
from watchkeeper.errors import SettingsError, WatchError, WatchkeeperError
from watchkeeper.settings import Settings
from watchkeeper.stack import state
from watchkeeper.stack.deploy import choose_watches
from watchkeeper.stack.part import Part, choose_port, last_line
from watchkeeper.stack.state import MARK, Stack
from watchkeeper.stack.supervise import listeners

STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
SLEEPS = "print('up', flush=True); import time; time.sleep(600)"


def sleeper(code: str = SLEEPS, **environment: str) -> subprocess.Popen[str]:
    """A process that sleeps, and has begun to."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def stack_of(process: subprocess.Popen[str], mark: str = "a mark", **changes: object) -> Stack:
    """A stack whose supervisor is this process."""
    started = psutil.Process(process.pid).create_time()
    about = {
        "mark": mark,
        "supervisor": process.pid,
        "started": started,
        "api": "http://127.0.0.1:4200/api",
        "state": "up",
    }
    return Stack(**{**about, **changes})


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until_ended(part: Part) -> None:
    deadline = time.monotonic() + 30
    while part.process:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_got_the_same_id_is_not_the_supervisor(tmp_path: Path) -> None:
    """The id alone does not count: the process must have begun when the supervisor did."""
    process = sleeper()
    try:
        state.write_stack(tmp_path, stack_of(process))
        assert state.find_running(tmp_path)
        state.write_stack(tmp_path, stack_of(process, started=psutil.Process(process.pid).create_time() - 100))
        assert state.find_running(tmp_path) is None
        assert state.end(tmp_path) == 0
        assert process.poll() is None  # a stranger is left alone
        assert state.read_stack(tmp_path) is None
    finally:
        finish(process)


def test_what_still_starts_is_not_running(tmp_path: Path) -> None:
    """A stack counts as up when it says so itself."""
    process = sleeper()
    try:
        state.write_stack(tmp_path, stack_of(process, state="starting"))
        assert state.find_running(tmp_path) is None
    finally:
        finish(process)


def test_an_end_finds_the_parts_of_a_dead_supervisor_and_nobody_elses(tmp_path: Path) -> None:
    """Processes with the stack's mark end, also one that ignores SIGTERM; one with another mark lives."""
    supervisor, part, child, other = (
        sleeper(),
        sleeper(**{MARK: "mine"}),
        sleeper(**{MARK: "mine"}),
        sleeper(**{MARK: "another"}),
    )
    try:
        state.write_stack(tmp_path, stack_of(supervisor, "mine"))
        finish(supervisor)
        assert state.end(tmp_path) == 2
        assert not psutil.pid_exists(part.pid)
        assert not psutil.pid_exists(child.pid)
        assert other.poll() is None
        assert state.end(tmp_path) == 0
    finally:
        finish(supervisor, part, child, other)


def test_a_process_that_ignores_the_request_is_killed() -> None:
    """After the patience is over, SIGKILL."""
    process = sleeper(STUBBORN)
    state.end_processes([psutil.Process(process.pid)], patience_s=0.5)
    assert not psutil.pid_exists(process.pid)
    finish(process)


def test_a_damaged_file_of_state_is_told(tmp_path: Path) -> None:
    """It names the file and says what to do."""
    state.folder_of(tmp_path).mkdir()
    file = state.folder_of(tmp_path) / "stack.json"
    for text in ("{", "[]", '{"mark": "x"}', '{"mark": 1, "pid": 3}'):
        file.write_text(text)
        with pytest.raises(WatchkeeperError, match=r"stack\.json cannot be read: .*delete it"):
            state.read_stack(tmp_path)


def test_a_part_that_ends_at_once_again_and_again_is_given_up(tmp_path: Path) -> None:
    """It is started again, which is said; the third quick end is an error with the last line of its log."""
    said: list[str] = []
    part = Part("worker", [sys.executable, "-c", "print('no pool'); raise SystemExit(3)"], tmp_path, dict(os.environ))
    for _ in range(2):
        wait_until_ended(part)
        part.keep_up(said.append)
    wait_until_ended(part)
    with pytest.raises(WatchkeeperError, match=r"worker ended with status 3; .*worker\.log says: no pool"):
        part.keep_up(said.append)
    assert len(said) == 2
    assert all("ended with status 3 and is started again" in line for line in said)


def test_a_part_that_is_not_needed_does_not_end_the_others(tmp_path: Path) -> None:
    """It is tried three times, then after a pause, which is said once, with the last line of its log."""
    said: list[str] = []
    command = [sys.executable, "-c", "print('no broker'); raise SystemExit(2)"]
    part = Part("listen-w", command, tmp_path, dict(os.environ), needed=False)
    for _ in range(5):
        wait_until_ended(part)
        part.keep_up(said.append)
    assert [line.split(";")[0] for line in said] == [
        *["listen-w ended with status 2 and is started again"] * 2,
        "listen-w ends at once and is tried again after 60 s",
    ]
    assert said[-1].endswith("listen-w.log says: no broker")
    part._began -= 61  # the pause is over
    part.keep_up(said.append)
    assert len(said) == 4
    wait_until_ended(part)


def test_watches_of_mqtt_get_a_listener(tmp_path: Path) -> None:
    """And no others; it waits for a broker that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "house.toml").write_text(f'[source]\nkind = "mqtt"\nurl = "{url}"\ntopics = "house/+"\nseries = 2')
    (tmp_path / "plant.toml").write_text('[source]\nkind = "plant"\nstart = 2026-01-05')
    chosen, _ = choose_watches(Settings(watches=tmp_path), [])
    environment = {**os.environ, "WATCHKEEPER_WATCHES": str(tmp_path), "WATCHKEEPER_HOME": str(tmp_path / "home")}
    said: list[str] = []
    (part,) = listeners(chosen, tmp_path, environment, said.append)
    try:
        assert said == [f"listener            house: house/+ at {url}"]
        deadline = time.monotonic() + 30
        while "trying again" not in (log := part.log.read_text()):
            assert time.monotonic() < deadline, log
            part.require_alive()
            time.sleep(0.05)
    finally:
        state.end_processes([part.process] if part.process else [], 10)
        wait_until_ended(part)
    assert "ended: 0 messages" in part.log.read_text()


def test_a_taken_port_is_refused_where_it_was_asked_for_and_avoided_where_not() -> None:
    """A wanted port must be free; in place of the usual one, another free one is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} of 127.0.0.1: .*--port"):
            choose_port(port, 4200)
        other = choose_port(None, port)
        assert other not in (0, port)
    assert choose_port(port, 4200) == port


def test_the_last_line_is_one_that_says_something(tmp_path: Path) -> None:
    """Blank lines at the end are skipped; an empty log says nothing."""
    (tmp_path / "log").write_text("one\ntwo  \n\n \n")
    assert last_line(tmp_path / "log") == "two"
    (tmp_path / "log").write_text("")
    assert last_line(tmp_path / "log") == "nothing"


@pytest.fixture
def watches(tmp_path: Path, tiny_watches: Path) -> Callable[[str], Settings]:
    """Settings with `tiny`, and `absent`, whose folder names a variable."""

    def make(variable: str) -> Settings:
        (tmp_path / "tiny.toml").write_text((tiny_watches / "tiny.toml").read_text())
        (tmp_path / "absent.toml").write_text(f'[source]\nkind = "parquet"\nfolder = "${variable}/data"\n')
        return Settings(watches=tmp_path)

    return make


def test_a_watch_whose_source_is_not_here_is_skipped_unless_it_was_named(watches: Callable[[str], Settings]) -> None:
    """Of all watches those that can run are taken, and the reason is kept for the others; a named one must run."""
    chosen, skipped = choose_watches(watches("NOT_SET_ANYWHERE"), [])
    assert [watch.name for watch in chosen] == ["tiny"]
    assert "NOT_SET_ANYWHERE is not set" in skipped["absent"]
    with pytest.raises(WatchError, match="NOT_SET_ANYWHERE is not set"):
        choose_watches(watches("NOT_SET_ANYWHERE"), ["tiny", "absent"])
    chosen, skipped = choose_watches(watches("HOME"), [])
    assert [watch.name for watch in chosen] == ["absent", "tiny"]
    assert skipped == {}


def test_a_folder_without_a_watch_that_can_run_is_an_error(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(WatchError, match=f"no watch in {tmp_path} can be scheduled"):
        choose_watches(Settings(watches=tmp_path), [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("deploy",), "no Prefect server: set PREFECT_API_URL .* watchkeeper up"),
        (("up", "--watch", "tinny"), "watch tinny: .*did you mean tiny"),
        (("up", "--port", "70000"), "port 70000"),
    ],
)
def test_bad_input_ends_in_one_line(
    arguments: tuple[str, ...], words: str, watches: Callable[[str], Settings], tmp_path: Path, monkeypatch, capsys
) -> None:
    """Status 2, one line on stderr, and no state."""
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(watches("HOME").watches))
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(sys, "argv", ["watchkeeper", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert state.read_stack(tmp_path / "home") is None
    assert re.search(words, error)


def test_down_where_nothing_is_up_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    """No error: what was wanted is so."""
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["watchkeeper", "down"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"nothing is up in {tmp_path}\n"
