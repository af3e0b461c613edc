"""New rows, rows stored before, quarantined rows and rows left for later add up, whatever the source."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.ingest import ingest
from tasks.quality_report import QualityReport
from tasks.quality_run import latest_report
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

START = datetime(2026, 1, 5, tzinfo=UTC)
UNTIL = datetime(2026, 1, 5, 1, tzinfo=UTC)
MINUTES = [0, 1, 2, 4, 3, 4, None, 6, 7, 200, 8, 9, 10, 59, 60, 61, 62, 70, 62]  # out of order, twice, missing, later
INFINITE = {8, 15}
"""Rows with a reading that is infinite."""


def times() -> list[datetime | None]:
    return [
        None if minute is None else datetime.fromtimestamp(START.timestamp() + 60 * minute, UTC) for minute in MINUTES
    ]


def readings() -> list[float]:
    return [float("inf") if row in INFINITE else float(row) for row in range(len(MINUTES))]


def write_parquet(folder: Path) -> dict[str, Any]:
    table = pa.table({"timestamp": pa.array(times(), pa.timestamp("us", "UTC")), "a": readings()})
    pq.write_table(table, folder / "pump.parquet")
    return {"kind": "parquet", "folder": str(folder)}


def write_csv(folder: Path) -> dict[str, Any]:
    rows = [
        f"{'' if time is None else time.isoformat()},{value}" for time, value in zip(times(), readings(), strict=True)
    ]
    (folder / "pump.csv").write_text("\n".join(["timestamp,a", *rows, ""]))
    return {"kind": "csv", "folder": str(folder)}


def write_csv_of_series(folder: Path) -> dict[str, Any]:
    rows = [
        f"{'' if time is None else time.isoformat()},pump,{value}"
        for time, value in zip(times(), readings(), strict=True)
    ]
    (folder / "all.csv").write_text("\n".join(["timestamp,name,a", *rows, ""]))
    return {"kind": "csv", "folder": str(folder), "series": "name"}


def write_benchmark(folder: Path) -> dict[str, Any]:
    (folder / "A2Benchmark").mkdir()
    rows = [
        f"{'' if time is None else int(time.timestamp())},{value},0"
        for time, value in zip(times(), readings(), strict=True)
    ]
    (folder / "A2Benchmark" / "synthetic_1.csv").write_text("\n".join(["timestamp,value,is_anomaly", *rows, ""]))
    return {"kind": "benchmark", "format": "yahoo_s5", "folder": str(folder)}


def report_of(lake: Lake) -> QualityReport:
    found = latest_report(lake, "unit")
    assert found
    key = found[1].removeprefix(f"{lake.uri}/").removesuffix(".html")
    return QualityReport(**lake.get_json(f"{key}.json")["report"])


@pytest.mark.parametrize("write", [write_parquet, write_csv, write_csv_of_series, write_benchmark])
def test_rows_of_a_file_add_up_over_two_ingests(write: Any, lake: Lake, tmp_path: Path) -> None:
    """The first leaves rows for later, the second finds those stored that the first took in."""
    folder = tmp_path / "files"
    folder.mkdir()
    watch = Watch(name="unit", source=write(folder))
    first = ingest(lake.uri, watch, UNTIL)
    (one,) = report_of(lake).series
    later = sum(minute is not None and minute >= 60 for minute in MINUTES)
    assert one.new + one.known + sum(one.quarantined.values()) + later == len(MINUTES)
    assert (one.new, one.known, first.new_rows) == (10, 0, 10)
    assert one.quarantined == first.quarantined
    assert one.quarantined["reading is infinite"] == 1
    assert one.quarantined["timestamp stands twice"] == 1
    second = ingest(lake.uri, watch)
    (two,) = report_of(lake).series
    assert two.new + two.known + sum(two.quarantined.values()) == len(MINUTES)
    assert (two.new, second.new_rows, two.known) == (4, 4, 11)
    assert two.quarantined == second.quarantined
    assert second.rows == 14


def test_rows_of_the_plant_add_up(lake: Lake) -> None:
    """It has no bad rows; each line's rows are new or known."""
    watch = Watch(name="unit", source={"kind": "plant", "start": START, "days": 1, "lines": 2})
    ingest(lake.uri, watch, UNTIL)
    assert [(one.new, one.known) for one in report_of(lake).series] == [(60, 0)] * 2
    ingest(lake.uri, watch)
    assert [(one.new, one.known, one.quarantined) for one in report_of(lake).series] == [(1380, 60, {})] * 2


def test_readings_of_the_long_form_add_up(lake: Lake, tmp_path: Path) -> None:
    """There a row of the file is a reading: those in new rows and those in quarantine are all there are."""
    rows = ["2026-01-05 00:00,a,1", "2026-01-05 00:00,b,2", "2026-01-05 00:01,a,3", "2026-01-05 00:01,a,4", ",b,5",
            "2026-01-05 00:02,b,6", "2026-01-05 00:03,a,x"]  # fmt: skip
    (tmp_path / "pump.csv").write_text("\n".join(["timestamp,channel,value", *rows, ""]))
    done = ingest(lake.uri, Watch(name="unit", source={"kind": "csv", "folder": str(tmp_path), "form": "long"}))
    (one,) = report_of(lake).series
    kept = sum(one.new - channel.missing for channel in one.channels)
    assert kept + sum(one.quarantined.values()) == len(rows)
    assert (done.new_rows, kept, one.known) == (3, 4, 0)
    assert np.isclose(sum(channel.highest or 0 for channel in one.channels), 3 + 6)


def test_lines_of_line_protocol_add_up(lake: Lake, tmp_path: Path) -> None:
    """A line is a part of a row, or set aside, or left for later; of those stored before, rows are counted."""
    rows = [
        "m a=1 0",
        "m b=2 0",
        "m a=3 0",
        "m a=4 60",
        "m a=x 60",
        "m",
        "m b=5 120",
        "m a=6 7200",
        "m b=7 7200",
        "m a=8 -5x",
    ]
    (tmp_path / "pump.lp").write_text("\n".join(rows))
    watch = Watch(name="unit", source={"kind": "lines", "folder": str(tmp_path), "precision": "s"})
    first = ingest(lake.uri, watch, datetime(1970, 1, 1, 1, tzinfo=UTC))
    (one,) = report_of(lake).series
    lines = sum(one.new - channel.missing for channel in one.channels)  # each has one reading
    assert lines + sum(one.quarantined.values()) + 2 == len(rows)
    assert one.quarantined == first.quarantined
    assert one.quarantined == {
        "channel has two readings at this time": 1, "line is no line protocol": 2, "timestamp cannot be read": 1,
    }  # fmt: skip
    second = ingest(lake.uri, watch)
    (two,) = report_of(lake).series
    assert (two.new, two.known, second.new_rows, second.rows) == (1, 5, 1, 4)
    assert two.quarantined == {"line is no line protocol": 1, "timestamp cannot be read": 1}
