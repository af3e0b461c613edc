"""What a database's driver gives, an object a cell, into arrays: times, readings, and a reason for what is neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources.cells import NO_LABEL, NO_NUMBER
from tasks.sources.folder import TIME
from tasks.sources.times import AWARE, Ints, parse_times
from watchkeeper.databases import SqlSource
from watchkeeper.errors import DataError

Floats = npt.NDArray[np.float64]
Cells = Sequence[Any]

PER_SECOND = {"unix_s": 1, "unix_ms": 10**3, "unix_us": 10**6, "unix_ns": 10**9}
"""Of a clock that counts from 1970."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a query.

    Attributes:
        us: int64 (time,), µs since 1970 UTC.
        series: string (time,), null where there is none.
        channel: string (time,), of the long form; None: wide form.
        columns: readings by name, float64 (time,), NaN where there is none; the label among them.
        reasons: why a row cannot be used, "" where it can.
    """

    us: Ints
    series: pa.Array
    channel: pa.Array | None
    columns: dict[str, Floats]
    reasons: npt.NDArray[np.object_]

    def take(self, rows: npt.NDArray[np.bool_] | Ints) -> "Part":
        """Return some of the rows."""
        if rows.dtype == np.bool_:
            if rows.all():
                return self
            rows = np.flatnonzero(rows)
        at = pa.array(rows)
        return Part(
            self.us[rows],
            self.series.take(at),
            None if self.channel is None else self.channel.take(at),
            {name: column[rows] for name, column in self.columns.items()},
            self.reasons[rows],
        )

    def table(self) -> pa.Table:
        """Return times and readings as a batch has them."""
        times = pa.array(self.us, pa.int64()).cast(TIME)
        return pa.table({"timestamp": times} | {name: pa.array(one) for name, one in self.columns.items()})


def joined(parts: list[Part]) -> Part:
    """Put parts of a query together, one at least."""
    if len(parts) == 1:
        return parts[0]
    return Part(
        np.concatenate([part.us for part in parts]),
        pa.concat_arrays([part.series for part in parts]),
        None if parts[0].channel is None else pa.concat_arrays([part.channel for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        np.concatenate([part.reasons for part in parts]),
    )


def to_part(cells: dict[str, Cells], source: SqlSource, channels: tuple[str, ...]) -> Part:
    """Turn columns of cells into arrays.

    Args:
        cells: by the columns' names, those that the source names among them.
        source: says which is which.
        channels: of the watch; columns that are no channel of it may hold what they like. (): all others are channels.

    Raises:
        DataError: a cell of the clock is no time, or a column has no reading at all that is a number.
    """
    us = _times(source.timestamp, cells[source.timestamp], source.format)
    special = {source.timestamp, source.series, *([source.channel] if source.form == "long" else [])}
    reasons = np.full(len(us), "", dtype=object)
    columns: dict[str, Floats] = {}
    for name, column in cells.items():
        if name in special:
            continue
        if channels and name not in (*channels, source.label, source.value):
            columns[name] = np.full(len(us), np.nan)
            continue
        columns["label" if name == source.label else name], bad = _numbers(name, column)
        reasons[bad] = NO_LABEL if name == source.label else NO_NUMBER
    return Part(
        us, _words(cells[source.series]), _words(cells[source.channel]) if source.form == "long" else None,
        columns, reasons,
    )  # fmt: skip


def _words(column: Cells) -> pa.Array:
    try:
        return pa.array(column, pa.string())
    except (pa.ArrowTypeError, pa.ArrowInvalid):  # numbers and what else may name a series
        return pa.array([None if cell is None else str(cell) for cell in column], pa.string())


def _numbers(name: str, column: Cells) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return readings, NaN where there is none, and where a cell is no number."""
    bad = np.zeros(len(column), dtype=bool)
    try:
        return np.array(column, dtype=np.float64), bad
    except (TypeError, ValueError):
        pass
    readings = np.full(len(column), np.nan)
    for row, cell in enumerate(column):
        try:
            readings[row] = np.nan if cell is None else float(cell)
        except (TypeError, ValueError):
            bad[row] = True
    first = next(cell for cell in column if cell is not None)
    if bad.sum() == sum(cell is not None for cell in column):
        raise DataError(
            f"the query's column {name} is no number, it holds {str(first)[:40]!r}; cast it, leave it out, "
            "or name the `channels` of the watch"
        )
    return readings, bad


def _times(name: str, column: Cells, format: str | None) -> Ints:
    """Return µs since 1970 UTC; a time without a zone is taken as UTC."""
    wanted = f"wanted {format} as a number" if format else "wanted a timestamp, or `format` for a number"
    if any(cell is None for cell in column):
        raise DataError(f"the query gave a row without {name}; limit it to >= :start and < :end")
    first = column[0]
    try:
        if format is not None:
            if all(isinstance(cell, int) for cell in column):
                whole = np.array(column, dtype=np.int64)
                return whole * (10**6 // PER_SECOND[format]) if format != "unix_ns" else whole // 1000
            return np.round(np.array(column, dtype=np.float64) / PER_SECOND[format] * 1e6).astype(np.int64)
        if isinstance(first, str):
            us, state = parse_times(pa.array(column, pa.string()), None)
            if (state <= AWARE).all():
                return us
            first = column[int(np.argmax(state > AWARE))]
        elif isinstance(first, date):
            return np.asarray(pa.array(column, TIME).cast(pa.int64()))
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        pass
    raise DataError(f"the query's column {name} holds {str(first)[:40]!r}, {wanted}; correct the query or `format`")
