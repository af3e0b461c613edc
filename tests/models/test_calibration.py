import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration import (
    AGENT_SHARE,
    BOUND,
    TAIL,
    Line,
    Weights,
    combine,
    compress,
    fit_line,
    smooth,
    smooth_fast_and_slow,
)
from watchkeeper.errors import DataError


def test_median_becomes_zero_and_the_high_quantile_one() -> None:
    line = fit_line(np.arange(101.0))
    assert (line.zero, line.unit) == (50.0, 40.0)
    assert line.calibrate(np.array([50.0, 90.0, 10.0])).tolist() == [0.0, 1.0, -1.0]


def test_the_scale_is_linear_to_the_tail_and_logarithmic_beyond() -> None:
    """A scale that is logarithmic throughout, the decoy, would give 100 and 50 nearly the same place."""
    calibrated = Line(0.0, 1.0).calibrate(np.array([TAIL / 2, TAIL, np.e * TAIL]))
    np.testing.assert_allclose(calibrated, [TAIL / 2, TAIL, 2 * TAIL])


@given(st.lists(st.floats(0, 1e12), min_size=2, max_size=20))
def test_calibration_keeps_the_order(scores: list[float]) -> None:
    calibrated = Line(3.0, 0.5).calibrate(np.sort(np.array(scores)))
    assert (np.diff(calibrated) >= 0).all()


def test_one_wild_score_does_not_rule_the_scale() -> None:
    """A scale by the maximum, the decoy, would make all other scores vanish."""
    scores = np.concatenate([np.arange(1000.0), [1e9]])
    assert fit_line(scores).unit < 1000


def test_scores_that_do_not_vary_still_give_a_finite_scale() -> None:
    assert fit_line(np.full(10, 5.0)).unit == pytest.approx(0.005)
    assert fit_line(np.zeros(10)).unit > 0


@pytest.mark.parametrize("scores", [np.empty(0), np.array([1.0, np.nan])])
def test_unusable_scores_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite scores"):
        fit_line(scores)


def test_weights_shrink_the_agent_towards_the_ensemble() -> None:
    equal = Weights.equal(("a", "b"))
    assert equal.with_agent("agent", 0).shares == {"a": 0.5, "b": 0.5, "agent": 0.0}
    at_20 = equal.with_agent("agent", 20)
    assert at_20.shares["agent"] == pytest.approx(AGENT_SHARE / 2)
    assert sum(at_20.shares.values()) == pytest.approx(1.0)
    assert "20 positive labels" in at_20.provenance
    assert equal.shares == {"a": 0.5, "b": 0.5}


def test_combination_is_the_weighted_mean() -> None:
    scores = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 6.0])}
    assert combine(scores, Weights({"a": 0.25, "b": 0.75}, "")).tolist() == [2.5, 5.0]


def test_smoothing_by_hand() -> None:
    assert smooth(np.array([0.0, 8.0, 0.0]), 0.25).tolist() == [0.0, 2.0, 1.5]
    assert smooth(np.array([8.0]), 0.25, last=4.0).tolist() == [5.0]
    assert smooth(np.empty(0), 0.5).shape == (0,)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(0.01, 1), st.integers(1, 29))
def test_smoothing_in_chunks_equals_the_whole_to_the_last_bit(scores: list[float], alpha: float, cut: int) -> None:
    array = np.array(scores)
    cut = min(cut, len(array) - 1)
    whole = smooth(array, alpha)
    first = smooth(array[:cut], alpha)
    assert np.array_equal(np.concatenate([first, smooth(array[cut:], alpha, first[-1])]), whole)


def test_the_larger_of_fast_and_slow_by_hand() -> None:
    """Fast 0, 4, 2; slow 0, 2, 1.5: after two more quiet samples the slow one leads."""
    scores, last = smooth_fast_and_slow(np.array([0.0, 8.0, 0.0]), 0.5, 0.25)
    assert scores.tolist() == [0.0, 4.0, 2.0]
    assert last.tolist() == [2.0, 1.5]
    assert smooth_fast_and_slow(np.zeros(2), 0.5, 0.25, last)[0].tolist() == [1.125, 0.84375]


@given(st.floats(-1e300, 1e300))
def test_compressed_scores_are_bounded_and_keep_their_order(score: float) -> None:
    low, high = compress(np.array([score, score + abs(score)]))
    assert 0 <= low <= high <= BOUND
