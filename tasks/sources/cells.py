"""Text with delimiters, block by block: cells into times, readings and labels, and a reason for each row that fails.

A block is parsed by pyarrow into the types that are expected. Where that fails, the block is parsed again as text and
converted column by column, so that the rows at fault are found and the others come in.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from tasks.sources.blocks import BLOCK, read_blocks
from tasks.sources.times import AWARE, MISSING, NAIVE, Ints, States, parse_times
from watchkeeper.errors import DataError

HEAD = 2**16  # bytes that hold the first line
SAMPLE_ROWS = 200  # rows that tell which columns hold numbers
MISSING_CELLS = ("", "NaN", "nan", "-nan", "-NaN", "NAN", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "none")

CELLS_DIFFER = "number of cells differs from the header's"
NO_NUMBER = "reading is no number"
NO_LABEL = "label is neither 0, 1 nor missing"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
NOT_A_NUMBER = re.compile(r"[+-]?nan", re.IGNORECASE)
ZONED = r"(?:Z|[+-]\d{2}:?\d{2})$"

Reasons = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Layout:
    """How a text file is written, and what its columns are.

    Attributes:
        time: columns that make up the timestamp, joined by a blank; () where the clock is made up.
        format: of the timestamp, see `parse_times`.
        label: column of the label; None: there is none.
        label_words: what its words mean; empty: it holds 0 and 1.
        series: column that names the series; None: the file is one series.
        channel: of the long form, the column that names the channel; None: wide form.
        value: of the long form, the column with the reading.
        delimiter, decimal, encoding: how cells are written.
        skip: lines before the header, or before the rows where `names` are given.
        names: of the columns, for a file without a header.
        missing: cells that mean no reading.
        ignore: columns to leave out.
        rename: what a column is called, and what its channel shall be.
    """

    time: tuple[str, ...] = ("timestamp",)
    format: str | None = None
    label: str | None = "label"
    label_words: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    series: str | None = None
    channel: str | None = None
    value: str | None = None
    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    skip: int = 0
    names: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING_CELLS
    ignore: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def words(self) -> set[str]:
        """Return the columns that are read as text."""
        named = {self.series, self.channel, self.label if self.label_words else None}
        return {name for name in named if name is not None}

    def needed(self) -> list[str]:
        """Return the columns that a file must have."""
        return [name for name in (*self.time, self.series, self.channel, self.value) if name is not None]


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a file.

    Attributes:
        rows: int64 (time,), where each row stands in the file, from 0.
        us: int64 (time,), µs since 1970, local or UTC as `state` says.
        state: int8 (time,), see tasks/sources/times.py.
        table: the channels under their own names; in long form one column, `value`.
        label: float32 (time,), or None.
        series: string (time,), or None.
        channel: string (time,), or None.
        reasons: why a row cannot be used, "" where it can.
    """

    rows: Ints
    us: Ints
    state: States
    table: pa.Table
    label: pa.Array | None
    series: pa.Array | None
    channel: pa.Array | None
    reasons: Reasons


def read_parts(path: Path, layout: Layout, block: int = BLOCK) -> Iterator[Part]:
    """Read a text file block by block; one whose name ends in .gz, .bz2 or .zst is unpacked on the way.

    Raises:
        DataError: the file as a whole is no table of this layout.
        OSError, pa.ArrowInvalid: it cannot be read.
    """
    parser, row = None, 0
    for data in read_blocks(path, layout.encoding, block):
        if parser is None:
            names, data = _header(bytes(data), layout)  # noqa: PLW2901 # the rest of the first block
            parser = _Parser(names, _kinds(data, names, layout), layout)
        part = parser.parse(data, row)
        row += len(part.rows)
        yield part
    if parser is None:
        raise DataError("is empty")


