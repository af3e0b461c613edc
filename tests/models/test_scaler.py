import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from models.scaler import LIMIT, Scaler
from watchkeeper.errors import DataError

NAN = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_hand_computed_scale() -> None:
    """Mean 3 and deviation 2 of 1, 5, 1, 5: 7 is two deviations above."""
    scaler = Scaler.fit({"a": column(1, 5, 1, 5)})
    assert scaler.transform("a", column(7, 3, 1)).ravel().tolist() == [2.0, 0.0, -1.0]


def test_each_series_and_channel_has_its_own_scale() -> None:
    wide = np.array([[0, 0], [2, 200]], np.float32)
    scaler = Scaler.fit({"a": wide, "b": 10 * wide})
    assert scaler.transform("a", wide).tolist() == [[-1, -1], [1, 1]]
    assert scaler.transform("b", 10 * wide).tolist() == [[-1, -1], [1, 1]]


def test_missing_training_readings_are_left_out() -> None:
    """With NaN counted as zero the mean would be 2."""
    scaler = Scaler.fit({"a": column(1, NAN, 5, np.inf, 1, 5)})
    assert scaler.transform("a", column(3)).item() == 0.0


@pytest.mark.parametrize("level", [0.0, 5.0, -1e6])
def test_a_constant_channel_that_moves_gives_a_large_but_finite_value(level: float) -> None:
    scaler = Scaler.fit({"a": np.full((50, 1), level, np.float32)})
    moved = scaler.transform("a", np.array([[level], [level + 1 + abs(level)]], np.float32))
    assert moved[0, 0] == 0.0
    assert moved[1, 0] == LIMIT


def test_a_blip_in_a_constant_channel_is_not_its_noise() -> None:
    """A blip of height 1 in a million rows has a deviation of 0.001: without the floor, 0.001 would scale to 1."""
    blip = np.zeros((1_000_000, 1), np.float32)
    blip[7] = 1
    scaled = Scaler.fit({"a": blip}).transform("a", column(0.001))
    assert 0 < scaled.item() < 0.2


def test_a_channel_without_any_reading_scales_to_zero() -> None:
    scaler = Scaler.fit({"a": column(NAN, NAN)})
    filled, _ = scaler.fill_forward("a", column(NAN))
    assert scaler.transform("a", filled).item() == 0.0


def test_missing_readings_become_the_last_one_or_the_training_mean() -> None:
    scaler = Scaler.fit({"a": np.array([[1, 10], [3, 30]], np.float32)})
    values = np.array([[NAN, 1], [7, NAN], [NAN, np.inf]], np.float32)
    filled, last = scaler.fill_forward("a", values)
    assert filled.tolist() == [[2, 1], [7, 1], [7, 1]]
    assert last.tolist() == [7, 1]
    assert np.isnan(values[0, 0]), "the input stays as it was"


@given(values=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8)), cut=st.integers(1, 7))
def test_filling_in_chunks_equals_filling_the_whole_and_an_obvious_loop(values: np.ndarray, cut: int) -> None:
    scaler = Scaler.fit({"a": np.ones((3, values.shape[1]), np.float32)})
    whole, _ = scaler.fill_forward("a", values)
    first, last = scaler.fill_forward("a", values[:cut])
    second, _ = scaler.fill_forward("a", values[cut:], last)
    assert np.array_equal(np.concatenate([first, second]), whole)
    for channel in range(values.shape[1]):
        reading = np.float32(1)
        for row, value in enumerate(values[:, channel]):
            reading = value if np.isfinite(value) else reading
            assert whole[row, channel] == reading


@given(arrays(np.float32, (6, 2), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_scaled_values_are_finite_and_bounded(values: np.ndarray) -> None:
    scaled = Scaler.fit({"a": values}).transform("a", values[::-1])
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() <= LIMIT


def test_a_saved_scaler_scales_as_before() -> None:
    scaler = Scaler.fit({"a": column(1, 2, 4), "b": column(3, 9, 1)})
    loaded = Scaler.from_arrays(scaler.config(), scaler.arrays())
    assert np.array_equal(loaded.transform("b", column(5)), scaler.transform("b", column(5)))


def test_strangers_are_refused() -> None:
    scaler = Scaler.fit({"a": column(1, 2)})
    with pytest.raises(DataError, match="series b is not known"):
        scaler.transform("b", column(1))
    with pytest.raises(DataError, match=r"wanted \(time, 1\)"):
        scaler.transform("a", np.ones((2, 2), np.float32))
    with pytest.raises(DataError, match="at least one series"):
        Scaler.fit({})
    with pytest.raises(DataError, match="needs rows"):
        Scaler.fit({"a": np.empty((0, 1), np.float32)})


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are worked on at once, scale, filling and scaled values are the same."""
    values = np.random.default_rng(0).normal(1e3, 2.0, (500, 3)).astype(np.float32)
    values[40:60, 1] = np.nan
    whole = Scaler.fit({"a": values})
    filled, last = whole.fill_forward("a", values)
    scaled = whole.transform("a", filled)
    monkeypatch.setattr("models.scaler.BLOCK", 7)
    blocks = Scaler.fit({"a": values})
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(blocks.arrays()[name], array, rtol=1e-6)
    again, last_again = whole.fill_forward("a", values)
    assert np.array_equal(again, filled)
    assert np.array_equal(last_again, last)
    assert np.array_equal(whole.transform("a", filled), scaled)
