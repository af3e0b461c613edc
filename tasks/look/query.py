"""The query that a watch asks of a table, in the SQL of its database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.look.roles import Columns
from watchkeeper.errors import DataError
from watchkeeper.sources import UNIX_TIMES


@dataclass(frozen=True)
class TableName:
    """A table: how people call it, how SQL does, and what quotes names in that SQL."""

    name: str
    sql: str
    quote: Callable[[str], str]

    @property
    def short(self) -> str:
        """Its name without its schema."""
        return self.name.rpartition(".")[2]


def escaped(text: str) -> str:
    """Return SQL in which no colon is taken for a parameter."""
    return text.replace(":", "\\:")


def check(table: TableName, columns: Columns) -> str:
    """Return the column of the clock, where a query can ask by it.

    Raises:
        DataError: it cannot.
    """
    if len(columns.time) != 1 or columns.clock is None:
        raise DataError(f"table {table.name} tells date and time in two columns; join them in a query of your own")
    if columns.clock.format not in (None, *UNIX_TIMES):
        raise DataError(
            f"table {table.name} tells times as text ({columns.clock.format}); a query that is limited by time needs "
            f"timestamps, ISO 8601 or numbers: make a view of it"
        )
    return columns.time[0]


def query_of(table: TableName, columns: Columns) -> str:
    """Return the query: a line for each column, limited to a stretch of time."""
    quote = table.quote
    clock = quote(check(table, columns))
    series = quote(columns.series) if columns.series else _literal(table.short)
    lines = [f"{clock} AS {quote('timestamp')}", f"{series} AS {quote('series')}"]
    if columns.channel and columns.value:
        lines += [f"{quote(columns.channel)} AS {quote('channel')}", f"{quote(columns.value)} AS {quote('value')}"]
    else:
        called = {new: old for old, new in columns.rename.items()}
        lines += [_named(quote, called.get(name, name), name) for name in columns.channels]
    if columns.label is not None:
        lines.append(f"{_label(quote(columns.label), columns)} AS {quote('label')}")
    chosen = ",\n  ".join(escaped(line) for line in lines)
    return (
        f"SELECT\n  {chosen}\nFROM {escaped(table.sql)}\nWHERE {escaped(clock)} >= :start AND {escaped(clock)} < :end"
    )


def _named(quote: Callable[[str], str], column: str, channel: str) -> str:
    return quote(column) if column == channel else f"{quote(column)} AS {quote(channel)}"


def _label(column: str, columns: Columns) -> str:
    if not columns.label_words:
        return column
    cases = " ".join(f"WHEN {_literal(word)} THEN {meaning}" for word, meaning in columns.label_words.items())
    return f"CASE {column} {cases} END"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def as_cells(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, ...], ...]:
    """Return what a driver gives as the text that a file would have."""
    return tuple(tuple(_cell(cell) for cell in row) for row in rows)


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, bool) else str(cell).strip()
