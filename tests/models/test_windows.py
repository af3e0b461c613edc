import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.windows import cut_windows, with_history
from watchkeeper.errors import DataError


def rows(count: int, channels: int = 2) -> np.ndarray:
    return np.arange(count * channels, dtype=np.float32).reshape(count, channels)


@given(count=st.integers(1, 40), window=st.integers(1, 40), stride=st.integers(1, 9))
def test_windows_equal_an_obvious_loop(count: int, window: int, stride: int) -> None:
    values = rows(count)
    if count < window:
        with pytest.raises(DataError, match="shorter than one window"):
            cut_windows(values, window, stride)
        return
    expected = [values[start : start + window] for start in range(0, count - window + 1, stride)]
    found = cut_windows(values, window, stride)
    assert len(found) == (count - window) // stride + 1
    assert np.array_equal(found, np.array(expected))


def test_windows_are_read_only_views() -> None:
    values = rows(20)
    windows = cut_windows(values, 5)
    assert np.shares_memory(windows, values)
    assert not windows.flags.writeable


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (1, 0)])
def test_unusable_lengths_are_refused(window: int, stride: int) -> None:
    with pytest.raises(DataError, match="at least 1"):
        cut_windows(rows(3), window, stride)


def test_one_dimension_is_no_series() -> None:
    with pytest.raises(DataError, match="dimensions"):
        cut_windows(np.zeros(4, np.float32), 2)


def test_history_is_put_in_front_and_its_earliest_row_repeated() -> None:
    values, history = rows(2) + 100, rows(2)
    found = with_history(values, history, 4)
    assert found.tolist() == [[0, 1], [0, 1], [0, 1], [2, 3], [100, 101], [102, 103]]


def test_without_history_the_first_row_is_the_past() -> None:
    assert with_history(rows(2), None, 1).tolist() == [[0, 1], [0, 1], [2, 3]]


def test_of_a_long_history_only_the_newest_rows_are_taken() -> None:
    assert with_history(rows(1) + 50, rows(9), 2)[:, 0].tolist() == [14, 16, 50]


def test_no_history_wanted_gives_the_rows_alone() -> None:
    assert np.array_equal(with_history(rows(3), rows(4), 0), rows(3))
