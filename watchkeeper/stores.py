"""Where the lake's objects lie: what a store can do, and the store that is a folder. The other one is in s3.py."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import pyarrow as pa

from watchkeeper.errors import LakeError, ObjectNotFoundError

UNPUBLISHED = ".unpublished-"
"""How the last part of a key begins that is still being written; `entries` never shows such a one."""


class Entry(NamedTuple):
    """One object of a store: its key, its size in bytes, and when it was published (aware, UTC)."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """Objects under keys. A key has been checked (lake.py) before it comes here.

    Every call raises LakeError, in one line that says what to do, when the store cannot be reached or refuses;
    ObjectNotFoundError when it answers that there is no such object.
    """

    def put(self, key: str, data: bytes) -> None:
        """Write an object, so that it is there as a whole or not at all."""

    def create(self, key: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Give a file to write an object to, bit by bit; it is published as a whole when the block ends well."""

    def get(self, key: str) -> bytes:
        """Read an object."""

    def open(self, key: str, *, whole: bool) -> pa.NativeFile:
        """Open an object for Arrow: to be read as a whole, or here and there and never held in memory as a whole.

        What Arrow's threads read is memory of Arrow's own: they may let go of Python's while the interpreter ends,
        which aborts the process. A file that is not opened as a whole must be read with `use_threads=False`.
        """

    def exists(self, key: str) -> bool:
        """Tell whether an object is published."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Go through the published objects below a folder, "" for all, in no order."""

    def leftovers(self) -> Iterator[Entry]:
        """Go through what killed writers left unpublished. `delete` takes the keys."""

    def delete(self, key: str) -> None:
        """Remove an object or a leftover; one that is not there is no error."""

    def name(self, key: str) -> str:
        """Return how messages name an object."""


class FolderStore:
    """A folder of this machine: one file an object, written beside its name and moved into place."""

    def __init__(self, root: Path) -> None:
        """Take a folder, which appears with the first object."""
        self._root = root

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self._root / key

    def put(self, key: str, data: bytes) -> None:
        """Write the file, sync it, and move it into place."""
        with self.create(key) as file:
            file.write(data)

    @contextlib.contextmanager
    def create(self, key: str) -> Iterator[IO[bytes]]:
        """Give a file beside the name, sync it when it is written, and move it into place."""
        path = self.path(key)
        part = path.with_name(f"{UNPUBLISHED}{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise LakeError(f"cannot write {path}: {error.strerror}; check the disk and the rights") from error
        finally:
            with contextlib.suppress(OSError):  # where not even the folder could be made, there is nothing to clear
                part.unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        """Read the file."""
        with _reading(self.path(key)):
            return self.path(key).read_bytes()

    def open(self, key: str, *, whole: bool) -> pa.NativeFile:  # noqa: ARG002 - a file is read here and there anyway
        """Open the file."""
        with _reading(self.path(key)):
            return pa.OSFile(str(self.path(key)))

    def exists(self, key: str) -> bool:
        """Tell whether there is such a file."""
        return self.path(key).is_file()

    def entries(self, folder: str) -> Iterator[Entry]:
        """Go through the files below a folder."""
        return self._walk(folder, unpublished=False)

    def leftovers(self) -> Iterator[Entry]:
        """Go through the files that were never moved into place. The youngest may be at work still."""
        return self._walk("", unpublished=True)

    def delete(self, key: str) -> None:
        """Remove the file. Folders stay: a writer may be about to use them."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            raise LakeError(f"cannot delete {self.path(key)}: {error.strerror}; check the rights") from error

    def name(self, key: str) -> str:
        """Return the file's path."""
        return str(self.path(key))

    def _walk(self, folder: str, *, unpublished: bool) -> Iterator[Entry]:
        for path in self.path(folder).rglob("*"):
            if path.name.startswith(UNPUBLISHED) is not unpublished:
                continue
            with contextlib.suppress(FileNotFoundError):  # moved into place or deleted since the folder was read
                if path.is_file():
                    about = path.stat()
                    at = datetime.fromtimestamp(about.st_mtime, UTC)
                    yield Entry(path.relative_to(self._root).as_posix(), about.st_size, at)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ObjectNotFoundError(f"cannot read {path}: {error.strerror or 'no such file'}") from error
    except OSError as error:
        raise LakeError(f"cannot read {path}: {error.strerror or error}; check the disk and the rights") from error
