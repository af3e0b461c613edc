"""Replay: 8 bytes a transition, successors that cannot be stale (correction 3), classes balanced by drawing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.replay import Replay, Rows, chunk_index
from watchkeeper.errors import BadInputError, DataError


def rows_of(*lengths: int, features: int = 2) -> Rows:
    """Series whose observations hold the row number, so that a row can be recognised."""
    observations, first = {}, 0
    for i, n in enumerate(lengths):
        number = np.arange(first, first + n, dtype=np.float32)
        observations[f"s{i}"] = np.repeat(number[:, None], features, axis=1)
        first += n
    errors = {name: np.zeros(len(values)) for name, values in observations.items()}
    return Rows.of(observations, errors, {})


def test_only_the_observations_of_a_single_series_are_shared() -> None:
    """They may fill half of the memory; labels are copied, for learning writes to them."""
    values, error, label = np.zeros((4, 2), np.float32), np.zeros(4), np.zeros(4, np.int8)
    rows = Rows.of({"a": values}, {"a": error}, {"a": label})
    assert np.shares_memory(rows.observation.numpy(), values)
    assert not np.shares_memory(rows.label.numpy(), label)
    values.flags.writeable = False
    assert not np.shares_memory(Rows.of({"a": values}, {"a": error}, {}).observation.numpy(), values)


def test_rows_keep_series_apart() -> None:
    """Spans and terminal rows, by hand, for series of 3 and 4 rows."""
    rows = rows_of(3, 4)
    assert (rows.span("s0"), rows.span("s1")) == (slice(0, 3), slice(3, 7))
    assert np.flatnonzero(rows.terminal.numpy()).tolist() == [2, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": {"a": np.zeros(4)}}, "one error for each of 5 rows"),
        ({"errors": {}}, "found none"),
        ({"labels": {"a": np.full(5, 2, np.int8)}}, "labels are 1, 0"),
        ({"errors": {"a": np.full(5, np.nan)}}, "not finite"),
        ({"observations": {}}, "at least one series"),
        ({"labels": {"b": np.zeros(5, np.int8)}}, "no observations for series b"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, dict[str, np.ndarray]], message: str) -> None:
    """One clear message for each way to be wrong."""
    good = {"observations": {"a": np.zeros((5, 2), np.float32)}, "errors": {"a": np.zeros(5)}, "labels": {}}
    with pytest.raises(DataError, match=message):
        Rows.of(**{**good, **change})


def successors_follow(index: np.ndarray, rows: Rows) -> bool:
    """Whether, in the observations that the indices fetch, each row is followed by the next one of its series."""
    fetched = rows.observation[index][..., 0].numpy()
    same_series = np.searchsorted(rows.offset, index, side="right")
    return bool((np.diff(fetched, axis=0) == 1).all() and (np.diff(same_series, axis=0) == 0).all())


def stale_successors(rows: Rows, start: np.ndarray, length: int, hop: int) -> np.ndarray:
    """The wrong form of the public code: after a jump to a new place, the old place's successor is kept."""
    index = start + np.arange(length)[:, None]
    index[length // 2] = (index[length // 2] + hop) % len(rows)
    return index


@given(st.lists(st.integers(20, 60), min_size=1, max_size=4), st.integers(0, 8), st.integers(1, 12), st.data())
def test_successor_is_the_next_row_of_the_same_series(
    lengths: list[int], burn_in: int, length: int, data: st.DataObject
) -> None:
    """Correction 3, for any series, start and chunk; a start near the end moves the chunk back into its series."""
    rows = rows_of(*lengths)
    series = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5)))
    start = np.array([data.draw(st.integers(0, lengths[s] - 1)) for s in series])
    index = chunk_index(rows, series, start, burn_in, length)
    assert index.shape == (burn_in + length, len(series))
    assert successors_follow(index, rows)
    fits = (start >= burn_in) & (start + length <= np.array(lengths)[series])
    assert (index[burn_in][fits] == (rows.offset[series] + start)[fits]).all()


def test_the_check_of_successors_tells_a_stale_one() -> None:
    """Decoy: a successor from before a jump in time fails the check that indices pass."""
    rows = rows_of(40)
    assert not successors_follow(stale_successors(rows, np.array([3]), 10, hop=7), rows)


def test_a_chunk_longer_than_its_series_is_refused() -> None:
    with pytest.raises(DataError, match="does not fit"):
        chunk_index(rows_of(10), np.array([0]), np.array([0]), 4, 7)


def test_an_entry_takes_eight_bytes() -> None:
    """And not one more when observations are wide: nothing but indices is stored."""
    replay = Replay(1000)
    replay.add(np.zeros(1000, np.int64), np.arange(1000))
    assert replay.nbytes / len(replay) == 8


@given(st.integers(1, 7), st.lists(st.integers(0, 9), max_size=6))
def test_ring_holds_the_latest_entries(capacity: int, batches: list[int]) -> None:
    """Oracle: a list of which the last `capacity` are kept."""
    replay, oracle = Replay(capacity), list[int]()
    for n in batches:
        start = np.arange(len(oracle), len(oracle) + n)
        replay.add(np.zeros(n, np.int64), start)
        oracle.extend(start.tolist())
    assert sorted(replay.entries()[1].tolist()) == oracle[-capacity:]


def test_drawing_balances_the_classes() -> None:
    """One chunk in a hundred is anomalous; the share asked for is what is drawn, and rewards know nothing of it."""
    rows = rows_of(1000)
    rows.label[300:305] = 1
    rows.label[600:700] = 0
    replay = Replay(100)
    replay.add(np.zeros(100, np.int64), np.arange(0, 1000, 10))
    strata = replay.strata(rows, 10)
    _, start = replay.sample(1000, strata, (0.3, 0.2), np.random.default_rng(0))
    assert 300 <= (start == 300).sum() <= 330  # asked for 300, and a few more by chance among the rest
    assert 200 <= ((start >= 591) & (start < 700)).sum() <= 280
    _, plain = replay.sample(1000, strata, (0.0, 0.0), np.random.default_rng(0))
    assert (plain == 300).sum() < 30


def test_labels_are_read_when_drawing() -> None:
    """An answer that came after the entry was added counts."""
    rows, replay, rng = rows_of(100), Replay(10), np.random.default_rng(0)
    replay.add(np.zeros(10, np.int64), np.arange(0, 100, 10))
    rows.label[55] = 1
    _, start = replay.sample(8, replay.strata(rows, 10), (1.0, 0.0), rng)
    assert set(start.tolist()) == {50}


def test_empty_buffer_and_empty_ring_are_refused() -> None:
    with pytest.raises(BadInputError, match="empty"):
        Replay(3).sample(1, Replay(3).strata(rows_of(10), 2), (0.0, 0.0), np.random.default_rng(0))
    with pytest.raises(BadInputError, match="capacity"):
        Replay(0)
