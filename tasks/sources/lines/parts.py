"""Lines of a file as arrays: what is written alike becomes numbers together, and all stand in their order again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from tasks.sources.lines.cells import Bools, Reasons, numbers, times
from tasks.sources.times import Ints

Floats = npt.NDArray[np.float32]
Short = npt.NDArray[np.int32]

NO_LINE = "line is no line protocol"
LABEL, LEFT_OUT, NO_NAME = -1, -2, -3
"""Instead of a field's code: it is the label, it is left out, its name is no text."""
COMMAS = bytes.maketrans(b"= ", b",,")


@dataclass(frozen=True, eq=False)
class Part:
    """Some lines of a file, in their order.

    Attributes:
        rows: int64 (line,), where each line stands in the file, from 0.
        us: int64 (line,), µs since 1970 UTC.
        timeless: bool (line,), where there is no time.
        series: int64 (line,), which of the parser's series each is of.
        reasons: why a line cannot be used, "" where it can.
        line, field, value: int32, int32, float32 (reading,), of each its line, its field or LABEL, its number.
        text_line, text_field: int32 (text,), of each text its line, and its field or LABEL.
    """

    rows: Ints
    us: Ints
    timeless: Bools
    series: Ints
    reasons: Reasons
    line: Short
    field: Short
    value: Floats
    text_line: Short
    text_field: Short


@dataclass(frozen=True, eq=False)
class Alike:
    """Lines with the same fields in the same order.

    Attributes:
        rows, series: int64 (line,), as in `Part`.
        stamps: string or binary (line,).
        keys: of the fields, as they are called.
        cells: of each field, (line,): float64, or what is written, as string or binary.
    """

    rows: Ints
    series: Ints
    stamps: pa.Array
    keys: tuple[bytes, ...]
    cells: list[pa.Array]

    def take(self, at: Ints) -> "Alike":
        """Return some of the lines."""
        taken = pa.array(at)
        cells = [column.take(taken) for column in self.cells]
        return Alike(self.rows[at], self.series[at], self.stamps.take(taken), self.keys, cells)


def joined(parts: Sequence[Part]) -> Part:
    """Put parts together, one at least."""
    starts = np.cumsum([0, *[len(part.rows) for part in parts[:-1]]]).tolist()
    return Part(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.us for part in parts]),
        np.concatenate([part.timeless for part in parts]),
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.reasons for part in parts]),
        np.concatenate([part.line + np.int32(start) for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.field for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.text_line + np.int32(start) for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.text_field for part in parts]),
    )


def tables(rows: Sequence[int], series: Sequence[int], rests: Sequence[bytes]) -> list[Alike] | None:
    """Read fields and timestamps of lines that have the same signs `=`, `,` and blank in the same order.

    Args:
        rows: (line,), as in `Part`.
        series: (line,), as in `Part`.
        rests: what follows the head of each line: `field=1.5,other=2i 1700000000000000000`.

    Returns:
        Them, by their fields; None where one is no UTF-8.
    """
    whole = b"\n".join(rests)
    text, first = whole.translate(COMMAS), rests[0].translate(COMMAS).split(b",")
    keys, last = range(0, len(first) - 1, 2), len(first) - 1
    signed = b"=+" in whole  # a number to pyarrow, but not to InfluxDB
    numeric = {at + 1: first[at + 1][-1:].isdigit() and not signed for at in keys}
    try:
        try:
            table = _cells(text, last, numeric)
        except pa.ArrowInvalid:  # some are no plain numbers
            table = _cells(text, last, dict.fromkeys(numeric, False))
    except pa.ArrowInvalid:
        return None
    columns = [column.combine_chunks() for column in table.columns]
    names, cells = columns[0:last:2], columns[1:last:2]
    alike = Alike(np.array(rows), np.array(series), columns[last], (), cells)
    if all(len(name.dictionary) == 1 for name in names):
        return [replace(alike, keys=_keys(names, 0))]
    which = np.zeros(len(rows), np.int64)
    for name in names:
        which = np.unique(which * len(name.dictionary) + np.asarray(name.indices), return_inverse=True)[1]
    order = np.argsort(which, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(which[order])) + 1)
    return [replace(alike.take(at), keys=_keys(names, int(at[0]))) for at in groups]


