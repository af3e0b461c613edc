"""The quality report of an ingest: counted by hand, carried on, written before the snapshot, shown as a page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.artifacts import quality_table
from tasks.ingest import ingest
from tasks.quality_report import QualityReport, page
from tasks.quality_run import latest_report
from watchkeeper.errors import DataError
from watchkeeper.labels import write_labels
from watchkeeper.lake import Lake
from watchkeeper.records import Ingested
from watchkeeper.watch import Watch

HOSTILE = "<script>alert('x')</script>&\"'"


def taken_in(lake: Lake, watch: Watch) -> tuple[Ingested, QualityReport]:
    done = ingest(lake.uri, watch)
    key = done.report.removeprefix(f"{lake.uri}/").replace(".html", ".json")
    return done, QualityReport(**lake.get_json(key)["report"])


def reports(lake: Lake) -> list[str]:
    return [key for key in lake.list("reports/unit") if key.endswith(".json")]


def with_values(table: pa.Table, channel: str, first: int, stop: int, value: float) -> pa.Table:
    values = table[channel].to_numpy().copy()
    values[first:stop] = value
    return table.set_column(table.column_names.index(channel), channel, pa.array(values))


def test_a_small_file_counted_by_hand(lake: Lake, source: Any) -> None:
    """200 rows, ten minutes apart: one of each thing that can be wrong, in the report, the record and the summary."""
    table = source.table(200)
    table = with_values(table, "a", 10, 50, np.nan)
    table = with_values(table, "a", 60, 61, 1000.0)
    table = with_values(table, "b", 100, 150, 3.5)
    table = with_values(table, "c", 0, 200, 1.0)
    rows = np.r_[0:5, 6, 5, 7:80, 79, 100:200]  # two change places, one stands twice, twenty are not there
    source.write("pump", table.take(rows))
    watch = source.watch(ranges={"limits": {"a": (0.0, 100.0)}})
    done, report = taken_in(lake, watch)
    (pump,) = report.series
    assert (pump.new, pump.known, pump.quarantined) == (180, 0, {"timestamp stands twice": 1})
    assert pump.new + pump.known + sum(pump.quarantined.values()) == len(rows)
    assert (pump.start, pump.end) == (source.time(0), source.time(199))
    clock = pump.clock
    assert (clock.interval_s, clock.steps, clock.off, clock.gaps, clock.gaps_s) == (600.0, 179, 1, 1, 21 * 600.0)
    assert (clock.backward, clock.furthest_back_s, clock.longest[0].at) == (1, 600.0, source.time(79))
    a, b, c = pump.channels
    assert (a.missing, a.missing_run.rows, a.missing_run.at, a.stuck) == (40, 40, source.time(10), 0)
    assert (a.outside, a.range, a.highest) == (1, (0.0, 100.0), 1000.0)
    assert (b.stuck, b.usual_run, b.same_run.rows, b.same_run.at) == (1, 1, 50, source.time(100))
    assert (b.missing, b.missing_run, b.never_changed, b.range, b.outside) == (0, None, False, None, 0)
    assert (c.never_changed, c.stuck, c.lowest, c.highest) == (True, 0, 1.0, 1.0)
    assert [one.kind for one in report.findings] == [
        "quarantined", "backward", "gaps", "missing", "range", "stuck", "constant",
    ]  # fmt: skip
    assert done.findings == dict.fromkeys((one.kind for one in report.findings), 1)
    said = "7 to look at: quarantined 1, backward 1, gaps 1, missing 1, range 1, stuck 1, constant 1"
    assert latest_report(lake, "unit") == (said, done.report)
    assert report.snapshot == done.snapshot
    assert quality_table(lake, done)[3] == {
        "series": "pump",
        "channel": "a",
        "kind": "missing",
        "text": "40 readings missing (22.2%), 40 rows from 2026-01-05 01:40:00 on",
    }


def test_rows_that_are_fine_are_nothing_to_look_at(lake: Lake, source: Any) -> None:
    """The report is there all the same, and says so."""
    source.write("pump", source.table(200))
    done, report = taken_in(lake, source.watch())
    assert report.findings == ()
    assert done.findings == {}
    assert latest_report(lake, "unit") == ("nothing to look at", done.report)


def test_an_ingest_without_rows_writes_no_report(lake: Lake, source: Any) -> None:
    """The latest one stays that of the rows before."""
    source.write("pump", source.table(200))
    first, _ = taken_in(lake, source.watch())
    again = ingest(lake.uri, source.watch())
    assert (again.new_rows, again.report, again.findings) == (0, "", {})
    assert latest_report(lake, "unit") == ("nothing to look at", first.report)
    assert len(reports(lake)) == 1


def test_the_next_ingest_goes_on_where_the_last_one_ended(lake: Lake, source: Any) -> None:
    """A value that stays over three files is one run; a series that sends nothing for a while is not forgotten."""
    table = with_values(source.table(300), "b", 90, 140, 3.5)
    source.write("fan", source.table(100))
    for name, first, stop in (("x1", 0, 100), ("x2", 100, 120)):
        source.write(f"pump.{name}", table.slice(first, stop - first))
        _, report = taken_in(lake, source.watch())
    (pump,) = report.series
    assert (pump.series, pump.new) == ("pump", 20)
    assert (pump.channels[1].stuck, pump.channels[1].same_run.rows) == (1, 30)
    source.write("pump.x3", table.slice(150))
    source.write("fan.x", source.table(150).slice(110))
    _, report = taken_in(lake, source.watch())
    fan, pump = report.series
    assert (pump.channels[1].stuck, pump.channels[1].same_run) == (0, None)
    assert (fan.clock.gaps, pump.clock.gaps) == (1, 1)
    assert (fan.clock.longest[0].at, pump.clock.longest[0].at) == (source.time(99), source.time(119))


def test_labels_alone_do_not_break_the_thread(lake: Lake, source: Any) -> None:
    """They make a snapshot of the same rows; the next ingest goes on from the report of those."""
    table = with_values(source.table(300), "b", 90, 140, 3.5)
    source.write("pump", table.slice(0, 100))
    first, _ = taken_in(lake, source.watch())
    write_labels(lake, "unit", [("pump", 0, 1, 1)], "ann", "human", source.time(0))
    second = ingest(lake.uri, source.watch())
    assert second.snapshot != first.snapshot
    assert latest_report(lake, "unit") == ("nothing to look at", first.report)
    source.write("pump", table.slice(0, 120))
    _, report = taken_in(lake, source.watch())
    assert report.series[0].channels[1].same_run.rows == 30


def test_bad_files_and_rows_are_reported_where_nothing_new_came(lake: Lake, source: Any) -> None:
    """What was refused again makes no second report of the same words."""
    source.write("pump", source.table(200))
    taken_in(lake, source.watch())
    (source.folder / "bad.parquet").write_bytes(b"no")
    done, report = taken_in(lake, source.watch())
    assert [one.kind for one in report.findings] == ["refused"]
    assert report.findings[0].series == "bad.parquet"
    assert done.new_rows == 0
    ingest(lake.uri, source.watch())
    assert len(reports(lake)) == 2


@pytest.mark.parametrize(("action", "new", "outside"), [("report", 200, 3), ("quarantine", 197, 0)])
def test_rows_outside_of_a_range_are_counted_or_set_aside(
    lake: Lake, source: Any, action: str, new: int, outside: int
) -> None:
    """The ends belong to the range; a missing reading is not outside."""
    table = source.table(200)
    for row, value in ((3, 50.0), (4, 50.001), (5, -50.0), (6, -50.001), (7, np.nan), (8, 9e9)):
        table = with_values(table, "a", row, row + 1, value)
    source.write("pump", table)
    watch = source.watch(ranges={"action": action, "limits": {"a": (-50.0, 50.0)}})
    done, report = taken_in(lake, watch)
    assert done.new_rows == new
    assert report.series[0].channels[0].outside == outside
    assert done.quarantined == ({"reading is outside its range": 3} if action == "quarantine" else {})
    if action == "quarantine":
        (key,) = lake.list("quarantine/unit")
        assert lake.get_table(key)["row"].to_pylist() == [4, 6, 8]


def test_a_range_of_a_channel_that_there_is_not_is_refused(lake: Lake, source: Any) -> None:
    """With the nearest name; nothing is written."""
    source.write("pump", source.table(50))
    with pytest.raises(DataError, match=r"ranges\.limits names channel aa, .* did you mean a\?"):
        ingest(lake.uri, source.watch(ranges={"limits": {"aa": (0.0, 1.0)}}))
    assert lake.list("") == []


def test_the_report_is_there_before_the_snapshot(lake: Lake, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, the next ingest does not go on from rows that no snapshot has."""
    table = with_values(source.table(300), "b", 90, 140, 3.5)
    source.write("pump", table.slice(0, 100))
    taken_in(lake, source.watch())
    source.write("pump", table.slice(0, 130))
    put = Lake.put_json

    def die(self: Lake, key: str, value: Any) -> None:
        if key.startswith("snapshots/"):
            raise KeyboardInterrupt
        put(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put_json", die)
        with pytest.raises(KeyboardInterrupt):
            ingest(lake.uri, source.watch())
    assert len(reports(lake)) == 2
    _, report = taken_in(lake, source.watch())
    assert report.series[0].channels[1].same_run.rows == 40
    assert len(reports(lake)) == 2  # the same report under the same key


def test_the_page_loads_nothing_and_takes_names_for_words(lake: Lake, source: Any) -> None:
    """Channels, series and reasons come from outside."""
    source.write(
        "pump", with_values(source.table(200), "b", 100, 150, 3.5).rename_columns(["timestamp", HOSTILE, "b", "c"])
    )
    (source.folder / "q'<i>.parquet").write_bytes(b"no")
    done, report = taken_in(lake, source.watch())
    text = Path(done.report.removeprefix("file://")).read_text(encoding="utf-8")
    assert text == page(report)
    assert "<script" not in text
    assert "<i>" not in text
    assert "src=" not in text
    assert "http" not in text
    assert "&lt;script&gt;" in text
    assert "stuck 1 time: one value for 50 rows" in text
    assert json.dumps(report.model_dump(mode="json")).count("alert") == 1
