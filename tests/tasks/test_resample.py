"""Bins of readings: against an obvious loop, at any cuts, and from a database at any times."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.ingest import ingest
from tasks.rows import read_rows, require_snapshot
from tasks.sources import Batch, databases
from tasks.sources.resample import Resampler, Rule
from watchkeeper.clock import to_microseconds
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

SECOND = 1_000_000
START = datetime(2026, 1, 5, tzinfo=UTC)
LOOPS: dict[str, Callable[[list[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
    "sum": math.fsum,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}
Reading = tuple[int, float | None, float | None]
"""Seconds, channel a, channel b."""


def batch(readings: list[Reading], series: str = "pump") -> Batch:
    """The rows of a series."""
    times = pa.array([int(second * SECOND) for second, *_ in readings], pa.int64()).cast(pa.timestamp("us", "UTC"))
    columns = {name: pa.array([one[at] for one in readings], pa.float64()) for at, name in ((1, "a"), (2, "b"))}
    return Batch(series, series, pa.table({"timestamp": times, **columns}))


def loop(readings: list[Reading], rule: Rule, end: int) -> dict[int, tuple[float, float]]:
    """What the bins before `end` are, in seconds, one after the other."""
    every, out = rule.every // SECOND, {}
    bins = [one[0] // every for one in readings if one[1] is not None or one[2] is not None]
    for bin in range(min(bins, default=0), end // every):
        row = []
        for at, name in ((1, "a"), (2, "b")):
            value = math.nan
            for back in range(rule.hold + 1):
                inside = sorted(one for one in readings if one[0] // every == bin - back and one[at] is not None)
                if inside:
                    value = LOOPS[rule.aggregates.get(name, rule.aggregate)]([one[at] for one in inside])
                    break
            row.append(value)
        empty = all(math.isnan(value) for value in row)
        if not empty or (rule.gap == "nan" and bins and min(bins) <= bin <= max(bins)):
            out[bin * every] = (row[0], row[1])
    return out


def taken(readings: list[Reading], rule: Rule, cuts: list[int]) -> dict[int, tuple[float, float]]:
    """The same by the resampler, in the stretches between cuts."""
    resampler, out = Resampler(rule, 0, {}), {}
    for start, end in itertools.pairwise(cuts):
        rows = [one for one in readings if start <= one[0] < end]
        for got in resampler.take([batch(rows)] if rows else [], start * SECOND, end * SECOND):
            for row in got.table.to_pylist():
                second = to_microseconds(row["timestamp"]) // SECOND
                assert second not in out
                out[second] = (row["a"], row["b"])
    return out


reading = st.tuples(st.integers(0, 299), *[st.one_of(st.none(), st.integers(-9, 9).map(float))] * 2)
rules = st.builds(
    lambda every, aggregate, aggregates, gap: Rule(every, aggregate, aggregates, *gap),
    every=st.sampled_from([10 * SECOND, 30 * SECOND]),
    aggregate=st.sampled_from(sorted(LOOPS)),
    aggregates=st.sampled_from([{}, {"b": "median"}]),
    gap=st.sampled_from([("missing", 0), ("nan", 0), ("hold", 1), ("hold", 3)]),
)


@settings(max_examples=200, deadline=None)
@given(
    readings=st.lists(reading, min_size=1, max_size=25, unique_by=lambda one: one[0]),
    rule=rules,
    cuts=st.sets(st.integers(1, 9)),
)
def test_bins_are_those_of_an_obvious_loop(readings: list[Reading], rule: Rule, cuts: set[int]) -> None:
    """Whatever the aggregate, the rule for gaps and the stretches, and in whatever order rows come."""
    got = taken(readings, rule, [0, *sorted(cut * 30 for cut in cuts), 300])
    wanted = loop(readings, rule, 300)
    assert got.keys() == wanted.keys()
    for second, values in wanted.items():
        assert got[second] == pytest.approx(values, nan_ok=True)


def test_readings_of_one_moment_come_in_no_order_of_the_database() -> None:
    """Their sum is the same to the bit, and the last one is the greatest."""
    rows: list[Reading] = [(3, value, 0.0) for value in (0.1, 0.2, 0.3, 1e16, -1e16)]
    for how in ("sum", "last"):
        rule = Rule(10 * SECOND, how, {}, "missing", 0)
        assert taken(rows, rule, [0, 10]) == taken(rows[::-1], rule, [0, 10])
    assert taken(rows, Rule(10 * SECOND, "last", {}, "missing", 0), [0, 10]) == {0: (1e16, 0.0)}


def test_a_label_of_one_reading_is_the_bin_s() -> None:
    """Anomalous counts before normal, normal before unknown; a held bin says nothing."""
    rows = batch([(0, 1.0, 1.0), (5, 1.0, 1.0), (12, 1.0, 1.0)])
    marked = Batch("pump", "pump", rows.table.append_column("label", pa.array([0.0, 1.0, None])))
    (got,) = Resampler(Rule(10 * SECOND, "mean", {}, "hold", 2), 0, {}).take([marked], 0, 30 * SECOND)
    assert got.table["label"].to_pylist() == [1.0, -1.0, -1.0]


def test_rows_that_cannot_be_read_go_on_with_their_reasons() -> None:
    """They are no readings, and what lies before the first bin was said before."""
    rows = batch([(1, 1.0, 1.0), (12, 7.0, 1.0), (13, 2.0, 1.0)])
    marked = Batch("pump", "pump", rows.table, reasons=np.array(["bad", "bad", ""], dtype=object))
    bins, bad = Resampler(Rule(10 * SECOND, "mean", {}, "missing", 0), 10 * SECOND, {}).take([marked], 0, 20 * SECOND)
    assert (bins.table["a"].to_pylist(), bad.table["a"].to_pylist()) == ([2.0], [7.0])
    assert bad.reasons is not None
    assert bad.reasons.tolist() == ["bad"]


def fake(readings: dict[str, list[Reading]]) -> Callable[..., Any]:
    """A database that holds these readings, seconds after the start."""

    @contextmanager
    def opened(*_: Any) -> Iterator[databases.Ask]:
        def ask(start: int, end: int) -> Iterator[Batch]:
            zero = to_microseconds(START)
            for series, rows in readings.items():
                inside = [(zero // SECOND + at, a, b) for at, a, b in rows if start <= zero + at * SECOND < end]
                if inside:
                    yield batch(inside, series)

        yield ask

    return opened


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    one=st.lists(reading, min_size=1, max_size=25),
    two=st.lists(reading, max_size=25),
    cuts=st.lists(st.integers(1, 310), max_size=4),
    gap=st.sampled_from(["missing", "nan", "hold"]),
    late_s=st.sampled_from([0, 45]),
    stretch_s=st.sampled_from([30, 100]),
)
def test_any_cuts_give_the_bins_of_one_ingest(
    tmp_path_factory: pytest.TempPathFactory, one: list[Reading], two: list[Reading], cuts: list[int],
    gap: str, late_s: int, stretch_s: int,
) -> None:  # fmt: skip
    """Wherever an ingest stopped, and whatever it had to hold or to fill then; nothing is late that was there."""
    source = {"kind": "sql", "url": "sqlite://", "query": "SELECT :start, :end", "since": START.isoformat(),
              "every_s": 20, "gap": gap, "hold_s": 65 if gap == "hold" else None}  # fmt: skip
    first = [(0, 1.0, 2.0), *one]  # so that every cut after the first bin has rows
    stored = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(databases, "_open", fake({"one": first, "two": two}))
        for more, ends in (({}, [400]), ({"late_s": late_s, "stretch_s": stretch_s}, [20, *sorted(cuts), 400])):
            lake = Lake(tmp_path_factory.mktemp("lake").as_uri())
            for end in ends:
                some = Watch(name="unit", source={**source, **more})
                done = ingest(lake.uri, some, START + timedelta(seconds=max(20, end)))
                assert (done.quarantined, done.refused) == ({}, ())
            snapshot = require_snapshot(lake, "unit")
            rows = [read_rows(lake, snapshot, series, ("a", "b")) for series in ("one", "two")]
            stored.append([(part.timestamps.tolist(), part.values.tobytes()) for part in rows])
    assert stored[0] == stored[1]
