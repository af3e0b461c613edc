"""Databases: which stretch of time to ask for, stretch by stretch, and rows of what was asked as batches.

A database is a function from a stretch of time to batches (`Ask`); what opens one is chosen by the source's kind. The
rest is the same for all: where to go on, what may still come late, what a series is called in the lake.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from tasks.sources import Batch, Stored
from tasks.sources.delimited import NO_SERIES, UNNAMED
from tasks.sources.resample import Resampler, Rule
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.databases import DatabaseSource, PrometheusSource, SqlSource, time_of
from watchkeeper.errors import DataError, WatchError
from watchkeeper.influx import InfluxSource
from watchkeeper.mqtt import MqttSource

Database = SqlSource | PrometheusSource | InfluxSource | MqttSource
Ask = Callable[[int, int], Iterable[Batch]]
"""Asks for the rows with start <= timestamp < end, both in µs since 1970 UTC: one batch a series, in any order.

A batch is called what the database calls its series, "" where it has no name. It has the column `timestamp`, whole and
within the stretch, its channels as numbers, perhaps `label`, and `reasons` for rows that cannot be read. Errors are
DataError where the watch file is to be mended, SourceError where the database is at fault.
"""


@dataclass(frozen=True)
class Span:
    """What one ingest takes in: start <= timestamp < end, in µs since 1970 UTC."""

    start: int
    end: int

    def bins(self, every: int) -> "Span":
        """Return the whole bins of the span: from the first that begins in it to the last that is complete."""
        return Span(-(-self.start // every) * every, self.end // every * every)

    def stretches(self, length: int) -> Iterator[tuple[int, int]]:
        """Cut the span at whole multiples of the length, so that a day's rows come together."""
        start = self.start
        while start < self.end:
            end = min(self.end, (start // length + 1) * length)
            yield start, end
            start = end


def span_of(
    source: DatabaseSource, until: datetime | None, times: Mapping[str, tuple[datetime, datetime]], now: datetime
) -> Span:
    """Say what to ask for.

    A row is taken in once it is `late_s` old, and looked for again until it is about twice as old: what comes later
    than it should is then seen, older than the newest stored row, and set aside.

    Args:
        source: with its rules.
        until: of this ingest; None: no other end than the source's own.
        times: of each series the oldest and the newest stored time.
        now: aware.

    Raises:
        WatchError: the first ingest would end before it begins.
    """
    late = timedelta(seconds=source.late_s)
    end = min(time_of(source.until, now), now - late, *([] if until is None else [until.astimezone(UTC)]))
    if times:
        newest = max(newest for _, newest in times.values())
        # What is older than the first ingest began is not late: nobody asked for it.
        start = max(newest - late, min(oldest for oldest, _ in times.values()))
        return Span(to_microseconds(start), to_microseconds(end))
    start = time_of(source.since, now)
    if start >= end:
        raise WatchError(
            f"the source begins at {start:%Y-%m-%d %H:%M:%S} (since = {source.since!r}) and is to end at "
            f"{end:%Y-%m-%d %H:%M:%S}; correct `since`, `until` or `late_s`"
        )
    return Span(to_microseconds(start), to_microseconds(end))


def asked_from(source: DatabaseSource, times: Mapping[str, tuple[datetime, datetime]], now: datetime) -> int:
    """Return the time in µs since 1970 UTC before which no ingest asks any more, once something is stored."""
    rule = Rule.of(source)
    return span_of(source, None, times, now).start - (rule.before if rule else 0)


def read_database(source: Database, until: datetime | None, stored: Stored, now: datetime) -> Iterator[Batch]:
    """Read what the database has beyond what is stored, in the order of time.

    Raises:
        DataError: it gives nothing at the first ingest, or what cannot be used.
        SourceError: it cannot be reached, or fails.
        WatchError: a variable that the watch file names is not set, or its times give no span.
    """
    span = span_of(source, until, stored.times, now)
    length, before, resampler = round(source.stretch_s * 1e6), 0, None
    if rule := Rule.of(source):
        span = span.bins(rule.every)
        length, before = -(-length // rule.every) * rule.every, rule.before
        newest = {series: to_microseconds(times[1]) for series, times in stored.times.items()}
        resampler = Resampler(rule, span.start, newest)
    names: dict[str, str] = {}
    found = False
    with _open(source, stored) as ask:
        for start, end in Span(span.start - before, span.end).stretches(length):
            batches = [named(batch, names) for batch in ask(start, end) if len(batch.table)]
            for batch in resampler.take(batches, start, end) if resampler else sorted(batches, key=_series):
                found = True
                where = f"{batch.series}, {to_datetime(start):%Y-%m-%d %H:%M} to {to_datetime(end):%Y-%m-%d %H:%M}"
                yield replace(batch, origin=where)
    if not found and not stored.times:
        raise DataError(
            f"the {source.kind} source has no row from {to_datetime(span.start):%Y-%m-%d %H:%M} "
            f"to {to_datetime(span.end):%Y-%m-%d %H:%M}; correct `since` ({source.since}) or what is asked for"
        )


def _open(source: Database, stored: Stored) -> AbstractContextManager[Ask]:
    if source.kind == "sql":
        from tasks.sources.sql import open_sql

        return open_sql(source, stored.channels)
    if source.kind == "prometheus":
        from tasks.sources.prometheus import open_prometheus

        return open_prometheus(source)
    if source.kind == "mqtt":
        from tasks.sources.mqtt import open_mqtt

        return open_mqtt(source, stored)
    from tasks.sources.influx import open_influx

    return open_influx(source, stored.channels)


def _series(batch: Batch) -> str:
    return batch.series


def named(batch: Batch, names: dict[str, str]) -> Batch:
    """Give a batch the name that its series has in the lake, where it is part of a path: other signs become `_`.

    Args:
        batch: named as in the database.
        names: what the names so far stand for; a new one is added.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", batch.series).lstrip("_.-")
    if not name:
        known = np.full(len(batch.table), "", dtype=object) if batch.reasons is None else batch.reasons
        return replace(batch, series=UNNAMED, reasons=np.where(known == "", NO_SERIES, known))
    if names.setdefault(name, batch.series) != batch.series:
        raise DataError(
            f"the series {names[name]!r} and {batch.series!r} would both be called {name} in the lake; rename one"
        )
    return replace(batch, series=name)
