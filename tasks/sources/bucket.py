"""Files in an S3-compatible bucket, for sources that read folders: fetched into a folder while they are read.

An object is known by its key, size and time, so that what was taken in whole is not fetched again. Where that does not
tell what a file's rows are (a made-up clock counts all files, a column may name several series), all are fetched, and
known by their content.
"""

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.folder import stem_of
from watchkeeper.errors import DataError
from watchkeeper.lake import Lake, digest_of
from watchkeeper.records import Refusal
from watchkeeper.sources import CsvSource, LinesSource, MappedSource, ParquetSource
from watchkeeper.stores import Entry

PIECE = 16 * 2**20
"""Bytes that are held in memory of a file that is fetched."""


def read_bucket(
    source: MappedSource, until: datetime | None, seen: Collection[str] = (), channels: tuple[str, ...] = ()
) -> Iterator[Batch | Refusal]:
    """Read the bucket's files as those of a folder.

    Args:
        source: as the watch file describes it.
        until: rows from this time on are left for a later ingest.
        seen: what was taken in whole before.
        channels: of the watch; () where it has none yet.

    Raises:
        DataError: the bucket holds no such file, or the name of one cannot be that of a file.
        LakeError: the bucket cannot be read.
    """
    uri = source.place()
    lake = Lake(uri)
    found = [entry for entry in lake.entries("") if matches(entry.key, source.files)]
    if not found:
        raise DataError(f"{uri} holds no file {source.files}")
    by_content = source.start is not None or (isinstance(source, CsvSource) and source.series is not None)
    tokens = {} if by_content else {entry.key: _token(entry) for entry in found}
    fresh = [entry for entry in found if tokens.get(entry.key) not in seen]
    if not fresh:
        return
    with tempfile.TemporaryDirectory(prefix="watchkeeper-") as folder:
        known: dict[str, str | None] = {}
        for number, entry in enumerate(fresh):
            # A folder for each keeps objects of one name apart; messages and series come from the name.
            path = Path(folder) / f"{number:06d}" / PurePosixPath(entry.key).name
            fetch(lake, entry.key, path)
            name = path.name if path.name not in known else None
            known[path.name] = tokens.get(entry.key) if name else None
        local = source.model_copy(update={"folder": folder, "files": "*/*"})
        for item in _read(local, until, seen if by_content else (), channels):
            if isinstance(item, Batch) and item.content is not None and not by_content:
                yield replace(item, content=known.get(item.origin))
            else:
                yield item


def _read(
    source: MappedSource, until: datetime | None, seen: Collection[str], channels: tuple[str, ...]
) -> Iterator[Batch | Refusal]:
    from tasks.sources.delimited import read_csv
    from tasks.sources.lines import read_lines
    from tasks.sources.parquet import read_parquet

    if isinstance(source, ParquetSource):
        yield from read_parquet(source, until, seen)
    elif isinstance(source, CsvSource):
        yield from read_csv(source, until, seen)
    elif isinstance(source, LinesSource):
        yield from read_lines(source, until, seen, channels)


def matches(key: str, pattern: str) -> bool:
    """Tell whether a key matches as the names of files do: `*` stays in a folder, a `**/` at first is any of them."""
    if pattern.startswith("**/"):
        return fnmatchcase(key.rpartition("/")[2], pattern.removeprefix("**/"))
    return key.count("/") == pattern.count("/") and fnmatchcase(key, pattern)


def fetch(lake: Lake, key: str, path: Path) -> None:
    """Copy an object into a file.

    Raises:
        DataError: there is no room for it, or no file can have its name.
        LakeError: it cannot be read.
    """
    try:
        path.parent.mkdir(parents=True)
        with lake.open_file(key) as remote, path.open("wb") as file:
            while data := remote.read(PIECE):
                file.write(data)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{lake.uri_of(key)} cannot be fetched into {path.parent}: {error}; set TMPDIR to a folder with room"
        ) from error


def _token(entry: Entry) -> str:
    series = stem_of(Path(entry.key))
    return f"{series}:{digest_of([entry.key, entry.size, entry.modified.isoformat()])}"
