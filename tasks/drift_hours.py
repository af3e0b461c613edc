"""What a series did in each hour: the level, the quick spread, and the gaps of every column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.drift_sample import TIME, Indices

Floats = npt.NDArray[np.float64]

LENGTHS_H = (1, 2, 3, 4, 6, 8, 12, 24)  # of a stretch: the shortest that holds `ROWS_WANTED`
ROWS_WANTED = 4  # in a stretch, for a spread inside it
ROWS_MAX = 60  # of a stretch: more rows of one hour tell nothing new
FILLED = 0.5  # share of the usual rows below which a stretch, as at the ends, is left out


@dataclass(frozen=True, eq=False)
class Hours:
    """One side, cut into stretches of equal length on a grid without holes.

    Attributes:
        slot: (stretch,), which time of day it is, with weekends apart or not; -1 where the stretch has no rows.
        level: (stretch, column), mean less `centre`; NaN where no value is present.
        spread: (stretch, column), standard deviation inside the stretch; NaN where fewer than two are present.
        missing: (stretch, column), share of the rows without a value; NaN where there are no rows.
        off: (stretch, column), share of the values that are not `centre`; NaN where no value is present.
        centre: (column,), the reference's median, which is taken off the levels; 0 where it has no values.
    """

    slot: Indices
    level: Floats
    spread: Floats
    missing: Floats
    off: Floats
    centre: Floats


@dataclass(frozen=True, eq=False)
class Holds:
    """How long columns stay at one value, in hours; rows without a value are passed over.

    Attributes:
        longest: (column,), the longest stay.
        usual: (column,), the stay that a row is in on average.
        varies: (column,), whether there is more than one value.
        period: of all rows.
    """

    longest: Floats
    usual: Floats
    varies: npt.NDArray[np.bool_]
    period: float


def cut(
    reference: pd.DataFrame, current: pd.DataFrame, names: Sequence[str], slots: Sequence[Indices]
) -> tuple[Hours, Hours]:
    """Cut both sides into stretches with about as many rows each, so that the amount of data says nothing.

    Args:
        reference: rows in the order of time, with `names` among the columns.
        current: the same.
        names: columns to describe.
        slots: for both sides, the hour of the day of each row (0 to 23, plus 24 on weekends kept apart), -1 for a row
            that is not to be compared.
    """
    sides = (reference, current)
    spacing = max(_spacing_h(side[TIME]) for side in sides)
    length = next((length for length in LENGTHS_H if length >= ROWS_WANTED * spacing), LENGTHS_H[-1])
    wanted = int(np.clip(round(length / spacing), 1, ROWS_MAX))
    values = finite(reference, names)
    known = ~np.isnan(values).all(axis=0)
    centre = np.zeros(len(names))
    centre[known] = np.nanmedian(values[:, known], axis=0)
    here, there = (
        _describe(side, names, of_row, length, wanted, centre) for side, of_row in zip(sides, slots, strict=True)
    )
    return here, there


def holds(frame: pd.DataFrame, names: Sequence[str]) -> Holds:
    """Measure how long columns stay at one value."""
    spacing = _spacing_h(frame[TIME])
    longest, usual, varies = np.zeros(len(names)), np.zeros(len(names)), np.zeros(len(names), dtype=np.bool_)
    for i, values in enumerate(finite(frame, names).T):
        present = values[~np.isnan(values)]
        if len(present):
            changes = np.flatnonzero(np.diff(present) != 0) + 1
            stays = np.diff(np.concatenate([[0], changes, [len(present)]])) * spacing
            longest[i], usual[i], varies[i] = stays.max(), np.sum(stays**2) / np.sum(stays), len(stays) > 1
    return Holds(longest, usual, varies, len(frame) * spacing)


def finite(frame: pd.DataFrame, names: Sequence[str]) -> Floats:
    """Return columns as float64 (row, column), everything that is not finite as NaN."""
    values = frame[list(names)].to_numpy(dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _spacing_h(times: "pd.Series[pd.Timestamp]") -> float:
    """Return the usual time between two rows in hours."""
    steps = np.diff(times.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)) / 3.6e9
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 1.0


def _describe(
    frame: pd.DataFrame, names: Sequence[str], slots: Indices, length: int, wanted: int, centre: Floats
) -> Hours:
    hours = frame[TIME].dt.tz_localize(None).to_numpy().astype("datetime64[h]").astype(np.int64)
    stretch_of_row = hours // length
    stretch_of_row -= stretch_of_row[0]
    counts = np.bincount(stretch_of_row)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slot = np.full(len(counts), -1, dtype=np.int64)
    usual = np.median(counts[counts > 0])
    kept = counts >= FILLED * min(usual, wanted)
    slot[kept] = slots[starts[kept]] // length * length  # -1 stays below 0
    take = _evenly(starts, np.where(kept, counts, 0), wanted)
    stretch = stretch_of_row[take]
    values = finite(frame.iloc[take], names) - centre
    rows = np.bincount(stretch, minlength=len(counts))
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    number = _sums(present.astype(np.float64), stretch, len(counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        level = _sums(filled, stretch, len(counts)) / number
        around = np.where(present, values - level[stretch], 0.0)
        spread = np.sqrt(_sums(around**2, stretch, len(counts)) / np.where(number > 1, number - 1, np.nan))
        missing = 1 - number / np.where(rows > 0, rows, np.nan)[:, None]
        off = _sums((filled != 0).astype(np.float64), stretch, len(counts)) / number
    return Hours(slot=slot, level=level, spread=spread, missing=missing, off=off, centre=centre)


def _evenly(starts: Indices, counts: Indices, wanted: int) -> Indices:
    """Take at most `wanted` rows of each stretch, evenly spread over it."""
    most = np.minimum(counts, wanted)
    stretch = np.repeat(np.arange(len(counts)), most)
    place = np.arange(len(stretch)) - np.repeat(np.cumsum(most) - most, most)
    taken: Indices = starts[stretch] + place * counts[stretch] // most[stretch]
    return taken


def _sums(values: Floats, stretch: Indices, n: int) -> Floats:
    """Sum rows (row, column) by ascending stretch: (n, column)."""
    sums = np.zeros((n, values.shape[1]))
    if len(stretch):
        first = np.flatnonzero(np.diff(stretch, prepend=-1))
        sums[stretch[first]] = np.add.reduceat(values, first, axis=0)
    return sums
