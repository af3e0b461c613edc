"""The hand of a text file: its encoding, delimiter and decimal sign, the lines before its header, and its header."""

import codecs
import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from tasks.look.clocks import looks_like_time
from tasks.sources.cells import MISSING_CELLS, NUMBER
from watchkeeper.errors import DataError

LINES = 80
"""Lines that tell delimiter and decimal sign."""
DELIMITERS = (",", ";", "\t", "|", " ")
JUNK = 40
"""Lines before the header at most."""
FOREIGN = {
    b"PK\x03\x04": "a workbook or a zip archive; save its tables as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save its tables as CSV",
    b"SQLite format 3": "an SQLite database; name it as sqlite:///path",
    b"PAR1": "a Parquet file; give it a name that ends in .parquet",
    b"\x1f\x8b": "packed by gzip; give it a name that ends in .gz",
    b"\x93NUMPY": "a numpy array; save it as CSV or Parquet",
    b"\x89HDF": "an HDF5 file; save its tables as CSV or Parquet",
}
UNIT = re.compile(r"[\[(].*[\])]|%|°?[A-Za-z°µΩ]{1,4}(/[A-Za-z0-9³²]{1,4})?|-|")


@dataclass(frozen=True)
class Dialect:
    """How a text file is written.

    Attributes:
        encoding: as in a watch file.
        delimiter, decimal: of its cells.
        skip: lines before the header, or before the rows where `header` is None.
        header: the names in it, trimmed, as they stand there; None where there is no usable one.
        names: of the columns, none empty and none twice.
        rows: cells of its first rows, trimmed; rows of another width are left out.
    """

    encoding: str
    delimiter: str
    decimal: str
    skip: int
    header: tuple[str, ...] | None
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]


def find_encoding(head: bytes) -> str:
    """Tell how the text is encoded.

    Raises:
        DataError: it is no text.
    """
    for mark, what in FOREIGN.items():
        if head.startswith(mark):
            raise DataError(f"is {what}")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        for at, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if head[at:1000:2].count(0) > 0.8 * len(head[at:1000:2]):
                return encoding
        raise DataError("is no text: it holds zero bytes")
    if sum(byte < 32 and byte not in b"\t\r\n\f\x1b" for byte in head) > len(head) // 50:
        raise DataError("is no text: it is full of control characters")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252" if re.search(rb"[\x80\x82-\x8c\x8e\x91-\x9c\x9e\x9f]", head) and _is_cp1252(head) else "latin-1"
    return "utf-8"


def _is_cp1252(head: bytes) -> bool:
    return not re.search(rb"[\x81\x8d\x8f\x90\x9d]", head)


def find_dialect(head: bytes, *, whole: bool) -> Dialect:
    """Find the hand of a file by its first bytes.

    Args:
        head: the first bytes, unpacked.
        whole: whether this is all of the file; else the last line may be cut.

    Raises:
        DataError: it is empty, no text, or no table.
    """
    if not head.strip():
        raise DataError("is empty")
    encoding = find_encoding(head)
    text = codecs.getincrementaldecoder(encoding)().decode(head).removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").split("\n")
    if not whole and len(lines) > 1:
        lines = lines[:-1]
    filled = [line for line in lines if line.strip()]
    best: tuple[float, int, str, str] | None = None
    for delimiter in DELIMITERS:
        table = _cells(filled[-LINES:], delimiter)
        width = Counter(map(len, table)).most_common(1)[0][0] if table else 0
        for decimal in ".,":
            if decimal != delimiter and width:
                score = _score(table, width, decimal)
                if best is None or score > best[0] + 1e-9:
                    best = (score, width, delimiter, decimal)
    if best is None or best[0] <= 0.3:
        raise DataError("is no table that can be read: its lines do not fall into columns of numbers and times")
    _, width, delimiter, decimal = best
    return _laid_out(lines, encoding, delimiter, decimal, width)


def _cells(lines: list[str], delimiter: str) -> list[list[str]]:
    table = []
    for line in lines:
        try:
            table += [[cell.strip() for cell in row] for row in csv.reader([line], delimiter=delimiter)]
        except csv.Error:
            table.append([])
    return table


