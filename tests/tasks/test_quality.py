"""The quality of what came in: hand-counted, against obvious loops, and the same however the rows were cut."""

import itertools
import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import quality
from tasks.quality import Runs, Tally
from tasks.quality_findings import LONG, SeriesQuality, figures, findings
from tasks.sources.pace import Pace
from watchkeeper.clock import to_datetime

MINUTE = 60_000_000
NAMES = ("a", "b")
LOW, HIGH = np.array([0, -np.inf], np.float32), np.array([2, np.inf], np.float32)
RANGES = {"a": (0.0, 2.0)}

READINGS = st.sampled_from([np.nan, 0.0, 1.0, 1.0, 1.0, 3.0])


@st.composite
def series(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Times with gaps, and readings that stay, miss and leave their range."""
    rows = draw(st.integers(1, 60))
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 7, 90]), min_size=rows, max_size=rows))
    values = draw(st.lists(st.tuples(READINGS, READINGS), min_size=rows, max_size=rows))
    return np.cumsum(steps).astype(np.int64) * MINUTE, np.array(values, np.float32)


def tally_of(times: np.ndarray, values: np.ndarray, cuts: Sequence[int] = (), tally: Tally | None = None) -> Tally:
    """Count a series that came in batches."""
    tally = tally or Tally(values.shape[1])
    for start, stop in zip([0, *cuts], [*cuts, len(times)], strict=True):
        tally.add_read(Pace.of(times[start:stop]), 0, {})
        tally.add_rows(times[start:stop], values[start:stop], LOW, HIGH)
    return tally


def told(tally: Tally) -> SeriesQuality:
    return figures("pump", tally, NAMES, RANGES)


def again(tally: Tally) -> Tally:
    """What the next ingest begins with, by way of the report in the lake."""
    return Tally.go_on(json.loads(json.dumps(tally.state(), allow_nan=False)))


def obvious_runs(mask: Sequence[bool]) -> list[tuple[int, int]]:
    """First row and length of each run of True."""
    found: list[tuple[int, int]] = []
    for row, holds in enumerate(mask):
        if holds and row and mask[row - 1]:
            found[-1] = found[-1][0], found[-1][1] + 1
        elif holds:
            found.append((row, 1))
    return found


def obvious_same(column: np.ndarray) -> list[tuple[int, int]]:
    """First row and length of each run of one value, runs of a single row among them; missing readings break runs."""
    found: list[tuple[int, int]] = []
    for row, value in enumerate(column):
        if np.isnan(value):
            continue
        if row and column[row - 1] == value:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((row, 1))
    return found


@given(data=series())
def test_channels_are_those_of_the_obvious_loop(data: tuple[np.ndarray, np.ndarray]) -> None:
    """Missing readings and their longest run, usual and longest runs of one value, range, lowest and highest."""
    times, values = data
    for at, channel in enumerate(told(tally_of(times, values)).channels):
        column = values[:, at]
        gone = obvious_runs(np.isnan(column).tolist())
        assert channel.missing == sum(length for _, length in gone)
        longest = max(gone, key=lambda run: run[1], default=None)
        assert (channel.missing_run and (channel.missing_run.rows, channel.missing_run.at)) == (
            longest and (longest[1], to_datetime(times[longest[0]]))
        )
        runs = obvious_same(column)
        readings = sum(length for _, length in runs)
        usual = 1
        while 2 * sum(length for _, length in runs if length <= usual) < readings:
            usual *= 2
        assert channel.usual_run == usual
        never = len(runs) == 1 and readings > LONG
        assert channel.never_changed == never
        assert channel.stuck == sum(length > LONG * usual for _, length in runs)
        best = max((run for run in runs if run[1] > 1), key=lambda run: run[1], default=None)
        assert (channel.same_run and (channel.same_run.rows, channel.same_run.at)) == (
            best and (best[1], to_datetime(times[best[0]]))
        )
        there = column[~np.isnan(column)]
        assert channel.lowest == (there.min() if len(there) else None)
        assert channel.highest == (there.max() if len(there) else None)
        low, high = RANGES.get(channel.channel, (-np.inf, np.inf))
        assert channel.outside == sum(value < low or value > high for value in there.tolist())


@given(data=series())
def test_clocks_are_those_of_the_obvious_loop(data: tuple[np.ndarray, np.ndarray]) -> None:
    """Usual step, steps that are off, gaps and the longest of them."""
    times, values = data
    clock = told(tally_of(times, values)).clock
    steps = [int(after - before) for before, after in itertools.pairwise(times)]
    if not steps:
        assert (clock.interval_s, clock.steps, clock.gaps) == (None, 0, 0)
        return
    usual = sorted(steps)[(len(steps) - 1) // 2]
    gaps = [(step, int(times[at])) for at, step in enumerate(steps) if step >= 5 * usual]
    assert clock.interval_s == usual / 1e6
    assert clock.off == sum(abs(step - usual) > 0.1 * usual for step in steps)
    assert (clock.gaps, clock.gaps_s) == (len(gaps), sum(step for step, _ in gaps) / 1e6)
    longest = sorted(gaps, key=lambda gap: (-gap[0], gap[1]))[:5]
    assert [(gap.seconds, gap.at) for gap in clock.longest] == [(s / 1e6, to_datetime(at)) for s, at in longest]


@given(data=series(), cuts=st.sets(st.integers(1, 59)))
def test_batches_may_be_cut_anywhere(data: tuple[np.ndarray, np.ndarray], cuts: set[int]) -> None:
    """Figures and what is carried on are the same."""
    times, values = data
    whole, cut = tally_of(times, values), tally_of(times, values, sorted(at for at in cuts if at < len(times)))
    assert told(cut) == told(whole)
    assert cut.state() == whole.state()


@given(data=series(), cuts=st.sets(st.integers(1, 59)))
def test_ingests_may_come_at_any_time(data: tuple[np.ndarray, np.ndarray], cuts: set[int]) -> None:
    """What the last of many ingests carries on is what a single one would."""
    times, values = data
    places = [0, *sorted(at for at in cuts if at < len(times)), len(times)]
    tally = Tally(2)
    for start, stop in itertools.pairwise(places):
        tally = again(tally)
        tally.add_rows(times[start:stop], values[start:stop], LOW, HIGH)
    assert tally.state() == tally_of(times, values).state()


def test_large_batches_are_looked_at_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks are seen neither in the figures nor in what is carried on."""
    rng = np.random.default_rng(0)
    times, values = np.arange(500, dtype=np.int64) * MINUTE, rng.integers(0, 3, (500, 2)).astype(np.float32)
    whole = tally_of(times, values)
    monkeypatch.setattr(quality, "BLOCK", 14)
    assert told(tally_of(times, values)) == told(whole)


def test_a_run_over_two_ingests_is_one_run() -> None:
    """It is told with its whole length, from its first row, by the ingest that it goes on in, and by no later one."""
    rng = np.random.default_rng(0)
    times, values = np.arange(400, dtype=np.int64) * MINUTE, rng.normal(size=(400, 2)).astype(np.float32)
    values[90:120, 1] = 7
    values[280:330, 0] = np.nan
    first = tally_of(times[:100], values[:100])
    assert told(first).channels[1].stuck == 0
    assert told(first).channels[1].same_run.rows == 10
    second = tally_of(times[100:300], values[100:300], tally=again(first))
    assert (told(second).channels[1].stuck, told(second).channels[1].same_run.rows) == (1, 30)
    assert told(second).channels[1].same_run.at == to_datetime(times[90])
    assert told(second).channels[0].missing == 20
    third = tally_of(times[300:], values[300:], tally=again(second))
    assert told(third).channels[1].stuck == 0
    assert told(third).channels[1].same_run is None
    assert told(third).channels[0].missing == 30
    assert (told(third).channels[0].missing_run.rows, told(third).channels[0].missing_run.at) == (
        50,
        to_datetime(times[280]),
    )


def test_a_run_that_ended_with_the_ingest_before_is_not_told_again() -> None:
    """It was told by that one; for what is usual it counts."""
    times, values = np.arange(40, dtype=np.int64) * MINUTE, np.ones((40, 2), np.float32)
    values[:10] = np.arange(10)[:, None]
    values[39] = 5
    first = tally_of(times[:39], values[:39])
    assert told(first).channels[0].same_run.rows == 29
    second = tally_of(times[39:], values[39:], tally=again(first))
    assert told(second).channels[0].same_run is None
    assert second.state()["rows"][0] == [0, 0, 0, 0, 0, 29]


def test_what_is_usual_comes_from_all_ingests() -> None:
    """A night of one value is no finding for a channel that has such nights, and is one for a channel that has none."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 2)).astype(np.float32)
    values[:, 0] = np.repeat(rng.normal(size=40), 100)  # a set point
    times = np.arange(4000, dtype=np.int64) * MINUTE
    first = tally_of(times[:3900], values[:3900])
    night = tally_of(times[3900:], np.ones((100, 2), np.float32), tally=again(first))
    assert [one.stuck for one in told(night).channels] == [0, 1]
    assert [one.stuck for one in told(tally_of(times[3900:], np.ones((100, 2), np.float32))).channels] == [0, 0]


def test_the_source_s_clock_is_judged_before_rows_are_put_in_order() -> None:
    """Steps back are counted over batches, rows in quarantine among them."""
    tally = Tally(1)
    tally.add_read(Pace.of(np.array([10, 20, 15, 40]) * MINUTE), 2, {"late": 1})
    tally.add_read(Pace.of(np.array([5, 6, 7]) * MINUTE), 0, {"late": 2, "twice": 1})
    tally.add_read(Pace(), 0, {})
    found = figures("pump", tally, ["a"], {})
    assert (found.clock.backward, found.clock.furthest_back_s) == (2, 35 * 60.0)
    assert (found.known, found.quarantined) == (2, {"late": 3, "twice": 1})
    assert (found.new, found.channels, found.start) == (0, (), None)


def test_a_gap_between_two_ingests_is_a_gap() -> None:
    """The step from the last stored row to the first new one counts."""
    times, values = np.arange(20, dtype=np.int64) * MINUTE, np.zeros((20, 2), np.float32)
    second = tally_of(times + 600 * MINUTE, values, tally=again(tally_of(times, values)))
    (gap,) = told(second).clock.longest
    assert (gap.seconds, gap.at) == (581 * 60.0, to_datetime(times[-1]))
    assert told(second).clock.steps == 20


def test_lengths_are_counted_by_powers_of_two() -> None:
    """1, 2, 3 and 4, 5 to 8: the upper end belongs to the class."""
    mask = np.array([[bit == "1"] for bit in "1011011101111011111011111111"])
    runs = Runs(1)
    runs.add(mask, np.arange(len(mask)))
    assert runs.ended()[0][0, :5].tolist() == [1, 1, 2, 2, 0]
    assert runs.ended()[1][0, :5].tolist() == [1, 2, 7, 13, 0]


@settings(max_examples=20)
@given(rows=st.integers(1, 40))
def test_an_irregular_clock_is_a_finding(rows: int) -> None:
    """One with equal steps is none, however many rows there are."""
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    even = told(tally_of(np.arange(rows, dtype=np.int64) * MINUTE, values))
    assert [one for one in findings([even], []) if one.kind != "range"] == []
    uneven = np.cumsum(np.arange(rows, dtype=np.int64) % 4 * MINUTE + MINUTE)
    kinds = [one.kind for one in findings([told(tally_of(uneven, values))], [])]
    assert ("irregular" in kinds) == (rows > 2)


def test_findings_say_what_where_and_how_much() -> None:
    """One line each, the series and the channel first."""
    rows = 200
    times = np.arange(rows, dtype=np.int64) * MINUTE
    times[150:] += 180 * MINUTE
    values = np.random.default_rng(0).uniform(0, 2, (rows, 2)).astype(np.float32)
    values[20:60, 0] = np.nan
    values[100:133, 1] = 9
    values[7, 0] = 5
    tally = Tally(2)
    tally.add_read(Pace.of(times), 3, {"timestamp stands twice": 2})
    tally.add_rows(times, values, LOW, HIGH)
    lowest = float(np.nanmin(values[:, 0]))
    lines = [str(one) for one in findings([told(tally)], [])]
    assert lines == [
        "pump: 2 rows quarantined: timestamp stands twice",
        "pump: 1 gap, 3.02 h together, where a step is usually 60 s; the longest 3.02 h from 1970-01-01 02:29:00",
        "pump a: 40 readings missing (20.0%), 40 rows from 1970-01-01 00:20:00 on",
        f"pump a: 1 reading outside 0 to 2; found {lowest:g} to 5",
        "pump b: stuck 1 time: one value for 33 rows from 1970-01-01 01:40:00 on, where 1 is usual",
    ]
