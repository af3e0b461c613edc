from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from watchkeeper.clock import to_microseconds
from watchkeeper.labels import (
    RANK,
    Origin,
    asked_for,
    counted,
    events_of,
    label_samples,
    read_labels,
    runs_of,
    write_labels,
)
from watchkeeper.lake import Lake

EARLY = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATE = EARLY + timedelta(microseconds=1)
TIMES = np.arange(100, 200, 10, dtype=np.int64)  # ten samples, 10 µs apart


def labelled(lake: Lake, *keys: str) -> list[int]:
    return label_samples(read_labels(lake, keys), "a", TIMES).tolist()


def test_an_event_is_half_open(lake: Lake) -> None:
    """The sample at the start is in, the one at the end is not, and others stay unknown."""
    key = write_labels(lake, "w", [("a", 120, 150, 1), ("a", 151, 161, 0)], "ann", "human", EARLY)
    assert labelled(lake, key) == [-1, -1, 1, 1, 1, -1, 0, -1, -1, -1]


def test_another_series_is_not_touched(lake: Lake) -> None:
    """Labels are for the series that they name."""
    key = write_labels(lake, "w", [("b", 100, 200, 1)], "ann", "human", EARLY)
    assert labelled(lake, key) == [-1] * 10


@pytest.mark.parametrize(
    ("weak", "strong"), [("propagated", "answered"), ("answered", "imported"), ("imported", "human")]
)
@pytest.mark.parametrize("weak_is_later", [False, True])
def test_the_stronger_word_stands(lake: Lake, weak: Origin, strong: Origin, weak_is_later: bool) -> None:
    """Strength goes before time, whatever the order of writing and reading."""
    late, early = (LATE, EARLY) if weak_is_later else (EARLY, LATE)
    keys = [
        write_labels(lake, "w", [("a", 100, 200, 1)], "one", weak, late),
        write_labels(lake, "w", [("a", 130, 150, 0)], "two", strong, early),
    ]
    for order in permutations(keys):
        assert labelled(lake, *order) == [1, 1, 1, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("origin", list(RANK))
def test_of_equals_the_later_stands(lake: Lake, origin: Origin) -> None:
    """A microsecond is enough; in float seconds it would be lost."""
    keys = [
        write_labels(lake, "w", [("a", 100, 200, 0)], "two", origin, LATE),
        write_labels(lake, "w", [("a", 100, 200, 1)], "one", origin, EARLY),
    ]
    for order in permutations(keys):
        assert labelled(lake, *order) == [0] * 10


def test_the_time_of_a_label_is_exact(lake: Lake) -> None:
    """To the microsecond, for every microsecond."""
    for offset in range(50):
        when = EARLY + timedelta(microseconds=offset * 20_011)
        key = write_labels(lake, "w", [("a", offset, offset + 1, 1)], "ann", "human", when)
        assert read_labels(lake, [key])["when"].to_pylist() == [when]


def test_all_pairs_against_a_slow_loop(lake: Lake) -> None:
    """Four origins at two times, overlapping: each sample has the word that wins by strength, then time."""
    said = []
    for number, (origin, when) in enumerate(product(RANK, (EARLY, LATE))):
        start, end, label = 100 + 7 * number, 160 + 3 * number, number % 2
        said.append((RANK[origin], to_microseconds(when), start, end, label, origin, when))
    keys = [write_labels(lake, "w", [("a", s, e, v)], str(i), o, w) for i, (_, _, s, e, v, o, w) in enumerate(said)]
    wanted = []
    for time in TIMES:
        over = [(rank, when, label) for rank, when, start, end, label, *_ in said if start <= time < end]
        wanted.append(max(over)[2] if over else -1)
    assert labelled(lake, *keys) == wanted
    assert len(set(wanted)) > 1


def test_what_came_with_the_data_can_be_left_out(lake: Lake) -> None:
    """Only what was imported was never asked for."""
    keys = [
        write_labels(lake, "w", [("a", 100, 110, 1)], origin, origin, EARLY)
        for origin in ("propagated", "answered", "imported", "human")
    ]
    assert sorted(asked_for(read_labels(lake, keys))["origin"].to_pylist()) == ["answered", "human", "propagated"]


def test_the_same_events_by_the_same_hand_have_the_same_key(lake: Lake) -> None:
    """A rerun appends nothing; the order of the events does not count, the hand and the origin do."""
    events = [("a", 100, 110, 1), ("b", 100, 110, 0)]
    key = write_labels(lake, "w", events, "ann", "human", EARLY)
    before = lake.path(key).stat().st_mtime_ns
    assert write_labels(lake, "w", reversed(events), "ann", "human", EARLY) == key
    assert lake.path(key).stat().st_mtime_ns == before
    others = {
        write_labels(lake, "w", events, "bob", "human", EARLY),
        write_labels(lake, "w", events, "ann", "imported", EARLY),
        write_labels(lake, "w", events[:1], "ann", "human", EARLY),
        write_labels(lake, "other", events, "ann", "human", EARLY),
    }
    assert len(others | {key}) == 5


def test_no_events_and_no_files(lake: Lake) -> None:
    """Nothing said leaves all unknown."""
    assert labelled(lake) == [-1] * 10
    assert labelled(lake, write_labels(lake, "w", [], "ann", "human", EARLY)) == [-1] * 10


@given(arrays(np.int8, st.integers(0, 40), elements=st.integers(-1, 1)))
def test_runs_cover_every_sample_once(label: np.ndarray) -> None:
    """Each run is of one label, and its neighbour is of another."""
    runs = runs_of(label)
    again = np.concatenate([np.repeat(label[start], end - start) for start, end in runs] or [label])
    assert np.array_equal(again, label)
    assert all(label[a - 1] != label[a] for a, _ in runs[1:])
    assert runs.shape == (len(runs), 2)


def test_hand_made_runs() -> None:
    """Runs are half-open, and the last one ends behind the last sample."""
    assert runs_of(np.array([0, 0, 1, -1, -1], np.int8)).tolist() == [[0, 2], [2, 3], [3, 5]]
    assert runs_of(np.empty(0, np.int8)).tolist() == []


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    label=arrays(np.int8, st.integers(1, 30), elements=st.integers(-1, 1)),
    steps=st.lists(st.integers(1, 10**9), min_size=30, max_size=30),
)
def test_labels_come_back_from_the_store(tmp_path: Path, label: np.ndarray, steps: list[int]) -> None:
    """Per-sample labels to events to a file and back, at any spacing of the samples."""
    times = np.cumsum(np.array(steps[: len(label)], np.int64))
    lake = Lake(tmp_path.as_uri())
    key = write_labels(lake, "w", events_of("a", times, label), "source", "imported", EARLY)
    assert np.array_equal(label_samples(read_labels(lake, [key]), "a", times), label)


