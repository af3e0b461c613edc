"""The bounds of a probation: has a new champion left them on live rows, and would the one before it have kept them?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gammainc

from watchkeeper.clock import DAY_US
from watchkeeper.watch import ProbationRule

CHANCE = 0.001
"""How likely a version that keeps its bound is taken for one that does not, at one look; there are many looks."""
EARLIEST_DAYS = 0.25
"""Of rows, before anything is said: the threshold of the detector settles within hours."""
SCORE_DAYS = 1.0
"""Of rows, before the score is compared: a whole day, so that each hour has its like in the reference."""
ROWS_NEEDED = 200
"""Of scores on a side, or in a stretch of the reference, to compare their distributions."""
LEAST_MOVE, MARGIN = 0.25, 1.25
"""A score has moved when it lies farther from its reference than so many standard deviations, and than MARGIN times
what the farthest stretch of the reference itself does: scores remember, so rows cannot be counted as evidence."""
QUANTILES = np.linspace(0.005, 0.995, 199)
FEWER = 0.5
"""A version does better where it keeps the bound, or has at most this share of the other's figure."""

Times = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Kind = Literal["alarms", "share", "score"]


@dataclass(frozen=True)
class Watched:
    """What a version did on the rows of the probation, over all series that are watched.

    Attributes:
        days: of the series with most rows.
        series_days: of all series together.
        alarms: as people get them, all series together.
        share: of the rows in alarm.
        moved: by series, how far the score lies from the version's own reference, as a multiple of its limit;
            series that cannot be compared are left out.
    """

    days: float
    series_days: float
    alarms: int
    share: float
    moved: Mapping[str, float]


@dataclass(frozen=True)
class Left:
    """A bound that was left: the figure, the bound, and both in words."""

    kind: Kind
    figure: float
    bound: float
    words: str


def alarms_allowed(mean: float, chance: float = CHANCE) -> int:
    """Return the most alarms that a version can have which raises `mean` on average, but for bad luck.

    Args:
        mean: not negative.
        chance: of more alarms than are returned, at most.

    Source: the upper tail of the Poisson distribution, P(N >= n) = P(n, mean), the regularised incomplete gamma
    function (NIST Digital Library of Mathematical Functions, 8.11.10 and 8.2.4).
    """
    most = 0
    while gammainc(most + 1, mean) > chance:
        most += 1
    return most


def bounds_left(seen: Watched, rule: ProbationRule, budget_per_day: float, series_share: float) -> list[Left]:
    """Return the bounds that a version has left.

    Args:
        seen: what it did.
        rule: the watch's probation.
        budget_per_day: alarms per day and series that people are willing to look at.
        series_share: share of the series whose scores must have moved.
    """
    if seen.days < EARLIEST_DAYS:
        return []
    left = []
    allowed = alarms_allowed(rule.alarm_slack * budget_per_day * seen.series_days)
    if seen.alarms > allowed:
        words = f"{seen.alarms} alarms in {seen.series_days:.2g} days of rows, at most {allowed} are to be expected"
        left.append(Left("alarms", seen.alarms, allowed, words))
    if seen.share > rule.alarm_share:
        words = f"{seen.share:.0%} of the rows in alarm, at most {rule.alarm_share:.0%} allowed"
        left.append(Left("share", seen.share, rule.alarm_share, words))
    moved = score_moved(seen.moved, series_share)
    if seen.days >= SCORE_DAYS and moved > rule.score_slack:
        words = f"scores moved from their reference by {moved:.1f} times the limit, allowed {rule.score_slack:g}"
        left.append(Left("score", moved, rule.score_slack, words))
    return left


def score_moved(moved: Mapping[str, float], series_share: float) -> float:
    """Return how far the scores moved in so large a share of the series; 0 where nothing can be compared."""
    ranked = sorted(moved.values(), reverse=True)
    needed = max(1, -(-len(ranked) * series_share // 1))
    return ranked[int(needed) - 1] if ranked else 0.0


def does_better(left: Sequence[Left], other: Watched, series_share: float) -> bool:
    """Tell whether another version, on the same rows, does better at every bound that was left.

    Args:
        left: at least one bound that the champion left.
        other: what the other version did on these rows.
        series_share: as in `bounds_left`.
    """
    figures = {"alarms": float(other.alarms), "share": other.share, "score": score_moved(other.moved, series_share)}
    return all(figures[one.kind] <= max(one.bound, FEWER * one.figure) for one in left)


def move_of(reference_times: Times, reference: Scores, times: Times, scores: Scores) -> float | None:
    """Tell how far scores lie from the reference, as a multiple of how far they may: above 1 they have moved.

    The distance is the mean one between quantiles (Wasserstein) of arsinh scores, which have tails that one incident
    does not rule, in standard deviations of the reference. The limit rests on stretches of the reference as long as the
    scores, one from each day on.

    Args:
        reference_times: int64 (time,), µs since 1970 UTC, ascending.
        reference: float64 (time,), scores of the version when it was made.
        times: as `reference_times`, of the rows to judge.
        scores: float64 (time,), their scores.

    Returns:
        None where rows are too few, or the reference is not at least twice as long as the rows to judge.
    """
    if min(len(reference), len(scores)) < ROWS_NEEDED:
        return None
    length = max(1, round((times[-1] - times[0]) / DAY_US)) * DAY_US
    starts = np.arange(reference_times[0], reference_times[-1] - length + 1, DAY_US)
    if len(starts) == 0 or reference_times[-1] - reference_times[0] < 2 * length:
        return None
    tame = np.arcsinh(reference)
    spread = max(float(np.std(tame)), 1e-9)
    limit = LEAST_MOVE
    for start in starts:
        inside = (reference_times >= start) & (reference_times < start + length)
        if min(inside.sum(), (~inside).sum()) >= ROWS_NEEDED:
            limit = max(limit, MARGIN * _distance(tame[~inside], tame[inside]) / spread)
    return _distance(tame, np.arcsinh(scores)) / spread / limit


def _distance(a: Scores, b: Scores) -> float:
    return float(np.mean(np.abs(np.quantile(a, QUANTILES) - np.quantile(b, QUANTILES))))
