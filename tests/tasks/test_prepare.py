from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.detector import Detector, DetectorConfig
from models.features import Features
from models.parts import Bounds, CalibrationPart, HeldOutPart, TrainPart
from models.scaler import Scaler
from tasks import runs
from tasks.ingest import ingest
from tasks.prepare import (
    history_start,
    prepare,
    read_bounds,
    read_features,
    read_learning,
    read_scaler,
    recipe_of,
)  # fmt: skip
from tasks.rows import read_rows, read_snapshot, to_table
from tasks.splits import bounds_of
from watchkeeper.errors import DataError, LeakageError
from watchkeeper.labels import write_labels
from watchkeeper.lake import Lake, parquet_bytes
from watchkeeper.records import Prepared
from watchkeeper.watch import Watch

ROWS = 400
FIRST_CALIBRATION, FIRST_HELD_OUT = 240, 300  # of 400 rows: 15 % for calibration, 25 % held out, the latest


def prepared(lake: Lake, watch: Watch) -> Prepared:
    return prepare(lake.uri, watch, ingest(lake.uri, watch).snapshot)


def times(table: pa.Table) -> np.ndarray:
    return table["timestamp"].cast(pa.int64()).to_numpy()


def with_rows(table: pa.Table, first: int, stop: int, factor: float) -> pa.Table:
    """The same table with the readings of rows [first, stop) multiplied."""
    for index, name in enumerate("abc", 1):
        values = table[name].to_numpy().copy()
        values[first:stop] *= factor
        table = table.set_column(index, name, pa.array(values))
    return table


def test_parts_lie_in_the_order_of_time_with_a_window_between(lake: Lake, source: Any) -> None:
    """Training, calibration, held out; the rows that no part has are one window each."""
    source.write("pump", source.table(ROWS))
    watch = source.watch(window=10)
    where = read_bounds(lake, prepared(lake, watch))["pump"]
    assert where.train == FIRST_CALIBRATION - 10
    assert where.calibration == (FIRST_CALIBRATION, FIRST_HELD_OUT - 10)
    assert where.held_out == (FIRST_HELD_OUT, ROWS)
    assert where == bounds_of(times(source.table(ROWS)), watch)


def test_seventy_fifteen_fifteen_unless_the_watch_says_otherwise(lake: Lake, source: Any) -> None:
    """Of 400 rows 280, 60 and 60, the gaps taken from the earlier part."""
    source.write("pump", source.table(ROWS))
    watch = source.watch(split={})
    assert read_bounds(lake, prepared(lake, watch))["pump"] == Bounds(270, (280, 330), (340, 400))


def test_a_longer_gap_keeps_the_parts_further_apart(lake: Lake, source: Any) -> None:
    """The rows between them teach nothing."""
    source.write("pump", source.table(ROWS))
    watch = source.watch(split={"gap": 24})
    assert read_bounds(lake, prepared(lake, watch))["pump"] == Bounds(256, (280, 316), (340, 400))


def test_dates_are_the_same_for_every_series(lake: Lake, source: Any) -> None:
    """A series that began later has fewer rows for training; one without rows in a part is left out with its reason."""
    source.write("early", source.table(ROWS))
    source.write("late", source.table(ROWS, first=150))
    source.write("new", source.table(ROWS, first=300))
    source.write("ended", source.table(300))
    dates = {"calibration_from": source.time(200), "held_out_from": source.time(300)}
    record = prepared(lake, source.watch(split=dates))
    assert read_bounds(lake, record) == {
        "early": Bounds(190, (200, 290), (300, 400)),
        "late": Bounds(40, (50, 140), (150, 250)),
    }
    said = {one.origin: one.reason for one in record.left_out}
    assert said["new"].startswith("0 rows for training before 2026-01-06 09:20, gaps of 10 rows taken off")
    assert said["ended"].startswith("0 rows held out from 2026-01-07 02:00 on")
    first_held_out = times(source.table(ROWS))[300]
    for parts in read_learning(lake, source.watch(split=dates), record).values():
        assert max(parts.train.timestamps.max(), parts.calibration.timestamps.max()) < first_held_out


