"""Files of text with delimiters: parts of rows into batches, one series each, wide or long."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.cells import MISSING_CELLS, Layout, Part, read_parts
from tasks.sources.folder import READ_ERRORS, TIME, bad_name, before, content_of, first_line, list_files, stem_of
from tasks.sources.in_order import HELD_READINGS, InOrder
from tasks.sources.long_form import pivot
from tasks.sources.pace import Pace
from tasks.sources.times import AWARE, BAD, MISSING, NAIVE, SKIPPED, TWICE, Ints, to_utc
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.records import Refusal
from watchkeeper.sources import CsvSource
from watchkeeper.watch import NAME

BATCH_READINGS = 20_000_000
"""A file with more comes in several batches, so that memory does not grow with it: 80 MB of readings each."""
SETTLED = 0.875
"""Share of a batch that goes on; the newest rows wait for what follows, which may belong between them."""
PEEK = 2**18  # bytes that tell which of a series' files comes first

UNREADABLE = "timestamp cannot be read"
NO_SERIES = "series is missing or no name"
UNNAMED = "unnamed"
"""The series of rows that name none, in quarantine."""


@dataclass(frozen=True)
class Clock:
    """What turns a file's times into UTC, or makes them up.

    Attributes:
        zone: of times that name none; None: UTC.
        start: of a made-up clock, µs since 1970 UTC; None: the file has times.
        interval: of the made-up clock in µs.
    """

    zone: str | None = None
    start: int | None = None
    interval: float = 0.0


def made_up(start: datetime, interval_s: float) -> Clock:
    """Return a regular clock for files without one."""
    return Clock(None, to_microseconds(start), interval_s * 1e6)


def read_csv(source: CsvSource, until: datetime | None, seen: Collection[str] = ()) -> Iterator[Batch | Refusal]:
    """Read the folder's files in the order of series and of their first timestamps. A bad file never stops the others.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    layout, clock = _layout(source), Clock(source.zone)
    if source.start is not None and source.interval_s is not None:
        clock = made_up(source.start, source.interval_s)
    files = list_files(source)
    named = sorted((UNNAMED if source.series else stem_of(path), path) for path in files)
    for series, group in groupby(named, key=lambda one: one[0]):
        paths = [path for _, path in group]
        if refusal := bad_name(series, paths[0].name):
            yield from (refusal.model_copy(update={"origin": path.name}) for path in paths)
        elif clock.start is not None:
            yield from _continued(series, paths, layout, clock, until, seen)
        else:
            yield from _read_group(series, paths, layout, clock, until, seen)


def _layout(source: CsvSource) -> Layout:
    long = source.form == "long"
    time = (source.timestamp,) if isinstance(source.timestamp, str) else source.timestamp
    return Layout(
        time=time if source.start is None else (),
        format=source.format,
        label=source.label,
        label_words=source.label_words,
        series=source.series,
        channel=source.channel if long else None,
        value=source.value if long else None,
        delimiter=source.delimiter,
        decimal=source.decimal,
        encoding=source.encoding,
        skip=source.skip_lines,
        names=source.columns,
        missing=(*MISSING_CELLS, *source.missing),
        ignore=source.ignore,
        rename=source.rename,
    )


def _read_group(
    series: str, paths: list[Path], layout: Layout, clock: Clock, until: datetime | None, seen: Collection[str]
) -> Iterator[Batch | Refusal]:
    """Read the files of a series in the order of time."""
    opened: list[tuple[int, Path, str | None]] = []
    for path in paths:
        content = content_of(series, [path])
        if content not in seen:
            first = _first_time(path, layout, clock) if len(paths) > 1 else 0
            if isinstance(first, Refusal):
                yield first
            else:
                opened.append((first, path, content))
    for _, path, content in sorted(opened, key=lambda one: one[:2]):
        try:
            for batch in read_file(path, path.name, series, layout, clock, content, until):
                # Of a file with several series, those that were taken in before are passed over.
                if batch.content is None or batch.content not in seen:
                    yield batch
        except (DataError, *READ_ERRORS) as error:
            yield Refusal(origin=path.name, reason=_reason(error))


def _continued(
    series: str, paths: list[Path], layout: Layout, clock: Clock, until: datetime | None, seen: Collection[str]
) -> Iterator[Batch | Refusal]:
    """Read files without a clock in the order of their names: each goes on where the one before it ended."""
    contents = [content_of(series, [path]) for path in paths]
    for path, content in zip(paths, contents, strict=True):
        if all(one in seen for one in contents):
            return
        try:
            if content not in seen:
                yield from read_file(path, path.name, series, layout, clock, content, until)
            rows = sum(len(part.rows) for part in read_parts(path, layout)) if path != paths[-1] else 0
        except (DataError, *READ_ERRORS) as error:
            yield Refusal(origin=path.name, reason=_reason(error))
            if path != paths[-1]:
                later = ", ".join(one.name for one in paths[paths.index(path) + 1 :])
                yield Refusal(origin=later, reason=f"follows {path.name}, which cannot be used, on a made-up clock")
            return
        clock = replace(clock, start=(clock.start or 0) + round(rows * clock.interval))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f"cannot be read: {first_line(error)}"


def _first_time(path: Path, layout: Layout, clock: Clock) -> int | Refusal:
    """Return the earliest time at the head of a file in µs, or why the file cannot be used."""
    try:
        part = next(read_parts(path, layout, PEEK))
    except (DataError, *READ_ERRORS) as error:
        return Refusal(origin=path.name, reason=_reason(error))
    us = _utc(part, clock, _codes(part.series))[0][part.state <= AWARE]
    return int(us.min()) if len(us) else 0