def _header(data: bytes, layout: Layout) -> tuple[list[str], bytes]:
    """Return the names of the columns, and the rows after them."""
    for _ in range(layout.skip):
        _, _, data = data.partition(b"\n")
    if layout.names:
        names = list(layout.names)
    else:
        line, _, data = data.lstrip(b"\r\n").partition(b"\n")
        try:
            cells = next(csv.reader([line.decode()], delimiter=layout.delimiter), [])
        except UnicodeError as error:
            raise DataError("has a header that is not UTF-8; set `encoding`") from error
        except csv.Error as error:
            raise DataError(f"has no readable header: {error}") from error
        names = [cell.strip() for cell in cells]
    if absent := [name for name in layout.needed() if name not in names]:
        raise DataError(f"no column {', '.join(absent)}; its columns begin with {', '.join(names[:5])}"[:300])
    used = [name for name in names if name not in layout.ignore]
    if "" in used:
        at = names.index("") + 1
        raise DataError(f'column {at} has no name; add "" to `ignore` to leave it out, or check `skip_lines`')
    final = [layout.rename.get(name, name) for name in used]
    if twice := sorted({name for name in final if final.count(name) > 1}):
        raise DataError(f"column {', '.join(twice[:5])} stands twice")
    special = {*layout.needed(), layout.label}
    channels = {layout.rename.get(name, name): name for name in used if name not in special}
    for taken in ("timestamp", "label"):
        if layout.channel is None and taken in channels:
            raise DataError(f"column {channels[taken]} would be a channel called {taken}; add it to `ignore`")
    return names, data


def _kinds(data: bytes, names: list[str], layout: Layout) -> dict[str, str]:
    """Tell for each column that is used whether it is "text" or "number", by its first rows."""
    head = b"\n".join(data.split(b"\n", SAMPLE_ROWS)[:SAMPLE_ROWS]) + b"\n"
    table, _ = _as_text(head, names, layout)
    kinds = {}
    for name in names:
        if name in layout.ignore:
            continue
        if name in layout.time or name in layout.words():
            kinds[name] = "text"
        elif name in (layout.value, layout.label):
            kinds[name] = "number"
        else:
            # A column of words is handed on as such: the validation refuses it only where the watch wants it.
            readings, bad = _floats(table[name], layout)
            words = len(readings) > 0 and bool(bad.any()) and readings.null_count == len(readings)
            kinds[name] = "text" if words else "number"
    return kinds


def _as_text(data: bytes, names: list[str], layout: Layout, quotes: bool = True) -> tuple[pa.Table, Ints]:
    """Parse rows as text. Returns them, and the places of the rows whose number of cells is wrong."""
    wrong: list[int] = []
    swallowed: list[bool] = []

    def note(row: pacsv.InvalidRow) -> str:
        wrong.append(row.number - 1)
        swallowed.append("\n" in row.text)
        return "skip"

    text = data.decode("utf-8", "replace").encode()
    schema = pa.schema([(f"{at}", pa.string()) for at in range(len(names))])  # by place: ignored names may stand twice
    if not text.strip(b"\r\n"):
        blank = text.count(b"\n") if len(names) == 1 else 0
        return _named(pa.table({f"{at}": [""] * blank for at in range(len(names))}, schema=schema), names), _none()
    table = pacsv.read_csv(
        pa.BufferReader(text),
        read_options=_read_options(schema.names, len(text)),
        parse_options=_parse_options(layout, len(names), note, quotes),
        convert_options=pacsv.ConvertOptions(column_types=schema, null_values=[], strings_can_be_null=False),
    )
    swallowed += [pc.any(pc.match_substring(column, "\n")).as_py() for column in table.columns]
    if quotes and any(swallowed):
        return _as_text(data, names, layout, quotes=False)  # a quote without its partner has swallowed lines
    return _named(table, names), np.array(wrong, dtype=np.int64)


def _named(table: pa.Table, names: list[str]) -> pa.Table:
    return table.rename_columns(names)