@pytest.mark.parametrize("first", [FIRST_HELD_OUT, FIRST_CALIBRATION, FIRST_CALIBRATION - 10])
def test_the_scaler_knows_the_training_rows_alone(lake: Lake, source: Any, tmp_path: Any, first: int) -> None:
    """Rows behind the training part may be anything: mean and scale stay the same to the last bit."""
    table, watch = source.table(ROWS), source.watch()
    source.write("pump", table)
    before = read_scaler(lake, prepared(lake, watch)).arrays()
    source.write("pump", with_rows(table, first, ROWS, 100))
    other = Lake((tmp_path / "other").as_uri())
    after = read_scaler(other, prepared(other, watch)).arrays()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_scaler_of_all_rows_would_be_found_out(lake: Lake, source: Any, tmp_path: Any) -> None:
    """The decoy differs on the same rows, and so does the shipped one when a training row changes."""
    table, watch = source.table(ROWS), source.watch()
    source.write("pump", with_rows(table, FIRST_HELD_OUT, ROWS, 100))
    record = prepared(lake, watch)
    shipped = read_scaler(lake, record).arrays()
    rows = read_rows(lake, read_snapshot(lake, "unit", record.snapshot), "pump", record.channels)
    decoy = Scaler.fit({"pump": rows.values}).arrays()
    assert not any(np.array_equal(shipped[name], decoy[name]) for name in shipped)
    last = FIRST_CALIBRATION - 11
    source.write("pump", with_rows(table, last, last + 1, 100))
    other = Lake((tmp_path / "other").as_uri())
    changed = read_scaler(other, prepared(other, watch)).arrays()
    assert not any(np.array_equal(shipped[name], changed[name]) for name in shipped)


def test_training_never_sees_a_held_out_row(lake: Lake, source: Any) -> None:
    """Neither times, readings nor labels of the held-out rows pass the door, of any series."""
    truth = {(FIRST_HELD_OUT, ROWS): 1}
    for seed, name in enumerate(("fan", "pump")):
        source.write(name, source.table(ROWS, seed=seed, label=truth))
    watch = source.watch()
    record = prepared(lake, watch)
    learning = read_learning(lake, watch, record)
    assert learning.keys() == {"fan", "pump"}
    first_held_out = times(source.table(ROWS))[FIRST_HELD_OUT]
    for series, parts in learning.items():
        where = read_bounds(lake, record)[series]
        assert (type(parts.train), type(parts.calibration)) == (TrainPart, CalibrationPart)
        for part, (start, end) in ((parts.train, (0, where.train)), (parts.calibration, where.calibration)):
            assert np.array_equal(part.timestamps, times(source.table(ROWS))[start:end])
            assert part.timestamps.max() < first_held_out
            assert len(part.values) == end - start
            assert not (part.label == 1).any()


def test_learning_rows_are_the_raw_rows_scaled(lake: Lake, source: Any) -> None:
    """Scaled as the detector will scale them when they are scored, missing readings filled from the past."""
    table = source.table(ROWS)
    values = table["a"].to_numpy().copy()
    values[[0, 50, 51]] = np.nan
    table = table.set_column(1, "a", pa.array(values))
    source.write("pump", table)
    watch = source.watch()
    record = prepared(lake, watch)
    scaler = read_scaler(lake, record)
    raw = np.stack([table[name].to_numpy() for name in "abc"], axis=1)
    wanted = scaler.transform("pump", scaler.fill_forward("pump", raw)[0])
    parts = read_learning(lake, watch, record)["pump"]
    assert np.array_equal(parts.train.values, wanted[: FIRST_CALIBRATION - 10])
    assert np.array_equal(parts.calibration.values, wanted[FIRST_CALIBRATION : FIRST_HELD_OUT - 10])
    assert parts.train.values[0, 0] == 0.0  # the mean, where nothing came before
    assert parts.train.values[51, 0] == parts.train.values[49, 0]


