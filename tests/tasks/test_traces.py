"""Traces: what a picture shows of an event is what the rows and scores were."""

from typing import Any

import numpy as np
import pytest

from models.detector import Scored
from tasks import traces
from tasks.rows import Rows
from tasks.traces import HELD_OUT, PAD, POINTS, cut, most_telling, over_threshold, read_traces, write_traces
from watchkeeper.lake import Lake

CHANNELS = ("a", "b", "c", "d")
MINUTE = 60_000_000


def scored(rows: int, span: tuple[int, int], height: float, threshold: float = 2.0) -> Scored:
    """Scores of 0 but for the event; contributions grow from channel a to channel d."""
    score = np.zeros(rows)
    score[slice(*span)] = height
    limit = np.full(rows, threshold)
    contributions = np.tile(np.arange(4, dtype=np.float32), (rows, 1))
    return Scored(score, limit, score >= limit, {}, contributions)


def rows_of(count: int) -> Rows:
    values = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    return Rows(np.arange(count, dtype=np.int64) * MINUTE, values)


def cut_one(count: int, span: tuple[int, int], own: float, champion: float | None = None) -> traces.Trace:
    theirs = None if champion is None else scored(count, span, champion)
    return cut(HELD_OUT, "s", CHANNELS, rows_of(count), span, scored(count, span, own), theirs)


def test_a_short_event_keeps_every_row_and_its_strongest_channels() -> None:
    """As many rows as the event has, at least the padding, on both sides."""
    trace = cut_one(1000, (500, 510), 4.0, 1.0)
    rows = rows_of(1000)
    view = slice(500 - PAD, 510 + PAD)
    assert trace.about["channels"] == ["d", "c", "b"]
    assert np.array_equal(trace.arrays["time"], rows.timestamps[view])
    assert np.array_equal(trace.arrays["values"], rows.values[view][:, [3, 2, 1]])
    assert (trace.about["start"], trace.about["end"]) == (500 * MINUTE, 509 * MINUTE + 1)
    assert (trace.about["found"], trace.about["champion_found"]) == (True, False)
    assert trace.arrays["own"].max() == 2.0
    assert trace.arrays["champion"].max() == 0.5


@pytest.mark.parametrize("span", [(0, 3), (997, 1000), (0, 1000)])
def test_an_event_at_the_border_is_cut_there(span: tuple[int, int]) -> None:
    """No row is made up."""
    times = cut_one(1000, span, 4.0).arrays["time"]
    assert times[0] == max(0, span[0] - PAD) * MINUTE
    assert times[-1] <= 999 * MINUTE


def test_thinning_loses_neither_a_spike_nor_a_peak() -> None:
    """Of each stretch the value farthest from the middle, up or down, and the highest score; missing stays missing."""
    count, span = 20_000, (100, 19_900)
    rows = rows_of(count)
    rows.values[777, 3], rows.values[8888, 3] = 90.0, -90.0
    rows.values[10_000:10_200, 3] = np.nan
    own = scored(count, span, 4.0)
    own.score[5555] = 50.0
    trace = cut(HELD_OUT, "s", CHANNELS, rows, span, own, None)
    assert len(trace.arrays["time"]) <= POINTS
    assert (np.diff(trace.arrays["time"]) > 0).all()
    values = trace.arrays["values"][:, 0]
    assert (np.nanmax(values), np.nanmin(values)) == (90.0, -90.0)
    assert np.isnan(values).any()
    assert not np.isnan(values).all()
    assert trace.arrays["own"].max() == 25.0


def test_the_height_over_the_threshold_is_one_where_the_alarm_begins() -> None:
    """Also where a threshold is not above zero, which a quotient could not say."""
    threshold = np.array([2.0, 2.0, 2.0, -1.0, -1.0, 0.0])
    score = np.array([1.0, 2.0, 3.0, -2.0, -1.0, 0.5])
    one = Scored(score, threshold, score >= threshold, {}, np.zeros((6, 1), np.float32))
    assert over_threshold(one).tolist() == [0.5, 1.0, 1.5, 0.0, 1.0, 1.5]
    assert np.array_equal(over_threshold(one) >= 1, one.alarm)


def test_events_that_one_alone_finds_come_first() -> None:
    """Then by how much the heights differ; without a champion, what was missed comes first."""
    apart, far, near = (
        cut_one(900, (400, 410), 1.9, 2.0),
        cut_one(900, (400, 410), 90.0, 3.0),
        cut_one(900, (1, 9), 3, 3),
    )
    assert most_telling([near, far, apart]) == [apart, far, near]
    missed, low, high = (cut_one(900, (400, 410), height) for height in (1.0, 2.0, 9.0))
    assert most_telling([high, low, missed]) == [missed, low, high]


def test_only_so_many_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is read by people."""
    monkeypatch.setattr(traces, "MOST", 2)
    assert len(most_telling(cut_one(900, (400, 410), height) for height in (1, 2, 3, 4))) == 2


def test_traces_come_back_as_they_were_written(lake: Lake) -> None:
    """An evaluation without any has none."""
    written: list[Any] = [cut_one(900, (400, 410), 4.0, 1.0), cut_one(900, (5, 6), 4.0)]
    write_traces(lake, "runs/w/evaluation-traces", written)
    found = read_traces(lake, "runs/w/evaluation-traces")
    assert [one.about for one in found] == [one.about for one in written]
    for ours, theirs in zip(found, written, strict=True):
        assert ours.arrays.keys() == theirs.arrays.keys()
        assert all(np.array_equal(ours.arrays[name], theirs.arrays[name]) for name in ours.arrays)
    assert read_traces(lake, "runs/w/older") == []
