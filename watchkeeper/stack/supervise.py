"""The supervisor: starts the parts in order, each with a log of its own, keeps them up, and ends them."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psutil
from filelock import FileLock, Timeout

from watchkeeper.errors import BusyError, WatchkeeperError
from watchkeeper.mqtt import MqttSource
from watchkeeper.settings import Settings
from watchkeeper.stack import state
from watchkeeper.stack.deploy import choose_watches
from watchkeeper.stack.part import HOST, LOOK_S, Part, Say, answers, choose_port, last_line, wait
from watchkeeper.stack.state import MARK, Stack
from watchkeeper.watch import Watch

PORT = 4200
"""Prefect's own default."""
MLFLOW_PORT = 5000
"""MLflow's own default."""
MLFLOW = Path(sys.prefix) / "mlflow/bin/mlflow"
"""Full MLflow, in an environment of its own inside ours (`make mlflow`): it wants an older pyarrow."""
POOL = "default"

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # On disk, so that a server that is started anew knows who holds a place (tasks/alone.py).
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_WORKER_QUERY_SECONDS": "2",  # by default 10: a run would wait so much longer for its start
    "PYTHONUNBUFFERED": "1",
}


class _AskedToEndError(Exception):
    """Somebody asked the supervisor to end."""


def supervise(
    settings: Settings, port: int | None, watches: Sequence[str], say: Say, ready: Callable[[], None]
) -> None:
    """Bring the stack up and keep it up until somebody asks to end it (SIGTERM, Ctrl-C).

    Args:
        settings: whose home the stack is of.
        port: for the Prefect server; None for the usual one or, where that is taken, a free one.
        watches: to schedule; none for all.
        say: told what happens.
        ready: called when everything is up.

    Raises:
        BusyError: this home's stack has a supervisor already.
        SettingsError: the port is taken.
        WatchkeeperError: a part does not start, or does not stay up.
    """
    folder = state.folder_of(settings.home)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "up.lock", timeout=0), _ending_when_asked():
            if left := state.end(settings.home):  # of a supervisor that was killed
                say(f"ended {left} processes that an earlier stack had left")
            _run(settings, choose_port(port, PORT), watches, say, ready)
    except Timeout as error:
        raise BusyError(f"the stack of {settings.home} is already starting or up") from error


def _run(settings: Settings, port: int, watches: Sequence[str], say: Say, ready: Callable[[], None]) -> None:
    stack = Stack(
        mark=secrets.token_hex(16),
        supervisor=os.getpid(),
        started=psutil.Process().create_time(),
        api=f"http://{HOST}:{port}/api",
    )
    state.write_stack(settings.home, stack)
    parts: list[Part] = []
    try:
        stack = _start(settings, stack, watches, say, parts)
        state.write_stack(settings.home, stack)
        ready()
        while True:
            time.sleep(LOOK_S)
            for part in parts:
                part.keep_up(say)
    except _AskedToEndError:
        say("ending")
    finally:
        for part in reversed(parts):  # the worker first, so that it can still tell the server what became of its runs
            if process := part.process:
                state.end_processes([process], state.END_S)
        state.end_processes(stack.find_parts(), state.END_S)
        (state.folder_of(settings.home) / "stack.json").unlink(missing_ok=True)


def _start(settings: Settings, stack: Stack, watches: Sequence[str], say: Say, parts: list[Part]) -> Stack:
    """Start the parts one after the other, each when the one before it answers."""
    folder = state.folder_of(settings.home)
    environment = environment_of(settings, stack)
    port = stack.page.rsplit(":", 1)[1]
    say(f"Prefect server      starting at {stack.page} (half a minute the first time)")
    server = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", port]
    parts.append(Part("server", server, folder, environment))
    wait(lambda: answers(f"{stack.api}/health"), parts[-1])
    say("deployments         being put on the server")
    _deploy(watches, folder / "deploy.log", environment)
    limit = max(2, os.cpu_count() or 1)
    worker = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "watchkeeper", "--limit", str(limit)]
    parts.append(Part("worker", [sys.executable, "-m", "prefect", *worker], folder, environment))
    since = json.dumps({"workers": {"last_heartbeat_time": {"after_": datetime.now(UTC).isoformat()}}}).encode()
    wait(lambda: answers(f"{stack.api}/work_pools/{POOL}/workers/filter", since), parts[-1])
    parts += listeners(choose_watches(settings, watches)[0], folder, environment, say)
    mlflow = _start_mlflow(settings, folder, environment, say, parts) if MLFLOW.is_file() else None
    return stack.model_copy(update={"state": "up", "mlflow": mlflow})