def test_only_the_latest_days_are_used_where_the_watch_says_so(lake: Lake, source: Any) -> None:
    """An old world does not teach, and does not set the scale."""
    table = source.table(ROWS)  # a row every ten minutes: two days are 288 rows
    source.write("pump", with_rows(table, 0, ROWS - 288, 100))
    record = prepared(lake, source.watch(split={"history_days": 2, "held_out": 0.25}))
    assert record.rows == 288
    rows = lake.get_table(f"{record.folder}/series=pump.parquet")
    assert np.array_equal(times(rows), times(table)[-288:])
    plain = Scaler.fit(
        {
            "pump": np.stack([table[n].to_numpy() for n in "abc"], axis=1)[-288:][
                : bounds_of(times(table)[-288:], source.watch()).train
            ]
        }
    )
    assert np.array_equal(read_scaler(lake, record).arrays()["pump.mean"], plain.arrays()["pump.mean"])


def test_a_series_that_is_too_short_is_left_out_with_its_reason(lake: Lake, source: Any) -> None:
    """The others go on."""
    source.write("long", source.table(ROWS))
    source.write("short", source.table(30))
    record = prepared(lake, source.watch())
    assert record.series == ("long",)
    (left,) = record.left_out
    assert left.origin == "short"
    assert "30 rows is too short to split" in left.reason
    assert "1 series left out" in str(record)
    assert read_learning(lake, source.watch(), record).keys() == {"long"}


def test_when_every_series_is_too_short_there_is_nothing_to_prepare(lake: Lake, source: Any) -> None:
    """The first reason is told."""
    source.write("a", source.table(30))
    source.write("b", source.table(20))
    with pytest.raises(DataError, match=r"no series can be split: a: .*30 rows is too short"):
        prepared(lake, source.watch())


@pytest.mark.parametrize(("imported", "seen"), [("known", {0, 1}), ("oracle", {-1})])
def test_labels_that_came_with_the_data_teach_only_where_the_watch_says_so(
    lake: Lake, source: Any, imported: str, seen: set[int]
) -> None:
    """Where they answer the agent's questions, learning must not know them beforehand."""
    source.write("pump", source.table(ROWS, label={(100, 110): 1, (250, 260): 1}))
    watch = source.watch(labels={"imported": imported})
    parts = read_learning(lake, watch, prepared(lake, watch))["pump"]
    assert set(parts.train.label.tolist()) == seen
    assert set(parts.calibration.label.tolist()) == seen


def test_what_was_asked_for_or_said_teaches_always(lake: Lake, source: Any) -> None:
    """The answers within the budget and a person's word are known to learning, imported truth is not."""
    table = source.table(ROWS, label={(100, 110): 1})
    source.write("pump", table)
    watch, at = source.watch(labels={"imported": "oracle"}), times(table)
    ingest(lake.uri, watch)
    write_labels(lake, "unit", [("pump", int(at[20]), int(at[25]), 0)], "oracle", "answered", source.time(0))
    write_labels(lake, "unit", [("pump", int(at[30]), int(at[35]), 1)], "ann", "human", source.time(0))
    label = read_learning(lake, watch, prepared(lake, watch))["pump"].train.label
    assert np.flatnonzero(label == 0).tolist() == list(range(20, 25))
    assert np.flatnonzero(label == 1).tolist() == list(range(30, 35))


