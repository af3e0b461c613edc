"""Any database that SQLAlchemy knows: a query for a stretch of time, its rows as batches, one series each."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL

from tasks.sources import Batch
from tasks.sources.databases import Ask
from tasks.sources.folder import first_line
from tasks.sources.long_form import side_by_side
from tasks.sources.sql_cells import PER_SECOND, Part, joined, to_part
from watchkeeper.clock import to_datetime
from watchkeeper.databases import SqlSource
from watchkeeper.errors import DataError, SourceError, WatchError
from watchkeeper.table import VARIABLE, fill

PART_ROWS = 20_000
"""Rows that come over the wire at once: as Python's own objects they take ten times the memory that they take later."""
READING = {"yield_per": PART_ROWS, "stream_results": True, "postgresql_readonly": True}
SECOND_US = 1_000_000
MEND = (
    "authentication failed",
    "does not exist",
    "no password",
    "no pg_hba.conf entry",
    "no such",
    "unable to open",
    "denied",
    "read-only",
)
"""Words of a server that answers, and will give the same answer again until somebody mends something."""


@contextmanager
def open_sql(source: SqlSource, channels: tuple[str, ...]) -> Iterator[Ask]:
    """Connect, for reading alone, and give what asks.

    Raises:
        DataError: the database answers that it does not let us in, or has no such table; the driver is missing.
        SourceError: it cannot be reached, or fails.
        WatchError: a variable that the URL names is not set.
    """
    if source.form == "long" and not channels:
        raise WatchError('form = "long" needs `channels` in the watch file: a stretch of time may lack some of them')
    with connect(source) as connection:
        url = _url(source)
        shown = url.render_as_string(hide_password=True)

        def ask(start: int, end: int) -> Iterator[Batch]:
            with _told(shown, url), connection.begin():
                whole = _read(connection, source, channels, start, end)
            yield from _by_series(whole, source, channels)

        yield ask


@contextmanager
def connect(source: SqlSource) -> Iterator[sa.Connection]:
    """Connect, for reading alone; what goes wrong with the connection is told in the house's errors.

    Raises:
        DataError: the database answers that it does not let us in, or has no such table; the driver is missing.
        SourceError: it cannot be reached, or fails.
        WatchError: a variable that the URL names is not set.
    """
    url = _url(source)
    engine = _engine(url, source)
    try:
        with _told(url.render_as_string(hide_password=True), url), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _url(source: SqlSource) -> URL:
    """Fill in variables part by part, so that a password may hold any sign."""
    mend = "set it to what the database's URL needs there"
    where = "source url"
    text = fill(source.url, where, mend) if VARIABLE.fullmatch(source.url) else source.url
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError) as error:
        raise WatchError(f"{where} is no database URL; wanted one like postgresql://user:$PASSWORD@host/db") from error
    if text is not source.url:
        return url
    parts = {name: getattr(url, name) for name in ("username", "password", "host", "database")}
    query = {key: fill(value, where, mend) if isinstance(value, str) else value for key, value in url.query.items()}
    filled = {name: part and fill(part, where, mend) for name, part in parts.items()}
    return URL.create(url.drivername, port=url.port, query=query, **filled)


def _engine(url: URL, source: SqlSource) -> sa.Engine:
    limit = round(source.timeout_s)
    options: dict[str, Any] = {}
    backend = url.get_backend_name()
    if backend == "postgresql":
        options = {
            "connect_timeout": max(2, limit),
            "options": f"-c timezone=UTC -c statement_timeout={limit * 1000}",
            "application_name": "watchkeeper",
            "keepalives_idle": 30,
            "tcp_user_timeout": limit * 1000,
        }
    elif backend == "sqlite" and url.database not in (None, "", ":memory:"):
        # Without this, a file that is not there is made, empty.
        url = url.set(database=f"file:{url.database}", query={**url.query, "mode": "ro", "uri": "true"})
        options = {"timeout": limit}
    try:
        return sa.create_engine(url, poolclass=sa.NullPool, connect_args=options, execution_options=READING)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the driver of {url.drivername} is not installed: no module {error.name}; "
            "pip install 'watchkeeper[databases]' brings PostgreSQL's, others have their own"
        ) from error
    except exc.NoSuchModuleError as error:
        raise WatchError(f"source url: SQLAlchemy knows no database {url.drivername}; correct `url`") from error


