import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import alarm_events, alarms_per_day
from models.threshold import DEADBAND, MOST_BUCKETS, ThresholdConfig, adapt, budget_threshold, start_state
from watchkeeper.errors import DataError

MINUTELY = ThresholdConfig(budget_per_day=2.0, interval_s=60.0)
DAY = 1440


def noise(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=rows)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=300), st.floats(0.5, 50))
def test_the_budget_is_kept_on_the_buckets_it_was_set_on(scores: list[float], budget: float) -> None:
    config = ThresholdConfig(budget_per_day=budget, interval_s=600.0, merge=1)
    maxima = np.array(scores)
    threshold = budget_threshold(maxima, config)
    assert len(alarm_events(maxima >= threshold, merge=1)) <= budget * len(maxima) * 600 / 86400
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
@given(cuts=st.lists(st.integers(1, 2999), unique=True, max_size=8).map(sorted))
def test_chunks_that_cut_an_alarm_in_two_change_nothing(cuts: list[int]) -> None:
    """Scores that rise and fall slowly are in alarm at many cuts, above and inside the deadband."""
    waves, start = 6 + 6 * np.sin(np.arange(3000) / 25) + noise(3000, 1) / 9, start_state(noise(2000), MINUTELY)
    whole, _ = adapt(waves, start, MINUTELY)
    state, found = start, []
    for first, last in zip([0, *cuts], [*cuts, 3000], strict=True):
        part, state = adapt(waves[first:last], state, MINUTELY)
        found.append(part)
    assert np.array_equal(np.concatenate(found), whole)
    assert 0.05 < (waves >= whole).mean() < 0.5


@settings(deadline=None)
@given(at=st.integers(1, 2999))
def test_the_future_never_changes_a_threshold(at: int) -> None:
    scores, start = noise(3000, 1), start_state(noise(2000), MINUTELY)
    changed = scores.copy()
    changed[at:] *= 50
    assert np.array_equal(adapt(scores, start, MINUTELY)[0][: at + 1], adapt(changed, start, MINUTELY)[0][: at + 1])


def test_the_threshold_is_the_lowest_that_keeps_the_budget() -> None:
    """Five lone peaks and a budget of three: the third highest peak it is. Oracle: try every score."""
    config = ThresholdConfig(budget_per_day=3.0, interval_s=86400 / 50, merge=1, share=0.5)
    maxima = np.ones(50)
    maxima[[5, 15, 25, 35, 45]] = [9, 5, 7, 6, 8]
    fitting = [s for s in np.unique(maxima) if len(alarm_events(maxima >= s, merge=1)) <= 3 and s > 1]
    assert budget_threshold(maxima, config) == min(fitting) == 7


def test_one_endless_alarm_does_not_keep_the_budget() -> None:
    """Counting runs alone, the decoy, would take a threshold below everything: one alarm in all."""
    config = ThresholdConfig(budget_per_day=2.0, interval_s=600.0, merge=1, share=0.1)
    maxima = noise(500)
    assert (maxima >= budget_threshold(maxima, config)).mean() <= 0.1


def test_a_budget_of_less_than_one_alarm_allows_none() -> None:
    config = ThresholdConfig(budget_per_day=0.1, interval_s=60.0, merge=1)
    assert budget_threshold(np.arange(100.0), config) > 99


def test_a_lasting_shift_is_not_flagged_for_ever() -> None:
    """A threshold frozen at the start, the decoy, flags nearly every later sample."""
    start = start_state(noise(5 * DAY), MINUTELY)
    shifted = noise(6 * DAY, 1) + 50
    threshold, _ = adapt(shifted, start, MINUTELY)
    alarm = shifted >= threshold
    assert (shifted >= start["level"][0]).mean() > 0.99
    assert alarm[DAY:].mean() < 0.1
    assert alarms_per_day(alarm[2 * DAY :], 60.0, MINUTELY.merge) <= 1.5 * MINUTELY.budget_per_day


