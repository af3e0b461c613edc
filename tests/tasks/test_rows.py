import itertools
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.rows import (
    from_table,
    latest_snapshot,
    read_rows,
    read_snapshot,
    read_timestamps,
    require_snapshot,
    to_table,
)
from watchkeeper.clock import EPOCH, to_datetime
from watchkeeper.errors import DataError, LakeError
from watchkeeper.lake import Lake
from watchkeeper.records import RawFile, Snapshot

CHANNELS = ("a", "b")
TIMES = np.array([1, 2, 3, 10, 11, 20, 21, 22, 23, 40], np.int64)
VALUES = np.stack([TIMES * 1.0, TIMES * -1.0], axis=1).astype(np.float32)
CUTS = (0, 3, 5, 9, 10)


def snapshot(files: tuple[RawFile, ...] = (), number: int = 1) -> Snapshot:
    return Snapshot(
        id=f"{number:06d}-abc", watch="w", channels=CHANNELS, files=files, labels=(), queue=(), sources=(),
        rows=sum(file.rows for file in files), start=EPOCH, end=EPOCH,
    )  # fmt: skip


@pytest.fixture
def stored(lake: Lake) -> Snapshot:
    """Ten rows of series s in four files, listed backwards, and one row of another series."""
    files = []
    for start, end in itertools.pairwise(CUTS):
        times = TIMES[start:end]
        key = f"raw/{start}.parquet"
        lake.put_table(key, to_table(times, VALUES[start:end], CHANNELS))
        files.append(
            RawFile(
                key=key, series="s", date="1970-01-01", rows=end - start,
                start=to_datetime(times[0]), end=to_datetime(times[-1]), sha256="",
            )
        )  # fmt: skip
    lake.put_table("raw/t.parquet", to_table(TIMES[:1], VALUES[:1], CHANNELS))
    other = files[0].model_copy(update={"series": "t", "key": "raw/t.parquet", "rows": 1})
    return snapshot((*reversed(files), other))


@settings(deadline=None)
@given(values=arrays(np.float32, st.tuples(st.integers(0, 20), st.integers(1, 4)), elements=st.floats(width=32)))
def test_rows_come_back_from_their_table(values: np.ndarray) -> None:
    """Times and readings to the last bit, NaN included."""
    names = tuple(f"c{i}" for i in range(values.shape[1]))
    times = np.arange(len(values), dtype=np.int64) * 1_000_003
    back = from_table(to_table(times, values, names), names)
    assert np.array_equal(back.timestamps, times)
    assert back.values.tobytes() == np.ascontiguousarray(values).tobytes()
    assert len(back) == len(times)


def test_all_rows_in_the_order_of_time(lake: Lake, stored: Snapshot) -> None:
    """Whatever the order of the files; columns as asked for."""
    rows = read_rows(lake, stored, "s", ("b", "a"))
    assert np.array_equal(rows.timestamps, TIMES)
    assert np.array_equal(rows.values, VALUES[:, ::-1])
    assert np.array_equal(read_timestamps(lake, stored, "s"), TIMES)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(after=st.integers(-1, 45), context=st.integers(0, 12))
def test_rows_after_a_time_come_with_their_context(lake: Lake, stored: Snapshot, after: int, context: int) -> None:
    """As an obvious choice from all rows gives them."""
    rows = read_rows(lake, stored, "s", CHANNELS, after, context)
    first = max(0, int((after >= TIMES).sum()) - context)
    assert np.array_equal(rows.timestamps, TIMES[first:])
    assert np.array_equal(rows.values, VALUES[first:])


def test_files_before_the_context_are_not_read(lake: Lake, stored: Snapshot) -> None:
    """A score run of one new row does not read the history of years."""
    lake.path("raw/0.parquet").unlink()
    lake.path("raw/3.parquet").unlink()
    assert read_rows(lake, stored, "s", CHANNELS, after=23, context=4).timestamps.tolist() == [20, 21, 22, 23, 40]
    with pytest.raises(LakeError):
        read_rows(lake, stored, "s", CHANNELS, after=23, context=5)


def test_an_unknown_series_has_no_rows(lake: Lake, stored: Snapshot) -> None:
    """The shape says how many channels there would be."""
    rows = read_rows(lake, stored, "nobody", CHANNELS)
    assert (len(rows), rows.values.shape) == (0, (0, 2))


def test_the_newest_snapshot_is_the_one_with_the_highest_number(lake: Lake) -> None:
    """Ten comes after nine, and another watch's snapshots do not count."""
    for number in (9, 10, 2):
        one = snapshot(number=number)
        lake.put_json(f"snapshots/w/{one.id}.json", one.model_dump(mode="json"))
    other = snapshot(number=99)
    lake.put_json(f"snapshots/w2/{other.id}.json", other.model_dump(mode="json"))
    assert latest_snapshot(lake, "w") == snapshot(number=10)
    assert read_snapshot(lake, "w", "000002-abc") == snapshot(number=2)


def test_before_the_first_ingest_there_is_none(lake: Lake) -> None:
    """The message says what to run."""
    assert latest_snapshot(lake, "w") is None
    with pytest.raises(DataError, match="run `watchkeeper ingest --watch w`"):
        require_snapshot(lake, "w")


def test_a_snapshot_names_each_series_once(stored: Snapshot) -> None:
    """Sorted."""
    assert stored.series == ("s", "t")
    assert stored.files[0].end - stored.files[0].start == timedelta(0)
