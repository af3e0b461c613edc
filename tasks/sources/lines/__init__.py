"""A folder of files in InfluxDB's line protocol: tags name the series, fields are the channels."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.cells import NO_NUMBER
from tasks.sources.databases import named
from tasks.sources.delimited import NO_SERIES, PEEK
from tasks.sources.folder import READ_ERRORS, TIME, content_of, first_line, list_files, stem_of
from tasks.sources.lines.cells import NO_CLOCK
from tasks.sources.lines.moments import judged, one_row_a_moment, without
from tasks.sources.lines.parser import Parser, read_parts
from tasks.sources.lines.parts import LABEL, joined
from tasks.validate import RESERVED, channels_of
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.records import Refusal
from watchkeeper.sources import LinesSource


def read_lines(
    source: LinesSource, until: datetime | None, seen: Collection[str] = (), channels: tuple[str, ...] = ()
) -> Iterator[Batch | Refusal]:
    """Read the folder's files in the order of their first timestamps. A bad file never stops the others.

    Args:
        source: as the watch file describes it.
        until: rows from this time on are left for a later ingest.
        seen: digests of files that were taken in whole before; they are passed over.
        channels: of the watch; a file may lack some of them. (): the fields of the first file that hold numbers.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    paths = list_files(source)
    opened: list[tuple[int, Path, str | None]] = []
    for path in paths:
        content = content_of("lines", [path])
        if content not in seen:
            try:
                first = _first_time(path, source) if len(paths) > 1 else 0
            except (DataError, *READ_ERRORS) as error:
                yield Refusal(origin=path.name, reason=_reason(error))
            else:
                opened.append((first, path, content))
    names: dict[str, str] = {}
    for _, path, content in sorted(opened, key=lambda one: one[:2]):
        try:
            found = sorted(_read_file(path, source, content, until, channels), key=lambda batch: batch.series)
            batches = [named(batch, names) for batch in found]
        except (DataError, *READ_ERRORS) as error:
            yield Refusal(origin=path.name, reason=_reason(error))
        else:
            yield from (replace(batch, more=batch is not batches[-1]) for batch in batches)
            channels = channels or (channels_of(batches[0]) if batches else ())


def _no_use(reasons: list[str]) -> str:
    """Say why no line of a file gives a number."""
    ((reason, count),) = Counter(reasons).most_common(1)
    if reason in ("", NO_NUMBER):
        return "has no field that holds numbers"
    mend = "; is `precision` right?" if reason == NO_CLOCK else ""
    return f"has no line that can be used: {reason}, {count:,} times{mend}"


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f"cannot be read: {first_line(error)}"


def _first_time(path: Path, source: LinesSource) -> int:
    """Return the earliest time at the head of a file in µs, 0 where it has none."""
    for part in read_parts(path, Parser(source, ""), PEEK):
        times = part.us[~part.timeless]
        if len(times):
            return int(times.min())
    return 0


def _read_file(
    path: Path, source: LinesSource, content: str | None, until: datetime | None, channels: tuple[str, ...]
) -> Iterator[Batch]:
    """Read one file, whole: lines of one moment may stand anywhere in it."""
    parser = Parser(source, stem_of(path))
    parts = list(read_parts(path, parser))
    if not parts:
        raise DataError("holds no line" + (" that the watch wants" if source.measurement or source.where else ""))
    part, names = judged(joined(parts), parser.fields, channels)
    parts.clear()  # all of it is in the one part now
    if not names:
        raise DataError(_no_use(part.reasons.tolist()))
    if taken := (RESERVED | {"timestamp", "label"}) & {*names}:
        raise DataError(f"has a field called {min(taken)}, as Watchkeeper's own; `rename` it or add it to `ignore`")
    good = part.reasons == ""
    if source.series and good.any() and not part.series[good].any():
        raise DataError(f"no line of it has the tags that name the series: {', '.join(source.series)}")
    if source.series:
        part.reasons[(part.series == 0) & (part.reasons == "")] = NO_SERIES
    later = np.zeros(len(part.us), bool)
    if until is not None:
        later = (part.us >= to_microseconds(until)) & ~part.timeless
    labelled = bool((part.field == LABEL).any())
    for rows in one_row_a_moment(without(part, later), parser.fields, names):
        columns = {name: pa.array(rows.values[:, at]) for at, name in enumerate(names)}
        columns |= {"label": pa.array(rows.label)} if labelled else {}
        table = pa.table({"timestamp": pa.array(rows.us, pa.int64(), mask=rows.timeless).cast(TIME)} | columns)
        whole = None if later.any() else content
        yield Batch(parser.series[rows.series], path.name, table, whole, rows.rows, rows.reasons)
