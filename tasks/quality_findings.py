"""What the counts of an ingest mean: figures for people by series and channel, and what somebody should look at."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from tasks.quality import Runs, Tally
from tasks.remarks import MISSING_WARNING
from watchkeeper.clock import to_datetime
from watchkeeper.records import Record, Refusal

STUCK_OCTAVES = 4
"""A value stays too long when it does so for more than 2^4 = 16 times as many rows as is usual for the channel."""
LONG = 2**STUCK_OCTAVES
"""Rows from which on a run of missing readings, or a channel that never changed, is worth a look."""
GAP = 5
"""A gap is a step of at least so many usual steps."""
OFF = 0.1
"""A step is off when it differs from the usual one by more than this share; classes of steps are 3 to 6 % wide."""
IRREGULAR = 0.1
"""Share of the steps that are off from which on a clock counts as irregular."""


class Place(Record):
    """A stretch of rows, and where it begins."""

    rows: int
    at: datetime


class Gap(Record):
    """A step of the clock, and where it begins."""

    seconds: float
    at: datetime


class ChannelQuality(Record):
    """One channel in the new rows of a series."""

    channel: str
    missing: int
    missing_run: Place | None
    """The longest."""
    usual_run: int
    """Rows for which the value usually stays: half of all readings ever lie in no longer run. A power of two."""
    stuck: int
    """How often it stayed for much longer (STUCK_OCTAVES)."""
    same_run: Place | None
    """The longest run of one value, from its first row, which may lie in an earlier ingest."""
    never_changed: bool
    """In all the rows that ever came."""
    lowest: float | None
    highest: float | None
    range: tuple[float, float] | None
    outside: int


class ClockQuality(Record):
    """The clock of the new rows of a series, and of all that the source gave."""

    interval_s: float | None
    """The usual step; None before the second row."""
    steps: int
    off: int
    gaps: int
    gaps_s: float
    """Their sum."""
    longest: tuple[Gap, ...]
    """The longest of them."""
    backward: int
    """How often the source's clock went back from one row to the next."""
    furthest_back_s: float


class SeriesQuality(Record):
    """One series: what became of the rows that the source gave, its clock, its channels."""

    series: str
    new: int
    known: int
    quarantined: dict[str, int]
    start: datetime | None
    end: datetime | None
    clock: ClockQuality
    channels: tuple[ChannelQuality, ...]


class Finding(Record):
    """Something to look at; `channel` is empty where it concerns all of them."""

    series: str
    channel: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{' '.join(word for word in (self.series, self.channel) if word)}: {self.text}"


def figures(
    series: str, tally: Tally, channels: Sequence[str], ranges: dict[str, tuple[float, float]]
) -> SeriesQuality:
    """Turn what was counted of a series into figures."""
    new = tally.rows > 0
    return SeriesQuality(
        series=series,
        new=tally.rows,
        known=tally.known,
        quarantined=dict(sorted(tally.quarantined.items())),
        start=to_datetime(tally.start) if tally.start is not None else None,
        end=to_datetime(tally.clock.last) if new and tally.clock.last is not None else None,
        clock=_clock(tally),
        channels=_channels(tally, channels, ranges) if new else (),
    )


def _clock(tally: Tally) -> ClockQuality:
    known, own = tally.all_steps(), tally.clock.steps
    usual = None
    total, so_far = sum(number for number, _, _ in known.values()), 0
    for kind in sorted(known):
        so_far += known[kind][0]
        if 2 * so_far >= total:
            usual = known[kind][1]
            break
    if usual is None:
        usual_s, off, gaps = None, [], []
    else:
        usual_s = usual / 1e6
        off = [one for one in own.values() if abs(one[1] - usual) > OFF * usual]
        gaps = [one for one in own.values() if one[1] >= GAP * usual]
    longest = [Gap(seconds=step / 1e6, at=to_datetime(at)) for step, at in tally.clock.longest]
    return ClockQuality(
        interval_s=usual_s,
        steps=sum(number for number, _, _ in own.values()),
        off=sum(number for number, _, _ in off),
        gaps=sum(number for number, _, _ in gaps),
        gaps_s=sum(total for _, _, total in gaps) / 1e6,
        longest=tuple(gap for gap in longest if usual_s and gap.seconds >= GAP * usual_s),
        backward=tally.pace.backward,
        furthest_back_s=tally.pace.furthest_back / 1e6,
    )


