"""Questions to people and their answers, in the lake."""

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from watchkeeper.clock import to_microseconds
from watchkeeper.errors import LakeError
from watchkeeper.labels import counted, label_samples, read_labels
from watchkeeper.lake import Lake
from watchkeeper.questions import Answer, Word, give_answers, open_questions
from watchkeeper.records import Question

START = datetime(2026, 1, 5, tzinfo=UTC)
NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


def at(minute: int) -> int:
    return to_microseconds(START + timedelta(minutes=minute))


def ask(lake: Lake, run: str, *windows: tuple[str, int, int, int], watch: str = "w", hour: int = 0) -> None:
    """Put a run's questions into the queue: series, first and last minute, answer; asked at an hour of a day."""
    items = [Question.of(series, at(start), at(end), "top", answer) for series, start, end, answer in windows]
    key = f"queue/{watch}/{run}.json"
    lake.put_json(key, [item.model_dump(mode="json") for item in items])
    os.utime(lake.path(key), (1_800_000_000 + 3600 * hour,) * 2)


def say(lake: Lake, series: str, start: int, end: int, word: Word, who: str = "ann", watch: str = "w") -> None:
    give_answers(lake, watch, [Answer(series, at(start), at(end), word)], NOW, who)


def numbers(lake: Lake, watch: str = "w") -> list[int]:
    return [found.number for found in open_questions(lake, watch)]


@pytest.fixture
def asked(lake: Lake) -> Lake:
    """Two retrains: the first asked three windows, of which the data answered the middle one; the second asked two."""
    ask(lake, "f" * 32, ("a", 0, 25, -1), ("a", 50, 75, 1), ("b", 0, 25, -1))
    ask(lake, "0" * 32, ("a", 100, 125, -1), ("b", 50, 75, -1), hour=1)
    return lake


def test_the_newest_retrains_questions_come_first(asked: Lake) -> None:
    """Numbers count from the oldest question to people on; the list begins with the newest agent's first choice."""
    found = open_questions(asked, "w")
    assert [(one.number, one.question.series, one.question.start) for one in found] == [
        (3, "a", START + timedelta(minutes=100)),
        (4, "b", START + timedelta(minutes=50)),
        (1, "a", START),
        (2, "b", START),
    ]
    assert found[0].asked - found[2].asked == timedelta(hours=1)


def test_nobody_asked_nobody_waits(lake: Lake) -> None:
    """A watch without a queue has no open questions."""
    assert open_questions(lake, "w") == []


@pytest.mark.parametrize("word", ["anomalous", "normal", "unknown"])
def test_every_word_closes_the_question_that_it_answers(asked: Lake, word: Word) -> None:
    """ "Unknown" is an answer as the others are, and the other questions keep their numbers."""
    say(asked, "a", 100, 125, word)
    assert numbers(asked) == [4, 1, 2]


@pytest.mark.parametrize(
    ("start", "end", "word", "closed"),
    [
        (90, 130, "normal", True),
        (100, 124, "normal", False),
        (101, 125, "unknown", False),
        (124, 200, "anomalous", True),
        (125, 200, "anomalous", False),
        (0, 100, "anomalous", False),
    ],
)
def test_an_event_closes_what_it_settles(lake: Lake, start: int, end: int, word: Word, closed: bool) -> None:
    """Normal and unknown must cover the window; anomalous settles it with a single row. Ends are half open."""
    ask(lake, "f" * 32, ("a", 100, 125, -1))
    say(lake, "a", start, end, word)
    assert numbers(lake) == ([] if closed else [1])


def test_another_series_and_another_watch_are_not_touched(asked: Lake) -> None:
    """An answer is for the series and the watch that it names, also for a watch that is called `people`."""
    ask(asked, "a" * 32, ("a", 100, 125, -1), watch="people")
    say(asked, "b", 100, 125, "normal")
    say(asked, "a", 100, 125, "normal", watch="other")
    assert (numbers(asked), numbers(asked, "people")) == ([3, 4, 1, 2], [1])
    say(asked, "a", 100, 125, "normal", watch="people")
    assert (numbers(asked), numbers(asked, "people")) == ([3, 4, 1, 2], [])


def test_what_people_say_stands_in_the_label_store(lake: Lake) -> None:
    """With who, when and origin; unknown takes a weaker word back."""
    answers = [
        Answer("a", at(0), at(2), "anomalous"),
        Answer("a", at(2), at(3), "normal"),
        Answer("a", at(4), at(5), "unknown"),
    ]
    labels, closed = give_answers(lake, "w", answers, NOW, "ann")
    table = read_labels(lake, counted([labels], [closed]))
    assert {(row["who"], row["when"], row["origin"]) for row in table.to_pylist()} == {("ann", NOW, "human")}
    times = np.array([at(minute) for minute in range(6)])
    assert label_samples(table, "a", times).tolist() == [1, 1, 0, -1, -1, -1]


def test_killed_between_the_two_writes_nothing_is_said(asked: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels whose windows were not closed do not count, the question stays open, and saying it again works."""

    def full(*_: object) -> None:
        raise LakeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put_json", full)
        with pytest.raises(LakeError):
            say(asked, "a", 100, 125, "anomalous")
    assert len(asked.list("labels/watch=w")) == 1
    assert counted(asked.list("labels/watch=w"), asked.list("queue/w")) == ()
    assert 3 in numbers(asked)
    say(asked, "a", 100, 125, "anomalous")
    assert len(counted(asked.list("labels/watch=w"), asked.list("queue/w"))) == 1
    assert 3 not in numbers(asked)


def test_two_people_say_two_things(asked: Lake) -> None:
    """Each batch is kept; nothing is overwritten."""
    say(asked, "a", 100, 125, "anomalous", "ann")
    say(asked, "a", 100, 125, "normal", "bob")
    assert len(counted(asked.list("labels/watch=w"), asked.list("queue/w"))) == 2
