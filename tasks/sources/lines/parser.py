"""Files of line protocol, block by block: `measurement,tag=value field=1.5,other=2i 1700000000000000000`.

Lines that are written alike and hold neither quotes nor backslashes in their fields become a table of cells, which
pyarrow turns into numbers together. All other lines are matched against the grammar one by one.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.sources.blocks import BLOCK, read_blocks
from tasks.sources.lines.grammar import name_of, read_head, read_line, stripped
from tasks.sources.lines.parts import LABEL, LEFT_OUT, NO_NAME, Alike, Gathered, Part, tables
from watchkeeper.errors import DataError
from watchkeeper.sources import LinesSource

MOST_FIELDS = 10_000

DROPPED = bytes(sign for sign in range(256) if sign not in b',= "\\\t\0\r')
"""What is deleted from a line behind its head to see how it is written."""
ALIKE = re.compile(rb"=(,=)* ")
"""How fields and a timestamp are written: what is left of them."""
DDL = b"CREATE DATABASE "
"""What stands at the head of an export of InfluxDB's, and is no point."""
FEW = 8
"""So many lines at least are worth a table of their own."""
KEPT = 100_000
"""Heads, and ways to write a line, that are remembered."""
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def read_parts(path: Path, parser: "Parser", block: int = BLOCK) -> Iterator[Part]:
    """Read a file block by block; one whose name ends in .gz, .bz2 or .zst is unpacked on the way.

    Raises:
        DataError: a line is longer than a line can be.
        OSError, pa.ArrowInvalid: it cannot be read.
    """
    first = 0
    for data in read_blocks(path, "utf-8", block):
        lines = bytes(data).split(b"\n")
        part = parser.parse(lines, first)
        first += len(lines) - 1
        if len(part.rows):
            yield part


class Parser:
    """Parses lines, and remembers the series and the fields that it has met.

    Args:
        source: says which tags name the series, what fields are called, and what is left out.
        default: the series of lines without a series.
    """

    def __init__(self, source: LinesSource, default: str) -> None:
        self._source = source
        self._heads: dict[bytes, tuple[int, str] | None] = {}
        self._shapes: dict[bytes, bool] = {}
        self._series: dict[str, int] = {"" if source.series else default: 0}
        self._keys: dict[tuple[str, bytes], int] = {}
        self._fields: dict[str, int] = {}

    @property
    def series(self) -> list[str]:
        """Return the series met so far, by their codes. The first has the lines that name none."""
        return list(self._series)

    @property
    def fields(self) -> list[str]:
        """Return what the fields met so far are called, by their codes; the label is none of them."""
        return list(self._fields)

    def parse(self, lines: Sequence[bytes], first: int) -> Part:
        """Parse lines, the first of which is the file's `first`. Empty lines and remarks (#) are passed over."""
        alike: dict[tuple[str, bytes], tuple[list[int], list[int], list[bytes]]] = {}
        others: list[tuple[int, bytes]] = []
        for number, raw in enumerate(lines, first):
            line = stripped(raw)
            if line.startswith(b"#"):
                continue
            head, _, rest = line.partition(b" ")
            shape = rest.translate(None, DROPPED)
            if not self._is_alike(shape) or head.endswith(b"\\"):
                others.append((number, line))
                continue
            found = self._head(head)
            if found is None:
                others.append((number, line))
            elif found[0] >= 0:
                rows, series, rests = alike.setdefault((found[1], shape), ([], [], []))
                rows.append(number)
                series.append(found[0])
                rests.append(rest)
        gathered = Gathered(NANOSECONDS[self._source.precision])
        for (prefix, _), (rows, series, rests) in alike.items():
            groups = tables(rows, series, rests) if len(rows) >= FEW else None
            if groups is None:
                others += [(number, stripped(lines[number - first])) for number in rows]
            for group in groups or ():
                self._take(gathered, prefix, group)
        self._singly(gathered, [(number, line) for number, line in others if line])
        return gathered.part()

    def _is_alike(self, shape: bytes) -> bool:
        known = self._shapes.get(shape)
        if known is None:
            if len(self._shapes) > KEPT:
                self._shapes.clear()
            known = self._shapes[shape] = ALIKE.fullmatch(shape) is not None
        return known

    def _singly(self, gathered: Gathered, lines: list[tuple[int, bytes]]) -> None:
        """Match lines against the grammar one by one."""
        alike: dict[tuple[str, tuple[bytes, ...]], list[tuple[int, int, bytes, list[bytes]]]] = {}
        bad = []
        for number, line in lines:
            read = read_line(line)
            found = self._head(read[0]) if read else None
            if read is None or found is None:
                if not line.startswith(DDL):
                    bad.append(number)
            elif found[0] >= 0:
                keys = tuple(name_of(key) for key, _ in read[1])
                cells = [cell for _, cell in read[1]]
                alike.setdefault((found[1], keys), []).append((number, found[0], read[2], cells))
        gathered.add_bad(bad)
        for (prefix, keys), group in alike.items():
            rows, series, stamps, table = zip(*group, strict=True)
            cells = [pa.array(column, pa.binary()) for column in zip(*table, strict=True)]
            one = Alike(np.array(rows), np.array(series), pa.array(stamps, pa.binary()), keys, cells)
            self._take(gathered, prefix, one)

    def _head(self, head: bytes) -> tuple[int, str] | None:
        """Return the series of a line's head, −1 where it is left out, and what its fields' names begin with."""
        if head not in self._heads:
            if len(self._heads) > KEPT:
                self._heads.clear()
            self._heads[head] = self._read_head(head)
        return self._heads[head]

    def _read_head(self, head: bytes) -> tuple[int, str] | None:
        found, source = read_head(head), self._source
        if found is None:
            return None
        measurement, tags = found
        if (source.measurement and measurement not in source.measurement) or any(
            tags.get(tag, text) != text for tag, text in source.where.items()
        ):
            return -1, ""
        prefix = f"{measurement}." if len(source.measurement) > 1 else ""
        words = [tags.get(tag, "") for tag in source.series]
        name = ".".join(words) if words and all(words) else ""
        return (self._series.setdefault(name, len(self._series)) if name else 0), prefix

    def _take(self, gathered: Gathered, prefix: str, alike: Alike) -> None:
        codes = [self._field(prefix, key) for key in alike.keys]
        if any(code != LEFT_OUT for code in codes):
            gathered.add(alike, codes)

    def _field(self, prefix: str, key: bytes) -> int:
        """Return the code of a field."""
        known = self._keys.get((prefix, key))
        if known is None:
            known = self._keys[prefix, key] = self._new_field(prefix, key)
        return known

    def _new_field(self, prefix: str, key: bytes) -> int:
        try:
            field = key.decode()
        except UnicodeDecodeError:
            return NO_NAME
        if field == self._source.label:
            return LABEL
        name = prefix + field
        if name in self._source.ignore:
            return LEFT_OUT
        if len(self._fields) >= MOST_FIELDS:
            raise DataError(f"has more than {MOST_FIELDS:,} fields, so they can be no channels; name a `measurement`")
        return self._fields.setdefault(self._source.rename.get(name, name), len(self._fields))
