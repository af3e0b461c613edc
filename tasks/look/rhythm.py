"""The rhythm of rows: how far apart they are, what is missing between them, and how long a window should be."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.look.trial import Stretch

GAP = 2.5
"""A step of more than so many usual ones is a gap."""
SHORTEST, USUAL, LONGEST = 10, 50, 100
"""Windows that are suggested; the usual one is the default, which the figures of docs/detector.md are for."""
SAMPLES = 16_384
"""So many rows in a row are enough to find a season."""
MOST_CHANNELS = 64
SEASON = 0.3
"""An autocorrelation from here on is a season."""
MEMORY = float(np.exp(-1))
"""A series has forgotten what was when its autocorrelation falls below this."""


@dataclass(frozen=True)
class Rhythm:
    """How the rows follow one another.

    Attributes:
        interval_s: the usual step; 0 where no series has two rows.
        low_s, high_s: between these, nine of ten steps lie.
        gaps: steps of more than 2.5 usual ones.
        longest_gap_s: the longest of them.
        lost: about so many rows are missing in them.
    """

    interval_s: float
    low_s: float
    high_s: float
    gaps: int
    longest_gap_s: float
    lost: int

    @property
    def regular(self) -> bool:
        """Whether nine of ten steps differ by a tenth at most."""
        return self.high_s - self.low_s <= 0.1 * self.interval_s


def rhythm_of(stretches: Sequence[Stretch]) -> Rhythm:
    """Measure the steps within stretches."""
    each: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for stretch in stretches:
        if len(stretch.times) > 1:
            each[stretch.series].append(np.diff(stretch.times) / 1e6)
    if not each:
        return Rhythm(0.0, 0.0, 0.0, 0, 0.0, 0)
    usual = {series: float(np.median(np.concatenate(steps))) for series, steps in each.items()}
    gaps, lost, longest = 0, 0.0, 0.0
    for series, parts in each.items():
        steps = np.concatenate(parts)
        wide = steps[steps > GAP * usual[series]]
        gaps += len(wide)
        lost += float((wide / usual[series] - 1).sum())
        longest = max(longest, float(wide.max(initial=0)))
    every = np.concatenate([steps for parts in each.values() for steps in parts])
    low, high = np.quantile(every, [0.05, 0.95])
    return Rhythm(float(np.median(list(usual.values()))), float(low), float(high), gaps, longest, round(lost))


def suggest_window(stretches: Sequence[Stretch], interval_s: float) -> tuple[int, str]:
    """Suggest how many samples a member should see at once, and say why.

    A season of 10 to 100 samples is seen as a whole. Otherwise the usual window, or twice the time in which channels
    forget what was, where that is longer, up to 100. Shorter ones were tried, and found less (docs/init.md).
    """
    longest = max(stretches, key=lambda one: len(one.times), default=None)
    if longest is None or len(longest.times) < 4 * SHORTEST:
        return SHORTEST, "too few rows to find a rhythm in: the shortest that is sensible"
    auto = autocorrelation(_unbroken(longest, interval_s))
    if auto is None:
        return USUAL, "no channel moves in the rows that were looked at: the usual length"
    lag = season_of(auto)
    if lag is not None and SHORTEST <= lag <= LONGEST:
        return lag, f"one period of the strongest season, {lag} samples (autocorrelation {auto[lag]:.2f})"
    below = np.flatnonzero(auto < MEMORY)
    memory = int(below[0]) if len(below) else len(auto)
    window = int(np.clip(2 * memory, USUAL, LONGEST))
    season = f"; the strongest season, {lag:,} samples, does not fit a window" if lag and lag > LONGEST else ""
    if window == USUAL:
        return window, f"the usual length: there is no season of {SHORTEST} to {LONGEST} samples{season}"
    return window, f"twice the {memory:,} samples in which the channels forget what was, {LONGEST} at most{season}"


def _unbroken(stretch: Stretch, interval_s: float) -> npt.NDArray[np.float64]:
    """Return the longest run of rows without a gap, float64 (time, channel), of the channels that move."""
    steps = np.diff(stretch.times) / 1e6
    cuts = np.r_[0, np.flatnonzero(steps > GAP * interval_s) + 1, len(stretch.times)]
    at = int(np.argmax(np.diff(cuts)))
    values = stretch.values[cuts[at] : min(cuts[at + 1], cuts[at] + SAMPLES)].astype(np.float64)
    values = values[:, np.isfinite(values).any(axis=0)]  # others have no level
    values = np.where(np.isfinite(values), values, np.nanmean(values, axis=0, where=np.isfinite(values)))
    moving = np.flatnonzero(np.ptp(values, axis=0) > 0)
    return values[:, moving[:MOST_CHANNELS]]


def autocorrelation(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return the mean autocorrelation of the channels by lag, up to a third of the rows; None where nothing moves.

    A straight line is taken off each channel first: a trend is no season.
    """
    rows, channels = values.shape
    if not channels or rows < 3 * SHORTEST:
        return None
    index = np.arange(rows) - (rows - 1) / 2
    values = values - values.mean(axis=0)
    values = values - np.outer(index, index @ values / (index @ index))
    power = np.abs(np.fft.rfft(values, 2 * rows, axis=0)) ** 2
    auto = np.fft.irfft(power, axis=0)[: rows // 3]
    auto = auto[:, auto[0] > 0] / auto[0, auto[0] > 0]
    if not auto.shape[1]:
        return None
    # Of a lag, only so many pairs of rows are there.
    mean: npt.NDArray[np.float64] = auto.mean(axis=1) * rows / (rows - np.arange(len(auto)))
    return mean


def season_of(auto: npt.NDArray[np.float64]) -> int | None:
    """Return the lag of the first peak that is nearly as high as the highest one, after the first dip."""
    dips = np.flatnonzero(auto < 0.5 * SEASON)
    if not len(dips):
        return None
    start = int(dips[0])
    inner = np.arange(max(start, 1), len(auto) - 1)
    peaks = inner[(auto[inner] >= auto[inner - 1]) & (auto[inner] > auto[inner + 1]) & (auto[inner] >= SEASON)]
    if not len(peaks):
        return None
    return int(peaks[auto[peaks] >= 0.9 * auto[peaks].max()][0])
