"""Readings of any spacing into bins of one length: aligned to 1970 UTC, named by their start, complete ones alone.

What a bin holds follows from the readings in it and, where values are held, from those of `hold` before it. So it does
not matter at what times the database was asked, or in what stretches.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.folder import TIME
from watchkeeper.databases import Aggregate, DatabaseSource

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _mean(values: Floats, first: Ints) -> Floats:
    return np.asarray(np.add.reduceat(values, first) / np.diff(np.r_[first, len(values)]))


def _median(values: Floats, first: Ints) -> Floats:
    """Return the middle of each bin, of an even count the mean of the two."""
    counts = np.diff(np.r_[first, len(values)])
    ranked = values[np.lexsort((values, np.repeat(np.arange(len(first)), counts)))]
    return np.asarray((ranked[first + (counts - 1) // 2] + ranked[first + counts // 2]) / 2)


AGGREGATES: Mapping[Aggregate, Callable[[Floats, Ints], Floats]] = {
    "mean": _mean,
    "median": _median,
    "min": np.minimum.reduceat,
    "max": np.maximum.reduceat,
    "sum": np.add.reduceat,
    "first": lambda values, first: values[first],
    "last": lambda values, first: values[np.r_[first[1:], len(values)] - 1],
}
"""Of readings in the order of time, with the place of each bin's first one."""
NEVER = (-(2**60), np.nan)
"""The last reading of a channel that has none so far."""


@dataclass(frozen=True)
class Rule:
    """How to resample.

    Attributes:
        every: µs, length of a bin.
        aggregate: what becomes of a bin's readings.
        aggregates: the same for channels that differ.
        gap: what becomes of a bin without a reading.
        hold: bins for which a value is held at most; 0 unless `gap` says so.
    """

    every: int
    aggregate: Aggregate
    aggregates: Mapping[str, Aggregate]
    gap: Literal["missing", "nan", "hold"]
    hold: int

    @classmethod
    def of(cls, source: DatabaseSource) -> "Rule | None":
        """Return the source's rule; None: rows stay as they are."""
        if source.every_s is None:
            return None
        every = round(source.every_s * 1e6)
        hold = round((source.hold_s or 0) * 1e6) // every
        return cls(every, source.aggregate, source.aggregates, source.gap, hold)

    @property
    def before(self) -> int:
        """How long before a bin the readings begin that it may hold, in µs."""
        return self.hold * self.every


