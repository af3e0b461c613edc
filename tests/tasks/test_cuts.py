"""However a file is cut into groups, blocks and batches, the same rows come in, and the lake has the same objects."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest import ingest
from tasks.rows import require_snapshot
from tasks.sources import Batch, parquet, read_source
from watchkeeper.lake import Lake
from watchkeeper.progress import listening
from watchkeeper.records import Ingested, Refusal
from watchkeeper.sources import ParquetSource
from watchkeeper.watch import Watch

START = 1_767_571_200_000_000 - 30 * 60_000_000  # half an hour before a midnight
MINUTE = 60_000_000
ZONED = pa.timestamp("us", "UTC")

ROW = st.tuples(
    st.none() | st.integers(0, 90) | st.integers(0, 4000) | st.just(2**33),  # the last is on no calendar
    st.sampled_from([1.0, 1.0, 2.5, np.nan, np.inf]),
    st.sampled_from([0, 0, 1, 1, None, 7]),
)


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    times = [None if minute is None else START + minute * MINUTE for minute, _, _ in rows]
    return pa.table(
        {
            "timestamp": pa.array(times, pa.int64()).cast(ZONED),
            "a": pa.array([value for _, value, _ in rows], pa.float32()),
            "b": pa.array(list(range(len(rows))), pa.float64()),
            "label": pa.array([label for _, _, label in rows], pa.int8()),
        }
    )


def taken_in(
    table: pa.Table, group: int, block: int, untils: list[datetime | None], zone: str | None = None
) -> tuple[dict[str, Any], list[Ingested]]:
    """What lies in a lake after ingests of a file with groups of so many rows, read in such blocks."""
    with TemporaryDirectory() as name, patch("tasks.sources.parquet.BLOCK_ROWS", block):
        folder, lake = Path(name, "files"), Lake(Path(name, "lake").as_uri())
        folder.mkdir()
        pq.write_table(table, folder / "pump.parquet", row_group_size=group)
        # One good row in any case, so that there is a first snapshot.
        first = pa.table({"timestamp": pa.array([START - MINUTE]).cast(ZONED), "a": [0.0], "b": [0.0], "label": [0]})
        pq.write_table(first, folder / "pump.0.parquet")
        watch = Watch(name="unit", source={"kind": "parquet", "folder": str(folder), "zone": zone})
        done = [ingest(lake.uri, watch, until) for until in untils]
        # Snapshots name the files that they came from by their bytes, and so do their groups.
        plain = [one.model_copy(update={"report": ""}) for one in done]
        kept = {key: lake.get_json(key) | {"sources": None} for key in lake.list("snapshots")}
        return kept | {key: lake.get(key) for key in lake.list("") if not key.startswith("snapshots/")}, plain


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(ROW, max_size=40),
    ordered=st.booleans(),
    group=st.integers(1, 40),
    block=st.integers(1, 40),
    most=st.sampled_from([4, 9, 10**6]),
    stop=st.none() | st.integers(0, 90),
)
def test_a_file_may_be_cut_anywhere(
    rows: list[tuple[Any, ...]], ordered: bool, group: int, block: int, most: int, stop: int | None
) -> None:
    """Objects, counts and lines are those of the file in one piece: rows in any order, twice, late, bad."""
    table = table_of(sorted(rows, key=lambda row: row[0] or 0) if ordered else rows)
    until = None if stop is None else datetime.fromtimestamp((START + stop * MINUTE) / 1e6, UTC)
    untils = [until] if until is None else [until, None]
    with patch("tasks.raw_files.FILE_READINGS", most):
        assert taken_in(table, group, block, untils) == taken_in(table, 1000, 1000, untils)


@settings(deadline=None, max_examples=40)
@given(minutes=st.lists(st.integers(-100, 200), min_size=1, max_size=40), ordered=st.booleans(),
       group=st.integers(1, 40), block=st.integers(1, 40))  # fmt: skip
def test_a_local_clock_may_be_cut_anywhere(minutes: list[int], ordered: bool, group: int, block: int) -> None:
    """The hour that comes twice as summer time ends is told by the order of all rows, not by that of a block."""
    local = 1_761_440_400_000_000  # 2025-10-26 01:00, an hour before the hour that comes twice in Berlin
    times = local + np.array(sorted(minutes) if ordered else minutes, np.int64) * MINUTE
    columns = {"timestamp": pa.array(times).cast(pa.timestamp("us")), "a": np.arange(len(times)) * 1.0}
    table = pa.table(columns | {"b": np.ones(len(times)), "label": np.zeros(len(times), np.int8)})
    assert taken_in(table, group, block, [None], "Europe/Berlin") == taken_in(table, 99, 99, [None], "Europe/Berlin")


def test_killed_anywhere_the_rerun_ends_as_if_nothing_had_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write was the last, also between two blocks of a file: the same objects, and none besides."""
    random = np.random.default_rng(0)
    rows = [(int(minute), float(minute), int(minute > 40)) for minute in random.permutation(4000)[:60]]
    pq.write_table(table_of([*rows, (3, np.inf, 0)]), tmp_path / "pump.parquet", row_group_size=20)
    watch = Watch(name="unit", source={"kind": "parquet", "folder": str(tmp_path)})
    monkeypatch.setattr("tasks.sources.parquet.BLOCK_ROWS", 7)
    monkeypatch.setattr("tasks.raw_files.FILE_READINGS", 10)
    whole, put = Lake((tmp_path / "whole").as_uri()), Lake.put
    ingest(whole.uri, watch)
    wanted = {key: whole.get(key) for key in whole.list("")}
    for stop in range(1, len(wanted) + 1):
        lake, puts = Lake((tmp_path / f"killed-{stop}").as_uri()), itertools.count(1)

        def die(self: Lake, key: str, data: bytes, stop: int = stop, puts: Iterator[int] = puts) -> None:
            if next(puts) == stop:
                raise KeyboardInterrupt
            put(self, key, data)

        with monkeypatch.context() as killed:
            killed.setattr(Lake, "put", die)
            with pytest.raises(KeyboardInterrupt):
                ingest(lake.uri, watch)
        assert lake.list("snapshots") == []
        ingest(lake.uri, watch)
        assert {key: lake.get(key) for key in lake.list("")} == wanted


