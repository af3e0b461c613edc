"""Where data lies: the files of a folder or a bucket, of which a part can be read."""

import codecs
import glob
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from tasks.look import Choice
from tasks.sources.bucket import matches
from watchkeeper.errors import DataError
from watchkeeper.lake import Lake
from watchkeeper.stores import Entry

PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
LINES = (".lp", ".line")
"""Files of InfluxDB's line protocol."""
TABLES = (".parquet", ".csv", *LINES)
"""Kinds of files that are taken before all others."""
OTHERS = (".tsv", ".txt", ".dat", ".asc", ".tab")
CHUNK = 2**16


@dataclass(frozen=True)
class File:
    """A file.

    Attributes:
        name: below its folder.
        size: in bytes, packed as it is.
        open: gives it to be read here and there.
    """

    name: str
    size: int
    open: Callable[[], AbstractContextManager[pa.NativeFile]]

    @property
    def kind(self) -> str:
        """Its ending, without that of the packing."""
        plain = Path(self.name.removesuffix(self.packing))
        return plain.suffix.lower()

    @property
    def packing(self) -> str:
        """The ending that says how it is packed, "" where it is not."""
        ending = Path(self.name).suffix
        return ending if ending in PACKED else ""


@dataclass(frozen=True)
class Place:
    """Files that make up a source.

    Attributes:
        folder: as a watch file names it.
        files: the pattern that names them.
        found: the files, sorted by name; at least one.
        passed: how many other files lie there.
        name: what a watch on it may be called.
    """

    folder: str
    files: str
    found: tuple[File, ...]
    passed: int
    name: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.found)


def find_place(place: str, choice: Choice) -> Place:
    """Find the files of a place.

    Raises:
        DataError: there is no such place, or it holds no files of one kind.
    """
    if place.startswith("s3://"):
        return _in_bucket(place, choice)
    try:
        path = Path(place).expanduser()
        if "\0" in place:
            raise ValueError("it holds a zero byte")
        what = "folder" if path.is_dir() else "file" if path.is_file() else ""
    except (OSError, ValueError) as error:
        raise DataError(f"{place!r} is no path: {error}") from error
    if not what:
        raise DataError(f"{place}: there is no such file or folder")
    path = path.absolute()
    folder = path if what == "folder" else path.parent
    _check_writable(str(path))
    if what == "file":
        pattern = glob.escape(path.name)
        return Place(str(folder), pattern, (_local(path, folder),), 0, path.name.split(".")[0] or path.name)
    try:
        paths = sorted(one for one in folder.glob("**/*") if one.is_file())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    return choose(str(folder), [_local(one, folder) for one in paths], choice, folder.name)


def _in_bucket(uri: str, choice: Choice) -> Place:
    """Find the objects below a prefix; a prefix that ends like a file is that one object."""
    _check_writable(uri)
    ending = Path(uri.removesuffix(Path(uri).suffix) if Path(uri).suffix in PACKED else uri).suffix.lower()
    if ending in (*TABLES, *OTHERS):
        uri, _, pattern = uri.rpartition("/")
        choice = replace(choice, files=glob.escape(pattern))
    lake = Lake(uri)
    files = [_remote(lake, entry) for entry in lake.entries("")]
    return choose(uri.rstrip("/"), files, choice, uri.rstrip("/").rpartition("/")[2])


def _remote(lake: Lake, entry: Entry) -> File:
    return File(entry.key, entry.size, lambda: lake.open_file(entry.key))