def test_a_second_run_finds_what_the_first_one_published(
    lake: Lake, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fitted again; another window is another run."""
    source.write("pump", source.table(ROWS))
    watch = source.watch()
    first = prepared(lake, watch)

    def fail(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(Scaler, "fit_blocks", fail)
    assert prepared(lake, watch) == first
    with pytest.raises(AssertionError, match="fitted again"):
        prepared(lake, source.watch(window=12))


def test_equal_input_is_prepared_alike(lake: Lake, source: Any, tmp_path: Any) -> None:
    """Objects of two lakes are equal to the last bit."""
    source.write("pump", source.table(ROWS, label={(100, 110): 1}))
    other = Lake((tmp_path / "other").as_uri())
    assert prepared(lake, source.watch()) == prepared(other, source.watch())
    assert {key: lake.get(key) for key in lake.list("")} == {key: other.get(key) for key in other.list("")}


@pytest.mark.parametrize("days", [None, 1.5])
def test_blocks_give_what_the_whole_series_gives(
    lake: Lake, source: Any, monkeypatch: pytest.MonkeyPatch, days: float | None
) -> None:
    """Scale, features and prepared rows to the last bit, and no more than a block of rows is worked on at once."""
    table = source.table(ROWS)
    values = table["a"].to_numpy().copy()
    values[[0, 1, 63, 64, 65, 200, 201]] = np.nan
    source.write("pump", table.set_column(1, "a", pa.array(values)))
    rule = {"rolling": ("mean", "slope"), "spans": (6, 25), "difference": (3,)}
    watch = source.watch(features=rule, split={} if days is None else {"history_days": days})
    snapshot = read_snapshot(lake, "unit", ingest(lake.uri, watch).snapshot)
    rows = read_rows(lake, snapshot, "pump", snapshot.channels, history_start(snapshot, watch))
    recipe = recipe_of(watch, snapshot.channels)
    assert recipe is not None
    seen: list[int] = []
    fill = Scaler.fill_forward
    for module in ("models.scaler", "tasks.rows"):
        monkeypatch.setattr(f"{module}.BLOCK", 64)
    where = bounds_of(rows.timestamps, watch)
    scaler = Scaler.fit({"pump": rows.values[: where.train]})
    filled, _ = scaler.fill_forward("pump", rows.values)
    features = Features.fit(recipe, {"pump": (filled[: where.train], rows.timestamps[: where.train])})
    scaled, _ = features.append("pump", filled, scaler.transform("pump", filled), rows.timestamps)

    def counted(self: Scaler, series: str, values: np.ndarray, last: Any = None) -> Any:
        seen.append(len(values))
        return fill(self, series, values, last)

    monkeypatch.setattr(Scaler, "fill_forward", counted)
    record = prepare(lake.uri, watch, snapshot.id)
    assert max(seen) == 64
    whole = to_table(rows.timestamps, scaled, (*snapshot.channels, *recipe.names))
    assert lake.get(f"{record.folder}/series=pump.parquet") == parquet_bytes(whole)
    for fitted, plain in ((read_scaler(lake, record), scaler), (read_features(lake, watch, record), features)):
        assert all(np.array_equal(array, plain.arrays()[name]) for name, array in fitted.arrays().items())


def test_the_interval_is_the_usual_one(lake: Lake, source: Any) -> None:
    """A gap of a week does not change it."""
    table = source.table(3000)
    source.write("pump", pa.concat_tables([table.slice(0, 300), table.slice(1300, 400)]))
    assert prepared(lake, source.watch()).interval_s == 600.0


def test_a_kill_before_the_end_is_made_good(lake: Lake, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts until the record is written."""
    source.write("pump", source.table(ROWS))
    watch = source.watch()
    snapshot = ingest(lake.uri, watch).snapshot

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put_json", kill)
        with pytest.raises(KeyboardInterrupt):
            prepare(lake.uri, watch, snapshot)
    assert not runs.published(lake, f"{runs.run_folder(watch, snapshot)}/prepare")
    assert prepare(lake.uri, watch, snapshot).rows == ROWS


def test_held_out_rows_are_refused_by_training(lake: Lake, source: Any) -> None:
    """What a step would have to do to leak fails at the door of the detector."""
    source.write("pump", source.table(ROWS))
    watch = source.watch()
    record = prepared(lake, watch)
    parts = read_learning(lake, watch, record)["pump"]
    held = HeldOutPart(parts.train.values, parts.train.timestamps, parts.train.label)
    config = DetectorConfig(window=10, members=("norm",), alarm_budget_per_day=2.0, interval_s=600.0)
    scaler = read_scaler(lake, record)
    with pytest.raises(LeakageError, match="series pump: HeldOutPart reached training code, wanted TrainPart"):
        Detector.fit(scaler, {"pump": held}, {"pump": parts.calibration}, config, seed=0)  # type: ignore[dict-item]
    with pytest.raises(LeakageError, match="HeldOutPart reached calibration"):
        Detector.fit(scaler, {"pump": parts.train}, {"pump": held}, config, seed=0)  # type: ignore[dict-item]
    assert Detector.fit(scaler, {"pump": parts.train}, {"pump": parts.calibration}, config, seed=0).series == ("pump",)
