"""What is too quiet, beside the obvious loop."""

import numpy as np
import pytest

from models.member import State
from models.quiet import FLOOR_OF_DEVIATION, FLOOR_OF_VARIANCE, Quiet
from models.windows import Array, moments
from watchkeeper.errors import DataError

WINDOW = 10


def noise(rows: int = 600, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, channels)).astype(np.float32)


def fitted() -> Quiet:
    member = Quiet(WINDOW)
    member.fit({"a": noise(seed=1)}, seed=0)
    return member


def slow_errors(train: Array, values: Array) -> np.ndarray:
    """The definition, window by window, in float64."""

    def log_variance(rows: Array, end: int) -> np.ndarray:
        return np.log(rows[end - WINDOW + 1 : end + 1].astype(np.float64).var(axis=0) + FLOOR_OF_VARIANCE)

    usual = np.array([log_variance(train, end) for end in range(WINDOW - 1, len(train))])
    deviation = np.maximum(usual.std(axis=0), FLOOR_OF_DEVIATION)
    out = np.zeros(values.shape)
    for end in range(WINDOW - 1, len(values)):
        out[end] = np.maximum((usual.mean(axis=0) - log_variance(values, end)) / deviation, 0.0) ** 2
    return out


def test_errors_equal_an_obvious_loop() -> None:
    values = noise(80, seed=2)
    values[40:60, 1] *= 0.1
    errors, _ = fitted().errors("a", values, None)
    np.testing.assert_allclose(errors, slow_errors(noise(seed=1), values), rtol=1e-3, atol=1e-3)


def test_a_stuck_channel_scores_high_and_names_itself() -> None:
    values = noise(300, seed=3)
    values[200:230, 2] = values[199, 2]
    score, shares, _ = fitted().explain("a", values)
    assert score[215:230].min() > 2 * score[:200].max()
    assert set(shares[215:230].argmax(axis=1)) == {2}


def test_a_louder_channel_scores_nothing() -> None:
    values = noise(300, seed=3)
    values[200:] *= 5
    score, _ = fitted().score("a", values)
    assert score[200 + WINDOW :].max() == 0.0


def test_rows_before_the_first_full_window_score_nothing_though_little_varied() -> None:
    values = np.zeros((WINDOW + 5, 3), np.float32)
    score, _ = fitted().score("a", values)
    assert not score[: WINDOW - 1].any()
    assert (score[WINDOW - 1 :] > 1).all()


@pytest.mark.parametrize("cut", [1, WINDOW - 2, WINDOW - 1, WINDOW, 57])
def test_any_cut_gives_the_same_bits(cut: int) -> None:
    member, values = fitted(), noise(80, seed=4)
    state: State | None
    first, state = member.score("a", values[:cut])
    second, _ = member.score("a", values[cut:], state)
    assert np.array_equal(np.concatenate([first, second]), member.score("a", values)[0])


def test_a_series_that_is_no_longer_than_a_window_is_refused() -> None:
    with pytest.raises(DataError, match="short: 10 rows, quiet needs more than its window of 10"):
        Quiet(WINDOW).fit({"short": noise(WINDOW)}, seed=0)


def test_moments_equal_those_of_each_window() -> None:
    rows = noise(50) * 20
    mean, variance = moments(rows, 7)
    windows = [rows[start : start + 7].astype(np.float64) for start in range(44)]
    np.testing.assert_allclose(mean, [window.mean(axis=0) for window in windows], atol=2e-5)
    np.testing.assert_allclose(variance, [window.var(axis=0) for window in windows], rtol=1e-4)