def test_groups_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    """A file whose newest rows come first is not held as a whole, and its steps back are counted as they stand."""
    times = START + np.arange(60)[::-1] * MINUTE
    pq.write_table(
        pa.table({"timestamp": pa.array(times).cast(ZONED), "a": np.arange(60) * 1.0}), tmp_path / "s.parquet", 10
    )
    with patch("tasks.sources.parquet.BLOCK_ROWS", 5):
        batches = list(read_source(ParquetSource(kind="parquet", folder=str(tmp_path)), None))
    assert all(isinstance(batch, Batch) and len(batch.table) == 10 for batch in batches)
    found = [batch for batch in batches if isinstance(batch, Batch)]
    assert found[0].rows is not None
    assert found[0].rows.tolist() == list(range(50, 60))
    assert [batch.clock().backward for batch in found] == [59, 0, 0, 0, 0, 0]
    assert [batch.more for batch in found] == [True] * 5 + [False]


def test_a_file_far_out_of_order_is_not_held_as_a_whole(tmp_path: Path) -> None:
    """One row of long ago at its end makes nobody wait for long: it is late, the others come in."""
    times = START + np.r_[np.arange(99), -(10**6)] * MINUTE
    rows = pa.table({"timestamp": pa.array(times).cast(ZONED), "a": np.arange(100) * 1.0})
    pq.write_table(rows, tmp_path / "s.parquet")
    source = ParquetSource(kind="parquet", folder=str(tmp_path))
    lake = Lake((tmp_path / "lake").as_uri())
    with patch("tasks.sources.parquet.BLOCK_ROWS", 10), patch("tasks.sources.parquet.HELD_READINGS", 40):
        batches = [batch for batch in read_source(source, None) if isinstance(batch, Batch)]
        done = ingest(lake.uri, Watch(name="unit", source=source))
    assert sum(len(batch.table) for batch in batches) == 100
    assert max(len(batch.table) for batch in batches) <= 30  # held, 20 and a block
    assert (done.rows, done.quarantined) == (99, {"late: before the newest row stored": 1})


def test_a_file_that_cannot_be_read_to_its_end_leaves_nothing(tmp_path: Path) -> None:
    """Its rows, its bad rows and its channels are left out, and the next file is the watch's first."""
    values = np.random.default_rng(0).normal(size=20_000)
    values[3] = np.inf
    times = pa.array(START + np.arange(20_000) * MINUTE).cast(ZONED)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"timestamp": times, "other": values}), path, row_group_size=10_000, use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 60] = b"\xff" * 60
    path.write_bytes(data)
    pq.write_table(pa.table({"timestamp": times, "x": values}), tmp_path / "b.parquet")
    lake = Lake((tmp_path / "lake").as_uri())
    watch = Watch(name="unit", source={"kind": "parquet", "folder": str(tmp_path)})
    with patch("tasks.sources.parquet.BLOCK_ROWS", 1000), patch("tasks.quarantine.ASIDE_READINGS", 1):
        done = ingest(lake.uri, watch)
    (refused,) = done.refused
    assert refused.origin == "a.parquet"
    assert refused.reason.startswith("cannot be read")
    assert (done.rows, done.quarantined) == (19_999, {"reading is infinite": 1})
    assert require_snapshot(lake, "unit").channels == ("x",)
    assert [key.split("/")[2] for key in lake.list("quarantine")] == ["series=b"]


@pytest.mark.parametrize(("blocks", "told"), [(2, 20), (4, 40)])
def test_a_file_whose_end_counts_other_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, told: int
) -> None:
    """Nobody can say which rows there should be, so none comes in."""
    times = pa.array(START + np.arange(30) * MINUTE).cast(ZONED)
    pq.write_table(pa.table({"timestamp": times, "a": np.arange(30) * 1.0}), tmp_path / "s.parquet")
    monkeypatch.setattr("tasks.sources.parquet.BLOCK_ROWS", 10)
    plain = parquet._blocks

    def others(*given: Any) -> Iterator[Any]:
        yield from itertools.islice(itertools.chain(plain(*given), plain(*given)), blocks)

    monkeypatch.setattr(parquet, "_blocks", others)
    *before, last = read_source(ParquetSource(kind="parquet", folder=str(tmp_path)), None)
    assert all(isinstance(batch, Batch) and batch.more for batch in before)
    assert last == Refusal(origin="s.parquet", reason=f"cannot be read: its end counts 30 rows, it holds {told}")


def test_a_large_file_shows_how_far_it_is(tmp_path: Path, lake: Lake) -> None:
    """Block by block, so that somebody who waits sees that something goes on."""
    times = pa.array(START + np.arange(30) * MINUTE).cast(ZONED)
    pq.write_table(pa.table({"timestamp": times, "a": np.arange(30) * 1.0}), tmp_path / "s.parquet")
    listener = Mock()
    with patch("tasks.sources.parquet.BLOCK_ROWS", 12), listening(listener):
        ingest(lake.uri, Watch(name="unit", source={"kind": "parquet", "folder": str(tmp_path)}))
    said = [call.args[2] for call in listener.advanced.call_args_list]
    assert said == [f"s.parquet, {rows} rows so far" for rows in (12, 24, 30)]
