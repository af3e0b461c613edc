"""A folder of Parquet files, one series each. The series is the file name up to its first dot."""

from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.sources import Batch
from tasks.sources.folder import READ_ERRORS, TIME, bad_name, before, content_of, first_line, list_files, stem_of
from tasks.sources.times import SKIPPED, TWICE, Ints, to_utc
from watchkeeper.clock import to_microseconds
from watchkeeper.records import Refusal
from watchkeeper.sources import ParquetSource


def read_parquet(
    source: ParquetSource, until: datetime | None, seen: Collection[str] = ()
) -> Iterator[Batch | Refusal]:
    """Read the folder's files in the order of series and of their first timestamp. A bad file never stops the others.

    Files on a made-up clock come in the order of their names, and each goes on where the one before it ended.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    opened: list[tuple[str, int, Path, str | None]] = []
    for series, group in groupby(sorted(list_files(source), key=stem_of), key=stem_of):
        paths = list(group)
        contents = [content_of(series, [path]) for path in paths]
        first = 0 if source.start is None else to_microseconds(source.start)
        for path, content in zip(paths, contents, strict=True):
            # Files on a made-up clock are counted even when they are known: the next one starts behind them.
            if all(one in seen for one in contents) or (content in seen and source.start is None):
                continue
            found = bad_name(series, path.name) or _open(path, source)
            if isinstance(found, Refusal):
                yield found
                if source.start is not None:
                    break  # nobody can say when the next one starts
            else:
                if content not in seen:
                    opened.append((series, first if source.start is not None else found, path, content))
                first += round(found * (source.interval_s or 0) * 1e6)
    for series, first, path, content in sorted(opened, key=lambda one: one[:3]):
        try:
            table = pq.ParquetFile(path).read()
            batch = _batch(series, path.name, table, source, first)
        except READ_ERRORS as error:
            yield Refusal(origin=path.name, reason=f"cannot be read: {first_line(error)}")
            continue
        keep = before(batch.table["timestamp"], until)
        if keep is None or pc.all(keep).as_py() is not False:
            yield Batch(series, batch.origin, batch.table, content, batch.rows, batch.reasons)
        else:
            rows = np.flatnonzero(np.asarray(keep))
            reasons = None if batch.reasons is None else batch.reasons[rows]
            yield Batch(series, batch.origin, batch.table.filter(keep), None, rows, reasons)


def _open(path: Path, source: ParquetSource) -> int | Refusal:
    """Look into a file: its earliest timestamp in µs, on a made-up clock its rows, or why it cannot be used."""
    try:
        file = pq.ParquetFile(path)
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
        first = pc.min(_us(file.read(columns=[source.timestamp]).column(0)).cast(pa.int64())).as_py()
    except READ_ERRORS as error:
        return Refusal(origin=path.name, reason=f"is no readable Parquet file: {first_line(error)}")
    return 0 if first is None else int(first)


def _batch(series: str, origin: str, table: pa.Table, source: ParquetSource, first: int) -> Batch:
    """Give the columns the names that the rest of the house knows, and the times their zone."""
    table = table.select([name for name in table.column_names if name not in source.ignore])
    table = table.rename_columns(_names(table.column_names, source))
    if source.interval_s is not None:
        made = first + np.round(np.arange(len(table)) * source.interval_s * 1e6).astype(np.int64)
        return Batch(series, origin, table.add_column(0, "timestamp", pa.array(made).cast(TIME)))
    at = table.column_names.index("timestamp")
    column = _us(table.column(at))
    if column.type.tz is not None or source.zone is None:
        return Batch(series, origin, table.set_column(at, "timestamp", column.cast(TIME)))
    column = column.combine_chunks()
    known = np.flatnonzero(np.asarray(column.is_valid()))
    us: Ints = np.asarray(column.cast(pa.int64()).fill_null(0)).astype(np.int64)
    utc, state = us.copy(), np.zeros(len(us), np.int64)
    utc[known], state[known] = to_utc(us[known], source.zone, np.zeros(len(known), np.int64))
    mask = np.asarray(column.is_null()) | (state > 0)
    table = table.set_column(at, "timestamp", pa.array(utc, pa.int64(), mask=mask).cast(TIME))
    return Batch(series, origin, table, reasons=np.array(["", SKIPPED, TWICE], dtype=object)[state])


def _names(columns: list[str], source: ParquetSource) -> list[str]:
    names = {**source.rename, source.label: "label"}
    if source.start is None:
        names[source.timestamp] = "timestamp"
    return [names.get(name, name) for name in columns]


def _us(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast to microseconds; what a clock without a zone means is said by the source, or it is UTC."""
    # Nanoseconds may be cut; a coarser time that microseconds cannot say would turn into another one.
    return column.cast(pa.timestamp("us", tz=column.type.tz), safe=column.type.unit != "ns")
