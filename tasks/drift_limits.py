"""How far hourly figures moved from one side to the other, and how far they move by chance.

Readings remember: the mean of two days of a channel with a memory of six hours wanders by half a standard deviation,
that of white noise by nothing to speak of. So what chance does is measured inside the reference, per column: the
autocovariance of its hourly figures, less their usual course over the day, says how far a mean over the current days
strays from the mean of the same hours of the reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats

from tasks.drift_hours import Floats
from tasks.drift_sample import Indices

EDGE = 0.01  # share of the hours on each end that are pulled in: an incident of some hours is not a changed world
SCALES = (1, 6)  # stretches that are taken together before the memory is measured: the slower of both counts
LAGS = 4  # of what a memory of one rate leaves over
SLOWEST = 0.995  # correlation of neighbours: beyond it the memory is as long as any reference
FREEDOM_LEAST = 16.0  # degrees of freedom: fewer would put the limits of a short or slow reference beyond everything
SLOTS = 48  # hours of the day, weekends apart


@dataclass(frozen=True, eq=False)
class Moved:
    """What became of one figure of each column: arrays (column,), NaN where nothing could be compared.

    Attributes:
        difference: current less reference, matched by time of day.
        error: standard error of the difference, memory included.
        freedom: degrees of freedom of that error.
        wander: standard deviation of the figure in the reference around its usual course over the day.
    """

    difference: Floats
    error: Floats
    freedom: Floats
    wander: Floats

    def limit(self, chance: float) -> Floats:
        """Return what the difference exceeds, on either side, with at most this probability where nothing changed."""
        quantile: Floats = scipy.stats.t.isf(chance / 2, self.freedom)
        return self.error * quantile


@dataclass(frozen=True, eq=False)
class Course:
    """Figures less their usual course over the day: `reference` and `current`, (stretch, column), NaN unknown."""

    reference: Floats
    current: Floats
    usual_reference: Floats  # the reference with extreme stretches pulled in, its course left on
    counts: Floats  # (stretch, column), of the reference: how many stretches of its time of day are known


def less_course(reference: Floats, current: Floats, slot_reference: Indices, slot_current: Indices) -> Course:
    """Take the reference's mean of each time of day off both sides, extreme stretches pulled in.

    Args:
        reference: float64 (stretch, column), NaN unknown.
        current: the same.
        slot_reference: (stretch,), time of day, -1 for a stretch that is not to be compared.
        slot_current: the same.
    """
    usual, _ = _by_slot(reference, slot_reference)
    off = _at(reference, slot_reference) - usual[slot_reference]
    middle = _reduce(np.nanmedian, off)
    low, high = _reduce(_edges, off) - middle
    pulled = usual[slot_reference] + middle + np.clip(off - middle, low, high)
    usual, counts = _by_slot(pulled, slot_reference)
    now = _at(current, slot_current) - usual[slot_current]
    centre = _reduce(np.nanmedian, now)
    return Course(
        reference=_at(pulled, slot_reference) - usual[slot_reference],
        current=centre + np.clip(now - centre, low, high),
        usual_reference=_at(pulled, slot_reference),
        counts=counts[slot_reference],
    )


def at_the_same_level(spread: Course, level: Course) -> Course:
    """Take off the spread what it owes to the level: a flow that is higher is often less steady, and has not changed.

    The slope is the reference's own, by least squares.
    """
    both = ~np.isnan(spread.reference) & ~np.isnan(level.reference)
    x, y = np.where(both, level.reference, 0.0), np.where(both, spread.reference, 0.0)
    power = np.sum(x * x, axis=0)
    slope = np.where(power > 0, np.sum(x * y, axis=0) / np.where(power > 0, power, 1.0), 0.0)
    reference, current = spread.reference - slope * level.reference, spread.current - slope * level.current
    return Course(reference, current, spread.usual_reference, spread.counts)


def moved(course: Course, slot_reference: Indices, slot_current: Indices) -> Moved:
    """Measure how far the current side lies from the reference, and how far it would by chance."""
    counts = course.counts
    lost = np.where(counts > 1, np.sqrt(counts / np.maximum(counts - 1, 1)), np.nan)
    noise = course.reference * lost  # a mean of few takes a part of the noise with it
    weights = _weights(slot_reference, slot_current)
    variance, freedom = np.zeros(noise.shape[1]), np.full(noise.shape[1], FREEDOM_LEAST)
    for scale in SCALES:
        parts = [np.add.reduceat(weight, np.arange(0, len(weight), scale)) for weight in weights]
        found, free = _strays(_together(noise, scale), parts)
        slower = found > variance
        variance, freedom = np.where(slower, found, variance), np.where(slower, free, freedom)
    present = np.sum(~np.isnan(course.current), axis=0)
    kept = known_mean(np.where(counts > 0, 1 - 1 / np.maximum(counts, 1), np.nan))
    return Moved(
        difference=known_mean(course.current),
        error=np.sqrt(variance * np.sum(slot_current >= 0) / np.maximum(present, 1)),
        freedom=np.fmax(freedom * np.nan_to_num(kept), FREEDOM_LEAST),
        wander=np.sqrt(known_mean(noise**2)),
    )


def _strays(noise: Floats, weights: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the variance of weighted means of the noise, and its degrees of freedom, (column,) each.

    A memory of one rate (AR(1), with Kendall's correction for the short series) is taken out first, and the correlation
    that is left over is counted after (Andrews and Monahan, "An improved heteroskedasticity and autocorrelation
    consistent covariance matrix estimator", Econometrica 60, 1992). It only ever widens the error.
    """
    known = np.sum(~np.isnan(noise), axis=0)
    power = known_mean(noise**2)
    some = np.where(power > 0, power, 1.0)
    pairs = noise[1:] * noise[:-1]
    rate = np.nan_to_num(known_mean(pairs)) / some
    rate = np.clip(rate + (1 + 3 * rate) / np.maximum(np.sum(~np.isnan(pairs), axis=0), 4), 0.0, SLOWEST)
    news = noise[1:] - rate * noise[:-1]
    own = np.nan_to_num(known_mean(news**2))
    total = own.copy()
    lags = min(LAGS, len(news) // 4)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * np.nan_to_num(known_mean(news[lag:] * news[:-lag]))
    wider = np.where(own > 0, np.maximum(total / np.where(own > 0, own, 1.0), 1.0), 1.0)
    level = wider * np.fmax(power, own / (1 - rate**2))
    tails = known_mean(noise**4) / some**2  # 3 for a normal distribution: few large ones tell less
    independent = known * (1 - rate) / (1 + rate) / wider
    freedom = 2 * independent / np.fmax(np.nan_to_num(tails) - 1, 2.0)
    return level * sum(_correlated(weight, rate) for weight in weights), freedom


def _correlated(weights: Floats, rate: Floats) -> Floats:
    """Return the variance of a weighted mean of unit noise whose neighbours correlate by `rate`, (column,)."""
    overlaps = np.correlate(weights, weights, "full")[len(weights) - 1 :]
    overlaps[1:] *= 2
    variance: Floats = overlaps @ rate[None, :] ** np.arange(len(overlaps))[:, None]
    return variance


def _weights(slot_reference: Indices, slot_current: Indices) -> tuple[Floats, Floats]:
    """Return how much each stretch weighs: the current ones alike, the reference's by how often their time is asked."""
    now = slot_current >= 0
    asked = np.bincount(slot_current[now], minlength=SLOTS) / max(1, int(now.sum()))
    there = np.bincount(slot_reference[slot_reference >= 0], minlength=SLOTS)
    share = np.divide(asked, there, out=np.zeros(len(asked)), where=there > 0)
    return now / max(1, int(now.sum())), np.where(slot_reference >= 0, share[slot_reference], 0.0)


def _by_slot(values: Floats, slot: Indices) -> tuple[Floats, Floats]:
    """Return mean and number of the known values at each time of day, (slot, column) each."""
    total, number = np.zeros((SLOTS, values.shape[1])), np.zeros((SLOTS, values.shape[1]))
    for each in np.unique(slot[slot >= 0]):
        there = values[slot == each]
        known = ~np.isnan(there)
        number[each] = known.sum(axis=0)
        total[each] = np.where(known, there, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0), number


def _at(values: Floats, slot: Indices) -> Floats:
    """Blank stretches that are not to be compared."""
    return np.where((slot >= 0)[:, None], values, np.nan)


def _together(values: Floats, scale: int) -> Floats:
    """Average the known values of every `scale` stretches in a row."""
    known = ~np.isnan(values)
    starts = np.arange(0, len(values), scale)
    number = np.add.reduceat(known.astype(np.float64), starts, axis=0)
    total = np.add.reduceat(np.where(known, values, 0.0), starts, axis=0)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def known_mean(values: Floats) -> Floats:
    """Average the known values of each column; NaN where there are none."""
    return _reduce(np.nanmean, values)


def _reduce(of: Callable[..., Any], values: Floats) -> Floats:
    """Apply one of NumPy's nan-functions down the stretches; NaN for a column of which nothing is known."""
    unknown = np.isnan(values).all(axis=0)
    found = of(np.where(unknown, 0.0, values), axis=0) if len(values) else np.nan
    return np.where(unknown, np.nan, found)


def _edges(values: Floats, axis: int) -> Floats:
    edges: Floats = np.nanquantile(values, [EDGE, 1 - EDGE], axis=axis)
    return edges
