"""The lake: immutable objects under keys, in a folder or an S3-compatible store. All object access goes through here.

Objects are written first and published after: a killed process leaves garbage at worst, never half an object. Keys
are content-addressed or run-addressed and never overwritten with other content, so nothing rests on locks or
conditional writes, and every store that can put, get, list and delete will do.
"""

import builtins
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from watchkeeper.errors import LakeError, SettingsError
from watchkeeper.stores import UNPUBLISHED, Entry, FolderStore, Store

R = TypeVar("R")

ROW_GROUP = 131_072
"""Rows of a Parquet row group at most: 20 MB of 38 float32 channels, what a reader of batches holds in memory."""
READERS = 16
"""Objects read at once where many are wanted: a store across a network answers in tens of milliseconds, but many."""


class Lake:
    """Immutable objects under keys."""

    def __init__(self, uri: str) -> None:
        """Open the lake at `file:///folder` or `s3://bucket/prefix`; a folder appears with the first object.

        An S3 store's endpoint, region and credentials come from where AWS's own tools take them: AWS_ENDPOINT_URL,
        AWS_ACCESS_KEY_ID and their like, or a profile.

        Raises:
            SettingsError: the URI is of another kind.
        """
        self._store = _store(uri)
        self.uri = uri.rstrip("/")

    def path(self, key: str) -> Path:
        """Return the file of a key, where the lake is a folder.

        Raises:
            LakeError: it is none, or the key would leave the lake.
        """
        if not isinstance(self._store, FolderStore):
            raise LakeError(f"{self.uri_of(key)} is no file of this machine; wanted a lake in a folder")
        return self._store.path(_inside(key))

    def put(self, key: str, data: bytes) -> None:
        """Write an object and publish it in one step.

        Raises:
            LakeError: it could not be written.
        """
        self._store.put(_publishable(key), data)

    def put_json(self, key: str, value: Any) -> None:
        """Write a JSON object: sorted keys, so that equal values are equal bytes."""
        self.put(key, json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode())

    def put_table(self, key: str, table: pa.Table) -> None:
        """Write a table as zstd Parquet."""
        self.put(key, parquet_bytes(table))

    def put_tables(self, key: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        """Write tables one after the other as one zstd Parquet object, never more than two of them in memory.

        However the rows are cut into tables, the object has the bytes that `put_table` gives it, and where the tables
        end in an error nothing is published.
        """
        with (
            self._store.create(_publishable(key)) as file,  # published after the writer has closed
            pq.ParquetWriter(file, schema, **_encoding(schema)) as writer,
        ):
            for table in _even(schema, tables):
                writer.write_table(table, row_group_size=ROW_GROUP)

    def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ObjectNotFoundError: it is not there.
            LakeError: it is not readable.
        """
        return self._store.get(_inside(key))

    def get_json(self, key: str) -> Any:
        """Read a JSON object.

        Raises:
            LakeError: it is not there, or is no JSON.
        """
        try:
            return json.loads(self.get(key))
        except ValueError as error:
            raise LakeError(f"{self._store.name(key)} is no JSON: {error}") from error

    def get_table(self, key: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet object.

        Raises:
            LakeError: it is not there, or is no Parquet file.
        """
        with self._store.open(_inside(key), whole=True) as file, self._parquet_told(key):
            return pq.ParquetFile(file).read(columns=columns)

    def get_jsons(self, keys: Iterable[str]) -> Iterator[Any]:
        """Read JSON objects, several at a time, in the order of their keys; errors are those of `get_json`."""
        return _ahead(self.get_json, keys)

    def get_tables(
        self, keys: Iterable[str], columns: builtins.list[str] | None = None, ahead: int = READERS
    ) -> Iterator[pa.Table]:
        """Read Parquet objects in the order of their keys, `ahead` of them at once; errors are those of `get_table`."""
        return _ahead(lambda key: self.get_table(key, columns), keys, ahead)

    @contextmanager
    def open_table(self, key: str) -> Iterator[pq.ParquetFile]:
        """Open a Parquet object to read of it what is needed: its schema, a row group, a column.

        On S3 this takes ranged requests. Read with `use_threads=False` (stores.py).

        Raises:
            LakeError: it is not there, or is no Parquet file.
        """
        with self._store.open(_inside(key), whole=False) as file, self._parquet_told(key):
            yield pq.ParquetFile(file, pre_buffer=False)  # which would read by threads of Arrow's, and hold it all

    def iter_batches(
        self, key: str, columns: builtins.list[str] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """Read a Parquet object batch by batch, never more than one row group of it in memory.

        Args:
            key: the object.
            columns: which columns, in this order; None reads all.
            batch_rows: rows of a batch at most; a batch does not go beyond its row group.

        Raises:
            LakeError: it is not there, or is no Parquet file.
        """
        with self.open_table(key) as table:
            for group in range(table.num_row_groups):  # asked for all, Arrow holds the groups it has read
                for batch in table.iter_batches(batch_rows, [group], columns, use_threads=False):
                    yield batch if columns is None else batch.select(columns)  # Arrow keeps the file's order

    @contextmanager
    def open_file(self, key: str) -> Iterator[pa.NativeFile]:
        """Open an object to be read here and there, or bit by bit; on S3 this takes ranged requests.

        Raises:
            LakeError: it is not there, or cannot be read.
        """
        with self._store.open(_inside(key), whole=False) as file:
            yield file

    def exists(self, key: str) -> bool:
        """Tell whether an object is published under the key."""
        return self._store.exists(_inside(key))

    def list(self, prefix: str) -> builtins.list[str]:
        """List the published keys below a folder, sorted."""
        return sorted(entry.key for entry in self._store.entries(_inside(prefix.rstrip("/"))))

    def entries(self, prefix: str) -> builtins.list[Entry]:
        """List the published objects below a folder with size and age, sorted by key."""
        return sorted(self._store.entries(_inside(prefix.rstrip("/"))))

    def leftovers(self) -> builtins.list[Entry]:
        """List what killed writers left unpublished, and what is being written now: the age tells them apart.

        The keys are for `delete` alone.
        """
        return sorted(self._store.leftovers())

    def delete(self, key: str) -> None:
        """Remove an object or a leftover; one that is not there is no error.

        Only for what nothing refers to: keys are never used again for other content.
        """
        self._store.delete(_inside(key))

    def uri_of(self, key: str) -> str:
        """Return the URI of a key."""
        return f"{self.uri}/{key}"

    @contextmanager
    def _parquet_told(self, key: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowInvalid, OSError) as error:
            raise LakeError(f"{self._store.name(key)} is no Parquet file: {error}") from error


def _store(uri: str) -> Store:
    parsed = urlsplit(uri)
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost") and parsed.path.startswith("/"):
        return FolderStore(Path(unquote(parsed.path)))
    if parsed.scheme == "s3":
        from watchkeeper.s3 import S3Store  # boto3 is for those who use it

        return S3Store(uri)
    shown = re.sub(r"//[^/@\s]*@", "//…@", uri)  # it may hold a password
    raise SettingsError(f"lake {shown!r}: wanted file:///absolute/folder or s3://bucket/prefix")


def _ahead(read: Callable[[str], R], keys: Iterable[str], most: int = READERS) -> Iterator[R]:
    """Read some keys ahead of the one that is asked for, so that memory holds a few objects and not all."""
    with ThreadPoolExecutor(most, thread_name_prefix="lake") as pool:
        reading: deque[Future[R]] = deque()
        for key in keys:
            reading.append(pool.submit(read, key))
            if len(reading) == most:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


def _inside(key: str) -> str:
    """Return the key if it stays inside the lake.

    Raises:
        LakeError: it would leave it.
    """
    if key.startswith("/") or ".." in key.split("/"):
        raise LakeError(f"key {key!r} leaves the lake")
    return key


def _publishable(key: str) -> str:
    """Return the key if an object may be published under it.

    Raises:
        LakeError: it would leave the lake, or has the name of what is not published.
    """
    if _inside(key).rpartition("/")[2].startswith(UNPUBLISHED):
        raise LakeError(f"key {key!r}: {UNPUBLISHED}… is the name of what is not published")
    return key


def _even(schema: pa.Schema, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut tables anew, a row group each; the last one has fewer rows."""
    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        while len(held) >= ROW_GROUP:
            yield held.slice(0, ROW_GROUP)
            held = held.slice(ROW_GROUP)
    if len(held):
        yield held


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as zstd Parquet; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROW_GROUP, **_encoding(table.schema))
    return bytes(sink.getvalue().to_pybytes())


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """Say how columns are written: readings byte by byte of their floats, times by their steps, words as a dictionary.

    A dictionary of readings that hardly repeat costs four times the CPU time and saves no bytes (benchmarks/ingest.py).
    """
    encoding: dict[str, str] = {}
    for field in schema:
        if pa.types.is_floating(field.type) and field.type.bit_width > 16:
            encoding[field.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_timestamp(field.type):
            encoding[field.name] = "DELTA_BINARY_PACKED"
    words = [name for name in schema.names if name not in encoding]
    return {"compression": "zstd", "use_dictionary": words, "column_encoding": encoding}


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, whatever the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, default=str).encode())
