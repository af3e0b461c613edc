import pytest

from watchkeeper.progress import Listener, listener, listening, progress_of


class Heard:
    def __init__(self) -> None:
        self.lines: list[tuple[str, float, str]] = []

    def started(self, step: str) -> None: ...

    def advanced(self, step: str, share: float, words: str) -> None:
        self.lines.append((step, share, words))

    def finished(self, step: str, seconds: float, line: str) -> None: ...

    def failed(self, step: str) -> None: ...


def test_whoever_listens_hears() -> None:
    """Step, share and words reach the listener."""
    who: Listener = Heard()
    with listening(who):
        progress_of("prepare")(0.5, "line_1")
        progress_of("prepare")(1.0)
    assert isinstance(who, Heard)
    assert who.lines == [("prepare", 0.5, "line_1"), ("prepare", 1.0, "")]


def test_without_a_listener_nothing_happens() -> None:
    """A core may always tell."""
    progress_of("prepare")(0.5, "line_1")
    assert listener() is None


def test_the_listener_inside_hears_and_then_the_one_outside_again() -> None:
    """Listeners nest."""
    outer, inner = Heard(), Heard()
    tell = progress_of("score")
    with listening(outer):
        with listening(inner):
            tell(0.1, "inside")
        tell(0.2, "outside")
    assert [line[2] for line in inner.lines] == ["inside"]
    assert [line[2] for line in outer.lines] == ["outside"]


def test_a_listener_leaves_after_a_failure() -> None:
    """An error inside does not leave a listener behind."""
    with pytest.raises(ValueError, match="broken"), listening(Heard()):
        raise ValueError("broken")
    assert listener() is None
