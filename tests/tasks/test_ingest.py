from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.ingest import ingest
from tasks.rows import Rows, latest_snapshot, read_rows, require_snapshot
from watchkeeper.errors import DataError, LakeError
from watchkeeper.labels import label_samples, read_labels
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

DAY = 144  # rows, ten minutes apart


def stored(lake: Lake, series: str) -> Rows:
    """All rows of a series as the newest snapshot has them."""
    snapshot = require_snapshot(lake, "unit")
    return read_rows(lake, snapshot, series, snapshot.channels)


def keys(lake: Lake) -> dict[str, bytes]:
    """All objects of a lake."""
    return {key: lake.get(key) for key in lake.list("")}


def test_rows_come_in_as_they_are(lake: Lake, source: Any) -> None:
    """One file a day and series; readings to the last bit."""
    table = source.table(2 * DAY + 7)
    source.write("pump", table)
    done = ingest(lake.uri, source.watch())
    rows = stored(lake, "pump")
    assert (done.rows, done.new_rows, done.quarantined, done.refused, done.warnings) == (295, 295, {}, (), ())
    assert np.array_equal(rows.timestamps, table["timestamp"].cast(pa.int64()).to_numpy())
    assert rows.values.tobytes() == np.stack([table[c].to_numpy() for c in "abc"], axis=1).tobytes()
    snapshot = require_snapshot(lake, "unit")
    assert [(file.date, file.rows) for file in snapshot.files] == [
        ("2026-01-05", 144), ("2026-01-06", 144), ("2026-01-07", 7),
    ]  # fmt: skip
    assert (snapshot.start, snapshot.end) == (source.time(0), source.time(294))
    assert snapshot.channels == ("a", "b", "c")


def test_a_second_ingest_of_the_same_rows_changes_nothing(lake: Lake, source: Any) -> None:
    """No new rows, the same snapshot, the same objects."""
    source.write("pump", source.table(DAY, label={(10, 12): 1}))
    first = ingest(lake.uri, source.watch())
    before = keys(lake)
    second = ingest(lake.uri, source.watch())
    assert (second.snapshot, second.new_rows, second.rows) == (first.snapshot, 0, first.rows)
    assert keys(lake) == before