def listeners(watches: Sequence[Watch], folder: Path, environment: dict[str, str], say: Say) -> list[Part]:
    """Start a listener for each watch whose source is MQTT. The others do without it where it does not stay up."""
    started = []
    for watch in watches:
        if isinstance(watch.source, MqttSource):
            say(f"listener            {watch.name}: {', '.join(watch.source.topics)} at {watch.source.url}")
            command = [sys.executable, "-m", "watchkeeper", "listen", "--watch", watch.name, "--wait"]
            started.append(Part(f"listen-{watch.name}", command, folder, environment, needed=False))
    return started


def _start_mlflow(settings: Settings, folder: Path, environment: dict[str, str], say: Say, parts: list[Part]) -> str:
    """Start MLflow's page on the registry and return its address."""
    port = str(choose_port(None, MLFLOW_PORT))
    address = f"http://{HOST}:{port}"
    say(f"MLflow              starting at {address}")
    # A page that makes the database while a flow does would leave it half made; the class makes it under a lock.
    make = "from watchkeeper.registry import Registry; from watchkeeper.settings import load_settings; "
    _run_to_end(
        [sys.executable, "-c", f"{make}Registry(load_settings().registry_uri)"], folder / "mlflow.log", environment
    )
    # What a person uploads through the page lies beside the logs; versions' files are the lake's.
    page = ["--default-artifact-root", str(folder / "mlflow"), "--no-serve-artifacts"]
    page += ["--host", HOST, "--port", port, "--workers", "1"]
    place = {
        "MLFLOW_BACKEND_STORE_URI": settings.registry_uri,  # no argument: others may see those, and it hold a password
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for what nobody asks of it here
    }
    parts.append(Part("mlflow", [str(MLFLOW), "server", *page], folder, environment | place))
    wait(lambda: answers(f"{address}/health"), parts[-1])
    return address


def environment_of(settings: Settings, stack: Stack) -> dict[str, str]:
    """Return the environment of the parts: this home and this server, whatever else the caller's Prefect uses."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    threads = str(settings.threads)
    return {
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        **kept,
        **ENVIRONMENT,
        MARK: stack.mark,
        "PREFECT_HOME": str(settings.home.absolute() / "prefect"),
        "PREFECT_API_URL": stack.api,
        "WATCHKEEPER_HOME": str(settings.home.absolute()),
        "WATCHKEEPER_WATCHES": str(settings.watches.absolute()),
    }


def _deploy(watches: Sequence[str], log: Path, environment: dict[str, str]) -> None:
    # In a process of its own, for Prefect's client would stay in the supervisor's memory for weeks.
    options = [option for watch in watches for option in ("--watch", watch)]
    _run_to_end([sys.executable, "-m", "watchkeeper", "deploy", *options], log, environment)


def _run_to_end(command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
    with log.open("ab") as file:
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise WatchkeeperError(last_line(log).removeprefix("error: "))


@contextlib.contextmanager
def _ending_when_asked() -> Iterator[None]:
    """Turn the signals that ask to end into an exception.

    A process started with `&` by a script inherits SIGINT ignored, and so would its parts; Prefect's worker turns
    SIGTERM into SIGINT and would then never end. A handler is not inherited, so parts begin with the default.
    """

    def ask(_signal: int, _frame: FrameType | None) -> None:
        for number in before:  # once is enough: a second Ctrl-C does not break the ending
            signal.signal(number, signal.SIG_IGN)
        raise _AskedToEndError

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
