"""Real servers for tests: processes of Debian's packages on free ports of this machine, with their data in a folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PATH = os.pathsep.join(["/usr/lib/postgresql/15/bin", "/usr/sbin", "/usr/bin", os.environ.get("PATH", "")])
"""Where Debian puts servers."""


def program(name: str, package: str) -> str:
    """Return where a program is; the test is skipped where its package is not installed."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class Server:
    """A server in a process of its own.

    Attributes:
        command: that runs it in the foreground.
        port: where it listens on 127.0.0.1.
        log: file for what it says.
        answers: tells whether it is ready, once its port is open.
    """

    command: Sequence[str]
    port: int
    log: Path
    answers: Callable[[], bool] = lambda: True
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                if self.answers():
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.command[0]} did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Kill it, without a warning, as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