def _keys(names: list[pa.DictionaryArray], line: int) -> tuple[bytes, ...]:
    return tuple(str(name[line].as_py()).encode() for name in names)


def _cells(text: bytes, last: int, numeric: Mapping[int, bool]) -> pa.Table:
    types = {f"{at}": pa.dictionary(pa.int32(), pa.string()) for at in range(0, last, 2)}
    types |= {f"{at}": pa.float64() if number else pa.string() for at, number in numeric.items()}
    names = [f"{at}" for at in range(last + 1)]
    return pacsv.read_csv(
        pa.BufferReader(text),
        read_options=pacsv.ReadOptions(column_names=names, block_size=len(text) + 1, use_threads=False),
        parse_options=pacsv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(
            column_types=types | {f"{last}": pa.string()}, null_values=[], strings_can_be_null=False
        ),
    )


class Gathered:
    """Lines in any order, made into one part.

    Args:
        unit: nanoseconds of a step of the timestamps.
    """

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._lines = 0
        self._about: list[tuple[Ints, Ints, Ints, Bools, Reasons]] = []
        self._readings: list[tuple[Short, int, Floats]] = []
        self._texts: list[tuple[Short, int]] = []

    def add(self, alike: Alike, codes: Sequence[int]) -> None:
        """Add lines, with the codes of their fields."""
        us, timeless, reasons = times(alike.stamps, self._unit)
        kept = [code for code in codes if code != LEFT_OUT]
        if NO_NAME in codes or b"" in alike.keys or len({*kept}) < len(kept) or len({*alike.keys}) < len(alike.keys):
            reasons[:] = NO_LINE
        places = np.arange(self._lines, self._lines + len(us), dtype=np.int32)
        for code, cells in zip(codes, alike.cells, strict=True):
            values, text = numbers(cells)
            there = ~np.isnan(values)
            reasons[~there & ~text] = NO_LINE
            if code != LEFT_OUT:
                with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and is set aside as such
                    self._readings.append((places[there], code, values[there].astype(np.float32)))
                self._texts.append((places[text], code))
        self._about.append((alike.rows, alike.series, us, timeless, reasons))
        self._lines += len(us)

    def add_bad(self, rows: Sequence[int]) -> None:
        """Add lines that are no line protocol; those that name no series have them too."""
        count = len(rows)
        nothing = np.zeros(count, np.int64)
        bad = np.full(count, NO_LINE, dtype=object)
        self._about.append((np.array(rows, np.int64), nothing, nothing, np.ones(count, bool), bad))
        self._lines += count

    def part(self) -> Part:
        """Put the lines into the order in which they stand in the file."""
        self.add_bad([])
        rows, series, us, timeless, reasons = (np.concatenate(column) for column in zip(*self._about, strict=True))
        order = np.argsort(rows, kind="stable")
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        none = np.empty(0, np.int32)
        return Part(
            rows=rows[order],
            us=us[order],
            timeless=timeless[order],
            series=series[order],
            reasons=reasons[order],
            line=place[np.concatenate([none, *[line for line, _, _ in self._readings]])],
            field=np.repeat(
                np.array([code for _, code, _ in self._readings], np.int32),
                [len(line) for line, _, _ in self._readings],
            ),
            value=np.concatenate([np.empty(0, np.float32), *[value for _, _, value in self._readings]]),
            text_line=place[np.concatenate([none, *[line for line, _ in self._texts]])],
            text_field=np.repeat(
                np.array([code for _, code in self._texts], np.int32), [len(line) for line, _ in self._texts]
            ),
        )
