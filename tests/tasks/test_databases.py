"""Which stretch of time a database is asked for, whatever its kind."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingest import ingest
from tasks.sources import Batch, Stored, databases, read_source
from tasks.sources.databases import Span, span_of
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.databases import SqlSource
from watchkeeper.errors import DataError, WatchError
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def source(**options: object) -> SqlSource:
    """A source; nobody asks it for anything."""
    return SqlSource(kind="sql", url="sqlite://", query="SELECT :start, :end", **options)


def span(until: datetime | None = None, times: dict | None = None, **options: object) -> tuple[datetime, datetime]:
    """What is asked for, as times."""
    found = span_of(source(**options), until, times or {}, NOW)
    return to_datetime(found.start), to_datetime(found.end)


def test_the_first_ingest_begins_where_the_watch_file_says() -> None:
    """And ends at the earliest of the source's end, the ingest's, and what may still come late."""
    assert span() == (NOW - timedelta(days=30), NOW)
    assert span(since="-2h", late_s=600) == (NOW - 2 * HOUR, NOW - timedelta(minutes=10))
    assert span(since="-2h", until=NOW - HOUR) == (NOW - 2 * HOUR, NOW - HOUR)
    assert span(NOW + HOUR, since="-2h") == (NOW - 2 * HOUR, NOW)
    assert span(NOW - HOUR, since="2026-03-09", late_s=600) == (datetime(2026, 3, 9, tzinfo=UTC), NOW - HOUR)


def test_the_next_one_goes_on_at_the_newest_row_of_all_series() -> None:
    """A series that died does not pull it back; the tolerance does, but not behind the first row of the watch."""
    times = {"dead": (NOW - 50 * HOUR, NOW - 40 * HOUR), "alive": (NOW - 30 * HOUR, NOW - HOUR)}
    assert span(times=times) == (NOW - HOUR, NOW)
    assert span(times=times, late_s=7200) == (NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert span(times=times, late_s=360_000)[0] == NOW - 50 * HOUR


def test_an_ingest_that_ends_before_it_begins_is_a_mistake_only_at_first() -> None:
    """Later on there is simply nothing new yet."""
    with pytest.raises(WatchError, match="correct `since`, `until` or `late_s`"):
        span(since="-1h", late_s=3600)
    times = {"alive": (NOW - HOUR, NOW)}
    assert list(Span(*map(to_microseconds, span(times=times, late_s=0))).stretches(60)) == []


@given(start=st.integers(-1000, 1000), length=st.integers(1, 300), steps=st.integers(0, 1500))
def test_stretches_cover_the_span_once(start: int, length: int, steps: int) -> None:
    """One after the other, none longer than it may be, cut where every ingest would cut."""
    found = list(Span(start, start + steps).stretches(length))
    assert [edge for pair in found for edge in pair][:: max(1, 2 * len(found) - 1)] == (
        [start, start + steps] if steps else []
    )
    assert all(0 < high - low <= length for low, high in found)
    assert all(high == low and high % length == 0 for (_, high), (low, _) in pairwise(found))


@given(start=st.integers(-1000, 1000), steps=st.integers(0, 500), every=st.integers(1, 60))
def test_bins_are_whole(start: int, steps: int, every: int) -> None:
    """No bin begins before the span, none ends after it, and no further one would fit."""
    found = Span(start, start + steps).bins(every)
    assert found.start % every == found.end % every == 0
    assert start <= found.start < start + every
    assert start + steps - every < found.end <= start + steps


def batch(series: str, channel: str = "a") -> Batch:
    """One row."""
    times = pa.array([NOW - HOUR], pa.timestamp("us", "UTC"))
    return Batch(series, series, pa.table({"timestamp": times, channel: np.ones(1)}))


def read(monkeypatch: pytest.MonkeyPatch, *series: str) -> list[tuple[str, list[str] | None]]:
    """What a database with these series gives: names and reasons."""
    asked = lambda *_: [batch(one) for one in series]  # noqa: E731 - what a database is
    monkeypatch.setattr(databases, "_open", lambda *_: nullcontext(asked))
    items = list(read_source(source(since="-2h"), None, (), Stored(), NOW))
    return [(one.series, None if one.reasons is None else one.reasons.tolist()) for one in items]


def test_names_are_made_fit_for_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of names; what has no name goes to quarantine, and two are never mixed."""
    given = ("10.0.0.7:9100", "../etc/passwd", "Pumpe 7", "", "::")
    unnamed = ("unnamed", ["series is missing or no name"])
    assert read(monkeypatch, *given) == [
        ("10.0.0.7_9100", None), ("Pumpe_7", None), ("etc_passwd", None), unnamed, unnamed,
    ]  # fmt: skip
    with pytest.raises(DataError, match="'a/b' and 'a b' would both be called a_b in the lake; rename one"):
        read(monkeypatch, "a/b", "a b")


def test_a_series_that_does_not_fit_keeps_all_waiting(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows would lie behind the others' newest one for good."""
    asked = [batch("one"), batch("two", channel="b")]
    monkeypatch.setattr(databases, "_open", lambda *_: nullcontext(lambda *_: asked))
    some = Watch(name="unit", source=source(since="-2000d"))
    with pytest.raises(DataError, match=r"^two, .*: missing channel a"):
        ingest(lake.uri, some, NOW)
    assert lake.list("snapshots") == []
    asked[1] = batch("two")
    assert ingest(lake.uri, some, NOW).rows == 2