@pytest.mark.parametrize("budget", [1.0, 2.0, 8.0])
@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_the_budget_is_kept_on_days_to_come_even_if_scores_creep_up(budget: float, drift: float) -> None:
    """By half in ten days: a frozen threshold is passed more and more often."""
    config = ThresholdConfig(budget_per_day=budget, interval_s=60.0)
    start = start_state(noise(7 * DAY), config)
    scores = noise(10 * DAY, 1) * np.linspace(1, 1 + drift, 10 * DAY)
    alarm = scores >= adapt(scores, start, config)[0]
    assert alarms_per_day(alarm[DAY:], 60.0, config.merge) <= 1.5 * budget
    assert alarm[DAY:].any()


def test_an_alarm_goes_off_below_the_deadband_by_hand() -> None:
    """On at 9, off below 3: a score of 8 raises nothing, and 3 keeps what 9 has raised."""
    start = {**start_state(noise(DAY), MINUTELY), "level": np.array([9.0]), "low": np.array([3.0])}
    scores = np.array([8.0, 9.0, 4.0, 3.0, 2.9, 8.0])
    threshold, after = adapt(scores, start, MINUTELY)
    assert threshold.tolist() == [9.0, 9.0, 3.0, 3.0, 3.0, 9.0]
    assert (scores >= threshold).tolist() == [False, True, True, True, False, False]
    assert not after["on"][0]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 4.0, 6.0, 8.0, 12.0]), min_size=1, max_size=120), st.booleans())
def test_the_deadband_is_that_of_an_obvious_loop(scores: list[float], on: bool) -> None:
    start = start_state(noise(5 * DAY), MINUTELY) | {"on": np.array([on])}
    level, low = start["level"][0], start["low"][0]
    wanted = []
    for score in scores:
        wanted.append(low if on else level)
        on = score >= wanted[-1]
    assert adapt(np.array(scores), start, MINUTELY)[0].tolist() == wanted
    assert low == pytest.approx(max(level * DEADBAND, start["floor"][0], np.quantile(start["maxima"], 0.9)))


def test_a_state_from_before_the_deadband_goes_on_without_one_until_it_is_set_anew() -> None:
    old = {key: value for key, value in start_state(noise(5 * DAY), MINUTELY).items() if key not in ("low", "on")}
    scores = np.full(DAY, old["level"][0] * 0.9)
    scores[0] *= 2
    threshold, after = adapt(scores, old, MINUTELY)
    assert (threshold[:10] == old["level"][0]).all()
    assert after["low"][0] < after["level"][0]


def test_alarms_above_the_budget_are_answered_by_a_higher_threshold() -> None:
    """The same scores, with and without the memory of alarms that were raised."""
    start = start_state(noise(7 * DAY), MINUTELY)
    spent = {**start, "raised": np.arange(len(start["raised"])) % 4 == 0}
    quiet, _ = adapt(noise(DAY, 1), start, MINUTELY)
    stern, _ = adapt(noise(DAY, 1), spent, MINUTELY)
    assert stern[-1] > quiet[-1]


def test_memory_is_bounded_where_readings_come_fast() -> None:
    fast = ThresholdConfig(budget_per_day=2.0, interval_s=0.001)
    assert fast.buckets_kept == MOST_BUCKETS
    assert fast.buckets_per_block < 100


def test_a_calibration_part_shorter_than_a_bucket_will_do() -> None:
    state = start_state(np.array([1.0, 3.0]), MINUTELY)
    threshold, _ = adapt(np.ones(5), state, MINUTELY)
    assert (threshold >= 3.0).all()


def test_quiet_days_do_not_pull_the_threshold_below_the_floor() -> None:
    start = start_state(noise(5 * DAY), MINUTELY)
    threshold, _ = adapt(0.001 * noise(5 * DAY, 1), start, MINUTELY)
    assert threshold.min() >= start["floor"][0]


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(DataError, match="above 0"):
        ThresholdConfig(budget_per_day=0.0, interval_s=60.0)
