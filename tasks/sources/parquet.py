"""A folder of Parquet files, one series each. The series is the file name up to its first dot.

A file is read block by block, groups of rows in the order of time, and its rows are held back until no earlier one can
follow: so its size does not matter to memory, nor its order to what comes in.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.sources import Batch
from tasks.sources.folder import READ_ERRORS, TIME, bad_name, before, content_of, first_line, list_files, stem_of
from tasks.sources.in_order import HELD_READINGS, InOrder
from tasks.sources.pace import Pace
from tasks.sources.parquet_times import Local, Survey, survey, us
from tasks.sources.times import SKIPPED, TWICE, Ints
from watchkeeper.clock import to_microseconds
from watchkeeper.records import Refusal
from watchkeeper.sources import ParquetSource

BLOCK_ROWS, BLOCK_READINGS = 131_072, 4_000_000
"""A block of a file: so many rows, and readings, at most."""
BUFFER = 2**20
"""Bytes of a column that are read at once: without it, Arrow reads a column of a group of rows as a whole."""


@dataclass(frozen=True)
class _Opened:
    series: str
    first: int  # µs since 1970; on a made-up clock the time of the first row
    path: Path
    content: str | None


def read_parquet(
    source: ParquetSource, until: datetime | None, seen: Collection[str] = ()
) -> Iterator[Batch | Refusal]:
    """Read the folder's files in the order of series and of their first timestamp. A bad file never stops the others.

    Files on a made-up clock come in the order of their names, and each goes on where the one before it ended.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    opened: list[_Opened] = []
    for series, group in groupby(sorted(list_files(source), key=stem_of), key=stem_of):
        paths = list(group)
        contents = [content_of(series, [path]) for path in paths]
        first = 0 if source.start is None else to_microseconds(source.start)
        for path, content in zip(paths, contents, strict=True):
            # Files on a made-up clock are counted even when they are known: the next one starts behind them.
            if all(one in seen for one in contents) or (content in seen and source.start is None):
                continue
            found = bad_name(series, path.name) or _look(path, source)
            if isinstance(found, Refusal):
                yield found
                if source.start is not None:
                    break  # nobody can say when the next one starts
            else:
                if content not in seen:
                    opened.append(_Opened(series, first if source.start is not None else found, path, content))
                first += round(found * (source.interval_s or 0) * 1e6)
    for one in sorted(opened, key=lambda one: (one.series, one.first, one.path)):
        try:
            yield from _read(one, source, until)
        except READ_ERRORS as error:
            yield Refusal(origin=one.path.name, reason=f"cannot be read: {first_line(error)}")


def _look(path: Path, source: ParquetSource) -> int | Refusal:
    """Look into a file: its earliest timestamp in µs, on a made-up clock its rows, or why it cannot be used."""
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER) as file:
            schema = file.schema_arrow
            if source.start is None and source.timestamp not in schema.names:
                found = ", ".join(schema.names[:5])
                return Refusal(origin=path.name, reason=f"no column {source.timestamp}; its columns begin with {found}")
            kept = [name for name in schema.names if name not in source.ignore]
            names = [*_names(kept, source), *([] if source.start is None else ["timestamp"])]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                return Refusal(origin=path.name, reason=f"column {', '.join(twice)} stands twice")
            if source.start is not None:
                return int(file.metadata.num_rows)
            kind = schema.field(source.timestamp).type
            if not pa.types.is_timestamp(kind):
                return Refusal(origin=path.name, reason=f"column {source.timestamp} is {kind}, wanted a timestamp")
            least = survey(file, source.timestamp, None, None).first
    except READ_ERRORS as error:
        return Refusal(origin=path.name, reason=f"is no readable Parquet file: {first_line(error)}")
    return 0 if least is None else least


def _read(one: _Opened, source: ParquetSource, until: datetime | None) -> Iterator[Batch]:
    """Read a file block by block, each batch the rows before which nothing can come any more."""
    with pq.ParquetFile(one.path, buffer_size=BUFFER) as file:
        columns = [name for name in file.schema_arrow.names if name not in source.ignore]
        block = max(1, min(BLOCK_ROWS, BLOCK_READINGS // len(columns)))
        # Rows on a made-up clock are in order as they stand.
        times = None if source.start is not None else survey(file, source.timestamp, source.zone, until, block)
        pace = None if times is None else times.pace
        local = None if times is None else times.local
        waiting = InOrder(max(1, HELD_READINGS // len(columns)))
        left, whole = file.metadata.num_rows, True
        for table, rows, rest in _blocks(file, columns, block, times):
            batch, left = _batch(one, table, rows, source, local), left - len(table)
            keep = before(batch.table["timestamp"], until)
            if keep is not None and pc.all(keep).as_py() is False:
                whole, batch = False, _filtered(batch, np.flatnonzero(np.asarray(keep)))
            waiting.add(batch)
            ready = waiting.take(rest) if left > 0 else None
            if ready is not None and len(ready.table):
                yield replace(ready, pace=pace, more=True)
                pace = None if times is None else Pace()  # it is told once
        if left:
            counted = file.metadata.num_rows
            raise pa.ArrowInvalid(f"its end counts {counted:,} rows, it holds {counted - left:,}")
        if (ready := waiting.take(None)) is not None:
            yield replace(ready, content=one.content if whole else None, pace=pace)


def _blocks(
    file: pq.ParquetFile, columns: list[str], block: int, times: Survey | None
) -> Iterator[tuple[pa.Table, Ints, int | None]]:
    """Give rows, their places in the file, and the earliest time that follows; of an empty file, no row."""
    starts = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
    if not starts[-1]:
        yield file.schema_arrow.empty_table(), np.empty(0, np.int64), None
    for group in times.groups if times else range(file.num_row_groups):
        read = 0
        for batch in file.iter_batches(block, [group], columns, use_threads=False):
            rows = starts[group] + read + np.arange(len(batch))
            read += len(batch)
            yield pa.Table.from_batches([batch]), rows, None if times is None else times.rest(group, read)


def _batch(one: _Opened, table: pa.Table, rows: Ints, source: ParquetSource, local: Local | None) -> Batch:
    """Give the columns the names that the rest of the house knows, and the times their zone."""
    table = table.select([name for name in table.column_names if name not in source.ignore])
    table = table.rename_columns(_names(table.column_names, source))
    reasons = None
    if source.interval_s is not None:
        made = one.first + np.round(rows * source.interval_s * 1e6).astype(np.int64)
        table = table.add_column(0, "timestamp", pa.array(made).cast(TIME))
        return Batch(one.series, one.path.name, table, rows=rows)
    at = table.column_names.index("timestamp")
    stamps = us(table.column(at))
    if local is not None:
        state = local.state[rows]
        mask = np.asarray(stamps.is_null()) | (state > 0)
        stamps = pa.array(local.utc[rows], pa.int64(), mask=mask)
        reasons = np.array(["", SKIPPED, TWICE], dtype=object)[state]
    table = table.set_column(at, "timestamp", stamps.cast(TIME))
    return Batch(one.series, one.path.name, table, rows=rows, reasons=reasons)


def _filtered(batch: Batch, keep: Ints) -> Batch:
    """Return some rows of a batch that knows their places."""
    rows, reasons = np.asarray(batch.rows), batch.reasons
    table = batch.table.take(pa.array(keep))
    return replace(batch, table=table, rows=rows[keep], reasons=None if reasons is None else reasons[keep])


def _names(columns: list[str], source: ParquetSource) -> list[str]:
    names = {**source.rename, source.label: "label"}
    if source.start is None:
        names[source.timestamp] = "timestamp"
    return [names.get(name, name) for name in columns]
