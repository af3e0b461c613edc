"""What is up: the stack's file of state, and its processes, found by a mark that no other process carries.

A process id alone says nothing after a crash: it may belong to somebody else by then. So the supervisor is known by its
id together with its start, and every part by a mark in its environment, which the runs that a worker starts inherit.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from watchkeeper.errors import SettingsError, WatchkeeperError
from watchkeeper.settings import first_problem

MARK = "STACK_OF_WATCHKEEPER"
"""The environment variable that marks the stack's processes. It is no setting, so it has none of their prefix."""
END_S = 30.0
"""A supervisor has this long to end its parts, and a part to end its work, before they are killed."""


class Stack(BaseModel):
    """One stack, as its file says.

    Attributes:
        mark: what its processes carry in their environment.
        supervisor: id of the process that keeps the parts up.
        started: when that process began, in seconds since 1970: with the id, this names one process.
        api: address of the Prefect server's API.
        mlflow: address of MLflow's page, where there is one.
        state: whether it is still starting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mark: str
    supervisor: int
    started: float
    api: str
    mlflow: str | None = None
    state: Literal["starting", "up"] = "starting"

    @property
    def page(self) -> str:
        """The address that a browser shows."""
        return self.api.removesuffix("/api")

    def is_supervised(self) -> bool:
        """Tell whether its supervisor lives."""
        return self.find_supervisor() is not None

    def find_supervisor(self) -> psutil.Process | None:
        """Return its supervisor, if that lives and is not another process with the same id."""
        try:
            process = psutil.Process(self.supervisor)
            alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.started) < 1
        except psutil.Error:
            return None
        return process if alive else None

    def find_parts(self) -> list[psutil.Process]:
        """Return every living process that carries its mark."""
        return [process for process in psutil.process_iter() if _environment_of(process).get(MARK) == self.mark]


def _environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):  # it ended meanwhile, or is somebody else's
        return {}


def folder_of(home: Path) -> Path:
    """Return the folder of the stack's state and logs."""
    return home.absolute() / "stack"


def read_stack(home: Path) -> Stack | None:
    """Return what the file of state says, whether it still holds or not; None where there is no file."""
    file = folder_of(home) / "stack.json"
    try:
        return Stack.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise SettingsError(f"home {home}: cannot be a folder, part of it is a file; choose another --home") from error
    except (OSError, ValueError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise WatchkeeperError(
            f"{file} cannot be read: {why}; end the stack's processes by hand and delete it"
        ) from error


def write_stack(home: Path, stack: Stack) -> None:
    """Write the file of state in one step."""
    folder = folder_of(home)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".unpublished-stack.json"
    part.write_text(stack.model_dump_json(indent=1), encoding="utf-8")
    part.replace(folder / "stack.json")


def find_running(home: Path) -> Stack | None:
    """Return the home's stack if it is up and kept up."""
    stack = read_stack(home)
    return stack if stack and stack.state == "up" and stack.is_supervised() else None


def end(home: Path) -> int:
    """End a stack, whatever is left of it: the supervisor ends its parts; without one, they are ended from here.

    Returns:
        How many processes there were.
    """
    stack = read_stack(home)
    if stack is None:
        return 0
    supervisor = stack.find_supervisor()
    count = len(stack.find_parts()) + (supervisor is not None)
    if supervisor:
        end_processes([supervisor], END_S)
    end_processes(stack.find_parts(), END_S)
    (folder_of(home) / "stack.json").unlink(missing_ok=True)
    return count


def end_processes(processes: list[psutil.Process], patience_s: float) -> None:
    """Ask processes to end, and kill those that have not after a while."""
    for process in _living(processes):
        process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(processes, timeout=patience_s)
    for process in _living(left):
        process.kill()
    psutil.wait_procs(left, timeout=patience_s)


def _living(processes: list[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        try:
            if process.is_running():  # compares the start too, so that no other process is hit
                yield process
        except psutil.NoSuchProcess:
            continue
