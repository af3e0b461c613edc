"""Points of a time series database, gathered series by series, and put side by side: one row for each moment."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.cells import NO_NUMBER
from tasks.sources.folder import TIME
from tasks.sources.times import Ints

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Points:
    """Points of one series that came together.

    Attributes:
        us: int64 (time,), µs since 1970 UTC, in any order.
        columns: readings by channel, the label as `label`: float64 (time,), NaN where there is none.
        bad: bool (time,), where a reading is no number.
    """

    us: Ints
    columns: dict[str, Floats]
    bad: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.bool_] | Ints) -> "Points":
        """Return some of the points."""
        return Points(self.us[rows], {name: one[rows] for name, one in self.columns.items()}, self.bad[rows])


@dataclass
class Gathered:
    """Points by series, and in it by what one moment can hold once: a measurement, or one of its fields."""

    points: dict[str, dict[str, list[Points]]] = field(default_factory=dict)

    def add(self, series: str, group: str, points: Points) -> None:
        """Add points; those of one group follow each other."""
        self.points.setdefault(series, {}).setdefault(group, []).append(points)

    def batches(self, channels: tuple[str, ...]) -> Iterator[Batch]:
        """Give one batch a series, with a column for each channel, also where there is no reading of it."""
        for series, groups in self.points.items():
            yield side_by_side(series, [_joined(parts) for parts in groups.values()], channels)


def _joined(parts: list[Points]) -> Points:
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    bad = np.concatenate([part.bad for part in parts])
    return Points(np.concatenate([part.us for part in parts]), columns, bad)


def side_by_side(series: str, groups: list[Points], channels: tuple[str, ...]) -> Batch:
    """Put groups of points together, moment by moment.

    A second point of a group at one moment becomes a row of its own, behind the others: the validation sets it aside.
    A moment's label is the highest of its points' labels.
    """
    split = [_first_and_again(group) for group in groups]
    firsts = [first for first, _ in split]
    moments = firsts[0].us if len(firsts) == 1 else np.unique(np.concatenate([one.us for one in firsts]))
    again = [one for _, one in split if len(one.us)]
    us = np.concatenate([moments, *[one.us for one in again]])
    names = [*channels, *(["label"] if any("label" in group.columns for group in groups) else [])]
    columns = {name: np.full(len(us), np.nan) for name in names}
    reasons = np.full(len(us), "", dtype=object)
    places = [np.searchsorted(moments, one.us) for one in firsts]
    ends = len(moments) + np.cumsum([0, *[len(one.us) for one in again]])
    places += [np.arange(start, end) for start, end in itertools.pairwise(ends)]
    for one, at in zip([*firsts, *again], places, strict=True):
        for name, readings in one.columns.items():
            columns[name][at] = np.fmax(columns[name][at], readings) if name == "label" else readings
        reasons[at[one.bad]] = NO_NUMBER
    times = pa.array(us, pa.int64()).cast(TIME)
    return Batch(series, series, pa.table({"timestamp": times} | columns), reasons=reasons)


def _first_and_again(points: Points) -> tuple[Points, Points]:
    """Return the first point of each moment, in order of time, and those that come at a moment again."""
    ascending = np.diff(points.us) > 0
    if ascending.all():
        return points, points.take(np.empty(0, np.int64))
    ordered = points.take(np.argsort(points.us, kind="stable"))
    first = np.r_[True, np.diff(ordered.us) > 0]
    return ordered.take(first), ordered.take(~first)


def series_name(tags: list[str | None]) -> str:
    """Return what the tags that name a series make of it; "" where one of them is missing."""
    return ".".join(str(tag) for tag in tags) if all(tags) else ""


def numbers(cells: list[list[object]]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Turn rows of JSON cells into float64 (time, column), NaN where there is none, and where a row has words."""
    bad = np.zeros(len(cells), dtype=bool)
    try:
        return np.array(cells, dtype=np.float64), bad
    except ValueError:
        pass
    found = np.full((len(cells), len(cells[0])), np.nan)
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            if isinstance(cell, int | float):
                found[row, column] = cell
            else:
                bad[row] |= cell is not None
    return found, bad
