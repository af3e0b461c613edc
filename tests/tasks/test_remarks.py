import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.remarks import Remarks
from tasks.sources.pace import Pace


def told(*batches: list[list[float]], channels: str = "ab") -> list[str]:
    """What is said of a file that came in these batches, on a clock that runs."""
    remarks = Remarks(tuple(channels))
    for number, rows in enumerate(batches):
        values = np.array(rows, np.float32).reshape(-1, len(channels))
        remarks.add(Pace.of(np.arange(len(values)) + 100 * number), values)
    return remarks.told("s.parquet")


def test_long_stretches_of_missing_readings_are_told() -> None:
    """A fifth of the rows is worth a line, less is not; it counts over all batches."""
    many = [[1, np.nan], [2, np.nan], *([[i, i] for i in range(8)])]
    assert told(many) == told(many[:1], many[1:]) == ["s.parquet: channel b lacks 20% of its readings"]
    assert told([*many, [1, 1]]) == []


def test_a_constant_channel_is_told() -> None:
    """Missing readings do not hide that nothing moves; one that moves from batch to batch is not constant."""
    nan = np.nan
    rows = [[5, 1, nan], [nan, 1, nan], [5, 2, nan]]
    lines = ["s.parquet: channel a lacks 33% of its readings", "s.parquet: channel c lacks 100% of its readings"]
    assert told(rows, channels="abc") == [*lines, "s.parquet: constant channel a"]
    assert told([[1, 1], [1, 1]], [[2, 1], [2, 1]]) == ["s.parquet: constant channel b"]


def test_one_row_says_nothing_about_constant_channels() -> None:
    """A database that is asked every minute gives no more; nor do no rows."""
    assert told([[3, 3]]) == []
    assert told([]) == []


def test_many_constant_channels_are_told_in_one_line() -> None:
    """Five names and how many more."""
    assert told([[3] * 8] * 2, channels="abcdefgh") == ["s.parquet: constant channel a, b, c, d, e and 3 more"]


TIMES = st.lists(st.one_of(st.integers(-20, 20), st.integers(-(2**63), 2**63 - 1)), max_size=12)


@given(times=TIMES.map(lambda one: np.array(one, np.int64)), cut=st.integers(0, 12))
def test_a_clock_is_the_same_however_it_is_cut(times: np.ndarray, cut: int) -> None:
    """The step from one batch to the next counts like any other, also that of a clock out of its mind."""
    steps = [after - before for before, after in itertools.pairwise(times.tolist()) if after < before]
    whole = Pace.of(times[:cut]).then(Pace.of(times[cut:]))
    assert whole == Pace.of(times)
    assert (whole.backward, whole.furthest_back) == (len(steps), -min(steps, default=0))


@pytest.mark.parametrize("backward", [0, 2])
def test_rows_out_of_order_are_told(backward: int) -> None:
    """In the order of the file, which need not be that of the rows."""
    remarks = Remarks(("a",))
    remarks.add(Pace(1, 9, backward, 5), np.array([[1], [2]], np.float32))
    lines = ["s.parquet: 2 backward timestamps, put in order"] if backward else []
    assert remarks.told("s.parquet") == lines