def _none() -> Ints:
    return np.empty(0, dtype=np.int64)


def _read_options(names: list[str], size: int) -> pacsv.ReadOptions:
    # A second thread costs more than it brings in blocks of this size, and rows would lose their numbers.
    return pacsv.ReadOptions(column_names=names, block_size=size + 1, use_threads=False)


def _parse_options(layout: Layout, columns: int, note: object = None, quotes: bool = True) -> pacsv.ParseOptions:
    return pacsv.ParseOptions(
        delimiter=layout.delimiter,
        quote_char='"' if quotes else False,
        ignore_empty_lines=columns > 1,  # with one column, an empty line is a missing reading
        invalid_row_handler=note,
    )


def _floats(column: pa.ChunkedArray, layout: Layout) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Turn text into float32 readings. Returns them, and where there is text that is no number."""
    text = pc.utf8_trim_whitespace(column.combine_chunks())
    empty = pc.is_in(text, value_set=pa.array(layout.missing))
    text = pc.if_else(empty, None, text)
    if layout.decimal == ".":
        try:
            return text.cast(pa.float32()), np.zeros(len(text), dtype=bool)
        except pa.ArrowInvalid:
            pass  # the cells at fault are looked for below
    cells: list[str | None] = text.to_pylist()
    numbers = [None if cell is None else _number(cell, layout.decimal) for cell in cells]
    bad = np.array([cell is not None and number is None for cell, number in zip(cells, numbers, strict=True)], bool)
    return pa.array(numbers, pa.string()).cast(pa.float32()), bad


def _number(cell: str, decimal: str) -> str | None:
    """Return the number in the spelling of pyarrow, or None."""
    cell = cell.strip('"').strip()
    if decimal != ".":
        cell = cell.replace(".", " ").replace(decimal, ".")
    if NOT_A_NUMBER.fullmatch(cell):
        return "nan"
    return cell.lstrip("+") if NUMBER.fullmatch(cell) else None


class _Parser:
    """What the first block has told about the columns, applied to each block."""

    def __init__(self, names: list[str], kinds: dict[str, str], layout: Layout) -> None:
        self._names, self._kinds, self._layout = names, kinds, layout
        special = {*layout.time, *layout.words(), layout.label}
        self._channels = [name for name in kinds if name not in special]
        if layout.channel is not None:
            self._channels = [str(layout.value)]

    def parse(self, data: bytes | memoryview, first: int) -> Part:
        """Parse whole lines; `first` is where their first row stands in the file."""
        lost = _none()
        try:
            table = self._typed(data)
        except pa.ArrowInvalid:
            table, lost = _as_text(bytes(data), self._names, self._layout)
        rows = np.delete(np.arange(len(table) + len(lost)), lost)
        reasons = np.full(len(rows), "", dtype=object)
        columns = {}
        for name in self._channels:
            columns[name] = table[name]
            if self._kinds[name] == "number" and pa.types.is_string(table[name].type):
                columns[name], bad = _floats(table[name], self._layout)
                reasons[bad] = NO_NUMBER
        label = self._label(table, reasons)
        us, state = self._times(table)
        words = [self._word(table, name) for name in (self._layout.series, self._layout.channel)]
        return Part(
            rows=np.r_[rows, lost] + first,
            us=np.r_[us, np.zeros(len(lost), np.int64)],
            state=np.r_[state, np.full(len(lost), MISSING, np.int8)],
            table=_padded(pa.table(columns), len(lost)) if columns else pa.table({}),
            label=None if label is None else pa.concat_arrays([label, pa.nulls(len(lost), label.type)]),
            series=None if words[0] is None else pa.concat_arrays([words[0], pa.nulls(len(lost), pa.string())]),
            channel=None if words[1] is None else pa.concat_arrays([words[1], pa.nulls(len(lost), pa.string())]),
            reasons=np.r_[reasons, np.full(len(lost), CELLS_DIFFER, dtype=object)],
        )

    def _typed(self, data: bytes | memoryview) -> pa.Table:
        """Parse rows into the types that are expected.

        Raises:
            pa.ArrowInvalid: a cell does not hold them, or a row has too many cells or too few.
        """
        types = {name: pa.float32() if kind == "number" else pa.string() for name, kind in self._kinds.items()}
        if len(set(self._names)) < len(self._names) or not len(data):
            raise pa.ArrowInvalid("columns are told apart by their places, and no rows by nothing")
        if len(self._layout.time) == 1 and self._layout.format is None:
            (time,) = self._layout.time
            line = (
                bytes(data[:HEAD]).partition(b"\n")[0].decode("utf-8", "replace").strip().split(self._layout.delimiter)
            )
            at = self._names.index(time)
            zoned = at < len(line) and re.search(ZONED, line[at]) and ":" in line[at]
            types[time] = pa.timestamp("us", "UTC" if zoned else None)
        if pa.string() in types.values() and b'"' in bytes(data):  # a time or a number with a line end is neither
            raise pa.ArrowInvalid("a text cell may hold lines that a lone quote has swallowed")
        return pacsv.read_csv(
            pa.BufferReader(data),
            read_options=_read_options(self._names, len(data)),
            parse_options=_parse_options(self._layout, len(self._names)),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=self._layout.missing,
                strings_can_be_null=True,
                decimal_point=self._layout.decimal,
            ),
        )

    def _times(self, table: pa.Table) -> tuple[Ints, States]:
        names = self._layout.time
        if not names:
            return np.zeros(len(table), np.int64), np.full(len(table), AWARE, np.int8)
        kind = table.schema.field(names[0]).type
        if pa.types.is_timestamp(kind):
            column = table[names[0]].cast(pa.int64()).combine_chunks()
            empty = np.asarray(column.is_null())
            state = np.where(empty, MISSING, NAIVE if kind.tz is None else AWARE).astype(np.int8)
            return np.asarray(column.fill_null(0)).astype(np.int64), state
        text = [pc.utf8_trim_whitespace(pc.fill_null(table[name].combine_chunks(), "")) for name in names]
        joined = text[0] if len(text) == 1 else pc.binary_join_element_wise(*text, " ")
        empty = pc.is_in(pc.utf8_trim_whitespace(joined), value_set=pa.array(self._layout.missing))
        return parse_times(pc.if_else(empty, None, joined), self._layout.format)

    def _label(self, table: pa.Table, reasons: Reasons) -> pa.Array | None:
        name = self._layout.label
        if name is None or name not in self._kinds:
            return None
        if not self._layout.label_words:
            if not pa.types.is_string(table[name].type):
                return table[name].combine_chunks()
            label, bad = _floats(table[name], self._layout)
            reasons[bad] = NO_LABEL
            return label
        text = pc.utf8_trim_whitespace(table[name].combine_chunks())
        words = list(self._layout.label_words)
        found = pc.index_in(text, value_set=pa.array(words))
        empty = pc.fill_null(pc.is_in(text, value_set=pa.array(self._layout.missing)), fill_value=True)
        reasons[np.asarray(pc.and_(pc.invert(empty), found.is_null()))] = NO_LABEL
        return pa.array([float(self._layout.label_words[one]) for one in words], pa.float32()).take(found)

    def _word(self, table: pa.Table, name: str | None) -> pa.Array | None:
        if name is None:
            return None
        text = pc.utf8_trim_whitespace(table[name].combine_chunks())
        return pc.if_else(pc.is_in(text, value_set=pa.array(self._layout.missing)), None, text)


def _padded(table: pa.Table, rows: int) -> pa.Table:
    """Add rows without a reading."""
    if not rows:
        return table
    return pa.concat_tables([table, pa.table([pa.nulls(rows, one.type) for one in table.schema], schema=table.schema)])
