"""SQL databases: which table holds readings, and what its latest rows are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.types import Date, DateTime, Float, Integer, Numeric

from tasks.look import Choice
from tasks.look.columns import find_columns
from tasks.look.dialect import Dialect
from tasks.look.query import TableName, as_cells, check, escaped, query_of
from tasks.look.roles import TIME_NAMES, Columns
from tasks.sources.sql import connect
from tasks.sources.times import parse_times
from watchkeeper.clock import to_datetime
from watchkeeper.databases import SqlSource
from watchkeeper.errors import DataError
from watchkeeper.settings import first_problem

URL = re.compile(r"(postgresql|postgres|mysql|mariadb|mssql|oracle|sqlite|duckdb|timescaledb)(\+\w+)?:")
HEAD_ROWS = 500
"""Rows that show which column is the clock."""
LOOKED_AT = 20_000
"""The latest rows, which are tried out."""
STRETCH_ROWS = 500_000
"""Rows that one query of an ingest should bring at most, where an hour does not bring more."""
STRETCHES_S = (3_600.0, 86_400.0, 7 * 86_400.0, 30 * 86_400.0)
NEVER_ASKED = "SELECT 1 AS timestamp WHERE 1 >= :start AND 1 < :end"
"""A source has to have a query."""


@dataclass(frozen=True)
class LookedAt:
    """A table of readings.

    Attributes:
        name: what a watch on it may be called.
        keys: of the source.
        columns: what its columns are.
        rows: of the table.
        looked: the latest of them, which were looked at.
        begin: of those rows, whole moments alone.
        oldest, newest: of all rows.
    """

    name: str
    keys: dict[str, Any]
    columns: Columns
    rows: int
    looked: int
    begin: datetime
    oldest: datetime
    newest: datetime

    @property
    def about(self) -> str:
        """What was looked at, in words."""
        table = f"table {self.name}"
        return f"all rows of {table}" if self.looked == self.rows else f"the latest {self.looked:,} rows of {table}"


def look_into(url: str, choice: Choice) -> LookedAt:
    """Look at a database.

    Args:
        url: as SQLAlchemy has it; a password is the name of a variable.
        choice: what a person has said.

    Raises:
        DataError: it cannot be read, or holds no table, or several, of readings.
        SourceError: it cannot be reached.
        WatchError: a variable that the URL names is not set.
    """
    try:
        asked = SqlSource(kind="sql", url=_absolute(url), query=NEVER_ASKED)
    except ValidationError as error:
        raise DataError(first_problem(error)) from error
    with connect(asked) as connection:
        table = _table_of(connection, choice)
        names, head = _rows(connection, f"SELECT * FROM {table.sql}", HEAD_ROWS)  # noqa: S608 - names are quoted
        time = check(table, _columns_of(table, names, head, choice))
        clock = table.quote(time)
        latest = f"SELECT * FROM {table.sql} WHERE {clock} IS NOT NULL ORDER BY {clock} DESC"  # noqa: S608
        names, rows = _rows(connection, latest, LOOKED_AT)
        rows = rows[::-1]
        every = f"SELECT min({clock}), count({clock}) FROM {table.sql}"  # noqa: S608 - names are quoted
        first, count = connection.execute(sa.text(escaped(every))).one()
    columns = _columns_of(table, names, rows, replace(choice, timestamp=(time,)))
    format = None if columns.clock is None else columns.clock.format
    at = names.index(time)
    oldest, begin, newest = (_time(cell, format) for cell in (first, rows[0][at], rows[-1][at]))
    if len(rows) < count:
        begin += timedelta(microseconds=1)  # of the first moment, some rows may not be among them
    keys: dict[str, Any] = {
        "kind": "sql",
        "url": asked.url,
        "query": query_of(table, columns),
        "format": format,
        "since": f"{oldest:%Y-%m-%d}",
        "stretch_s": _stretch(count / max(1.0, (newest - oldest).total_seconds())),
        "form": "long" if columns.channel else None,
    }
    keys = {name: value for name, value in keys.items() if value is not None}
    return LookedAt(table.short, keys, columns, count, len(rows), begin, oldest, newest)


def _absolute(url: str) -> str:
    """Return the URL; that of an SQLite file names it from the root, wherever a watch will run."""
    if found := re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/?].*)", url):
        return f"{found[1]}{Path(found[2]).absolute()}"
    return re.sub(r"^(postgres|timescaledb)(?=[:+])", "postgresql", url)


def _table_of(connection: sa.Connection, choice: Choice) -> TableName:
    """Return the table that was named, or the only one that has a clock and numbers."""
    signs = connection.dialect.identifier_preparer

    def quote(name: str) -> str:
        # Its own way of quoting doubles what `text` will double again: a % for psycopg2.
        return f"{signs.initial_quote}{name.replace(signs.escape_quote, signs.escape_to_quote)}{signs.final_quote}"

    inspector = sa.inspect(connection)
    names = [*inspector.get_table_names(), *inspector.get_view_names()]
    if choice.table is not None:
        schema, _, name = choice.table.rpartition(".")
        known = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
        if name not in known and choice.table not in names:
            raise DataError(f"there is no table {choice.table}; there are {_some(known or names)}")
        if choice.table in names:
            return TableName(choice.table, quote(choice.table), quote)
        return TableName(choice.table, f"{quote(schema)}.{quote(name)}" if schema else quote(name), quote)
    fitting = [name for name in names if _holds_readings(inspector.get_columns(name))]
    if not fitting:
        raise DataError(f"no table has a clock and numbers; there are {_some(names)}; name one with --table")
    if len(fitting) > 1:
        raise DataError(f"tables {_some(fitting)} have a clock and numbers; choose one with --table")
    return TableName(fitting[0], quote(fitting[0]), quote)


def _some(names: Sequence[str]) -> str:
    return (", ".join(names[:8]) + (" …" if len(names) > 8 else "")) or "none"


def _holds_readings(columns: Sequence[Any]) -> bool:
    clocks = [one for one in columns if isinstance(one["type"], Date | DateTime) or TIME_NAMES.fullmatch(one["name"])]
    numbers = [one for one in columns if isinstance(one["type"], Integer | Numeric | Float) and one not in clocks]
    return bool(clocks and numbers)


def _rows(connection: sa.Connection, query: str, most: int) -> tuple[list[str], list[Sequence[Any]]]:
    result = connection.execute(sa.text(escaped(query)))
    return list(result.keys()), list(result.fetchmany(most))


def _columns_of(table: TableName, names: list[str], rows: list[Sequence[Any]], choice: Choice) -> Columns:
    """Tell what the columns are, as those of a file with the same cells."""
    cells = as_cells(rows)
    try:
        found = find_columns(Dialect("utf-8", ",", ".", 0, tuple(names), tuple(names), cells), choice)
    except DataError as error:
        raise DataError(f"table {table.name} {error}") from error
    # A database tells its zone, or there is none to be told: it has no key for it.
    clock = None if found.clock is None else replace(found.clock, aware=True)
    return replace(found, clock=clock, missing=())


def _time(cell: Any, format: str | None) -> datetime:
    us, _ = parse_times(pa.array([str(cell)]), format)
    return to_datetime(int(us[0]))


def _stretch(rows_a_second: float) -> float:
    """Return the longest stretch that brings no more rows than one query should."""
    fitting = [length for length in STRETCHES_S if length * rows_a_second <= STRETCH_ROWS]
    return fitting[-1] if fitting else STRETCHES_S[0]
