"""The bounds of a probation, and who does better, on figures alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from tasks.probation_bounds import CHANCE, Left, Watched, alarms_allowed, bounds_left, does_better, move_of, score_moved
from watchkeeper.clock import DAY_US
from watchkeeper.watch import ProbationRule

RULE = ProbationRule(alarm_slack=2.0, alarm_share=0.25, score_slack=2.0)
BUDGET, SERIES_SHARE = 2.0, 0.3
MINUTE = 60_000_000


def watched(**changes: Any) -> Watched:
    figures = {"days": 2.0, "series_days": 4.0, "alarms": 8, "share": 0.02, "moved": {"s": 0.5, "t": 0.6}}
    return Watched(**{**figures, **changes})


def left(**changes: Any) -> list[str]:
    return [one.kind for one in bounds_left(watched(**changes), RULE, BUDGET, SERIES_SHARE)]


@given(st.floats(0, 400))
def test_allowed_alarms_are_the_quantile_of_a_poisson_distribution(mean: float) -> None:
    """As scipy's has it: more alarms than these come by bad luck once in a thousand looks."""
    allowed = alarms_allowed(mean)
    assert allowed == poisson.isf(CHANCE, mean) or poisson.sf(allowed - 1, mean) == pytest.approx(CHANCE)
    assert poisson.sf(allowed, mean) <= CHANCE * (1 + 1e-9)


def test_the_bound_on_alarms_is_a_multiple_of_the_budget_and_luck() -> None:
    """Two lines for two days at twice two a day: 16 on average, 30 at most; with fewer days, relatively more."""
    assert alarms_allowed(16) == 30
    assert left(alarms=30) == []
    assert left(alarms=31) == ["alarms"]
    assert left(alarms=31, series_days=8.0) == []


def test_a_solid_alarm_leaves_the_bounds_however_few_alarms_it_is() -> None:
    """One alarm that never ends keeps every budget."""
    assert left(alarms=1, share=0.25) == []
    assert left(alarms=1, share=0.26) == ["share"]


def test_the_score_counts_after_a_day_and_in_enough_series() -> None:
    """A night is not compared with days, and one odd series of many is none."""
    assert left(moved={"s": 2.1, "t": 0.1}) == ["score"]
    assert left(moved={"s": 2.0, "t": 2.0}) == []
    assert left(moved={"s": 2.1, "t": 2.2}, days=0.9) == []
    assert left(moved={"s": 9.0, "t": 0.1, "u": 0.1, "v": 0.1}) == []
    assert left(moved={"s": 9.0, "t": 9.0, "u": 0.1, "v": 0.1}) == ["score"]
    assert left(moved={}) == []


def test_the_first_hours_say_nothing() -> None:
    """The threshold is settling."""
    assert left(days=0.2, series_days=0.4, alarms=100, share=1.0) == []
    assert left(days=0.25, series_days=0.5, alarms=100, share=1.0) == ["alarms", "share"]


def test_moved_in_enough_series_is_a_rank() -> None:
    """The largest of one to three series, the second of four to six, and nothing of none."""
    for count, rank in ((1, 1), (3, 1), (4, 2), (6, 2), (7, 3)):
        assert score_moved({str(at): float(at) for at in range(count)}, SERIES_SHARE) == count - rank
    assert score_moved({}, SERIES_SHARE) == 0.0


@pytest.mark.parametrize(
    ("figures", "better"),
    [
        ({"alarms": 30}, True),
        ({"alarms": 31}, False),
        ({"alarms": 40}, False),
    ],
)
def test_another_version_does_better_inside_the_bound(figures: dict[str, Any], better: bool) -> None:
    """Where both are outside, the data have changed."""
    bounds = bounds_left(watched(alarms=50), RULE, BUDGET, SERIES_SHARE)
    assert does_better(bounds, watched(**figures), SERIES_SHARE) is better


def test_half_of_a_wild_figure_is_better_too() -> None:
    """A little outside the bound is better than far outside of it; at every bound that was left."""
    wild = bounds_left(watched(alarms=200, share=0.9), RULE, BUDGET, SERIES_SHARE)
    assert does_better(wild, watched(alarms=100, share=0.45), SERIES_SHARE)
    assert not does_better(wild, watched(alarms=101, share=0.1), SERIES_SHARE)
    assert not does_better(wild, watched(alarms=10, share=0.46), SERIES_SHARE)


def test_bounds_that_were_kept_do_not_matter() -> None:
    """A version before that drifted in its score is still better where alarms were the trouble."""
    only = [Left("alarms", 50.0, 30.0, "")]
    assert does_better(only, watched(alarms=3, share=0.9, moved={"s": 99.0}), SERIES_SHARE)


def days(count: float, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of so many days of minutes with a daily course and a memory of an hour, by way of an oracle's loop."""
    rng, rows = np.random.default_rng(seed), int(count * 1440)
    noise, value = np.empty(rows), 0.0
    for row in range(rows):
        value = 0.98 * value + 0.2 * rng.normal()
        noise[row] = value
    times = np.arange(rows, dtype=np.int64) * MINUTE
    return times, noise + np.sin(2 * np.pi * np.arange(rows) / 1440) + shift


def test_a_score_that_stays_where_it_was_has_not_moved() -> None:
    """In twenty worlds, at one and two days."""
    for seed in range(20):
        times, scores = days(14, seed)
        later, now = days(2, 100 + seed)
        for rows in (1440, 2880):
            moved = move_of(times, scores, later[:rows] + 14 * DAY_US, now[:rows])
            assert moved < RULE.score_slack


def test_a_score_that_moves_is_seen_in_either_direction() -> None:
    """By three standard deviations, up and down: a score that falls silent is no better than one that shouts."""
    times, scores = days(14, 0)
    for shift in (4.0, -4.0):
        later, now = days(2, 100, shift)
        assert move_of(times, scores, later + 14 * DAY_US, now) > RULE.score_slack
    constant = np.zeros(2880)
    assert move_of(times, scores, later + 14 * DAY_US, constant) > 1.0


def test_one_incident_is_no_move() -> None:
    """An hour of enormous scores in two days weighs an hour."""
    times, scores = days(14, 0)
    later, now = days(2, 100)
    quiet = move_of(times, scores, later, now)
    now[600:660] = 50.0
    assert move_of(times, scores, later, now) - quiet < 0.5


def test_too_little_is_not_judged() -> None:
    """Few rows, or a reference that is not twice as long."""
    times, scores = days(14, 0)
    later, now = days(2, 100)
    assert move_of(times, scores, later[:199], now[:199]) is None
    assert move_of(times[:199], scores[:199], later, now) is None
    assert move_of(times[: 3 * 1440], scores[: 3 * 1440], later, now) is None
    assert move_of(times[: 4 * 1440 + 1], scores[: 4 * 1440 + 1], later, now) is not None