def _channels(
    tally: Tally, channels: Sequence[str], ranges: dict[str, tuple[float, float]]
) -> tuple[ChannelQuality, ...]:
    counts, rows = tally.same.ended()
    rows = rows + tally.rows_before
    rows[:, 0] = tally.readings - rows.sum(axis=1)  # a value that did not stay is a run of one row
    usual = (2 * np.cumsum(rows, axis=1) >= tally.readings[:, None]).argmax(axis=1)  # (channel,), octaves
    never = (tally.same.open + 1 == tally.readings) & (tally.readings > LONG)
    octave = np.arange(counts.shape[1])
    stuck = np.where(octave > usual[:, None] + STUCK_OCTAVES, counts, 0).sum(axis=1)
    return tuple(
        ChannelQuality(
            channel=channel,
            missing=int(tally.missed[at]),
            missing_run=_place(tally.missing, at),
            usual_run=2 ** int(usual[at]),
            stuck=int(stuck[at]),
            same_run=_place(tally.same, at),
            never_changed=bool(never[at]),
            lowest=_reading(tally.lowest[at]),
            highest=_reading(tally.highest[at]),
            range=ranges.get(channel),
            outside=int(tally.outside[at]),
        )
        for at, channel in enumerate(channels)
    )


def _place(runs: Runs, channel: int) -> Place | None:
    rows = int(runs.longest[channel])
    return Place(rows=rows, at=to_datetime(runs.longest_at[channel])) if rows else None


def _reading(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def findings(series: Sequence[SeriesQuality], refused: Sequence[Refusal]) -> list[Finding]:
    """Say what somebody should look at: what was refused first, then series by series."""
    found = [Finding(series=one.origin, channel="", kind="refused", text=f"refused: {one.reason}") for one in refused]
    for one in series:
        for reason, count in one.quarantined.items():
            text = f"{_many(count, 'row')} quarantined: {reason}"
            found.append(Finding(series=one.series, channel="", kind="quarantined", text=text))
        found += [Finding(series=one.series, channel="", kind=kind, text=text) for kind, text in _of_clock(one.clock)]
        for channel in one.channels:
            told = _of_channel(channel, one.new)
            found += [Finding(series=one.series, channel=channel.channel, kind=kind, text=text) for kind, text in told]
    return found


def _of_clock(clock: ClockQuality) -> list[tuple[str, str]]:
    told = []
    if clock.backward:
        text = f"the clock went back {_many(clock.backward, 'time')}, at most {said_s(clock.furthest_back_s)}"
        told.append(("backward", text))
    if clock.gaps and clock.interval_s:
        text = f"{_many(clock.gaps, 'gap')}, {said_s(clock.gaps_s)} together, "
        text += f"where a step is usually {said_s(clock.interval_s)}"
        if clock.longest:
            first = clock.longest[0]
            text += f"; the longest {said_s(first.seconds)} from {first.at:%Y-%m-%d %H:%M:%S}"
        told.append(("gaps", text))
    if clock.steps and clock.interval_s and clock.off > IRREGULAR * clock.steps:
        share = clock.off / clock.steps
        text = f"irregular: {share:.0%} of the steps differ by more than {OFF:.0%} from {said_s(clock.interval_s)}"
        told.append(("irregular", text))
    return told


def _of_channel(one: ChannelQuality, rows: int) -> list[tuple[str, str]]:
    told = []
    run = one.missing_run
    if run and (one.missing >= MISSING_WARNING * rows or run.rows > LONG):
        text = f"{_many(one.missing, 'reading')} missing ({one.missing / rows:.1%}), "
        text += f"{_many(run.rows, 'row')} from {_when(run)} on"
        told.append(("missing", text))
    if one.never_changed:
        told.append(("constant", "never changed"))
    elif one.stuck and one.same_run:
        run, usual = one.same_run, "1 is usual" if one.usual_run == 1 else f"up to {one.usual_run:,} are usual"
        text = f"stuck {_many(one.stuck, 'time')}: one value for {run.rows:,} rows from {_when(run)} on, where {usual}"
        told.append(("stuck", text))
    if one.outside and one.range:
        low, high = one.range
        text = f"{_many(one.outside, 'reading')} outside {low:g} to {high:g}; found {one.lowest:g} to {one.highest:g}"
        told.append(("range", text))
    return told


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _when(place: Place) -> str:
    return f"{place.at:%Y-%m-%d %H:%M:%S}"


def said_s(seconds: float) -> str:
    """Write a length of time for people."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