def test_more_time_brings_the_new_rows_alone(lake: Lake, source: Any) -> None:
    """Step by step gives the rows that one ingest gives, and old files are left as they are."""
    table = source.table(3 * DAY)
    source.write("pump", table)
    counts, known = [], {}
    for row in (DAY // 2, DAY, 3 * DAY - 1, 3 * DAY):
        done = ingest(lake.uri, source.watch(), source.time(row))
        counts.append(done.new_rows)
        assert {key: data for key, data in keys(lake).items() if key in known} == known
        known = keys(lake)
    assert counts == [DAY // 2, DAY // 2, 2 * DAY - 1, 1]
    assert stored(lake, "pump").values.tobytes() == np.stack([table[c].to_numpy() for c in "abc"], axis=1).tobytes()
    assert [key.removeprefix("snapshots/unit/")[:7] for key in lake.list("snapshots")] == [
        "000001-",
        "000002-",
        "000003-",
        "000004-",
    ]


def test_train_and_test_files_of_a_series_are_joined(lake: Lake, source: Any) -> None:
    """In the order of time, whatever their names; rows that both have are taken once."""
    table = source.table(300)
    source.write("pump.z_first", table.slice(0, 200))
    source.write("pump.a_second", table.slice(190))
    done = ingest(lake.uri, source.watch())
    assert (done.rows, done.quarantined) == (300, {})
    assert stored(lake, "pump").timestamps.tolist() == table["timestamp"].cast(pa.int64()).to_pylist()


def test_a_bad_file_never_stops_the_others(lake: Lake, source: Any) -> None:
    """Each is refused with its reason: no Parquet, other channels, no number."""
    good = source.table(DAY)
    source.write("a_good", good)
    source.write("z_good", good)
    (source.folder / "broken.parquet").write_bytes(b"no Parquet")
    source.write("extra", good.append_column("d", good["a"]))
    source.write("missing", good.drop_columns("b"))
    source.write("words", good.set_column(1, "a", pa.array(["x"] * DAY)))
    source.write("labelled", good.append_column("label", pa.array(["x"] * DAY)))
    done = ingest(lake.uri, source.watch())
    assert require_snapshot(lake, "unit").series == ("a_good", "z_good")
    reasons = {refusal.origin: refusal.reason for refusal in done.refused}
    assert reasons.keys() == {f"{name}.parquet" for name in ("broken", "extra", "missing", "words", "labelled")}
    assert "no readable Parquet" in reasons["broken.parquet"]
    assert reasons["extra.parquet"].startswith("extra channel d")
    assert reasons["missing.parquet"].startswith("missing channel b")
    assert reasons["words.parquet"] == "channel a is string, wanted a number"
    assert reasons["labelled.parquet"] == "column label is string, wanted 0, 1 or nothing"


def test_channels_named_in_the_watch_are_taken_and_others_left(lake: Lake, source: Any) -> None:
    """In the order of the watch; a file that lacks one is refused."""
    table = source.table(DAY)
    source.write("pump", table.append_column("d", table["a"]))
    source.write("short", table.drop_columns("c"))
    done = ingest(lake.uri, source.watch(channels=("c", "a")))
    assert [refusal.origin for refusal in done.refused] == ["short.parquet"]
    assert stored(lake, "pump").values.tobytes() == np.stack([table[c].to_numpy() for c in "ca"], axis=1).tobytes()


def test_a_watch_keeps_its_channels(lake: Lake, source: Any) -> None:
    """Other channels would make older versions useless, so they want a new watch."""
    source.write("pump", source.table(DAY))
    ingest(lake.uri, source.watch(channels=("a", "b")))
    with pytest.raises(DataError, match=r"are not those of its data \(3 against 2\).*start a new watch"):
        ingest(lake.uri, source.watch(channels=("a", "b", "c")))


def test_bad_rows_go_to_quarantine_with_their_reasons(lake: Lake, source: Any) -> None:
    """They are counted, kept as they came, and the good rows of the file go on."""
    table = source.table(DAY)
    values = table["a"].to_numpy().copy()
    values[5] = np.inf
    times = table["timestamp"].to_pylist()
    times[9], times[20] = None, times[19]
    table = table.set_column(0, "timestamp", pa.array(times, pa.timestamp("us", "UTC"))).set_column(
        1, "a", pa.array(values)
    )
    source.write("pump", table)
    done = ingest(lake.uri, source.watch())
    assert done.quarantined == {
        "reading is infinite": 1, "timestamp is missing": 1, "timestamp stands twice": 1,
    }  # fmt: skip
    assert done.rows == DAY - 3
    (key,) = lake.list("quarantine/unit/series=pump")
    kept = lake.get_table(key)
    assert kept["row"].to_pylist() == [5, 9, 20]
    assert kept["origin"].to_pylist() == ["pump.parquet"] * 3
    assert kept.drop_columns(["origin", "row", "reason"]).to_pydict() == table.take([5, 9, 20]).to_pydict()


def test_a_row_from_a_broken_clock_stops_nobody(lake: Lake, source: Any) -> None:
    """A time that no calendar has is quarantined like any bad row."""
    table = source.table(DAY)
    times = table["timestamp"].cast(pa.int64()).to_numpy().copy()
    times[7] = 2**62
    source.write("a_bad", table.set_column(0, "timestamp", pa.array(times).cast(pa.timestamp("us", "UTC"))))
    source.write("good", table)
    done = ingest(lake.uri, source.watch())
    assert (done.rows, sum(done.quarantined.values())) == (2 * DAY - 1, 1)


def test_late_rows_are_quarantined(lake: Lake, source: Any) -> None:
    """Rows that fill an old gap come too late; the version that was trained without them stays explainable."""
    table = source.table(DAY)
    source.write("pump", pa.concat_tables([table.slice(0, 50), table.slice(60)]))
    ingest(lake.uri, source.watch())
    source.write("pump", table)
    done = ingest(lake.uri, source.watch())
    assert (done.new_rows, done.quarantined) == (0, {"late: before the newest row stored": 10})


def test_nothing_to_take_in(lake: Lake, source: Any) -> None:
    """An empty folder, a missing one, and files without a usable row each say what is wrong; no snapshot comes."""
    with pytest.raises(DataError, match="holds no file"):
        ingest(lake.uri, source.watch())
    missing = source.watch(source={"kind": "parquet", "folder": str(source.folder / "nowhere")})
    with pytest.raises(DataError, match="does not exist"):
        ingest(lake.uri, missing)
    source.write("pump", source.table(DAY))
    with pytest.raises(DataError, match=r"watch unit: the source has no usable row$"):
        ingest(lake.uri, source.watch(), source.time(0))
    (source.folder / "pump.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"no usable row; first problem: pump\.parquet: is no readable"):
        ingest(lake.uri, source.watch())
    assert lake.list("") == []


def test_labels_of_the_source_are_stored(lake: Lake, source: Any) -> None:
    """They come back for the same rows, unknown ones stay unknown, and of a second batch the new ones come."""
    table = source.table(DAY, label={(10, 20): 1, (30, 40): -1})
    source.write("pump", table)
    for until in (source.time(15), source.time(DAY)):
        ingest(lake.uri, source.watch(), until)
    snapshot = require_snapshot(lake, "unit")
    events = read_labels(lake, snapshot.labels)
    assert set(events["origin"].to_pylist()) == {"imported"}
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    assert np.array_equal(label_samples(events, "pump", times), table["label"].to_numpy())


def test_equal_rows_have_equal_keys_in_any_lake(tmp_path: Path, source: Any) -> None:
    """Objects are named by their content: two lakes hold the same keys with the same bytes."""
    source.write("pump", source.table(2 * DAY, label={(10, 20): 1}))
    lakes = [Lake((tmp_path / name).as_uri()) for name in ("one", "two")]
    for one in lakes:
        ingest(one.uri, source.watch())
    assert keys(lakes[0]) == keys(lakes[1])
    assert any(key.startswith("raw/watch=unit/series=pump/date=2026-01-05/") for key in keys(lakes[0]))


@pytest.mark.parametrize("first", [True, False])
def test_a_kill_before_the_snapshot_leaves_the_old_one_in_force(
    lake: Lake, source: Any, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Nothing refers to what was written, and a rerun ends as if nothing had happened."""
    source.write("pump", source.table(2 * DAY, label={(200, 210): 1}))
    if not first:
        ingest(lake.uri, source.watch(), source.time(DAY))
    before = latest_snapshot(lake, "unit")

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put_json", kill)
        with pytest.raises(KeyboardInterrupt):
            ingest(lake.uri, source.watch())
    assert latest_snapshot(lake, "unit") == before
    done = ingest(lake.uri, source.watch())
    assert (done.rows, done.new_rows) == (2 * DAY, 2 * DAY if first else DAY)

    untouched = Lake(f"{lake.uri}-untouched")
    if not first:
        ingest(untouched.uri, source.watch(), source.time(DAY))
    assert ingest(untouched.uri, source.watch()).snapshot == done.snapshot
    assert keys(untouched) == keys(lake)


@pytest.mark.parametrize("fails_at", range(4))
def test_a_disk_that_is_full_half_way_costs_nothing(
    lake: Lake, source: Any, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Whichever write fails, the next run completes and no row is lost or doubled."""
    source.write("pump", source.table(2 * DAY, label={(10, 20): 1}))
    whole, calls = Lake.put, iter(range(100))

    def fail(self: Lake, key: str, data: bytes) -> None:
        if next(calls) == fails_at:
            raise LakeError("disk full")
        whole(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put", fail)
        with pytest.raises(LakeError, match="disk full"):
            ingest(lake.uri, source.watch())
    assert latest_snapshot(lake, "unit") is None
    assert ingest(lake.uri, source.watch()).rows == 2 * DAY
    assert len(np.unique(stored(lake, "pump").timestamps)) == len(stored(lake, "pump")) == 2 * DAY


@pytest.fixture
def plant() -> Watch:
    """A day and a half of a fabricated plant with two lines."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    return Watch(name="unit", source={"kind": "plant", "start": start, "days": 1.5, "seed": 7, "lines": 2})


def test_a_plant_is_ingested_step_by_step(lake: Lake, plant: Watch) -> None:
    """Its longer series begins with the shorter one, so nothing is late and nothing is lost."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    with pytest.raises(DataError, match="it has no rows before 2026-01-05 00:00"):
        ingest(lake.uri, plant, start)
    assert ingest(lake.uri, plant, start + timedelta(days=1)).rows == 2 * 1440
    done = ingest(lake.uri, plant)
    assert (done.rows, done.new_rows, done.quarantined) == (2 * 2160, 2 * 720, {})
    snapshot = require_snapshot(lake, "unit")
    assert snapshot.series == ("line_1", "line_2")
    assert pc.min(pa.array([file.rows for file in snapshot.files])).as_py() == 720


def test_a_file_taken_in_whole_is_passed_over_the_next_time(lake: Lake, source: Any) -> None:
    """What went to quarantine is counted once, and a new file is still taken in."""
    table = source.table(DAY)
    source.write("pump", pa.concat_tables([table, table.slice(3, 2)]))
    first = ingest(lake.uri, source.watch())
    source.write("tank", source.table(DAY, seed=1))
    second = ingest(lake.uri, source.watch())
    assert first.quarantined == {"timestamp stands twice": 2}
    assert (second.quarantined, second.new_rows) == ({}, DAY)
    assert len(lake.list("quarantine/unit")) == 1


def test_a_file_cut_by_until_is_read_again(lake: Lake, source: Any) -> None:
    """Only a file whose rows are all in is passed over."""
    source.write("pump", source.table(DAY))
    ingest(lake.uri, source.watch(), source.time(100))
    assert ingest(lake.uri, source.watch()).new_rows == DAY - 100


def test_a_clock_that_jumps_ahead_does_not_stop_the_series(lake: Lake, source: Any) -> None:
    """A row of the year 2200 is set aside, and the rows of the next day come in."""
    ahead = pa.table({"timestamp": pa.array([datetime(2200, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"))})
    for name in "abc":
        ahead = ahead.append_column(name, pa.array([1.0], pa.float32()))
    source.write("pump", pa.concat_tables([source.table(DAY), ahead]))
    first = ingest(lake.uri, source.watch())
    source.write("pump.next", source.table(2 * DAY, first=DAY))
    assert first.quarantined == {"timestamp is in the future": 1}
    assert ingest(lake.uri, source.watch()).new_rows == DAY


def test_an_ingest_of_new_rows_reads_no_old_ones(lake: Lake, source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the stored rows, those from the batch's first row on are looked at: what it costs does not grow with years."""
    source.write("pump.1", source.table(1000))
    ingest(lake.uri, source.watch())
    read = []
    whole = Lake.get_table
    monkeypatch.setattr(Lake, "get_table", lambda lake, key, columns: read.append(key) or whole(lake, key, columns))
    source.write("pump.2", source.table(1100, 990))  # ten rows are known, ninety follow in a file of their own
    done = ingest(lake.uri, source.watch())
    assert (done.new_rows, done.rows) == (100, 1100)
    assert len(read) == 1
    snapshot = require_snapshot(lake, "unit")
    assert read_rows(lake, snapshot, "pump", snapshot.channels).timestamps.size == 1100


def test_batches_that_go_back_in_time_are_compared_with_all_that_is_stored(lake: Lake, source) -> None:
    """A later file of an ingest may begin before an earlier one: known rows are known, late ones are late."""
    source.write("pump.1", source.table(600, 100))
    ingest(lake.uri, source.watch())
    source.write("pump.2", source.table(700, 550))
    source.write("pump.3", source.table(300))
    done = ingest(lake.uri, source.watch())
    assert done.new_rows == 100
    assert sum(done.quarantined.values()) == 100
    assert done.rows == 600
