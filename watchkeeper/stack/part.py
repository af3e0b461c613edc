"""A part of the stack: a process with a log, kept up; and how to tell that it answers."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from watchkeeper.errors import SettingsError, WatchkeeperError

HOST = "127.0.0.1"
START_S = 180.0
"""A server on a fresh database takes 20 to 30 s on a quiet machine."""
LOOK_S = 0.5
"""Pause between two looks at a part."""
STEADY_S = 60.0
"""A part that lived so long is worth starting again; one that ends sooner three times in a row is not."""
TRIES = 3

Say = Callable[[str], None]


class Part:
    """A process that is kept up, with its log. The stack ends with a part that does not stay up, if it is needed."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: dict[str, str], needed: bool = True
    ) -> None:
        self.name, self.log, self._needed = name, folder / f"{name}.log", needed
        self._command, self._environment = list(command), environment
        self._quick_ends = 0
        self.start()

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the supervisor alone, which ends parts in order."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, with arguments from this file
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._began = time.monotonic()

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it lives."""
        if self._process.poll() is not None:
            return None
        return psutil.Process(self._process.pid)

    def require_alive(self) -> None:
        """Check that it lives.

        Raises:
            WatchkeeperError: it has ended.
        """
        if (status := self._process.poll()) is not None:
            raise WatchkeeperError(f"{self.name} ended with status {status}; {self.log} says: {last_line(self.log)}")

    def keep_up(self, say: Say) -> None:
        """Start it again where it has ended; one that is not needed, and ends again and again, after a pause.

        Raises:
            WatchkeeperError: it is needed, and ended again and again.
        """
        if self._process.poll() is None:
            return
        self._quick_ends = self._quick_ends + 1 if time.monotonic() - self._began < STEADY_S else 1
        if self._quick_ends >= TRIES and self._needed:
            self.require_alive()
        if self._quick_ends >= TRIES:
            if self._quick_ends == TRIES:
                said = last_line(self.log)
                say(f"{self.name} ends at once and is tried again after {STEADY_S:.0f} s; {self.log} says: {said}")
            return
        say(f"{self.name} ended with status {self._process.returncode} and is started again; its log: {self.log}")
        self.start()


def wait(answers: Callable[[], bool], part: Part) -> None:
    """Wait until a part answers.

    Raises:
        WatchkeeperError: it has ended, or took too long.
    """
    deadline = time.monotonic() + START_S
    while not answers():
        part.require_alive()
        if time.monotonic() > deadline:
            raise WatchkeeperError(f"{part.name} did not answer within {START_S:.0f} s; see {part.log}")
        time.sleep(LOOK_S)


def answers(address: str, question: bytes | None = None) -> bool:
    """Tell whether an address answers, and, where a question is asked, with a list that is not empty."""
    request = urllib.request.Request(address, question, {"Content-Type": "application/json"})  # noqa: S310 - http, ours
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - the same
            return question is None or response.read() != b"[]"
    except (urllib.error.URLError, OSError):
        return False


def choose_port(wanted: int | None, usual: int) -> int:
    """Return the port wanted, or the usual one, or a free one where that is taken.

    Raises:
        SettingsError: the port wanted is taken.
    """
    for port in (wanted if wanted is not None else usual, 0):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
            try:
                tried.bind((HOST, port))
            except (OSError, OverflowError) as error:  # taken, not ours to take, or no port at all
                if wanted is not None:
                    why = getattr(error, "strerror", None) or str(error)
                    raise SettingsError(f"port {wanted} of {HOST}: {why}; name another with --port") from error
            else:
                return int(tried.getsockname()[1])
    raise SettingsError(f"no port of {HOST} is free")


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
