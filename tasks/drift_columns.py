"""Which columns drifted, and which of them are a verdict by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.drift_hours import Floats, Holds, Hours
from tasks.drift_limits import Moved, at_the_same_level, known_mean, less_course, moved

Kind = Literal["none", "values", "spread", "stuck", "unstuck", "missing"]

SCORE = "score"
WEEK = 7.0  # days: a reference that is shorter has not seen what a week does
SHIFT_MOST, SPREAD_MOST = 10.0, 10.0  # what no reference is too short or too slow to see: σ, and a factor
TESTS = 2  # of each column that chance could fool: its level and its spread
HOURS_NEEDED = 0.25  # share of the current stretches in which a column has values: below it is not compared
HELD = 0.25  # share of the current period that a stuck column stands still at least
HELD_TWICE = 2.0  # and so many times as long as ever in the reference
SURE = 9.2  # -ln(1e-4): how unlikely a stay of a column that changes at random must be
OFF = 0.2  # share of the hours off a constant, above which the other side is no longer taken for constant
QUIET = 1e-2  # share of the usual spread: below it one silence is as good as another


@dataclass(frozen=True)
class DriftRule:
    """What counts as drift. A σ is a standard deviation of the reference around its usual course over the day.

    Attributes:
        threshold: shift of the level that a drifted column exceeds, in σ, however sure it is.
        spread: factor by which the spread inside the hours has grown or shrunk that a drifted column exceeds.
        missing: rise of the share of missing values that a drifted column exceeds.
        share: share of the channels, two or more, that must drift for a verdict.
        chance: probability of a false verdict that a check may have, shared out among its columns: a column that moved
            farther than chance moves it with its part of that is a verdict alone.
        named: probability with which chance makes a column drift that has not changed.
        score: the champion's score must exceed so many times what a channel must, to be a verdict alone: it is a
            sharply curved function of all of them, and wanders further than any one.
        rows: rows of each side that the page draws at most.
    """

    threshold: float = 0.5
    spread: float = 1.25
    missing: float = 0.2
    share: float = 0.3
    chance: float = 2e-3
    named: float = 2e-4
    score: float = 1.5
    rows: int = 2000


@dataclass(frozen=True)
class ColumnDrift:
    """One column. Means are None where nothing is present.

    Attributes:
        column: its name.
        kind: what drifted: the level of the values, their spread, a channel that stuck, one that was constant and is no
            longer, or the share of missing values.
        moved: how far the level moved against the same hours, in σ.
        limit: what it exceeds if it drifted.
        spread: factor between the spreads inside the hours, current over reference.
        spread_limit: what it, or its inverse, exceeds if it drifted; at least 1.
        drifted: whether one of these, or what `kind` says, is so.
        alone: whether that is enough for a verdict.
        reference_mean: of the hours that were compared.
        current_mean: the same.
        missing_reference: share of the values.
        missing_current: the same.
        reason: for people.
    """

    column: str
    kind: Kind
    moved: float
    limit: float
    spread: float
    spread_limit: float
    drifted: bool
    alone: bool
    reference_mean: float | None
    current_mean: float | None
    missing_reference: float
    missing_current: float
    reason: str

    @property
    def excess(self) -> float:
        """How many times its limit the column moved."""
        return max(abs(self.moved) / self.limit, abs(float(np.log(self.spread))) / float(np.log(self.spread_limit)))


def judge_columns(
    names: Sequence[str],
    reference: Hours,
    current: Hours,
    holds: tuple[Holds, Holds],
    days: float,
    rule: DriftRule,
) -> list[ColumnDrift]:
    """Judge every column.

    Args:
        names: of the columns; the score is called `SCORE`.
        reference: the hours of the reference, as `cut` gives them.
        current: those of the current days.
        holds: how long columns stay at one value, on both sides.
        days: length of the reference.
        rule: what counts as drift.
    """
    found = _measure(reference, current)
    limits = _limits(found, len(names), max(1.0, WEEK / days), rule)
    held_most = _longest_stays(*holds)
    columns = []
    for i, name in enumerate(names):
        kind, sure, reason = _find(i, found, limits, rule, name == SCORE)
        held = (holds[1].longest[i], holds[0].longest[i])
        if kind not in ("missing", "unstuck") and held[0] > held_most[i]:
            kind, sure = "stuck", True
            reason = f"stuck for {held[0]:.3g} h; the longest in the reference is {held[1]:.2g} h"
        mean_reference, mean_current = (None if np.isnan(side[i]) else float(side[i]) for side in found.means)
        columns.append(
            ColumnDrift(
                column=name,
                kind=kind,
                moved=float(found.shift[i]),
                limit=float(limits.shift[i]),
                spread=float(np.exp(found.growth[i])),
                spread_limit=float(np.exp(limits.growth[i])),
                drifted=kind != "none",
                alone=kind != "none" and sure,
                reference_mean=mean_reference,
                current_mean=mean_current,
                missing_reference=float(found.gone[0][i]),
                missing_current=float(found.gone[1][i]),
                reason=reason,
            )
        )
    return columns


@dataclass(frozen=True, eq=False)
class _Limits:
    """What columns that drifted exceed, and those that are a verdict alone: arrays (column,)."""

    shift: Floats
    shift_alone: Floats
    growth: Floats
    growth_alone: Floats
    missing: Floats


def _limits(found: "_Measured", columns: int, wider: float, rule: DriftRule) -> _Limits:
    """Return the limits; those of a reference shorter than a week, which has not seen one, are wider."""
    alone = min(rule.named, rule.chance / (TESTS * columns))

    def within(limit: Floats, least: float, most: float) -> Floats:
        bounded: Floats = np.fmin(np.fmax(least, np.where(found.varies, wider * limit, 0.0)), most)
        return bounded

    shift, shift_alone = (
        within(found.level.limit(chance) / found.sigma, rule.threshold, SHIFT_MOST) for chance in (rule.named, alone)
    )
    growth, growth_alone = (
        within(found.spread.limit(chance), np.log(rule.spread), np.log(SPREAD_MOST)) for chance in (rule.named, alone)
    )
    return _Limits(
        shift=shift,
        shift_alone=shift_alone,
        growth=growth,
        growth_alone=growth_alone,
        missing=np.fmax(rule.missing, found.missing.limit(alone)),
    )


def _find(i: int, found: "_Measured", limits: _Limits, rule: DriftRule, score: bool) -> tuple[Kind, bool, str]:
    """Say what became of a column that may or may not stand still: the kind, whether it is sure, and a reason."""
    here, there = found.gone[0][i], found.gone[1][i]
    surer = rule.score if score else 1.0
    shift, growth = found.shift[i], found.growth[i]
    if there - here > limits.missing[i]:
        nothing = "no values at all: " if there == 1 else ""
        return "missing", True, f"{nothing}missing in {there:.0%} of the rows, {here:.0%} in the reference"
    if not found.present[i]:
        return "none", False, "too few values to compare"
    if not found.varies[i] and found.off[1][i] - found.off[0][i] > OFF:
        usual, now = found.means[0][i], found.means[1][i]
        return "unstuck", True, f"constant at {usual:.6g} in the reference, now around {now:.6g}"
    if abs(shift) > limits.shift[i]:
        sure = bool(abs(shift) > surer * limits.shift_alone[i])
        return "values", sure, f"level moved by {shift:+.2f} σ, limit {limits.shift[i]:.2f}"
    if abs(growth) > limits.growth[i]:
        sure = bool(abs(growth) > surer * limits.growth_alone[i])
        most = np.exp(np.copysign(limits.growth[i], growth))
        return "spread", sure, f"spread {np.exp(growth):.2f} times as wide, limit {most:.2f}"
    return "none", False, "within its limits" if found.varies[i] else "constant on both sides"


@dataclass(frozen=True, eq=False)
class _Measured:
    """What was measured of all columns, arrays (column,), (reference, current) where there are two."""

    level: Moved
    spread: Moved  # of the logarithm of the spread inside the hours
    missing: Moved
    shift: Floats  # of the level, in σ; 0 where nothing can be said
    growth: Floats  # logarithm of the factor between the spreads; 0 where nothing can be said
    sigma: Floats
    varies: npt.NDArray[np.bool_]
    present: npt.NDArray[np.bool_]
    means: tuple[Floats, Floats]
    gone: tuple[Floats, Floats]
    off: tuple[Floats, Floats]  # share of the values that are not the reference's usual one


def _measure(reference: Hours, current: Hours) -> _Measured:
    slots = (reference.slot, current.slot)
    level = less_course(reference.level, current.level, *slots)
    inside = less_course(reference.spread, current.spread, *slots)
    usual = np.nan_to_num(np.sqrt(known_mean(inside.usual_reference**2)))
    floor = np.where(usual > 0, QUIET * usual, 1.0)
    log_here, log_there = (np.log(np.maximum(side.spread, floor)) for side in (reference, current))  # NaN stays NaN
    log_spread = less_course(log_here, log_there, *slots)
    missing = less_course(reference.missing, current.missing, *slots)
    shifted = moved(level, *slots)
    sigma = np.sqrt(usual**2 + np.nan_to_num(shifted.wander) ** 2)
    compared = [(side.slot >= 0)[:, None] for side in (reference, current)]
    level_known = np.sum(~np.isnan(current.level) & compared[1], axis=0) / max(1, int(compared[1].sum()))

    def means(figures: Sequence[Floats]) -> tuple[Floats, Floats]:
        here, there = (known_mean(np.where(at, side, np.nan)) for at, side in zip(compared, figures, strict=True))
        return here, there

    mean = means([reference.level, current.level])
    grown = moved(at_the_same_level(log_spread, level), *slots)
    varies = sigma > 0
    sigma = np.where(varies, sigma, 1.0)
    present = (level_known >= HOURS_NEEDED) & ~np.isnan(shifted.difference)
    return _Measured(
        level=shifted,
        spread=grown,
        missing=moved(missing, *slots),
        shift=np.where(varies & present, shifted.difference / sigma, 0.0),
        growth=np.where(varies & present, np.nan_to_num(grown.difference), 0.0),
        sigma=sigma,
        varies=varies,
        present=present,
        means=(mean[0] + reference.centre, mean[1] + reference.centre),
        gone=means([reference.missing, current.missing]),
        off=means([reference.off, current.off]),
    )


def _longest_stays(there: Holds, now: Holds) -> Floats:
    """Return how long each column may stand still, in hours; a column that never moved in the reference for ever.

    A column that changes at random stays for `usual / 2` hours on average, and in `period` hours longer than
    `usual / 2 · (SURE + ln(2 · period / usual))` with a probability of e^-SURE. (The stay that a row is in is twice as
    long as the mean stay.)
    """
    usual = np.fmax(there.usual, 1e-6)
    random = usual / 2 * (SURE + np.log(np.fmax(2 * now.period / usual, 1.0)))
    most = np.max([np.full_like(random, HELD * now.period), HELD_TWICE * there.longest, random], axis=0)
    return np.where(there.varies, most, np.inf)
