import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.threshold import ThresholdConfig, adapt, budget_threshold, count_alarms, start_state
from watchkeeper.errors import DataError

MINUTELY = ThresholdConfig(budget_per_day=2.0, interval_s=60.0)
DAY = 1440


def noise(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=rows)


def test_alarms_close_together_are_one() -> None:
    alarm = np.zeros(50, bool)
    alarm[[3, 4, 9, 30]] = True
    assert count_alarms(alarm, merge=5) == 2
    assert count_alarms(alarm, merge=4) == 3
    assert count_alarms(alarm, merge=21) == 1
    assert count_alarms(alarm & False, merge=4) == 0


@given(st.lists(st.floats(0, 100), min_size=2, max_size=300), st.floats(0.5, 50))
def test_the_budget_is_kept_on_the_buckets_it_was_set_on(scores: list[float], budget: float) -> None:
    config = ThresholdConfig(budget_per_day=budget, interval_s=600.0, merge=1)
    maxima = np.array(scores)
    threshold = budget_threshold(maxima, config)
    assert count_alarms(maxima >= threshold, merge=1) <= budget * len(maxima) * 600 / 86400
    assert threshold <= np.nextafter(maxima.max(), np.inf)


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 2999), unique=True, max_size=8).map(sorted))
def test_chunks_give_the_thresholds_of_the_whole_to_the_last_bit(cuts: list[int]) -> None:
    scores, start = noise(3000, 1), start_state(noise(2000), MINUTELY)
    whole, _ = adapt(scores, start, MINUTELY)
    state, found = start, []
    for first, last in zip([0, *cuts], [*cuts, 3000], strict=True):
        part, state = adapt(scores[first:last], state, MINUTELY)
        found.append(part)
    assert np.array_equal(np.concatenate(found), whole)


@settings(deadline=None)
@given(at=st.integers(1, 2999))
def test_the_future_never_changes_a_threshold(at: int) -> None:
    scores, start = noise(3000, 1), start_state(noise(2000), MINUTELY)
    changed = scores.copy()
    changed[at:] *= 50
    assert np.array_equal(adapt(scores, start, MINUTELY)[0][: at + 1], adapt(changed, start, MINUTELY)[0][: at + 1])


def test_a_lasting_shift_is_not_flagged_for_ever() -> None:
    """A threshold frozen at the start, the decoy, flags nearly every later sample."""
    start = start_state(noise(5 * DAY), MINUTELY)
    shifted = noise(5 * DAY, 1) + 50
    threshold, _ = adapt(shifted, start, MINUTELY)
    alarm = shifted >= threshold
    assert (shifted >= start["level"][0]).mean() > 0.99
    assert alarm[2 * DAY :].mean() < 0.05
    assert count_alarms(alarm[2 * DAY :], MINUTELY.merge) / 3 <= 1.5 * MINUTELY.budget_per_day


def test_quiet_days_do_not_pull_the_threshold_below_the_floor() -> None:
    start = start_state(noise(5 * DAY), MINUTELY)
    threshold, _ = adapt(0.001 * noise(5 * DAY, 1), start, MINUTELY)
    assert threshold.min() >= start["floor"][0]


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(DataError, match="above 0"):
        ThresholdConfig(budget_per_day=0.0, interval_s=60.0)
