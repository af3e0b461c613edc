"""The stack as a user brings it up: a real server, a work pool, a worker. Its runs are real, so this takes minutes.

The tests share one stack and follow one another: the last ones break it and end it.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from watchkeeper.registry import Registry
from watchkeeper.stack.state import MARK, Stack, read_stack

REPOSITORY = Path(__file__).parents[2]
WATCHKEEPER = Path(sys.executable).with_name("watchkeeper")
TIMEOUT_S = 400
SCHEDULE = """
[schedule]
ingest = "* * * * *"
retrain = "0 0 29 2 *"
score = "0 0 29 2 *"
check_drift = "0 0 29 2 *"
collect = "0 0 29 2 *"
"""
"""An ingest every minute; the rest on a day that does not come."""
TEN_CHECKS = """
import sys
from datetime import UTC, datetime
from flows.check_drift import check_drift
from flows.ingest import ingest

for day in range(13, 23):
    ingest("tiny", datetime(2026, 1, day, tzinfo=UTC))
    check = check_drift("tiny")
    if check.started:
        print(check.event_id, check.report)
"""
HOLDS = """
import sys
from tasks.alone import alone

@alone
def retrain(watch):
    print("holds", flush=True)
    sys.stdin.read()

retrain("tiny")
"""
NAPS = """
import sys
from prefect import flow
from tasks.alone import alone

@flow
@alone
def nap(watch: str) -> str:
    print("naps", flush=True)
    sys.stdin.read()
    return "slept"

