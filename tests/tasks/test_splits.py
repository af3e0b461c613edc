"""Which rows went where: the metadata beside the prepared rows, counted by hand and against what learning gets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks import runs
from tasks.ingest import ingest
from tasks.prepare import prepare, read_learning
from tasks.splits import Metadata, PartRows, read_metadata, totals
from watchkeeper.lake import Lake
from watchkeeper.records import Evaluation, Prepared
from watchkeeper.watch import Watch

ROWS = 400


def prepared(lake: Lake, watch: Watch) -> tuple[Prepared, Metadata]:
    record = prepare(lake.uri, watch, ingest(lake.uri, watch).snapshot)
    return record, Metadata(**lake.get_json(f"{record.folder}/metadata.json"))


def evaluation(source: Any, record: Prepared) -> Evaluation:
    return Evaluation(
        key=record.key.replace("/prepare", "/evaluations/b8db/evaluation-against-none"),
        truth="labels", start=source.time(340), end=source.time(399),
        rows=(), against=None, difference=None, low=None, high=None,
    )  # fmt: skip


def part(source: Any, name: Any, first: int, stop: int, **labels: int) -> PartRows:
    """What 70/15/15 with a window of 10 says of a part, every row normal unless said otherwise."""
    counts = {"anomalous": 0, "normal": stop - first - sum(labels.values()), "unknown": 0, **labels}
    return PartRows(
        part=name, first=first, stop=stop, start=source.time(first), end=source.time(stop - 1), labels=counts
    )


def test_every_row_went_somewhere(lake: Lake, source: Any) -> None:
    """Row ranges, times and labels of each part and of the gaps between, counted by hand; left-out series are named."""
    truth = {(100, 110): 1, (275, 285): 1, (350, 353): 1, (390, 400): -1}
    source.write("pump", source.table(ROWS, label=truth))
    source.write("short", source.table(20))
    watch = source.watch(split={})
    record, found = prepared(lake, watch)
    assert found.series.keys() == {"pump"}
    assert found.series["pump"].parts == (
        part(source, "train", 0, 270, anomalous=10),
        part(source, "gap", 270, 280, anomalous=5),
        part(source, "calibration", 280, 330, anomalous=5),
        part(source, "gap", 330, 340),
        part(source, "held_out", 340, 400, anomalous=3, unknown=10),
    )
    assert (found.series["pump"].rows, found.series["pump"].earlier, found.interval_s) == (400, 0, 600.0)
    assert (found.snapshot, found.channels, found.window, found.gap) == (record.snapshot, ("a", "b", "c"), 10, 10)
    assert found.split == {"calibration": 0.15, "held_out": 0.15}
    assert found.code == runs.code_digest()
    assert [one.origin for one in found.left_out] == ["short"]


def test_it_says_of_training_what_training_gets(lake: Lake, source: Any) -> None:
    """The row ranges are those of the rows that pass the door, where dates and a history limit them."""
    for seed, name in enumerate(("fan", "pump")):
        source.write(name, source.table(ROWS, first=50 * seed, seed=seed))
    dates = {"calibration_from": source.time(250), "held_out_from": source.time(330)}
    watch = source.watch(split={**dates, "gap": 15, "history_days": 2.5})
    record, found = prepared(lake, watch)
    assert found.split == {**dates, "history_days": 2.5}
    assert found.gap == 15
    assert {name: one.earlier for name, one in found.series.items()} == {"fan": 40, "pump": 0}
    for series, parts in read_learning(lake, watch, record).items():
        rows = lake.get_table(f"{record.folder}/series={series}.parquet")
        said = {one.part: one for one in found.series[series].parts if one.part != "gap"}
        assert said["held_out"].stop == len(rows) == found.series[series].rows
        for name, got in (("train", parts.train), ("calibration", parts.calibration)):
            stamps = rows["timestamp"].cast("int64").to_numpy()[said[name].first : said[name].stop]
            assert np.array_equal(got.timestamps, stamps)
            assert said[name].rows == len(got)


def test_the_sums_over_the_series_count_each_row_once(lake: Lake, source: Any) -> None:
    """Two series of 400 and 300 rows; the gaps are one line."""
    source.write("fan", source.table(ROWS))
    source.write("pump", source.table(ROWS, first=100))
    _, found = prepared(lake, source.watch(split={}))
    sums = totals(found)
    assert [(one.part, one.rows) for one in sums] == [
        ("train", 270 + 200),
        ("calibration", 50 + 35),
        ("held_out", 60 + 45),
        ("gap", 40),
    ]
    assert (sums[0].start, sums[2].end) == (source.time(0), source.time(399))


def test_it_is_found_from_the_evaluation_until_it_is_cleared_away(lake: Lake, source: Any) -> None:
    """Prepared rows go when a newer snapshot is trained on; what is shown then goes without."""
    source.write("pump", source.table(ROWS))
    record, found = prepared(lake, source.watch())
    assert read_metadata(lake, evaluation(source, record)) == found
    lake.delete(f"{record.folder}/metadata.json")
    assert read_metadata(lake, evaluation(source, record)) is None
    lake.delete(f"{record.key}.json")
    assert read_metadata(lake, evaluation(source, record)) is None


def test_a_kill_before_the_metadata_leaves_nothing_that_counts(
    lake: Lake, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written before the record that makes the step count, so a record always has its metadata."""
    source.write("pump", source.table(ROWS))
    watch = source.watch()
    snapshot = ingest(lake.uri, watch).snapshot
    written: list[str] = []

    def noting(put: Callable[..., None]) -> Callable[..., None]:
        def note(self: Lake, key: str, *what: Any) -> None:
            written.append(key.rpartition("/")[2])
            put(self, key, *what)

        return note

    for name in ("put", "put_tables"):
        monkeypatch.setattr(Lake, name, noting(getattr(Lake, name)))
    prepare(lake.uri, watch, snapshot)
    assert written == ["series=pump.parquet", "metadata.json", "prepare.safetensors", "prepare.json"]