def test_a_word_taken_back_and_given_again_is_heard(lake: Lake) -> None:
    """One, then zero, then one again of the same stretch: the last word stands."""
    words = [(1, EARLY), (0, LATE), (1, LATE + timedelta(microseconds=1))]
    keys = [write_labels(lake, "w", [("a", 120, 150, word)], "ann", "human", when) for word, when in words]
    assert labelled(lake, *keys)[2:5] == [1, 1, 1]


def test_answers_count_with_their_questions(lake: Lake) -> None:
    """A batch that answers a run's questions counts once they lie in the queue; every other batch counts at once."""
    own = write_labels(lake, "w", [("a", 100, 120, 1)], "ann", "human", EARLY)
    answers = write_labels(lake, "w", [("a", 120, 150, 1)], "oracle", "answered", EARLY, "run1")
    others = write_labels(lake, "w", [("a", 150, 160, 0)], "ann", "human", EARLY, "batch1")
    keys = lake.list("labels/watch=w")
    assert set(keys) == {own, answers, others}
    assert counted(keys, []) == (own,)
    assert set(counted(keys, ["queue/w/run1.json"])) == {own, answers}
    assert set(counted(keys, ["queue/w/run1.json", "queue/w/people/batch1.json"])) == set(keys)
    assert counted(keys, ["queue/w/run.json", "queue/w/run11.json"]) == (own,)


def test_a_run_that_answers_again_writes_nothing_new(lake: Lake) -> None:
    """Started again after a kill, a run finds its batch and leaves it."""
    first = write_labels(lake, "w", [("a", 120, 150, 1)], "oracle", "answered", EARLY, "run1")
    content = lake.get(first)
    assert write_labels(lake, "w", [("a", 120, 150, 1)], "oracle", "answered", LATE, "run1") == first
    assert lake.get(first) == content
    assert lake.list("labels/watch=w") == [first]