print(nap("tiny", return_state=True).message)
"""
CONFLICT = 409
BUSY = 503
"""How the server answers when SQLite is locked: ask again."""
pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)
Json = dict[str, Any]


@dataclass(frozen=True)
class Desk:
    """A home with its watches, from which commands are given as a user gives them."""

    home: Path
    watches: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHKEEPER_", "PREFECT_"))}
        return {
            **kept,
            "OMP_NUM_THREADS": "1",
            "WATCHKEEPER_HOME": str(self.home),
            "WATCHKEEPER_WATCHES": str(self.watches),
        }

    def call(self, *command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; what it says stands in the test's output."""
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        print("$", *command, done.stdout, done.stderr, sep="\n")  # noqa: T201 - shown where a test fails
        return done

    def watchkeeper(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.call(WATCHKEEPER, *arguments)

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Prefect's own command on the stack's server."""
        home = str(self.home / "prefect-client")
        return self.call(
            sys.executable,
            "-m",
            "prefect",
            *arguments,
            PREFECT_API_URL=self.stack.api,
            PREFECT_HOME=home,
            COLUMNS="200",
        )

    @property
    def stack(self) -> Stack:
        stack = read_stack(self.home)
        assert stack
        return stack

    def ask(self, path: str, question: Json | None = None) -> Any:
        """Ask the server's API."""
        body = None if question is None else json.dumps(question).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.stack.api}{path}", body, {"Content-Type": "application/json"}
        )

        def answer() -> Any:
            try:
                with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - our own server
                    return json.load(response) or "empty"
            except urllib.error.HTTPError as error:
                if error.code != BUSY:
                    raise
                return None

        found = wait(answer)
        return [] if found == "empty" else found

    def start(self, deployment: str, **parameters: Any) -> Json:
        """Ask for a run of a deployment."""
        found = self.ask(f"/deployments/name/{deployment}")
        return dict(self.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters}))

    def runs_of(self, deployment: str) -> list[Json]:
        """Return the runs of a deployment, the first one first."""
        found = self.ask(f"/deployments/name/{deployment}")
        question = {"deployments": {"id": {"any_": [found["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return list(self.ask("/flow_runs/filter", question))

    def wait_for(self, run: Json) -> Json:
        """Wait until a run has ended."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        return dict(wait(lambda: (now := self.ask(f"/flow_runs/{run['id']}"))["state_type"] in ended and now))

    @property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.home / 'registry.db'}")

    def champion(self) -> int:
        champion = self.registry.alias("tiny", "champion")
        assert champion
        return champion.version


def wait(look: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Look again and again until there is something."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing within {timeout_s} s"
        time.sleep(0.3)
    return found


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def marked(mark: str) -> list[psutil.Process]:
    """Every process that carries the mark of a stack."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def ignore_interrupts() -> None:
    """What a shell does to a command that a script starts with `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="module")
def desk(
    trained: Path, copied: Callable[[Path, Path], Path], tiny_watches: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """A stack that is up, over a home in which version 1 of `tiny` is champion and version 2 is known."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "watches").mkdir()
    (folder / "watches/tiny.toml").write_text((tiny_watches / "tiny.toml").read_text() + SCHEDULE)
    (folder / "watches/absent.toml").write_text('[source]\nkind = "parquet"\nfolder = "$NO_SUCH_FOLDER/data"\n')
    desk = Desk(copied(trained, folder / "home"), folder / "watches")
    process = subprocess.Popen(
        [WATCHKEEPER, "up", "--detach"],
        cwd=REPOSITORY,
        env=desk.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=ignore_interrupts,  # noqa: PLW1509 - no threads run yet in a child that has just been forked
    )
    try:
        out, _ = process.communicate(timeout=2 * TIMEOUT_S)
        assert process.returncode == 0, out
        assert f"export PREFECT_API_URL={desk.stack.api}" in out
        yield desk
    finally:
        desk.watchkeeper("down")


def test_up_deploys_what_the_watch_files_say(desk: Desk) -> None:
    """Each scheduled deployment has the watch's cron and its name as the parameter; a watch without data has none."""
    crons = {
        name: [(one["slug"], one["schedule"]["cron"], one["parameters"]) for one in found["schedules"]]
        for name in (
            "ingest/scheduled",
            "retrain/nightly",
            "score/scheduled",
            "check-drift/scheduled",
            "retrain/manual",
        )
        if (found := desk.ask(f"/deployments/name/{name}"))
    }
    never = [("tiny", "0 0 29 2 *", {"watch": "tiny"})]
    assert crons == {
        "ingest/scheduled": [("tiny", "* * * * *", {"watch": "tiny"})],
        "retrain/nightly": never,
        "score/scheduled": never,
        "check-drift/scheduled": never,
        "retrain/manual": [],
    }
    log = (desk.home / "stack/deploy.log").read_text()
    assert "not scheduled: absent: source folder $NO_SUCH_FOLDER/data: the environment variable NO_SUCH_FOLDER" in log


def test_another_watch_is_another_deploy(desk: Desk) -> None:
    """A deploy of one watch leaves the other's schedules; a deploy of all takes away those of a watch that is gone."""
    file = desk.watches / "pumps.toml"
    # On a day that does not come: a minute's cron could start a run before the second deploy takes it away.
    file.write_text((desk.watches / "tiny.toml").read_text().replace('"* * * * *"', '"0 0 29 2 *"'))
    for arguments, watches in ((("--watch", "pumps"), {"tiny", "pumps"}), ((), {"tiny"})):
        done = desk.watchkeeper("deploy", *arguments)
        assert done.returncode == 0
        assert done.stdout.endswith(f"deployed on {desk.stack.api}\n")
        schedules = desk.ask("/deployments/name/retrain/nightly")["schedules"]
        assert {one["slug"] for one in schedules} == watches
        assert all(one["parameters"] == {"watch": one["slug"]} for one in schedules)
        file.unlink(missing_ok=True)


def test_a_second_up_says_that_it_is_up(desk: Desk) -> None:
    """It changes nothing, ends with 0, and shows the same addresses."""
    before = desk.stack
    done = desk.watchkeeper("up")
    assert done.returncode == 0
    assert done.stdout.startswith("up already\n")
    assert before.page in done.stdout
    assert desk.stack == before


def test_a_taken_port_is_told_in_one_line(desk: Desk, tmp_path: Path) -> None:
    """Another home's stack does not start on a port that was asked for and is taken, and leaves nothing behind."""
    other = Desk(tmp_path / "home", desk.watches)
    port = desk.stack.page.rsplit(":", 1)[1]
    done = other.watchkeeper("up", "--port", port)
    assert done.returncode == 2
    assert re.fullmatch(f"error: port {port} of 127.0.0.1: .*; name another with --port\n", done.stderr)
    assert not read_stack(other.home)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("until=garbage", "Validation failed for field 'until'. Failure reason: 'garbage' does not match"),
        ("untill=2026-01-26", "specified but not found on the deployment: 'untill'"),
    ],
)
def test_a_wrong_parameter_on_the_command_line_makes_no_run(desk: Desk, parameter: str, words: str) -> None:
    """`prefect deployment run` says which parameter is wrong, and the server has no new run."""
    before = len(desk.runs_of("retrain/manual"))
    done = desk.prefect("deployment", "run", "retrain/manual", "-p", "watch=tiny", "-p", parameter)
    assert done.returncode == 1
    assert words in " ".join((done.stdout + done.stderr).split())
    assert len(desk.runs_of("retrain/manual")) == before


@pytest.mark.parametrize(
    ("deployment", "parameters"),
    [
        ("retrain/manual", {}),
        ("retrain/manual", {"watch": "../tiny"}),
        ("retrain/manual", {"watch": "tiny", "until": "garbage"}),
        ("rollback/manual", {"watch": "tiny", "to": "last"}),
        ("score/scheduled", {"watch": ["tiny"]}),
    ],
)
def test_the_server_refuses_what_the_flows_types_refuse(desk: Desk, deployment: str, parameters: Json) -> None:
    """Whoever asks through the API gets a conflict, and no run is made."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        desk.start(deployment, **parameters)
    assert refused.value.code == CONFLICT
    refused.value.close()


def test_of_two_retrains_at_once_one_is_cancelled_with_the_reason(desk: Desk) -> None:
    """Nightly and manual are two deployments: the run that comes second ends as Cancelled and says why."""
    asked = [desk.start("retrain/nightly", watch="tiny"), desk.start("retrain/manual", watch="tiny")]
    ended = {run["state_type"]: run for run in map(desk.wait_for, asked)}
    assert set(ended) == {"COMPLETED", "CANCELLED"}
    reason = ended["CANCELLED"]["state"]["message"]
    began = time_of(ended["COMPLETED"]["start_time"])
    said = re.fullmatch(r"a retrain of tiny is under way since (\S+ \S+) UTC; wait for it", reason)
    assert said
    assert abs((datetime.fromisoformat(said[1]).replace(tzinfo=UTC) - began).total_seconds()) < 30
    assert [line.version for line in desk.registry.versions("tiny")] == [2, 1]


def test_a_command_uses_the_stack_and_its_run_is_cancelled_in_one_line(desk: Desk) -> None:
    """While another process of this home retrains, `watchkeeper retrain` ends with 1; its run is the server's too."""
    cancelled = {"flow_runs": {"state": {"type": {"any_": ["CANCELLED"]}}}}
    before = len(desk.ask("/flow_runs/filter", cancelled))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS],
        cwd=REPOSITORY,
        env=desk.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "holds\n"
        done = desk.watchkeeper("retrain", "--watch", "tiny")
        holder.kill()
    assert done.returncode == 1
    assert re.fullmatch(r"error: a retrain of tiny is under way since .* UTC; wait for it\n", done.stderr)
    assert len(desk.ask("/flow_runs/filter", cancelled)) == before + 1


def test_another_machine_is_refused_by_the_server(desk: Desk) -> None:
    """A run of another home finds the place taken. A place that nobody holds, left by a restarted server, is freed."""
    place = "watchkeeper nap tiny"
    desk.ask("/v2/concurrency_limits/", {"name": place, "limit": 1})
    desk.ask("/v2/concurrency_limits/increment", {"names": [place], "slots": 1, "mode": "concurrency"})
    server = {"PREFECT_API_URL": desk.stack.api, "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    napping = subprocess.Popen(
        [sys.executable, "-c", NAPS],
        cwd=REPOSITORY,
        env={**desk.environment, **server, "WATCHKEEPER_HOME": str(desk.home / "machine-1")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with napping:
        assert napping.stdout
        assert napping.stdout.readline() == "naps\n"
        other = desk.call(sys.executable, "-c", NAPS, **server, WATCHKEEPER_HOME=str(desk.home / "machine-2"))
        out, _ = napping.communicate("")
    assert re.fullmatch(r"a nap of tiny is under way since .* UTC; wait for it\n", other.stdout)
    assert "under way" not in out
    assert desk.ask(f"/v2/concurrency_limits/{urllib.parse.quote(place)}")["active_slots"] == 0


def test_a_rollback_runs_through_the_worker(desk: Desk) -> None:
    """`prefect deployment run rollback/manual` moves the champion, to a version and back to the previous one."""
    first = desk.champion()
    other = 3 - first
    done = desk.prefect(
        "deployment", "run", "rollback/manual", "-p", "watch=tiny", "-p", f"to={other}", "-p", "why=a test", "--watch"
    )
    assert done.returncode == 0
    assert "finished successfully" in done.stdout
    assert desk.champion() == other
    assert desk.wait_for(desk.start("rollback/manual", watch="tiny"))["state_type"] == "COMPLETED"
    assert desk.champion() == first


def test_ten_checks_in_a_row_start_one_retrain(desk: Desk) -> None:
    """The event that the second check sends starts retrain/on-drift with watch and report; the others send none."""
    before = [run["id"] for run in desk.runs_of("retrain/on-drift")]
    done = desk.call(sys.executable, "-c", TEN_CHECKS, PREFECT_API_URL=desk.stack.api, PREFECT_LOGGING_LEVEL="ERROR")
    assert done.returncode == 0
    ((event, report),) = [line.split() for line in done.stdout.splitlines()]
    (run,) = wait(lambda: [run for run in desk.runs_of("retrain/on-drift") if run["id"] not in before])
    assert run["parameters"] == {"watch": "tiny", "report": report, "reason": "drift"}

    found = desk.ask("/events/filter", {"filter": {"event": {"name": ["watchkeeper.drift.detected"]}}})["events"]
    assert [one["id"] for one in found] == [event]
    took = (time_of(run["created"]) - time_of(found[0]["occurred"])).total_seconds()
    print(f"event to run created: {took:.1f} s")  # noqa: T201 - a figure for whoever runs with -s
    assert 0 < took < TIMEOUT_S

    assert desk.wait_for(run)["state_type"] == "COMPLETED"
    assert len(desk.runs_of("retrain/on-drift")) == len(before) + 1


def test_a_minutes_cron_makes_runs_and_they_finish(desk: Desk) -> None:
    """The scheduler makes runs ahead of time, the worker takes each up at its minute, and the run completes."""
    finished = wait(
        lambda: (
            (runs := [run for run in desk.runs_of("ingest/scheduled") if run["state_type"] == "COMPLETED"])[1:] and runs
        )
    )
    assert all(run["auto_scheduled"] and run["parameters"]["watch"] == "tiny" for run in finished)
    minutes = [time_of(run["expected_start_time"]) for run in finished]
    assert len(set(minutes)) == len(minutes)
    assert all(minute.second == 0 for minute in minutes)
    assert any(run["state_type"] == "SCHEDULED" for run in desk.runs_of("ingest/scheduled"))


def test_down_ends_what_runs_and_says_so_to_the_server(desk: Desk) -> None:
    """A killed worker is started again; a killed supervisor leaves nothing that `down` would not end, runs included."""
    (worker,) = [process for process in marked(desk.stack.mark) if "worker" in process.cmdline()]
    worker.kill()
    again = wait(
        lambda: [one for one in marked(desk.stack.mark) if "worker" in one.cmdline() and one.pid != worker.pid]
    )
    assert len(again) == 1
    assert "worker ended with status -9 and is started again" in (desk.home / "stack/up.log").read_text()

    run = desk.start("retrain/manual", watch="tiny")
    wait(lambda: desk.ask(f"/flow_runs/{run['id']}")["state_type"] == "RUNNING")
    stack = desk.stack
    supervisor = psutil.Process(stack.supervisor)
    supervisor.kill()
    wait(lambda: not stack.is_supervised())
    assert len(marked(stack.mark)) >= 3  # server, worker, and the run

    done = desk.watchkeeper("down")
    assert done.returncode == 0
    assert re.fullmatch(r"ended \d+ processes\n", done.stdout)
    assert marked(stack.mark) == []
    assert desk.watchkeeper("down").stdout == f"nothing is up in {desk.home}\n"
    with socket.socket() as tried, pytest.raises(ConnectionRefusedError):
        tried.connect(("127.0.0.1", int(stack.page.rsplit(":", 1)[1])))


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path: Path, desk: Desk) -> None:
    """Ctrl-C ends a stack that is half up: exit status 0, no process, no state."""
    other = Desk(tmp_path / "home", desk.watches)
    process = subprocess.Popen(
        [WATCHKEEPER, "up"],
        cwd=REPOSITORY,
        env=other.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stack = wait(lambda: read_stack(other.home))
    wait(lambda: marked(stack.mark))
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, error) == (0, "")
    assert out.endswith("ending\n")
    assert marked(stack.mark) == []
    assert not read_stack(other.home)