class Resampler:
    """Takes stretches in the order of time, each a whole number of bins, and remembers what the next one needs.

    Args:
        rule: how to resample.
        first: µs, no earlier bin is given; what comes before it is there to be held.
        newest: of each series the newest stored bin in µs, from where gaps count.
    """

    def __init__(self, rule: Rule, first: int, newest: Mapping[str, int]) -> None:
        self._rule, self._first = rule, first
        self._given = {series: time // rule.every for series, time in newest.items()}
        # Of each series and channel the bin and the value of its last reading.
        self._held: dict[str, dict[str, tuple[int, float]]] = {}

    def take(self, batches: list[Batch], start: int, end: int) -> Iterator[Batch]:
        """Resample a stretch.

        Args:
            batches: its rows, one batch a series, in any order.
            start: of the stretch in µs.
            end: of the stretch in µs.

        Yields:
            Bins in the order of time, then rows that the source could not read, as they came.
        """
        there = {batch.series: batch for batch in batches}
        for series in sorted({*there, *self._held}):
            batch = there.get(series)
            bins, channels, label = _bins(batch, self._rule) if batch else (np.empty(0, np.int64), {}, None)
            for out in self._filled(series, bins, start // self._rule.every, end // self._rule.every):
                yield _batch(series, out * self._rule.every, self._values(series, channels, out), label, bins, out)
            self._remember(series, channels, end // self._rule.every)
            if batch and (bad := self._unread(batch)) is not None:
                yield bad

    def _filled(self, series: str, bins: Ints, start: int, end: int) -> Iterator[Ints]:
        """Give the bins that become rows, in pieces that are no longer than a stretch."""
        rule, first = self._rule, -(-self._first // self._rule.every)
        if rule.gap == "hold":
            last = [bin for bin, _ in self._held.get(series, {}).values() if bin != NEVER[0]]
            known = np.unique(np.r_[last, bins].astype(np.int64))
            if len(known):
                counts = np.minimum(np.diff(np.r_[known, end]), rule.hold + 1)
                bins = np.repeat(known - np.r_[0, np.cumsum(counts)[:-1]], counts) + np.arange(counts.sum())
                bins = bins[bins >= start]
        elif rule.gap == "nan" and len(bins):
            begin = min(int(bins[0]), self._given.get(series, int(bins[0])) + 1)
            self._given[series] = max(int(bins[-1]), self._given.get(series, int(bins[-1])))
            for low in range(begin, int(bins[-1]) + 1, end - start):
                yield np.arange(low, min(low + end - start, int(bins[-1]) + 1))
            return
        bins = bins[bins >= first]
        if len(bins):
            yield bins

    def _values(self, series: str, channels: dict[str, tuple[Ints, Floats]], out: Ints) -> dict[str, Floats]:
        """Return the value of each channel in the bins that become rows."""
        held = self._held.get(series, {}) if self._rule.gap == "hold" else {}
        values = {}
        for name in {**held, **channels}:
            known, readings = channels.get(name, (np.empty(0, np.int64), np.empty(0)))
            if name in held:
                known, readings = np.r_[held[name][0], known], np.r_[held[name][1], readings]
            values[name] = np.full(len(out), np.nan)
            if len(known):
                at = np.searchsorted(known, out, side="right") - 1
                near = (at >= 0) & (out - known[at] <= self._rule.hold)
                values[name][near] = readings[at[near]]
        return values

    def _remember(self, series: str, channels: dict[str, tuple[Ints, Floats]], end: int) -> None:
        if self._rule.gap != "hold":
            return
        held = dict.fromkeys(channels, NEVER) | self._held.pop(series, {})
        held |= {name: (int(bins[-1]), float(readings[-1])) for name, (bins, readings) in channels.items() if len(bins)}
        if max((bin for bin, _ in held.values()), default=NEVER[0]) + self._rule.hold >= end:
            self._held[series] = held

    def _unread(self, batch: Batch) -> Batch | None:
        """Return the rows that the source could not read."""
        if batch.reasons is None:
            return None
        us = np.asarray(batch.table["timestamp"].cast(pa.int64()))
        rows = np.flatnonzero((batch.reasons != "") & (us >= self._first))
        if not len(rows):
            return None
        return replace(batch, table=batch.table.take(pa.array(rows)), rows=rows, reasons=batch.reasons[rows])


def _bins(batch: Batch, rule: Rule) -> tuple[Ints, dict[str, tuple[Ints, Floats]], tuple[Ints, Floats] | None]:
    """Return the bins with a reading, and of each channel, and the label, its bins and what they hold."""
    us = np.asarray(batch.table["timestamp"].cast(pa.int64())).astype(np.int64)
    rows = np.arange(len(us)) if batch.reasons is None else np.flatnonzero(batch.reasons == "")
    rows = rows[np.argsort(us[rows], kind="stable")]
    us = us[rows]
    twice = bool((np.diff(us) == 0).any())
    channels: dict[str, tuple[Ints, Floats]] = {}
    for name in (name for name in batch.table.column_names if name != "timestamp"):
        column = batch.table[name].cast(pa.float64()).to_numpy()[rows]
        there = ~np.isnan(column)
        times, readings = us[there], column[there]
        if twice:  # in an order that does not depend on the database's
            order = np.lexsort((readings, times))
            times, readings = times[order], readings[order]
        bins = times // rule.every
        first = np.flatnonzero(np.diff(bins, prepend=bins[:1] - 1))
        how: Aggregate = "max" if name == "label" else rule.aggregates.get(name, rule.aggregate)
        channels[name] = bins[first], AGGREGATES[how](readings, first) if len(first) else readings
    label = channels.pop("label", None)
    every = [bins for bins, _ in channels.values()]
    return np.unique(np.concatenate(every)) if every else np.empty(0, np.int64), channels, label


def _batch(
    series: str, us: Ints, values: dict[str, Floats], label: tuple[Ints, Floats] | None, bins: Ints, out: Ints
) -> Batch:
    table = pa.table({"timestamp": pa.array(us).cast(TIME)} | {name: pa.array(one) for name, one in values.items()})
    if label is not None:
        known, marks = label
        column = np.full(len(out), -1.0)
        at = np.searchsorted(known, out).clip(max=max(0, len(known) - 1))
        same = (known[at] == out) & np.isin(out, bins) if len(known) else np.zeros(len(out), bool)
        column[same] = marks[at[same]]
        table = table.append_column("label", pa.array(column))
    return Batch(series, series, table)
