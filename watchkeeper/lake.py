"""The lake: immutable objects under keys. All object access goes through here.

Objects are written first and published after: a killed process leaves garbage at worst, never half an object. Keys
are content-addressed or run-addressed and never overwritten with other content, so nothing rests on locks or
conditional writes.
"""

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq

from watchkeeper.errors import LakeError, SettingsError

UNPUBLISHED = ".unpublished-"
"""Prefix of files that are still being written; `list` never shows them."""


class Lake:
    """A folder of immutable objects."""

    def __init__(self, uri: str) -> None:
        """Open the lake at a `file:///…` URI; the folder appears with the first object.

        Raises:
            SettingsError: the URI is of another kind.
        """
        parsed = urlparse(uri)
        if parsed.scheme != "file" or parsed.netloc not in ("", "localhost") or not parsed.path.startswith("/"):
            raise SettingsError(f"lake {uri!r}: wanted file:///absolute/folder")
        self.uri = uri.rstrip("/")
        self._root = Path(unquote(parsed.path))

    def path(self, key: str) -> Path:
        """Return the local path of a key.

        Raises:
            LakeError: the key would leave the lake.
        """
        if key.startswith("/") or ".." in key.split("/"):
            raise LakeError(f"key {key!r} leaves the lake")
        return self._root / key

    def put(self, key: str, data: bytes) -> None:
        """Write an object and publish it in one step.

        Raises:
            LakeError: it could not be written.
        """
        path = self.path(key)
        part = path.with_name(f"{UNPUBLISHED}{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # where not even the folder could be made, there is nothing to clear
                part.unlink()
            raise LakeError(f"cannot write {path}: {error.strerror}; check the disk and the rights") from error

    def put_json(self, key: str, value: Any) -> None:
        """Write a JSON object: sorted keys, so that equal values are equal bytes."""
        self.put(key, json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode())

    def put_table(self, key: str, table: pa.Table) -> None:
        """Write a table as zstd Parquet."""
        self.put(key, parquet_bytes(table))

    def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            LakeError: it is not there or not readable.
        """
        try:
            return self.path(key).read_bytes()
        except OSError as error:
            raise LakeError(f"cannot read {self.path(key)}: {error.strerror}") from error

    def get_json(self, key: str) -> Any:
        """Read a JSON object.

        Raises:
            LakeError: it is not there, or is no JSON.
        """
        try:
            return json.loads(self.get(key))
        except ValueError as error:
            raise LakeError(f"{self.path(key)} is no JSON: {error}") from error

    def get_table(self, key: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet object.

        Raises:
            LakeError: it is not there, or is no Parquet file.
        """
        path = self.path(key)
        if not path.is_file():
            raise LakeError(f"cannot read {path}: no such file")
        try:
            # From the path, not from bytes of Python's: Arrow's threads may let go of those while the interpreter ends,
            # which aborts the process.
            return pq.ParquetFile(path).read(columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise LakeError(f"{path} is no Parquet file: {error}") from error

    def exists(self, key: str) -> bool:
        """Tell whether an object is published under the key."""
        return self.path(key).is_file()

    def list(self, prefix: str) -> list[str]:
        """List the published keys below a folder, sorted."""
        root = self.path(prefix.rstrip("/"))
        found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(UNPUBLISHED))
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def uri_of(self, key: str) -> str:
        """Return the URI of a key."""
        return f"{self.uri}/{key}"


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as zstd Parquet; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, whatever the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, default=str).encode())
