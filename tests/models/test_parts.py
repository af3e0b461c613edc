from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.parts import (
    Bounds,
    CalibrationPart,
    HeldOutPart,
    Part,
    TrainPart,
    require_train,
    split_by_shares,
    split_by_times,
)
from watchkeeper.errors import DataError, LeakageError

MINUTE = 60_000_000


def part(rows: int, kind: type[Part] = Part) -> Part:
    return kind(
        np.arange(rows, dtype=np.float32)[:, None], np.arange(rows, dtype=np.int64), np.full(rows, -1, dtype=np.int8)
    )


SHARES = st.floats(0.1, 0.4)
GAPS = st.integers(1, 9)


def check(bounds: Bounds, rows: int, window: int, gap: int) -> None:
    """Parts follow one another from first row to last, each long enough, with the gap between."""
    parts = [(0, bounds.train), bounds.calibration, bounds.held_out]
    assert parts[-1][1] == rows
    assert all(stop - start >= window for start, stop in parts)
    assert all(later[0] - earlier[1] == gap for earlier, later in pairwise(parts))


@given(rows=st.integers(300, 600), calibration=SHARES, held_out=SHARES, window=GAPS, more=st.integers(0, 9))
def test_parts_by_shares_follow_one_another_with_the_gap_between(
    rows: int, calibration: float, held_out: float, window: int, more: int
) -> None:
    """No row is lost but those of the two gaps, and the later parts have their shares."""
    bounds = split_by_shares(rows, calibration, held_out, window, window + more)
    check(bounds, rows, window, window + more)
    assert bounds.held_out[1] - bounds.held_out[0] == int(rows * held_out)
    assert bounds.held_out[0] - bounds.calibration[0] == int(rows * calibration)


@given(data=st.data(), rows=st.integers(60, 200), window=GAPS, more=st.integers(0, 9))
def test_parts_by_times_are_those_of_the_obvious_loop(data: st.DataObject, rows: int, window: int, more: int) -> None:
    """Whatever holes the clock has, wherever the dates lie: the split is right, or refused for a part that is short."""
    steps = data.draw(st.lists(st.integers(1, 40), min_size=rows, max_size=rows))
    times = np.cumsum(steps).astype(np.int64)
    dates = sorted(data.draw(st.tuples(st.integers(0, int(times[-1])), st.integers(0, int(times[-1])))))
    gap = window + more
    before = [row for row in range(rows) if times[row] < dates[0]][: -gap or None]
    middle = [row for row in range(rows) if dates[0] <= times[row] < dates[1]][: -gap or None]
    latest = [row for row in range(rows) if times[row] >= dates[1]]
    if min(len(before), len(middle), len(latest)) < window:
        with pytest.raises(DataError, match=r"wanted at least \d+ \(one window\)"):
            split_by_times(times, *dates, window, gap)
        return
    bounds = split_by_times(times, *dates, window, gap)
    check(bounds, rows, window, gap)
    assert bounds.train == len(before)
    assert bounds.calibration == (middle[0], middle[-1] + 1)
    assert bounds.held_out[0] == latest[0]


@pytest.mark.parametrize("shares", [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (-0.1, 0.5)])
def test_unusable_shares_are_refused(shares: tuple[float, float]) -> None:
    """A part without rows is no part."""
    with pytest.raises(DataError, match="shares"):
        split_by_shares(100, *shares, window=5, gap=5)


def test_a_short_series_is_refused() -> None:
    """The message names the lengths."""
    with pytest.raises(DataError, match=r"30 rows is too short to split: each part needs at least 10 rows"):
        split_by_shares(30, 0.2, 0.2, window=10, gap=10)
    with pytest.raises(DataError, match="beside gaps of 40 rows"):
        split_by_shares(100, 0.2, 0.2, window=10, gap=40)


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        ((12, 60), "2 rows for training before 1970-01-01 00:12, gaps of 10 rows taken off, wanted at least 10"),
        ((40, 55), "5 rows for calibration from 1970-01-01 00:40"),
        ((40, 95), "5 rows held out from 1970-01-01 01:35"),
        ((40, 400), "0 rows held out from 1970-01-01 06:40"),
        ((-5, 60), "0 rows for training before 1969-12-31 23:55"),
    ],
)
def test_a_date_that_leaves_a_part_too_short_is_named(dates: tuple[int, int], said: str) -> None:
    """The message says which part, how many rows it has, and what is wanted."""
    times = np.arange(100, dtype=np.int64) * MINUTE
    with pytest.raises(DataError, match=said):
        split_by_times(times, dates[0] * MINUTE, dates[1] * MINUTE, window=10, gap=10)


def test_arrays_of_a_part_are_read_only_and_of_one_length() -> None:
    with pytest.raises(ValueError, match="read-only"):
        part(3).values[0] = 1
    with pytest.raises(DataError, match="differ in length"):
        Part(np.zeros((3, 1), np.float32), np.arange(2, dtype=np.int64), np.zeros(3, np.int8))


@pytest.mark.parametrize("kind", [Part, CalibrationPart, HeldOutPart])
def test_only_training_rows_pass_the_door(kind: type[Part]) -> None:
    require_train({"a": part(3, TrainPart)})
    with pytest.raises(LeakageError, match=kind.__name__):
        require_train({"a": part(3, TrainPart), "b": part(3, kind)})
