"""A fabricated run on disk: the same bytes again, a longer one that begins with the shorter one, and no half files."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.fabricate import write as writing
from tasks.fabricate.run import FACILITIES, Piece, Run, pieces
from tasks.fabricate.shifts import Shift
from tasks.fabricate.write import write
from tasks.sources import Batch, read_source
from watchkeeper.errors import BadInputError
from watchkeeper.sources import ParquetSource

MONDAY = datetime(2025, 1, 6, tzinfo=UTC)
WATER = Run("water", MONDAY, 12, 3)


def whole(run: Run) -> tuple[pa.Table, list[object], list[object]]:
    parts = list(pieces(run))
    table = pa.concat_tables([part.table for part in parts])
    return table, [e for part in parts for e in part.events], [o for part in parts for o in part.operations]


def test_the_file_is_typed_and_holds_one_row_group_for_each_block(tmp_path: Path) -> None:
    written = write(WATER, tmp_path / "new" / "folder")
    file = pq.ParquetFile(written.parquet)
    channels = [(channel.name, pa.float32()) for channel in FACILITIES["water"].channels]
    expected = [("timestamp", pa.timestamp("us", "UTC")), *channels, ("label", pa.int8())]
    assert list(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True)) == expected
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [14_400, 2_880]
    table = file.read()
    assert all(column.null_count == 0 for column in table.columns)
    stamps = table["timestamp"].to_numpy()
    assert table["timestamp"][0].as_py() == MONDAY
    assert (np.diff(stamps) == np.timedelta64(60, "s")).all()
    assert (written.rows, written.channels) == (table.num_rows, len(channels))
    assert written.anomalous_rows == table["label"].to_numpy().sum()


@pytest.mark.parametrize("name", list(FACILITIES))
def test_events_tell_the_labels(tmp_path: Path, name: str) -> None:
    """Rebuilt from the JSON alone: times, half open, equal the column `label`."""
    run = Run(name, MONDAY + timedelta(hours=7, seconds=30), 5.3, 8)
    written = write(run, tmp_path)
    table = pq.read_table(written.parquet)
    told = json.loads(written.events.read_text(encoding="utf-8"))
    stamps = table["timestamp"].cast(pa.int64()).to_numpy()
    label = np.zeros(len(stamps), np.int8)
    for event in told["events"]:
        start, end = (int(datetime.fromisoformat(event[at]).timestamp() * 1e6) for at in ("start", "end"))
        label[(stamps >= start) & (stamps < end)] = 1
        assert set(event["channels"]) <= set(table.column_names) - {"timestamp", "label"}
        assert event["type"] in told["anomalies"]
    np.testing.assert_array_equal(label, table["label"].to_numpy())
    assert len(told["events"]) == written.anomalies
    assert {one["type"] for one in told["operations"]} <= {"maintenance", "set_point"}
    assert (told["facility"], told["seed"], told["rows"]) == (name, 8, table.num_rows)


@pytest.mark.parametrize("name", list(FACILITIES))
def test_the_same_run_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, name: str) -> None:
    runs = [write(Run(name, MONDAY, 3, seed), tmp_path / folder) for folder, seed in (("a", 1), ("b", 1), ("c", 2))]
    bytes_of = [(run.parquet.read_bytes(), run.events.read_bytes()) for run in runs]
    assert bytes_of[0] == bytes_of[1]
    assert bytes_of[0][0] != bytes_of[2][0]


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(list(FACILITIES)),
    seed=st.integers(0, 2**40),
    days=st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)),
    shift=st.none() | st.builds(Shift, kind=st.sampled_from(["seasonal", "step", "regime"]), day=st.floats(0, 5)),
)
def test_a_longer_run_begins_with_the_shorter_one(
    name: str, seed: int, days: tuple[float, float], shift: Shift | None
) -> None:
    """Readings and labels bit for bit; events and operations are cut where the shorter run ends."""
    short, long = (whole(Run(name, MONDAY, length, seed, shift=shift)) for length in (min(days), max(days)))
    rows = short[0].num_rows
    assert short[0].equals(long[0].slice(0, rows))
    for told, more in zip(short[1:], long[1:], strict=True):
        expected = [one for one in more if one.start < rows]
        assert [(one.start, one.end) for one in told] == [(one.start, min(one.end, rows)) for one in expected]
    assert [event.channels for event in short[1]] == [event.channels for event in long[1] if event.start < rows]


def test_blocks_follow_each_other_without_a_seam() -> None:
    """The tank's level goes on over the border of two blocks as it does inside of one."""
    table, _, _ = whole(Run("water", MONDAY, 30, 3, ()))
    level = table["tank_main_level_pct"].to_numpy()
    steps = np.abs(np.diff(level))
    assert max(steps[14_399], steps[28_799]) < 1.5 * np.quantile(steps, 0.999)


def test_a_watch_reads_the_folder_and_only_the_readings(tmp_path: Path) -> None:
    """The truth beside it disturbs nobody, and labels come along."""
    write(WATER, tmp_path)
    batches = [*read_source(ParquetSource(kind="parquet", folder=str(tmp_path)), None)]
    tables = [batch.table for batch in batches if isinstance(batch, Batch) and batch.series == "water"]
    assert len(tables) == len(batches)
    assert sum(table.num_rows for table in tables) == WATER.rows
    assert all("label" in table.column_names for table in tables)


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    first = write(WATER, tmp_path)
    before = first.parquet.read_bytes()
    other = Run("water", MONDAY, 1, 4)
    with pytest.raises(BadInputError, match="--overwrite"):
        write(other, tmp_path)
    assert first.parquet.read_bytes() == before
    write(other, tmp_path, overwrite=True)
    assert pq.read_table(first.parquet).num_rows == 1440


def test_a_run_that_breaks_off_leaves_the_earlier_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up in the second block: the old files are whole, and nothing else lies there."""
    first = write(Run("water", MONDAY, 1, 4), tmp_path)
    before = (first.parquet.read_bytes(), first.events.read_bytes())

    def full(run: Run) -> object:
        blocks = iter(pieces(run))
        yield next(blocks)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "pieces", full)
    with pytest.raises(BadInputError, match="No space left"):
        write(WATER, tmp_path, overwrite=True)
    assert (first.parquet.read_bytes(), first.events.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["water.events.json", "water.parquet"]


def test_blocks_are_made_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is written before the next one is made, so that memory does not grow with the run."""
    made: list[int] = []
    done: list[tuple[int, int]] = []

    def counted(run: Run) -> object:
        for piece in pieces(run):
            assert isinstance(piece, Piece)
            made.append(piece.first)
            yield piece

    monkeypatch.setattr(writing, "pieces", counted)
    write(Run("water", MONDAY, 35, 1), tmp_path, progress=lambda blocks: done.append((blocks, len(made))))
    assert done == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        write(WATER, tmp_path / "file")
