"""Progress: steps say how far they are; whoever shows it listens. Without a listener nothing happens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

Progress = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and a few words on where the work is."""


class Listener(Protocol):
    """Shows the steps of a flow while they run."""

    def started(self, step: str) -> None:
        """Note that a step began."""

    def advanced(self, step: str, share: float, words: str) -> None:
        """Note that a step has done this share of its work."""

    def finished(self, step: str, seconds: float, line: str) -> None:
        """Note that a step ended, with its line of result."""

    def failed(self, step: str) -> None:
        """Note that a step ended with an error, which whoever called shows."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def listener() -> Listener | None:
    """Return who listens now."""
    return _listener.get()


@contextmanager
def listening(who: Listener) -> Iterator[None]:
    """Let `who` hear of the steps run inside."""
    token = _listener.set(who)
    try:
        yield
    finally:
        _listener.reset(token)


def progress_of(step: str) -> Progress:
    """Return the function by which a step's core tells how far it is."""

    def tell(share: float, words: str = "") -> None:
        if who := listener():
            who.advanced(step, share, words)

    return tell
