"""Cells of line protocol, column by column: timestamps into microseconds, what is written into numbers."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources.lines.grammar import FALSE, TRUE, is_text, number_of
from tasks.sources.times import Ints

Bools = npt.NDArray[np.bool_]
Reasons = npt.NDArray[np.object_]

NO_TIME = "timestamp is missing"
NO_CLOCK = "timestamp cannot be read"
WORDS = pa.array((*TRUE, *FALSE))
LAST = 2**62
"""Nanoseconds since 1970 that no clock tells: beyond the year 2116."""


def times(stamps: pa.Array, unit: int) -> tuple[Ints, Bools, Reasons]:
    """Return µs since 1970, where there is no time, and why."""
    try:
        text = stamps.cast(pa.string())
        if not pc.any(pc.match_substring_regex(text, "[^0-9-]")).as_py():  # pyarrow reads more than that as numbers
            told = np.asarray(text.cast(pa.int64()))
            if (np.abs(told) <= LAST // unit).all():
                return told * unit // 1000, np.zeros(len(told), bool), np.full(len(told), "", dtype=object)
    except pa.ArrowInvalid:
        pass  # the stamps at fault are looked for below
    cells = [cell if isinstance(cell, bytes) else cell.encode() for cell in stamps.to_pylist()]
    found = [_time(cell, unit) for cell in cells]
    timeless = np.array([one is None for one in found], bool)
    reasons = np.full(len(cells), "", dtype=object)
    reasons[timeless] = [NO_CLOCK if cell else NO_TIME for cell, one in zip(cells, found, strict=True) if one is None]
    return np.array([one or 0 for one in found], np.int64), timeless, reasons


def _time(cell: bytes, unit: int) -> int | None:
    if not cell.removeprefix(b"-").isdigit() or len(cell) > 40:
        return None
    count = int(cell)
    return count * unit // 1000 if abs(count) <= LAST // unit else None


def numbers(cells: pa.Array) -> tuple[npt.NDArray[np.float64], Bools]:
    """Return the numbers, NaN where there is none, and where there is a text."""
    no_text = np.zeros(len(cells), dtype=bool)
    try:
        if pa.types.is_floating(cells.type):
            return _finite(cells), no_text
        text = cells.cast(pa.string())
        if pc.all(pc.match_substring_regex(text, r"^-?[0-9]{1,18}i$")).as_py():
            whole = pc.utf8_slice_codeunits(text, 0, stop=-1).cast(pa.int64())
            return np.asarray(whole).astype(np.float64), no_text
        word = pc.index_in(text, value_set=WORDS)
        if not word.null_count:
            return (np.asarray(word) < len(TRUE)).astype(np.float64), no_text
    except pa.ArrowInvalid:
        pass
    written = [cell if isinstance(cell, bytes) else cell.encode() for cell in cells.to_pylist()]
    found = [number_of(cell) for cell in written]
    return (
        np.array([np.nan if one is None else one for one in found], np.float64),
        np.array([is_text(cell) for cell in written], bool),
    )


def _finite(cells: pa.Array) -> npt.NDArray[np.float64]:
    """Line protocol knows neither infinity nor what is no number, and InfluxDB refuses what is too large."""
    values = np.asarray(cells)
    return np.where(np.isfinite(values), values, np.nan)
