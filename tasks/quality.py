"""The quality of what came in, series by series: missing readings, stuck channels, ranges, and the clock.

Everything is counted batch by batch with a little state that is carried on, also from one ingest to the next: a run
that spans batches, or nights, is one run. However rows are cut into batches, the figures are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.sources.pace import Pace

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Steps = dict[int, tuple[int, int, int]]
"""Of each class of steps how many, the shortest and the sum, µs."""

OCTAVES = 48
"""Lengths of runs are counted by powers of two: more than any series has rows."""
STEP_BITS = 48
"""Steps of a clock are counted by the upper 16 bits of their float64: classes 3 to 6 % wide."""
BLOCK = 1_000_000
"""Readings that are looked at at once, so that a large batch does not need as much memory again."""
LONGEST_STEPS = 5
"""So many of the longest steps are kept with their place."""


class Runs:
    """Runs of a condition in each channel, also across batches: how many of which length, and the longest.

    Attributes:
        open: int64 (channel,), rows of the run that the rows so far end in; 0 where they end in none.
        since: int64 (channel,), when it began, µs since 1970 UTC.
        old: bool (channel,), whether that run has no row but those of an earlier ingest.
        counts: int64 (channel, octave), ended runs; octave n holds lengths above 2^(n−1) up to 2^n.
        rows: int64 (channel, octave), rows in them, and in old ones.
        longest: int64 (channel,), rows of the longest run, ended or not.
        longest_at: int64 (channel,), when that one began; the earliest of equals.
    """

    def __init__(self, channels: int, extra: int = 0) -> None:
        """Begin without rows.

        Args:
            channels: how many.
            extra: what is added to each length: a value that is repeated once stands for two rows.
        """
        self._extra = extra
        self.open, self.since = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
        self.old = np.zeros(channels, dtype=bool)
        self.counts, self.rows = (np.zeros((channels, OCTAVES), np.int64) for _ in range(2))
        self.longest, self.longest_at = np.zeros(channels, np.int64), np.zeros(channels, np.int64)

    def add(self, mask: Mask, times: Ints) -> None:
        """Take in the next rows.

        Args:
            mask: bool (time, channel), where the condition holds.
            times: int64 (time,), when a run began whose first such row is this one.
        """
        rows, channels = mask.shape
        wide = rows + 2  # with a False at both ends, no run reaches from one channel into the next
        flat = np.zeros((channels, wide), dtype=bool)
        flat[:, 1:-1] = mask.T
        line = flat.ravel()
        edges = np.flatnonzero(line[1:] != line[:-1]) + 1
        start, stop = edges[0::2], edges[1::2]
        channel, first = np.divmod(start, wide)
        goes_on = first == 1
        length = stop - start + np.where(goes_on, self.open[channel], 0)
        began = np.where(goes_on & (self.open[channel] > 0), self.since[channel], times[first - 1])
        to_the_end = stop % wide == wide - 1

        self._end_open((self.open > 0) & ~mask[0])
        self.old[:] = False
        self._end(channel[~to_the_end], length[~to_the_end])
        self._longest(channel, length, began)
        self.open[:], self.since[:] = 0, 0
        self.open[channel[to_the_end]], self.since[channel[to_the_end]] = length[to_the_end], began[to_the_end]

    def ended(self) -> tuple[Ints, Ints]:
        """Return `counts` and `rows` as if the runs that are open ended here."""
        whole = Runs(len(self.open), self._extra)
        whole.counts, whole.rows = self.counts.copy(), self.rows.copy()
        whole.open, whole.old = self.open, self.old
        whole._end_open(self.open > 0)
        return whole.counts, whole.rows

    def _end_open(self, which: Mask) -> None:
        for told, counted in ((which & ~self.old, True), (which & self.old, False)):
            self._end(np.flatnonzero(told), self.open[told], counted)

    def _end(self, channel: Ints, length: Ints, counted: bool = True) -> None:
        if not len(channel):
            return
        length = length + self._extra
        octave = np.frexp(length - 0.5)[1]  # 1 → 0, 2 → 1, 3 and 4 → 2, 5 to 8 → 3
        at = channel * OCTAVES + octave
        size = self.counts.size
        if counted:
            self.counts += np.bincount(at, minlength=size).reshape(self.counts.shape)
        self.rows += np.bincount(at, weights=length, minlength=size).astype(np.int64).reshape(self.rows.shape)

    def _longest(self, channel: Ints, length: Ints, began: Ints) -> None:
        best = np.zeros(len(self.open), np.int64)
        np.maximum.at(best, channel, length + self._extra)
        chosen = np.flatnonzero((length + self._extra == best[channel]) & (best > self.longest)[channel])[::-1]
        self.longest_at[channel[chosen]] = began[chosen]  # of equals the first: it is written last
        self.longest = np.maximum(self.longest, best)


class Clock:
    """The steps of a series' clock: which are usual, and which are longer.

    Attributes:
        last: the newest row's time, µs since 1970 UTC; None before the first.
        steps: of each class how many, the shortest and the sum, µs.
        longest: the longest steps: length in µs and when they began.
    """

    def __init__(self) -> None:
        """Begin without rows."""
        self.last: int | None = None
        self.steps: Steps = {}
        self.longest: list[tuple[int, int]] = []

    def add(self, times: Ints) -> None:
        """Take in the times of the next rows, ascending and later than those before."""
        known = times if self.last is None else np.concatenate([[self.last], times])
        steps = np.diff(known)
        self.last = int(times[-1])
        if not len(steps):
            return
        different, count = np.unique(steps, return_counts=True)
        for kind, number, step in zip(_class_of(different), count.tolist(), different.tolist(), strict=True):
            _count(self.steps, int(kind), number, step, number * step)
        few = np.argsort(-steps, kind="stable")[:LONGEST_STEPS] if len(steps) <= LONGEST_STEPS else _largest(steps)
        found = [(int(steps[at]), int(known[at])) for at in few]
        self.longest = sorted([*self.longest, *found], key=lambda one: (-one[0], one[1]))[:LONGEST_STEPS]


def _count(steps: Steps, kind: int, number: int, shortest: int, total: int) -> None:
    before, least, so_far = steps.get(kind, (0, shortest, 0))
    steps[kind] = before + number, min(least, shortest), so_far + total


def _class_of(steps: Ints) -> Ints:
    return steps.astype(np.float64).view(np.int64) >> STEP_BITS


def _largest(steps: Ints) -> Ints:
    """Return where the longest steps are, the earlier of equals first."""
    least = np.partition(steps, len(steps) - LONGEST_STEPS)[len(steps) - LONGEST_STEPS]
    above, equal = np.flatnonzero(steps > least), np.flatnonzero(steps == least)
    return np.concatenate([above, equal[: LONGEST_STEPS - len(above)]])


@dataclass(eq=False)
class Tally:
    """What is counted of one series in one ingest, and what it carries from the ingests before.

    Attributes:
        known: rows that the source gave and that were stored before.
        quarantined: rows that went to quarantine, by reason.
        pace: of the clock, as the source had it.
        rows: new rows.
        start: time of the first new row, µs since 1970 UTC.
        missed: int64 (channel,), missing readings.
        missing: runs of them.
        same: runs of one value.
        clock: of the new rows.
        outside: int64 (channel,), readings outside of the channel's range.
        lowest, highest: float32 (channel,), readings; NaN where there is none.
        readings: int64 (channel,), readings ever, missing ones aside.
        rows_before, steps_before: what earlier ingests counted of one value's runs and of the clock's steps.
    """

    channels: int
    known: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    rows: int = 0
    start: int | None = None

    def __post_init__(self) -> None:
        """Begin without rows."""
        self.missing, self.same, self.clock = Runs(self.channels), Runs(self.channels, extra=1), Clock()
        self.outside = np.zeros(self.channels, np.int64)
        self.missed = np.zeros(self.channels, np.int64)
        self.lowest = np.full(self.channels, np.nan, np.float32)
        self.highest = np.full(self.channels, np.nan, np.float32)
        self.readings = np.zeros(self.channels, np.int64)
        self.rows_before = np.zeros((self.channels, OCTAVES), np.int64)
        self.steps_before: Steps = {}
        self._last = np.full(self.channels, np.nan, np.float32)

    def add_read(self, pace: Pace, known: int, quarantined: Mapping[str, int]) -> None:
        """Take in what a batch was like before it was put in order.

        Args:
            pace: of its clock, as the source had it.
            known: rows that were stored before.
            quarantined: rows that went to quarantine, by reason.
        """
        self.pace = self.pace.then(pace)
        self.known += known
        for reason, count in quarantined.items():
            self.quarantined[reason] = self.quarantined.get(reason, 0) + count

    def add_rows(self, times: Ints, values: Floats, low: Floats, high: Floats) -> None:
        """Take in new rows.

        Args:
            times: int64 (time,), µs since 1970 UTC, ascending and later than all before.
            values: float32 (time, channel); NaN is a missing reading.
            low: float32 (channel,), the lowest reading of the channel's range; −inf where it has none.
            high: float32 (channel,), the highest.
        """
        block = max(1, BLOCK // max(1, self.channels))
        for first in range(0, len(times), block):
            self._add_block(times[first : first + block], values[first : first + block], low, high)

    def _add_block(self, times: Ints, values: Floats, low: Floats, high: Floats) -> None:
        before = times[0] if self.clock.last is None else self.clock.last
        self.start = int(times[0]) if self.start is None else self.start
        self.rows += len(times)
        gone = np.isnan(values)
        missed = np.count_nonzero(gone, axis=0)
        self.missed += missed
        self.readings += len(times) - missed
        if missed.any() or self.missing.open.any():
            self.missing.add(gone, times)
        repeated = np.empty(values.shape, dtype=bool)
        np.equal(values[0], self._last, out=repeated[0])
        np.equal(values[1:], values[:-1], out=repeated[1:])
        self.same.add(repeated, np.concatenate([[before], times[:-1]]))
        least, most = np.fmin.reduce(values), np.fmax.reduce(values)
        self.lowest, self.highest = np.fmin(self.lowest, least), np.fmax(self.highest, most)
        for channel in np.flatnonzero((least < low) | (most > high)):
            column = values[:, channel]
            self.outside[channel] += np.count_nonzero((column < low[channel]) | (column > high[channel]))
        self._last = values[-1].copy()
        self.clock.add(times)

    def all_steps(self) -> Steps:
        """Return the steps of this ingest and of those before."""
        steps = dict(self.steps_before)
        for kind, counted in self.clock.steps.items():
            _count(steps, kind, *counted)
        return steps

    def state(self) -> dict[str, Any]:
        """Return what the next ingest needs to go on."""
        return {
            "last": self.clock.last,
            "values": [None if np.isnan(value) else float(value) for value in self._last],
            "readings": self.readings.tolist(),
            "missing": [self.missing.open.tolist(), self.missing.since.tolist()],
            "same": [self.same.open.tolist(), self.same.since.tolist()],
            "rows": [_short(one) for one in self.rows_before + self.same.rows],
            "steps": [[kind, *counted] for kind, counted in sorted(self.all_steps().items())],
        }

    @classmethod
    def go_on(cls, state: Mapping[str, Any]) -> "Tally":
        """Begin where an earlier ingest ended."""
        tally = cls(len(state["readings"]))
        tally.clock.last = state["last"]
        tally._last = np.array([np.nan if value is None else value for value in state["values"]], np.float32)
        tally.readings = np.array(state["readings"], np.int64)
        for runs, name in ((tally.missing, "missing"), (tally.same, "same")):
            runs.open, runs.since = (np.array(one, np.int64) for one in state[name])
            runs.old = runs.open > 0
        for channel, counts in enumerate(state["rows"]):
            tally.rows_before[channel, : len(counts)] = counts
        tally.steps_before = {kind: (number, shortest, total) for kind, number, shortest, total in state["steps"]}
        return tally


def _short(counts: Ints) -> list[int]:
    """Leave out the zeros at the end."""
    return counts[: int(np.flatnonzero(counts)[-1]) + 1].tolist() if counts.any() else []
