"""What the benchmark formats have in common: pieces of a folder, and rows without a clock."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.cells import Layout, read_parts
from tasks.sources.delimited import Clock, made_up, read_file
from tasks.sources.folder import TIME, before
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkSource

START = datetime(2020, 1, 1, tzinfo=UTC)
"""When the rows of a file without a clock begin, unless the source says otherwise."""
HEAD = 2**16  # bytes that show how a file is written

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Files that make up rows of one series, and how to read them.

    Attributes:
        series: its name.
        origin: what to call it in messages.
        paths: the files, with those of the labels.
        read: gives the batches; it takes the digest of the files, and the time from which on rows are left for later.
    """

    series: str
    origin: str
    paths: tuple[Path, ...]
    read: Callable[[str | None, datetime | None], Iterator[Batch]]


@dataclass(frozen=True, eq=False)
class Readings:
    """Rows without a clock.

    Attributes:
        values: float32 (time, channel).
        names: of the channels.
        label: (time,), NaN where nothing is known, or None.
        reasons: why a row cannot be used, "" where it can; None: all can.
    """

    values: Floats
    names: tuple[str, ...]
    label: Floats | None = None
    reasons: npt.NDArray[np.object_] | None = None


def text_piece(
    series: str,
    path: Path,
    layout: Layout,
    clock: Clock,
    finish: Callable[[Batch], Batch] | None = None,
    labels: tuple[Path, ...] = (),
) -> Piece:
    """Return the piece of a text file; `finish` does to each batch what the format asks for beyond its layout."""

    def read(content: str | None, until: datetime | None) -> Iterator[Batch]:
        for batch in read_file(path, path.name, series, layout, clock, content, until):
            yield finish(batch) if finish else batch

    return Piece(series, path.name, (path, *labels), read)


def row_piece(series: str, origin: str, paths: Iterable[Path], load: Callable[[], Readings], clock: Clock) -> Piece:
    """Return the piece of files without a clock, which `load` reads as a whole."""

    def read(content: str | None, until: datetime | None) -> Iterator[Batch]:
        readings = load()
        rows = np.arange(len(readings.values))
        us = (clock.start or 0) + np.round(rows * clock.interval).astype(np.int64)
        table = pa.table({"timestamp": pa.array(us).cast(TIME)})
        for at, name in enumerate(readings.names):
            table = table.append_column(name, pa.array(np.ascontiguousarray(readings.values[:, at])))
        if readings.label is not None:
            table = table.append_column("label", pa.array(readings.label))
        batch = Batch(series, origin, table, content, rows, readings.reasons)
        keep = before(table["timestamp"], until)
        if keep is not None and not np.asarray(keep).all():
            taken = np.flatnonzero(np.asarray(keep))
            reasons = None if readings.reasons is None else readings.reasons[taken]
            batch = replace(batch, table=table.take(pa.array(taken)), content=None, rows=taken, reasons=reasons)
        yield batch

    return Piece(series, origin, tuple(paths), read)


def regular_clock(source: BenchmarkSource, interval_s: float) -> Clock:
    """Return the made-up clock of a format whose rows are so many seconds apart, unless the source says otherwise."""
    return made_up(source.start or START, source.interval_s or interval_s)


def matching(paths: Iterable[Path], source: BenchmarkSource) -> list[Path]:
    """Return the files whose names the source asks for, in the order of their names."""
    return sorted(
        (path for path in paths if path.is_file() and fnmatch(path.name, source.files)), key=lambda one: (one.name, one)
    )


def head_of(path: Path) -> list[str]:
    """Return the first lines of a text file; none where it cannot be read, which is said when it is."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD).decode("utf-8-sig", "replace").replace("\r\n", "\n").split("\n")
    except OSError:
        return []


def read_rows(path: Path, delimiter: str = ",") -> Readings:
    """Read a text file that holds readings alone: no header, no clock.

    Raises:
        DataError: it is no such file.
    """
    first = next(iter(head_of(path)), "")
    width = len(first.split(delimiter))
    names = tuple(f"c{at:02d}" for at in range(width))
    parts = list(read_parts(path, Layout(time=(), label=None, names=names, delimiter=delimiter)))
    if not parts:
        raise DataError(f"{path.name} is empty")
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    for part in parts:
        for field in part.table.schema:
            if pa.types.is_string(field.type):
                raise DataError(f"{path.name} holds words where numbers were wanted")
    table = pa.concat_tables([part.table for part in parts])
    values = np.stack([table[name].fill_null(np.nan).to_numpy() for name in names], axis=1)
    return Readings(values[order], names, reasons=np.concatenate([part.reasons for part in parts])[order])
