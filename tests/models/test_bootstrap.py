import math
from dataclasses import FrozenInstanceError

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from models.bootstrap import Comparison, PairedScores, paired_block_bootstrap
from models.metrics import Label, Score, auc_pr, auc_roc, event_recall
from watchkeeper.errors import DataError

DAY = 48  # samples


def days(seed: int, count: int = 12, gain: float = 1.0, decimals: int = 6) -> PairedScores:
    """A series of days with one event on two days of three; score b sees the events by `gain` more than score a."""
    rng = np.random.default_rng(seed)
    n = count * DAY
    label = np.zeros(n, dtype=np.int8)
    for day in range(count):
        if day % 3:
            start = day * DAY + int(rng.integers(0, DAY - 8))
            label[start : start + 8] = 1
    noise = rng.normal(size=n) + np.repeat(rng.normal(size=count), DAY)  # days differ, and both scores see it
    score_a = (noise + label).round(decimals)
    score_b = (noise + 0.1 * rng.normal(size=n) + (1 + gain) * label).round(decimals)
    return PairedScores(label, score_a, score_b, np.arange(n) // DAY + 20_000)


def rows_auc_pr(label: Label, score: Score) -> float:
    """AUC-PR as any other metric: the bootstrap knows nothing of it and hands it the rows."""
    return auc_pr(label, score)


def slow_bootstrap(series: list[PairedScores], resamples: int, seed: int) -> list[float]:
    """Draw days, copy their rows, sort them again, by another library."""
    known = sorted({int(block) for one in series for block in one.block})
    rng = np.random.default_rng(seed)
    found = []
    for draw in rng.integers(len(known), size=(resamples, len(known))):
        differences = []
        for one in series:
            rows = [at for index in draw for at in np.flatnonzero(one.block == known[index])]
            label = one.label[rows]
            if label.any():
                figures = [average_precision_score(label, score[rows]) for score in (one.score_a, one.score_b)]
                differences.append(figures[1] - figures[0])
        if differences:
            found.append(sum(differences) / len(differences))
    return found


def interval(values: list[float], level: float = 0.95) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


@pytest.mark.parametrize("decimals", [0, 6])
def test_equals_the_loop_over_copied_rows(decimals: int) -> None:
    one = days(1, decimals=decimals)
    found = paired_block_bootstrap([one], resamples=60, seed=4)
    assert (found.low, found.high) == pytest.approx(interval(slow_bootstrap([one], 60, 4)), abs=1e-9)
    assert found.difference == pytest.approx(auc_pr(one.label, one.score_b) - auc_pr(one.label, one.score_a), abs=1e-12)
    assert (found.resamples, found.level) == (60, 0.95)


def test_equals_the_loop_with_several_series_of_different_days() -> None:
    one, other = days(1), days(2, count=5)
    late = other._replace(block=other.block + 9)  # three days in common, two after the last of the first series
    found = paired_block_bootstrap([one, late], resamples=60, seed=4)
    assert (found.low, found.high) == pytest.approx(interval(slow_bootstrap([one, late], 60, 4)), abs=1e-9)
    each = [auc_pr(s.label, s.score_b) - auc_pr(s.label, s.score_a) for s in (one, late)]
    assert found.difference == pytest.approx(sum(each) / 2, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(0, 2))
def test_counting_and_copying_rows_agree(seed: int, count: int, decimals: int) -> None:
    series = [days(seed, count, decimals=decimals), days(seed + 1, count + 2, decimals=decimals)]
    counted = paired_block_bootstrap(series, resamples=20, seed=seed)
    copied = paired_block_bootstrap(series, rows_auc_pr, resamples=20, seed=seed)
    assert counted.resamples == copied.resamples
    assert (counted.difference, counted.low, counted.high) == pytest.approx(
        (copied.difference, copied.low, copied.high), abs=1e-9
    )


def test_the_same_seed_gives_the_same_result_and_another_seed_another() -> None:
    one = days(3)
    assert paired_block_bootstrap([one], seed=7, resamples=50) == paired_block_bootstrap([one], seed=7, resamples=50)
    assert paired_block_bootstrap([one], seed=7, resamples=50) != paired_block_bootstrap([one], seed=8, resamples=50)


def test_swapping_the_scores_mirrors_the_result() -> None:
    one = days(3)
    swapped = one._replace(score_a=one.score_b, score_b=one.score_a)
    forth, back = (paired_block_bootstrap([pair], resamples=50, seed=7) for pair in (one, swapped))
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))


def test_a_score_against_itself_differs_by_nothing() -> None:
    one = days(3)
    found = paired_block_bootstrap([one._replace(score_b=one.score_a)], resamples=50)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_a_better_score_is_told_from_an_equal_one() -> None:
    better = paired_block_bootstrap([days(5, count=30, gain=1.5)], resamples=200)
    assert 0 < better.low < better.difference < better.high
    equal = paired_block_bootstrap([days(5, count=30, gain=0.0)], resamples=200)
    assert equal.low < 0.02
    assert equal.high < better.low


def test_pairing_narrows_the_interval() -> None:
    """Decoy: figures of a and b from different draws of days would give the unpaired width."""
    one = days(6, count=20, gain=0.3)
    draws = np.random.default_rng(0).integers(20, size=(300, 2, 20))

    def figure(score: Score, draw: npt.NDArray[np.int64]) -> float:
        rows = np.concatenate([np.arange(day * DAY, (day + 1) * DAY) for day in draw])
        return auc_pr(one.label[rows], score[rows])

    low, high = interval([figure(one.score_b, second) - figure(one.score_a, first) for first, second in draws])
    found = paired_block_bootstrap([one], resamples=300)
    assert found.high - found.low < 0.75 * (high - low)


