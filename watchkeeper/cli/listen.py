"""`watchkeeper listen`: an MQTT watch's messages into its inbox, until somebody asks to end."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from filelock import FileLock, Timeout

from watchkeeper.errors import BusyError, SettingsError
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch

if TYPE_CHECKING:
    from tasks.listen.listener import Counts

SHOWN_EVERY_S = 600.0
"""Between two lines of counts in a log; on a terminal there is one line that counts on."""


def listen(
    watch: Annotated[str, typer.Option("--watch", "-w", help="The watch: a file in the folder of watches.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Try again where the broker is not there, or refuses, from the start.")
    ] = False,
) -> None:
    """Write down what an MQTT watch's topics say, for ingest to take in, until Ctrl-C or SIGTERM."""
    from tasks.listen.listener import Listener
    from watchkeeper.cli.show import console

    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    asked: list[int] = []

    def say(line: str) -> None:
        console.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {line}", markup=False)
        sys.stdout.flush()  # whoever follows a log wants it now

    shown = time.monotonic()
    status = console.status("no message yet") if console.is_terminal else None

    def show(counts: "Counts") -> None:
        nonlocal shown
        if status is not None:
            status.update(str(counts))
        elif time.monotonic() - shown >= SHOWN_EVERY_S:
            say(str(counts))
            shown = time.monotonic()

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    listener = Listener(settings.lake_uri, chosen, say, show, wait)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)
    with _alone(settings.home, watch), status or nullcontext():
        listener.run(lambda: bool(asked))
    say(f"ended: {listener.counts}")


@contextmanager
def _alone(home: Path, watch: str) -> Iterator[None]:
    """Listen for a watch once: two listeners of one session would throw one another out.

    Raises:
        BusyError: another one listens.
    """
    lock = home / "listen" / f"{watch}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise BusyError(f"watch {watch}: another listener of {home.absolute()} is at work already") from error
    except OSError as error:
        raise SettingsError(f"home: cannot write {lock}: {error.strerror}; name another with --home") from error