@contextmanager
def _told(shown: str, url: URL) -> Iterator[None]:
    """Turn what SQLAlchemy raises into the house's errors, one line each, without a secret."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else None
        said = first_line(cause if isinstance(cause, Exception) else error)
        if url.password:
            said = said.replace(str(url.password), "…")
        again = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)
        if again and not any(word in said for word in MEND):
            raise SourceError(f"{shown}: {said}; is the database up, and reachable from here?") from error
        raise DataError(f"{shown}: {said}; correct `url` or `query` in the watch file, or the rights") from error


def _read(connection: sa.Connection, source: SqlSource, channels: tuple[str, ...], start: int, end: int) -> list[Part]:
    """Ask for a stretch and return its rows, part by part."""
    low, high = start // SECOND_US * SECOND_US, -(-end // SECOND_US) * SECOND_US  # bounds are whole seconds
    bounds = {"start": _bound(low, source, connection), "end": _bound(high, source, connection)}
    result = connection.execute(sa.text(source.query), bounds)
    names = list(result.keys())
    _check_columns(names, source)
    parts = []
    for rows in result.partitions(PART_ROWS):
        part = to_part(dict(zip(names, zip(*rows, strict=True), strict=True)), source, channels)
        outside = part.us[(part.us < low) | (part.us >= high)]
        if len(outside):
            raise DataError(
                f"the query gave a row of {to_datetime(outside[0]):%Y-%m-%d %H:%M:%S} when it was asked for "
                f"{to_datetime(low):%Y-%m-%d %H:%M:%S} to {to_datetime(high):%Y-%m-%d %H:%M:%S}; "
                f"limit its column {source.timestamp} to >= :start and < :end"
            )
        parts.append(part.take((part.us >= start) & (part.us < end)))
    return parts


def _check_columns(names: list[str], source: SqlSource) -> None:
    needed = [source.timestamp, source.series, *([source.channel, source.value] if source.form == "long" else [])]
    found = ", ".join(names[:8])
    if absent := [name for name in needed if name not in names]:
        raise DataError(
            f"the query gives no column {absent[0]}; its columns are {found}; correct it, or say which it is"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"the query gives column {twice[0]} twice; its columns are {found}; name each once")
    others = set(names) - {*needed, source.label}
    if source.form == "wide" and not others:
        raise DataError(f"the query gives no channel beside {found}; select the readings, too")


def _bound(us: int, source: SqlSource, connection: sa.Connection) -> datetime | int | str:
    """Say a time as the database does."""
    if source.format is not None:
        return us // SECOND_US * PER_SECOND[source.format]
    time = to_datetime(us)
    # SQLite has no times, and compares text: this is how its own functions write one.
    return f"{time:%Y-%m-%d %H:%M:%S}" if connection.dialect.name == "sqlite" else time


def _by_series(parts: list[Part], source: SqlSource, channels: tuple[str, ...]) -> Iterator[Batch]:
    """Cut the rows of a stretch by series."""
    if not parts:
        return
    whole = joined(parts)
    coded = pc.fill_null(whole.series, "").dictionary_encode()
    codes = np.asarray(coded.indices)
    order = np.lexsort((whole.us, codes))  # a query without ORDER BY gives rows in no order
    ends = np.searchsorted(codes[order], np.arange(len(coded.dictionary)), side="right")
    for series, rows in zip(coded.dictionary.to_pylist(), np.split(order, ends[:-1]), strict=True):
        part = whole if len(rows) == len(order) and (np.diff(rows) > 0).all() else whole.take(rows)
        batch = Batch(series, series, part.table(), reasons=part.reasons)
        yield batch if part.channel is None else side_by_side(batch, part.channel, source.value, channels)