def test_blocks_widen_the_interval_where_days_agree_within() -> None:
    """Decoy: drawing rows instead of days would pretend to more evidence than there is."""
    rng = np.random.default_rng(8)
    label = np.tile(np.repeat(np.array([0, 1], dtype=np.int8), DAY // 2), 16)
    winner = np.repeat(rng.random(16) < 0.5, DAY)  # on each day, one score sees everything and the other nothing
    noise = rng.random(len(label))
    pair = PairedScores(label, noise + ~winner * label, noise + winner * label, np.arange(len(label)) // DAY)
    by_day = paired_block_bootstrap([pair], resamples=200)
    by_row = paired_block_bootstrap([pair._replace(block=np.arange(len(label)))], resamples=200)
    assert by_day.high - by_day.low > 2 * (by_row.high - by_row.low)


def test_rows_and_days_of_unknown_label_change_nothing() -> None:
    one = days(9)
    extra = 3 * DAY
    longer = PairedScores(
        np.concatenate([np.full(extra, -1, dtype=np.int8), one.label]),
        np.concatenate([np.full(extra, np.nan), one.score_a]),
        np.concatenate([np.full(extra, 1e9), one.score_b]),
        np.concatenate([np.arange(extra) // DAY, one.block]),
    )
    unlabelled = longer._replace(label=np.full(len(longer.label), -1, dtype=np.int8))
    assert paired_block_bootstrap([longer, unlabelled], resamples=40) == paired_block_bootstrap([one], resamples=40)


def test_resamples_without_an_anomaly_are_dropped_and_counted() -> None:
    one = days(10, count=4)
    label = np.where(one.block == one.block[DAY], one.label, 0).astype(np.int8)  # one anomalous day of four
    found = paired_block_bootstrap([one._replace(label=label)], resamples=400, seed=1)
    draws = np.random.default_rng(1).integers(4, size=(400, 4))
    assert found.resamples == int(np.sum((draws == 1).any(axis=1))) < 400
    assert np.isfinite([found.difference, found.low, found.high]).all()


def test_a_series_without_an_anomaly_leaves_the_mean_to_the_others() -> None:
    one = days(11)
    calm = days(12)._replace(label=np.zeros(12 * DAY, dtype=np.int8))
    assert paired_block_bootstrap([one, calm], resamples=40) == paired_block_bootstrap([one], resamples=40)


def test_without_any_anomaly_nothing_is_defined() -> None:
    one = days(11)
    found = paired_block_bootstrap([one._replace(label=np.zeros_like(one.label))], resamples=10, level=0.9)
    assert math.isnan(found.difference)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert (found.resamples, found.level) == (0, 0.9)


def test_another_metric_is_used_and_a_wider_level_is_wider() -> None:
    one = days(13, count=20)
    found = paired_block_bootstrap([one], auc_roc, resamples=100, level=0.5)
    assert found.difference == pytest.approx(auc_roc(one.label, one.score_b) - auc_roc(one.label, one.score_a))
    wide = paired_block_bootstrap([one], auc_roc, resamples=100, level=0.99)
    assert wide.low < found.low < found.high < wide.high


def test_a_metric_of_events_sees_the_days_in_the_order_of_time() -> None:
    one = days(14, count=4)._replace(label=np.tile(np.repeat(np.array([0, 1, 0], dtype=np.int8), DAY // 3), 4))
    seen: list[int] = []

    def recall(label: Label, score: Score) -> float:
        seen.append(len(label))
        assert np.array_equal(np.unique(label.reshape(-1, DAY), axis=0), one.label[np.newaxis, :DAY])
        return event_recall(label, score > 0)

    paired_block_bootstrap([one], recall, resamples=5)
    assert set(seen) == {4 * DAY}


def test_the_comparison_is_frozen() -> None:
    found = Comparison(difference=0.1, low=0.0, high=0.2, resamples=10, level=0.95)
    with pytest.raises(FrozenInstanceError):
        found.low = 0.05  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": np.zeros(12 * DAY, dtype=np.int64)}, "at least 2 blocks with labels, found 1"),
        ({"label": np.full(12 * DAY, -1, dtype=np.int8)}, "at least 2 blocks with labels, found 0"),
        ({"label": np.full(12 * DAY, 2, dtype=np.int8)}, "labels must be 0 or 1"),
        ({"score_b": np.full(12 * DAY, np.nan)}, "must be finite"),
        ({"score_a": np.zeros(5)}, "of one length"),
    ],
)
def test_bad_input_is_refused(change: dict[str, npt.NDArray[np.float64]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        paired_block_bootstrap([days(1)._replace(**change)], resamples=5)  # type: ignore[arg-type]  # any field, by name


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"found 0 and 0\.95"):
        paired_block_bootstrap([days(1)], resamples=0)
    with pytest.raises(DataError, match=r"found 5 and 1\.5"):
        paired_block_bootstrap([days(1)], resamples=5, level=1.5)
    with pytest.raises(DataError, match="found 0"):
        paired_block_bootstrap([], resamples=5)
