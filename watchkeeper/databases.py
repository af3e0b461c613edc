"""The databases that a watch file may name: where to ask, from when to when, and what may come late."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from watchkeeper.table import VARIABLE, Table, as_utc

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
AGO = re.compile(r"-(\d{1,9})([smhdw])")
BINDS = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""Parameters of a query, as SQLAlchemy finds them."""


def time_of(text: str, now: datetime) -> datetime:
    """Return the time that a watch file means.

    Args:
        text: ISO 8601, UTC unless it says otherwise; `now`; or how long ago, as `-30d`: s, m, h, d or w.
        now: aware.

    Raises:
        ValueError: it is none of these.
    """
    if text == "now":
        return now.astimezone(UTC)
    if ago := AGO.fullmatch(text):
        return now.astimezone(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    return as_utc(datetime.fromisoformat(text))


def _readable(value: object) -> object:
    """Take TOML's own times as well as text; refuse what is no time."""
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, str):
        try:
            time_of(value, datetime(2026, 1, 1, tzinfo=UTC))
        except (ValueError, OverflowError) as error:
            raise ValueError(
                "no time; wanted one like 2026-01-31T12:00:00Z, or -2w, -30d, -12h, -90m, or now"
            ) from error
    return value


When = Annotated[str, BeforeValidator(_readable)]
"""A time of a watch file."""


def _by_name(value: str | None) -> str | None:
    if value is not None and not VARIABLE.fullmatch(value):
        raise ValueError("a watch file holds no secret; write $NAME here and set the environment variable NAME")
    return value


Secret = Annotated[str, BeforeValidator(_by_name)]
"""The name of an environment variable that holds a secret, as `$NAME`."""


Aggregate = Literal["mean", "median", "min", "max", "sum", "first", "last"]


class DatabaseSource(Table):
    """A database that is asked for a stretch of time after the other. docs/data.md explains each key."""

    since: When = Field(default="-30d", description="where the first ingest begins")
    until: When = Field(default="now", description="where every ingest ends at the latest")
    late_s: float = Field(default=0.0, ge=0, description="how late a row may arrive and still be taken in, in order")
    stretch_s: float = Field(default=86_400.0, ge=1, description="one query asks for so much time: bounds the memory")
    timeout_s: float = Field(default=60.0, ge=1, description="of a connection and of a query")
    every_s: float | None = Field(default=None, ge=0.001, description="length of a bin; None: rows stay as stored")
    aggregate: Aggregate = Field(default="mean", description="what becomes of the readings in a bin")
    aggregates: dict[str, Aggregate] = Field(default={}, description="the same for channels that differ")
    gap: Literal["missing", "nan", "hold"] = Field(
        default="missing",
        description="what a bin without a reading becomes: no row, a row of missing readings, or held",
    )
    hold_s: float | None = Field(default=None, gt=0, description="how long a value is held at most")

    @model_validator(mode="after")
    def _whole_rule(self) -> Self:
        given = self.aggregate, self.aggregates, self.gap, self.hold_s
        if self.every_s is None and given != ("mean", {}, "missing", None):
            raise ValueError("aggregate, aggregates, gap and hold_s are for bins; set every_s, their length")
        if (self.gap == "hold") != (self.hold_s is not None):
            raise ValueError('gap = "hold" needs hold_s, how long at most, and nothing else does')
        if self.hold_s is not None and self.every_s is not None and self.hold_s < self.every_s:
            raise ValueError("hold_s is shorter than every_s, so nothing would be held")
        return self


class SqlSource(DatabaseSource):
    """Any database that SQLAlchemy knows: PostgreSQL with TimescaleDB or without, SQLite and others."""

    kind: Literal["sql"]
    url: str = Field(
        description="as SQLAlchemy has it; a password is the name of a variable: postgresql://me:$PW@host/db"
    )
    query: str = Field(description="one SELECT, limited by the timestamp column to >= :start and < :end")
    timestamp: str = "timestamp"
    format: Literal["unix_s", "unix_ms", "unix_us", "unix_ns"] | None = Field(
        default=None, description="of a timestamp that is a number; :start and :end are numbers then, too"
    )
    series: str = Field(default="series", description="column that names the series")
    label: str = "label"
    form: Literal["wide", "long"] = "wide"
    channel: str = Field(default="channel", description="long form: the column that names the channel")
    value: str = Field(default="value", description="long form: the column with the reading")

    @field_validator("url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        if not VARIABLE.fullmatch(url) and not re.match(r"\w+(\+\w+)?://", url):
            raise ValueError("no database URL; wanted one like postgresql://user:$PASSWORD@host/database")
        written = re.search(r"//[^/:@]*:(.*)@", url) or re.search(r"[?&]password=([^&]*)", url)
        _by_name(written and written[1])
        return url

    @field_validator("query")
    @classmethod
    def _bounded(cls, query: str) -> str:
        found = set(BINDS.findall(query))
        if found != {"start", "end"}:
            others = ", ".join(f":{name}" for name in sorted(found - {"start", "end"}))
            raise ValueError(
                "the query must be limited to `timestamp >= :start AND timestamp < :end`"
                + (f" and may have no other parameter; it has {others}" if others else "")
            )
        return query


class PrometheusSource(DatabaseSource):
    """Prometheus, VictoriaMetrics or another server with Prometheus' API: a range query for each channel."""

    kind: Literal["prometheus"]
    url: str = Field(description="of the server, to what stands before /api/v1")
    queries: dict[str, str] = Field(min_length=1, description="what a channel is, in PromQL")
    series: str = Field(default="instance", description="label that names the series")
    step_s: float = Field(default=60.0, ge=0.001, description="between two rows, aligned to 1970 UTC")
    late_s: float = Field(default=60.0, ge=0, description="VictoriaMetrics makes up the latest 30 s: wait longer")
    token: Secret | None = None
    user: str | None = None
    password: Secret | None = None

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", url):
            raise ValueError("no address of a server; wanted one like http://prometheus:9090")
        if "@" in url:
            raise ValueError("no user belongs here; write user and password = $NAME, or token = $NAME")
        return url.rstrip("/")

    @field_validator("step_s")
    @classmethod
    def _whole_ms(cls, step_s: float) -> float:
        if abs(step_s * 1000 - round(step_s * 1000)) > 1e-6:
            raise ValueError("wanted whole milliseconds")
        return step_s

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.user is None) != (self.password is None) or (self.token and self.user):
            raise ValueError("wanted user and password, or token, or none of them")
        return self