def _score(table: list[list[str]], width: int, decimal: str) -> float:
    """Tell how much of the lines falls into cells of numbers and times; one column counts half."""
    worth = {"number": 1.0, "time": 1.0, "empty": 0.9, "word": 0.4}
    total = 0.0
    for row in table:
        if len(row) == width:
            total += sum(worth[kind_of(cell, decimal)] for cell in row) / width
    return total / len(table) * (1.0 if width > 1 else 0.5)


@lru_cache(maxsize=65_536)
def kind_of(cell: str, decimal: str) -> str:
    """Tell whether a cell is a "number", a "time", "empty" or a "word"."""
    if cell in MISSING_CELLS:
        return "empty"
    if is_number(cell, decimal):
        return "number"
    return "time" if looks_like_time(cell) else "word"


def is_number(cell: str, decimal: str) -> bool:
    """Tell whether the sources would read a reading in the cell."""
    if decimal != ".":
        cell = cell.replace(".", " ").replace(decimal, ".")
    return bool(NUMBER.fullmatch(cell))


def _laid_out(lines: list[str], encoding: str, delimiter: str, decimal: str, width: int) -> Dialect:
    """Find the header: the last line before the first row that is like the rows after it."""
    table = _cells(lines, delimiter)
    fitting = [row for row in table if len(row) == width]
    body = fitting[len(fitting) // 2 :]
    usual = [Counter(kind_of(row[at], decimal) for row in body).most_common(1)[0][0] for at in range(width)]
    typed = [at for at, kind in enumerate(usual) if kind in ("number", "time")]
    if not typed:
        raise DataError("is no table that can be read: it holds neither numbers nor times")

    times = [at for at in typed if usual[at] == "time"]

    def is_row(cells: list[str], *, headed: bool) -> bool:
        """Tell whether cells are like those of the rows; below a header, some of them may be none."""
        if len(cells) != width:
            return False
        kinds = {at: kind_of(cells[at], decimal) for at in typed}
        if times:
            return all(kinds[at] != "word" for at in times) and any(kinds[at] == "time" for at in times)
        words = sum(kind == "word" for kind in kinds.values())
        return "number" in kinds.values() and words <= (len(typed) // 2 if headed else 0)

    first, headed = None, False
    for at, row in enumerate(table[: JUNK + 2]):
        if is_row(row, headed=headed):
            first = at
            break
        headed |= len(row) == width
    if first is None:
        raise DataError(f"is no table that can be read: none of its first {JUNK} lines is a row of its columns")
    rows = tuple(tuple(row) for row in table[first:] if len(row) == width)
    above = [at for at in range(first) if len(table[at]) == width and any(table[at])]
    units = len(above) > 1 and _is_units(table[above[-1]])
    header = above[-2] if units else above[-1] if above else None
    given = tuple(_made_up(width, usual)) if header is None else tuple(table[header])
    names = _distinct(given)
    if header is not None and not units and names == given and first - header == 1 + lines[header:first].count(""):
        return Dialect(encoding, delimiter, decimal, header, given, names, rows)
    return Dialect(encoding, delimiter, decimal, first, None, names, rows)


def _is_units(cells: list[str]) -> bool:
    """Tell whether a line below the names holds units, as [bar] or (s)."""
    filled = [cell for cell in cells if cell]
    return any(re.fullmatch(r"[\[(].*[\])]", cell) for cell in filled) and all(UNIT.fullmatch(cell) for cell in filled)


def _made_up(width: int, usual: list[str]) -> list[str]:
    if usual.count("time") == 1:
        return ["timestamp" if kind == "time" else f"c{at:02d}" for at, kind in enumerate(usual)]
    return [f"c{at:02d}" for at in range(width)]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, those that are empty or stand twice made distinct."""
    taken: list[str] = []
    for at, name in enumerate(names):
        wanted = base = name or f"column_{at + 1}"
        number = 2
        while wanted in taken or (wanted != name and wanted in names):
            wanted, number = f"{base}_{number}", number + 1
        taken.append(wanted)
    return tuple(taken)