def read_file(
    path: Path,
    origin: str,
    series: str,
    layout: Layout,
    clock: Clock,
    content: str | None,
    until: datetime | None,
) -> Iterator[Batch]:
    """Read one file.

    Args:
        path: the file.
        origin: what to call it in messages.
        series: its series; where the layout has a column for that, of the rows that name none.
        layout: how it is written.
        clock: what its times mean.
        content: its series and digest.
        until: rows from this time on are left out.

    Raises:
        DataError: it is no table of this layout.
        OSError, pa.ArrowException: it cannot be read.
    """
    parts: list[Part] = []
    waiting: dict[str, InOrder] = {}
    paces: dict[str, Pace] = {}
    readings, whole = 0, True
    stream = read_parts(path, layout)
    following = next(stream, None)
    while following is not None:
        parts.append(following)
        readings += len(following.rows) * max(1, following.table.num_columns)
        following = next(stream, None)
        # Long rows of one moment may stand anywhere in the file, so it comes in one batch.
        if following is not None and (readings < BATCH_READINGS or layout.channel is not None):
            continue
        for batch in _batches(_joined(parts), origin, series, layout, clock, until):
            whole &= batch.content is not None
            held = waiting.setdefault(batch.series, InOrder(HELD_READINGS // max(1, batch.table.num_columns)))
            held.add(replace(batch, content=None))
            paces[batch.series] = paces.get(batch.series, Pace()).then(batch.clock())
            if following is not None and (ready := held.take_older(SETTLED)):
                yield replace(ready, pace=paces.pop(batch.series), more=True)
        parts, readings = [], 0
    for number, (name, held) in enumerate(waiting.items(), start=1):
        if rest := held.take(None):
            named = f"{name}:{content.split(':')[1]}" if content and whole else None
            yield replace(rest, content=named, pace=paces.get(name, Pace()), more=number < len(waiting))


def _joined(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    return Part(
        rows=np.concatenate([part.rows for part in parts]),
        us=np.concatenate([part.us for part in parts]),
        state=np.concatenate([part.state for part in parts]),
        table=pa.concat_tables([part.table for part in parts]),
        label=None if parts[0].label is None else pa.concat_arrays([part.label for part in parts]),
        series=None if parts[0].series is None else pa.concat_arrays([part.series for part in parts]),
        channel=None if parts[0].channel is None else pa.concat_arrays([part.channel for part in parts]),
        reasons=np.concatenate([part.reasons for part in parts]),
    )


def _codes(words: pa.Array | None) -> tuple[Ints, list[str | None]]:
    """Return which word each row has, and the words in the order of their first rows."""
    if words is None:
        return np.empty(0, np.int64), []
    coded = words.dictionary_encode(null_encoding="encode")
    return np.asarray(coded.indices).astype(np.int64), coded.dictionary.to_pylist()


def _utc(part: Part, clock: Clock, series: tuple[Ints, list[str | None]]) -> tuple[Ints, Ints]:
    """Return µs since 1970 UTC, and per row 0, or 1 and 2 as `to_utc` has it."""
    clear = np.zeros(len(part.us), np.int64)
    if clock.start is not None:
        return clock.start + np.round(part.rows * clock.interval).astype(np.int64), clear
    naive = np.flatnonzero(part.state == NAIVE)
    if clock.zone is None or not len(naive):
        return part.us, clear
    groups = np.zeros(len(part.us), np.int64)
    for codes, words in (series, _codes(part.channel)):
        groups = groups * (len(words) + 1) + (codes if words else 0)
    us = part.us.copy()
    us[naive], clear[naive] = to_utc(part.us[naive], clock.zone, groups[naive])
    return us, clear


def _batches(
    part: Part, origin: str, series: str, layout: Layout, clock: Clock, until: datetime | None
) -> Iterator[Batch]:
    """Cut rows by series. The content is not None where all rows are in."""
    codes, words = _codes(part.series)
    us, doubt = _utc(part, clock, (codes, words))
    reasons = part.reasons.copy()
    reasons[(part.state == BAD) & (reasons == "")] = UNREADABLE
    reasons[doubt == 1], reasons[doubt == 2] = SKIPPED, TWICE
    timeless = (part.state >= MISSING) | (doubt > 0)
    times = pa.array(us, pa.int64(), mask=timeless).cast(TIME)
    keep = before(times, until)
    keep = np.ones(len(us), dtype=bool) if keep is None else np.asarray(keep)
    named = [word if word is not None and NAME.fullmatch(word) else None for word in words]
    places = {word or series: np.array([], np.int64) for word in named} if words else {series: np.arange(len(us))}
    for code, word in enumerate(named):
        at = np.flatnonzero(codes == code)
        places[word or series] = np.sort(np.r_[places[word or series], at])
        if word is None:
            reasons[at[reasons[at] == ""]] = NO_SERIES
    for name, at in places.items():
        taken = at[keep[at]]
        table = part.table if len(taken) == len(us) else part.table.take(pa.array(taken))
        table = table.rename_columns([layout.rename.get(column, column) for column in table.column_names])
        table = table.add_column(0, "timestamp", times.take(pa.array(taken)))
        if part.label is not None:
            table = table.append_column("label", part.label.take(pa.array(taken)))
        batch = Batch(name, origin, table, "" if len(taken) == len(at) else None, part.rows[taken], reasons[taken])
        if part.channel is not None:
            batch = pivot(batch, part.channel.take(pa.array(taken)), str(layout.value), layout)
        yield batch
