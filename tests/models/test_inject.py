import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import inject as module
from models.inject import KINDS, LENGTHS, SHARE, inject
from watchkeeper.errors import DataError


def series(rows: int, channels: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    walk = rng.normal(size=(rows, channels)).cumsum(axis=0) * 0.1 + rng.normal(size=(rows, channels))
    return (100 + walk).astype(np.float32)


def changed_rows(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rows in which any reading differs; NaN equals NaN."""
    return ~((before == after) | (np.isnan(before) & np.isnan(after))).all(axis=1)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(100, 3000),
    channels=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.1, 0.9]),
    frozen=st.integers(0, 6),
)
def test_unmarked_rows_are_as_they_were(rows: int, channels: int, seed: int, missing: float, frozen: int) -> None:
    """Whatever the series: shape and type stay, labels are 0 or 1, and only marked rows differ."""
    values = series(rows, channels, seed % 1000)
    values[:, :frozen] = 50.3
    values[np.random.default_rng(seed).random(values.shape) < missing] = np.nan
    values.flags.writeable = False
    after, label = inject(values, seed)
    assert after.shape == values.shape
    assert after.dtype == np.float32
    assert label.dtype == np.int8
    assert label.shape == (rows,)
    assert set(np.unique(label)) == {0, 1}
    assert not (changed_rows(values, after) & (label == 0)).any()
    assert not np.isinf(after).any()


@pytest.mark.parametrize("rows", [300, 2000, 20_000, 200_000])
def test_marked_rows_are_anomalous_and_about_as_many_as_said(rows: int) -> None:
    """The share holds for short and long series, and nearly every marked row was changed."""
    values = series(rows, 5, 1)
    after, label = inject(values, 3)
    longest = max(high for _, high in LENGTHS.values())
    assert SHARE * rows <= label.sum() <= SHARE * rows + min(longest, rows / 20)
    assert changed_rows(values, after)[label == 1].mean() > 0.9


def test_the_seed_decides() -> None:
    """The same seed gives the same anomalies to the last bit, another one others."""
    values = series(2000, 4, 1)
    first, again, other = inject(values, 5), inject(values, 5), inject(values, 6)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_every_kind_comes_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long series has all kinds, a series of one channel all but the swap."""
    seen: list[str] = []
    whole = module._change

    def note(*args: object) -> None:
        seen.append(str(args[2]))
        whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_change", note)
    inject(series(30_000, 4, 1), 0)
    assert set(seen) == set(KINDS)
    seen.clear()
    inject(series(30_000, 1, 1), 0)
    assert set(seen) == set(KINDS) - {"swap"}


def change(kind: str, values: np.ndarray, start: int, stop: int, chosen: list[int], seed: int = 0) -> np.ndarray:
    after = values.copy()
    scale = values.astype(np.float64).std(axis=0)
    module._change(after, values, kind, slice(start, stop), np.array(chosen), scale, np.random.default_rng(seed))
    return after


def test_a_spike_is_of_the_size_that_it_says() -> None:
    """Four to eight standard deviations, the same at each of its rows, in the chosen channels alone."""
    values = series(500, 3, 2)
    step = (change("spike", values, 100, 103, [0, 2]) - values)[100:103] / values.std(axis=0)
    assert np.all((np.abs(step[:, [0, 2]]) >= 3.9) & (np.abs(step[:, [0, 2]]) <= 8.1))
    assert np.ptp(step[:, [0, 2]], axis=0).max() < 1e-3
    assert np.all(step[:, 1] == 0)


def test_a_drift_grows_from_nothing() -> None:
    """Its first row is unchanged, its last is two to five standard deviations off."""
    values = series(500, 2, 2)
    step = (change("drift", values, 100, 200, [1]) - values)[100:200, 1] / values[:, 1].std()
    assert step[0] == 0
    assert 1.9 <= abs(step[-1]) <= 5.1
    assert np.all(np.diff(np.abs(step)) > -1e-4)


def test_a_stuck_channel_repeats_its_first_reading() -> None:
    """The others go on."""
    values = series(500, 2, 2)
    after = change("stuck", values, 100, 150, [1])
    assert np.unique(after[100:150, 1]).tolist() == [values[100, 1]]
    assert np.array_equal(after[:, 0], values[:, 0])


def test_a_swap_exchanges_shapes_and_keeps_levels() -> None:
    """Each channel goes on as the other does, in units of its own spread."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(10, 1, 500), rng.normal(1000, 50, 500)], axis=1).astype(np.float32)
    after = change("swap", values, 100, 200, [0])
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    scaled_after = (after - values.mean(axis=0)) / values.std(axis=0)
    assert np.allclose(scaled_after[100:200], scaled[100:200, ::-1], atol=1e-3)


def test_a_break_is_what_the_channel_did_at_another_time() -> None:
    """Its readings are real ones, found elsewhere in the same channel."""
    values = series(500, 2, 2)
    piece = change("break", values, 100, 150, [1])[100:150, 1]
    windows = np.lib.stride_tricks.sliding_window_view(values[:, 1], 50)
    assert (windows == piece).all(axis=1).any()
    assert not np.array_equal(piece, values[100:150, 1])


@pytest.mark.parametrize("level", [0.0, 0.1, 50.3, -7.7])
def test_a_series_in_which_nothing_moves_gets_spikes(level: float) -> None:
    """A stuck or swapped constant would be marked without a change, so every marked row must differ."""
    values = np.full((3000, 3), level, np.float32)
    after, label = inject(values, 2)
    assert label.sum() >= SHARE * 3000
    assert changed_rows(values, after)[label == 1].all()


def test_constant_channels_are_left_alone_where_others_move() -> None:
    """Rounding of the mean must not make a constant look as if it moved."""
    values = series(5000, 3, 4)
    values[:, 1] = 0.1
    after, _ = inject(values, 2)
    assert np.all(after[:, 1] == np.float32(0.1))
    assert changed_rows(values, after).any()


def test_missing_readings_do_not_blow_up_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NaN counted as zero a channel at 1000 ± 1 would seem to spread over hundreds."""
    monkeypatch.setattr(module, "KINDS", ("spike",))
    values = np.random.default_rng(0).normal(1000, 1, (5000, 1)).astype(np.float32)
    values[::5] = np.nan
    after, _ = inject(values, 2)
    assert 3 < np.nanmax(np.abs(after - values)) < 10


def test_a_channel_without_any_reading_is_no_trouble() -> None:
    """It stays empty."""
    values = series(1000, 2, 3)
    values[:, 0] = np.nan
    after, label = inject(values, 1)
    assert np.isnan(after[:, 0]).all()
    assert label.any()


def test_a_short_series_is_refused() -> None:
    """A hundred rows are the least."""
    assert inject(series(100, 2, 0), 0)[1].any()
    with pytest.raises(DataError, match="99 rows is too short"):
        inject(series(99, 2, 0), 0)
