"""A folder of files: which there are, what each is called and holds, and how a part of the rows is left for later."""

import hashlib
import mmap
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from watchkeeper.errors import DataError
from watchkeeper.records import Refusal
from watchkeeper.sources import FolderSource
from watchkeeper.watch import NAME

TIME = pa.timestamp("us", tz="UTC")
WINDOW = 64 * 2**20
"""Bytes of a file that are looked at at once."""
READ_ERRORS = (pa.ArrowException, OSError, EOFError, UnicodeDecodeError)
"""What pyarrow raises for a file that is damaged, or written by something that it does not know."""


def folder_of(source: FolderSource) -> Path:
    """Return the source's folder.

    Raises:
        DataError: it is not there.
    """
    if source.place().startswith("s3://"):
        raise DataError(f'source folder {source.place()}: a bucket is for kind = "parquet", "csv" and "lines"')
    folder = source.path()
    if not folder.is_dir():
        raise DataError(f"source folder {folder} does not exist; correct `folder` in the watch file")
    return folder


def list_files(source: FolderSource) -> list[Path]:
    """Return the folder's files that the source's pattern names, sorted.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    folder = folder_of(source)
    try:
        files = sorted(path for path in folder.glob(source.files) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise DataError(f"files = {source.files!r} is no pattern: {error}; wanted something like *.csv") from error
    if not files:
        raise DataError(f"source folder {folder} holds no file {source.files}")
    return files


def stem_of(path: Path) -> str:
    """Return a file's name up to its first dot: the series, unless the source says otherwise."""
    return path.name.split(".")[0]


def content_of(series: str, paths: Iterable[Path]) -> str | None:
    """Return series and digest of the files that its rows come from; None where one cannot be read: that is said later.

    The series belongs to it: two idle machines may well send files that are equal to the byte.
    """
    whole = hashlib.sha256()
    try:
        digests = [_digest(path) for path in paths]
    except OSError:
        return None
    if len(digests) == 1:
        return f"{series}:{digests[0]}"
    for one in digests:
        whole.update(one.encode())
    return f"{series}:{whole.hexdigest()}"


def _digest(path: Path) -> str:
    """Hash a file through windows on it: a third faster than reading into a buffer, and only a window is in memory."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        size = path.stat().st_size
        for start in range(0, size, WINDOW):
            with mmap.mmap(file.fileno(), min(WINDOW, size - start), access=mmap.ACCESS_READ, offset=start) as data:
                found.update(data)
    return found.hexdigest()


def bad_name(series: str, origin: str) -> Refusal | None:
    """Return the refusal of a file whose series cannot be a part of a path, None where it can."""
    if NAME.fullmatch(series):
        return None
    return Refusal(origin=origin, reason="a series' name holds letters, digits, '_' and '-'; rename the file")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def before(times: pa.ChunkedArray | pa.Array, until: datetime | None) -> pa.ChunkedArray | pa.Array | None:
    """Return which rows to take now; None: all. A missing timestamp stays in, to be quarantined with its reason."""
    if until is None:
        return None
    return pc.fill_null(pc.less(times, pa.scalar(until.astimezone(UTC), TIME)), fill_value=True)