def _check_writable(path: str) -> None:
    """Refuse paths that a watch file cannot name."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path!r} is no text, so no watch file can name it; rename it") from error
    if "$" in path:
        raise DataError(f"{path} holds a $, which a watch file takes for a variable; rename it, or link to it")


def _local(path: Path, folder: Path) -> File:
    return File(path.relative_to(folder).as_posix(), path.stat().st_size, lambda: pa.OSFile(str(path)))


def choose(folder: str, files: list[File], choice: Choice, name: str) -> Place:
    """Choose the files of a folder that make up one source.

    Raises:
        DataError: there are none, or of more than one kind.
    """
    if choice.files is not None:
        found = [file for file in files if matches(file.name, choice.files)]
        if not found:
            raise DataError(f"{folder} holds no file {choice.files}" + _names(files))
        for several, what in (((".parquet",), "Parquet files"), (LINES, "files of line protocol")):
            if len({file.kind in several for file in found}) > 1:
                raise DataError(f"{choice.files} names {what} and others in {folder}; a source takes one kind")
        return Place(folder, choice.files, tuple(found), len(files) - len(found), name)
    visible = [file for file in files if not any(part.startswith(".") for part in Path(file.name).parts)]
    top = [file for file in visible if "/" not in file.name and file.kind in (*TABLES, *OTHERS)]
    where = top or [file for file in visible if file.kind in (*TABLES, *OTHERS)]
    kinds = sorted({(file.kind, file.packing) for file in where if file.kind in TABLES})
    kinds = kinds or sorted({(file.kind, file.packing) for file in where})
    if not kinds:
        wanted = ", ".join((*TABLES, *OTHERS))
        raise DataError(
            f"{folder} holds no tables: wanted files that end in {wanted}, as they are or packed{_names(files)}"
        )
    if len(kinds) > 1:
        patterns = " or ".join(f'--files "*{kind}{packing}"' for kind, packing in kinds)
        raise DataError(f"{folder} holds files of several kinds; a source takes one: {patterns}")
    ((kind, packing),) = kinds
    endings = sorted({Path(file.name.removesuffix(packing)).suffix for file in where if file.kind == kind})
    pattern = ("" if top else "**/") + f"*{endings[0] if len(endings) == 1 else '.*'}{packing}"
    found = [file for file in where if file.kind == kind and file.packing == packing]
    return Place(folder, pattern, tuple(found), len(files) - len(found), name)


def several_kinds(place: Place, kinds: Iterable[tuple[Sequence[str], Sequence[str]]]) -> DataError:
    """Return the error for tables that do not fit together: per kind its files and columns.

    Where a pattern names the files of a kind and no others, it is shown.
    """
    order = sorted(kinds, key=lambda one: len(one[0]), reverse=True)
    told = []
    for files, names in order[:4]:
        # Not of paths but of names: what their letters have in common.
        start = os.path.commonprefix(list(files)) if len(files) > 1 else files[0].rsplit(".", 1)[0]  # noqa: RUF071
        pattern = f"{start}*{Path(place.files).suffix}"
        fits = {file.name for file in place.found if matches(file.name, pattern)} == set(files)
        columns = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        who = (
            f'--files "{pattern}"'
            if start and fits
            else files[0] + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        )
        told.append(f"{who}: {columns}")
    more = f"; and {len(order) - 4} more kinds" if len(order) > 4 else ""
    return DataError(
        f"{place.folder} holds tables of {len(order)} kinds, and a watch has one set of channels "
        f"({'; '.join(told)}{more}); choose some with --files"
    )


def _names(files: list[File]) -> str:
    return f"; it holds {', '.join(file.name for file in files[:3])} …" if files else "; it is empty"


def read_head(file: File, size: int) -> tuple[bytes, bool, float]:
    """Read the first bytes of a text, unpacked.

    Returns:
        The bytes; whether they are all of it; how many bytes of text a byte of the file is.

    Raises:
        DataError: it cannot be read, or is not packed as its name says.
    """
    try:
        with file.open() as raw:
            if not file.packing:
                data = raw.read(size)
                return data, len(data) == file.size, 1.0
            with pa.CompressedInputStream(raw, PACKED[file.packing]) as stream:
                data = b""
                while len(data) < size and (more := stream.read(min(CHUNK, size - len(data)))):
                    data += more
                whole = len(data) < size or not stream.read(1)
                return data, whole, len(data) / max(1, file.size if whole else raw.tell())
    except (OSError, pa.ArrowException) as error:
        packed = f"; is it packed by {PACKED[file.packing]}?" if file.packing else ""
        raise DataError(f"{file.name} cannot be read: {str(error).splitlines()[0]}{packed}") from error


def read_stretch(file: File, start: int, size: int) -> bytes:
    """Read whole lines of a text that is not packed, from the first line that begins after `start`.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with file.open() as raw:
            raw.seek(start)
            data: bytes = raw.read(size)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.name} cannot be read: {str(error).splitlines()[0]}") from error
    begin = data.find(b"\n") + 1
    end = len(data) if start + size >= file.size else data.rfind(b"\n") + 1
    return data[begin:end]


def starts_like_utf16(data: bytes) -> bool:
    """Tell whether a text is of an encoding in which lines cannot be looked for byte by byte."""
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:1000]
