"""A folder of Parquet files, one series each. The series is the file name up to its first dot."""

import hashlib
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.sources import Batch
from watchkeeper.errors import DataError
from watchkeeper.records import Refusal
from watchkeeper.watch import NAME, ParquetSource

TIME = pa.timestamp("us", tz="UTC")
READ_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError)
"""What pyarrow raises for a file that is damaged, or written by something that it does not know."""


def read_parquet(
    source: ParquetSource, until: datetime | None, seen: Collection[str] = ()
) -> Iterator[Batch | Refusal]:
    """Read the folder's files in the order of series and of their first timestamp. A bad file never stops the others.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    folder = source.path()
    if not folder.is_dir():
        raise DataError(f"source folder {folder} does not exist; correct `folder` in the watch file")
    files = sorted(path for path in folder.glob(source.files) if path.is_file())
    if not files:
        raise DataError(f"source folder {folder} holds no file {source.files}")
    opened: list[tuple[str, int, Path]] = []
    contents: dict[Path, str | None] = {path: _content(path) for path in files}
    for path in files:
        if contents[path] in seen:
            continue
        found = _first_timestamp(path, source)
        if isinstance(found, Refusal):
            yield found
        else:
            opened.append((path.name.split(".")[0], found, path))
    for series, _, path in sorted(opened):
        try:
            table = pq.ParquetFile(path).read()
        except READ_ERRORS as error:
            yield Refusal(origin=path.name, reason=f"cannot be read: {_line(error)}")
            continue
        cut = _cut(_renamed(table, source), until)
        yield Batch(series, path.name, cut, contents[path] if len(cut) == len(table) else None)


def _content(path: Path) -> str | None:
    """Return series and digest of a file; None where it cannot be read, which is said when it is opened.

    The series belongs to it: two idle machines may well send files that are equal to the byte.
    """
    try:
        with path.open("rb") as file:
            return f"{path.name.split('.')[0]}:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return None


def _first_timestamp(path: Path, source: ParquetSource) -> int | Refusal:
    """Look into a file: its earliest timestamp in µs, or why it cannot be used."""
    if not NAME.fullmatch(path.name.split(".")[0]):
        return Refusal(origin=path.name, reason="a series' name holds letters, digits, '_' and '-'; rename the file")
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        if source.timestamp not in schema.names:
            found = ", ".join(schema.names[:5])
            return Refusal(origin=path.name, reason=f"no column {source.timestamp}; its columns begin with {found}")
        names = _names(schema.names, source)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            return Refusal(origin=path.name, reason=f"column {', '.join(twice)} stands twice")
        kind = schema.field(source.timestamp).type
        if not pa.types.is_timestamp(kind):
            return Refusal(origin=path.name, reason=f"column {source.timestamp} is {kind}, wanted a timestamp")
        first = pc.min(_utc(file.read(columns=[source.timestamp]).column(0))).cast(pa.int64()).as_py()
    except READ_ERRORS as error:
        return Refusal(origin=path.name, reason=f"is no readable Parquet file: {_line(error)}")
    return 0 if first is None else int(first)


def _renamed(table: pa.Table, source: ParquetSource) -> pa.Table:
    """Give the timestamp and label columns the names that the rest of the house knows."""
    table = table.rename_columns(_names(table.column_names, source))
    at = table.column_names.index("timestamp")
    return table.set_column(at, "timestamp", _utc(table.column(at)))


def _names(columns: list[str], source: ParquetSource) -> list[str]:
    names = {source.timestamp: "timestamp", source.label: "label"}
    return [names.get(name, name) for name in columns]


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast to microseconds; a clock without a zone is taken as UTC."""
    # Nanoseconds may be cut; a coarser time that microseconds cannot say would turn into another one.
    return column.cast(pa.timestamp("us", tz=column.type.tz), safe=column.type.unit != "ns").cast(TIME)


def _cut(table: pa.Table, until: datetime | None) -> pa.Table:
    if until is None:
        return table
    limit = pa.scalar(until.astimezone(UTC), TIME)
    # A missing timestamp stays in: the validation quarantines it with its reason.
    return table.filter(pc.fill_null(pc.less(table["timestamp"], limit), fill_value=True))


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]
