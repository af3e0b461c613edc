import math
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.sources import Batch, read_source
from tasks.validate import FIRST_US, LAST_US, Before, channels_of, validate
from watchkeeper.errors import DataError
from watchkeeper.records import Refusal
from watchkeeper.sources import ParquetSource

START = datetime(2026, 1, 5, tzinfo=UTC)


def times(rows: int, first: int = 0, kind: pa.DataType | None = None) -> pa.Array:
    values = [START + timedelta(minutes=first + row) for row in range(rows)]
    return pa.array(values, pa.timestamp("us", "UTC")).cast(kind or pa.timestamp("us", "UTC"))


def write(folder: Path, name: str, **columns: Any) -> Path:
    pq.write_table(pa.table(columns or {"timestamp": times(3), "a": [1.0, 2.0, 3.0]}), folder / name)
    return folder / name


def read(folder: Path, until: datetime | None = None, **options: str) -> list[Batch | Refusal]:
    return list(read_source(ParquetSource(kind="parquet", folder=str(folder), **options), until))


def batches(folder: Path, until: datetime | None = None, **options: str) -> list[Batch]:
    items = read(folder, until, **options)
    assert all(isinstance(item, Batch) for item in items), items
    return [item for item in items if isinstance(item, Batch)]


def refusal(folder: Path, **options: str) -> str:
    """The reason of the one file refused; the other file of the folder comes through."""
    write(folder, "zz_good.parquet")
    refused, good = read(folder, **options)
    assert isinstance(good, Batch)
    assert isinstance(refused, Refusal)
    return f"{refused.origin}: {refused.reason}"


def test_a_series_is_a_file_name_up_to_its_first_dot(tmp_path: Path) -> None:
    """Files of a series come in the order of their first timestamps, not of their names."""
    write(tmp_path, "pump.train.parquet", timestamp=times(2), a=[1.0, 2.0])
    write(tmp_path, "pump.again.parquet", timestamp=times(2, first=9), a=[5.0, 6.0])
    write(tmp_path, "pump.next.parquet", timestamp=times(2, first=2), a=[3.0, 4.0])
    write(tmp_path, "fan.parquet")
    found = [(batch.series, batch.origin) for batch in batches(tmp_path)]
    assert found == [
        ("fan", "fan.parquet"),
        ("pump", "pump.train.parquet"),
        ("pump", "pump.next.parquet"),
        ("pump", "pump.again.parquet"),
    ]


def test_only_files_of_the_pattern_count(tmp_path: Path) -> None:
    """Folders and other files are passed over."""
    write(tmp_path, "smd_1.parquet")
    write(tmp_path, "nab_1.parquet")
    (tmp_path / "smd_2.parquet").mkdir()
    (tmp_path / "smd_3.txt").write_text("no")
    assert [batch.series for batch in batches(tmp_path, files="smd_*.parquet")] == ["smd_1"]


def test_columns_get_the_names_of_the_house(tmp_path: Path) -> None:
    """A source may call its time and its label as it likes."""
    write(tmp_path, "s.parquet", zeit=times(2), a=[1.0, 2.0], wahr=[0, 1])
    (batch,) = batches(tmp_path, timestamp="zeit", label="wahr")
    assert batch.table.column_names == ["timestamp", "a", "label"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_of_any_unit_and_zone_become_microseconds_utc(tmp_path: Path, unit: str, zone: str | None) -> None:
    """The moment is the same; a clock without a zone is taken as UTC."""
    write(tmp_path, "s.parquet", timestamp=times(2, kind=pa.timestamp(unit, zone)), a=[1.0, 2.0])
    (batch,) = batches(tmp_path)
    assert batch.table.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    assert batch.table["timestamp"].to_pylist() == [START, START + timedelta(minutes=1)]


def test_nanoseconds_below_a_microsecond_are_cut(tmp_path: Path) -> None:
    """They do not refuse the file."""
    column = pa.array(np.array([1001, 2999]), pa.timestamp("ns", "UTC"))
    write(tmp_path, "s.parquet", timestamp=column, a=[1.0, 2.0])
    (batch,) = batches(tmp_path)
    assert batch.table["timestamp"].cast(pa.int64()).to_pylist() == [1, 2]


def test_rows_from_until_on_are_left_for_later(tmp_path: Path) -> None:
    """Half-open, in any zone; rows without a timestamp stay in, to be quarantined with their reason."""
    column = pa.concat_arrays([times(3), pa.nulls(1, pa.timestamp("us", "UTC"))])
    write(tmp_path, "s.parquet", timestamp=column, a=[1.0, 2.0, 3.0, 4.0])
    until = (START + timedelta(minutes=2)).astimezone(timezone(timedelta(hours=5)))
    (batch,) = batches(tmp_path, until)
    assert batch.table["a"].to_pylist() == [1.0, 2.0, 4.0]


def test_a_missing_folder_and_an_empty_one(tmp_path: Path) -> None:
    """Both are errors of the watch as a whole."""
    with pytest.raises(DataError, match=r"nowhere does not exist; correct `folder`"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no file \*\.parquet"):
        read(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no Parquet at all", b"PAR1", b"PAR1" + b"\x00" * 40 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_refused_alone(tmp_path: Path, data: bytes) -> None:
    """The next file is read all the same."""
    (tmp_path / "bad.parquet").write_bytes(data)
    assert "bad.parquet: is no readable Parquet file" in refusal(tmp_path)


def test_a_file_with_a_damaged_page_is_refused_alone(tmp_path: Path) -> None:
    """Its end is fine and its times can be read, so it comes to light only in the readings."""
    values = np.random.default_rng(0).normal(size=20_000)
    path = write(tmp_path, "bad.parquet", timestamp=times(20_000), a=values)
    data = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(0).column(1).dictionary_page_offset
    data[at : at + 60] = b"\xff" * 60
    path.write_bytes(data)
    assert "bad.parquet: cannot be read" in refusal(tmp_path)


def test_a_file_without_the_time_column_is_refused_alone(tmp_path: Path) -> None:
    """The message says which columns there are."""
    write(tmp_path, "bad.parquet", when=times(1), a=[1.0])
    assert refusal(tmp_path) == "bad.parquet: no column timestamp; its columns begin with when, a"


@pytest.mark.parametrize("column", [["2026-01-05"], [1767571200], pa.array([0], pa.date32())])
def test_times_that_are_no_timestamps_are_refused(tmp_path: Path, column: Any) -> None:
    """Numbers and words could mean anything."""
    write(tmp_path, "bad.parquet", timestamp=column, a=[1.0])
    assert "column timestamp is" in refusal(tmp_path)


def test_a_time_beyond_microseconds_is_refused(tmp_path: Path) -> None:
    """Milliseconds can say times that microseconds cannot."""
    write(tmp_path, "bad.parquet", timestamp=pa.array([2**61], pa.timestamp("ms")), a=[1.0])
    assert "bad.parquet: is no readable Parquet file" in refusal(tmp_path)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """In the file itself, or after its columns got the names of the house."""
    table = pa.table([times(1), pa.array([1.0]), pa.array([2.0])], names=["timestamp", "a", "a"])
    pq.write_table(table, tmp_path / "bad.parquet")
    assert refusal(tmp_path) == "bad.parquet: column a stands twice"
    (tmp_path / "zz_good.parquet").unlink()
    write(tmp_path, "bad.parquet", zeit=times(1), timestamp=[1.0])
    (refused,) = read(tmp_path, timestamp="zeit")
    assert isinstance(refused, Refusal)
    assert refused.reason == "column timestamp stands twice"


@pytest.mark.parametrize("name", ["a=b.parquet", "my pump.parquet", ".hidden.parquet", "größe.parquet"])
def test_a_name_that_cannot_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    """`a=b` would look like a partition."""
    write(tmp_path, name)
    assert "rename the file" in refusal(tmp_path)


def test_a_file_without_rows_is_an_empty_batch(tmp_path: Path) -> None:
    """It is no fault of the file."""
    write(tmp_path, "s.parquet", timestamp=times(0), a=pa.array([], pa.float32()))
    (batch,) = batches(tmp_path)
    assert len(batch.table) == 0


def test_columns_are_renamed_and_left_out(tmp_path: Path) -> None:
    """What is left out may be called anything, even like another column after its renaming."""
    write(tmp_path, "s.parquet", timestamp=times(1), A=[1.0], a=["words"], b=[2.0])
    (batch,) = batches(tmp_path, rename={"A": "a"}, ignore=("a",))
    assert batch.table.column_names == ["timestamp", "a", "b"]
    assert batch.table["a"].to_pylist() == [1.0]


def test_local_times_become_utc(tmp_path: Path) -> None:
    """A skipped hour has its reason, a missing time stays missing, and a column that knows its zone keeps it."""
    local = [datetime(2026, 3, 29, hour, 30) for hour in (1, 2, 3)]  # local, as the file has it
    write(tmp_path, "s.parquet", timestamp=pa.array([*local, None], pa.timestamp("ms")), a=[1.0, 2.0, 3.0, 4.0])
    write(tmp_path, "t.parquet")
    shown, known = batches(tmp_path, zone="Europe/Berlin")
    first = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    assert shown.table["timestamp"].to_pylist() == [first, None, first + timedelta(hours=1), None]
    assert shown.reasons is not None
    assert shown.reasons.tolist() == ["", "timestamp lies in the hour that summer time skips", "", ""]
    assert known.table["timestamp"].to_pylist()[0] == START


def test_files_without_a_clock_follow_one_another(tmp_path: Path) -> None:
    """In the order of their names, also when the first is known; one that cannot be read ends the row."""
    write(tmp_path, "s.1.parquet", a=[1.0, 2.0])
    write(tmp_path, "s.2.parquet", a=[3.0])
    source = ParquetSource(kind="parquet", folder=str(tmp_path), start=START, interval_s=60)
    first, second = read_source(source, None)
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert second.table["timestamp"].to_pylist() == [START + timedelta(minutes=2)]
    (again,) = read_source(source, None, (str(first.content),))
    assert isinstance(again, Batch)
    assert again.table.equals(second.table)
    assert list(read_source(source, None, (str(first.content), str(second.content)))) == []
    (tmp_path / "s.1.parquet").write_bytes(b"no")
    assert [type(item) for item in read_source(source, None)] == [Refusal]


CELLS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "f4": (pa.float32(), st.floats(width=32)),
    "f8": (pa.float64(), st.floats()),
    "i8": (pa.int8(), st.integers(-128, 127)),
    "u8": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "bool": (pa.bool_(), st.booleans()),
    "null": (pa.null(), st.none()),
    "text": (pa.string(), st.text(max_size=3)),
    "list": (pa.list_(pa.float32()), st.lists(st.floats(width=32), max_size=2)),
    "word": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["x", "y"])),
}
CLOCKS = st.one_of(st.none(), st.integers(0, 12), st.sampled_from([-(2**62), 2**62, -1]))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of a clock, perhaps of another type, and columns of any type, with what a label may hold."""
    rows = draw(st.integers(0, 8))
    clock = draw(st.sampled_from([pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.int64()]))
    columns = {"timestamp": pa.array(draw(st.lists(CLOCKS, min_size=rows, max_size=rows)), pa.int64()).cast(clock)}
    for name in draw(st.lists(st.sampled_from(["a", "b", "label", "series"]), max_size=3, unique=True)):
        kind, cells = CELLS[draw(st.sampled_from(sorted(CELLS)))]
        column = draw(st.lists(st.one_of(st.none(), cells), min_size=rows, max_size=rows))
        columns[name] = pa.array(column, kind)
    return pa.table(columns)


def check_table(table: pa.Table) -> None:
    """Read a table as a file and compare with the obvious reading, row by row, or see that it was refused for cause."""
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "pump.parquet")
        (item,) = read(Path(folder))
    clock = table.schema.field("timestamp").type
    if isinstance(item, Refusal):
        assert not pa.types.is_timestamp(clock)
        assert "\n" not in item.reason
        return
    names = [name for name in table.column_names if name not in ("timestamp", "label")]
    plain = {name: table.schema.field(name).type for name in table.column_names if name != "timestamp"}
    usable = all(pa.types.is_primitive(kind) or pa.types.is_null(kind) for kind in plain.values())
    try:
        valid = validate(item, channels_of(item), extra_allowed=False, before=Before())
    except DataError as error:
        assert not usable or "series" in names
        assert "\n" not in str(error)  # noqa: PT017 # the error may come or not
        return
    assert usable
    assert len(valid.timestamps) + len(valid.quarantine) == len(table)
    wanted: dict[int, list[float]] = {}
    seen = set()
    stamps = table["timestamp"].cast(pa.int64()).to_pylist()
    for row, stamp in enumerate(stamps):
        # Digits beyond a microsecond are cut, also before 1970.
        us = None if stamp is None else abs(stamp) // 1000 * (1 if stamp > 0 else -1) if clock.unit == "ns" else stamp
        first, label = us not in seen, 0
        seen.add(us)
        cells = [table[name][row].as_py() for name in names]
        with np.errstate(over="ignore"):
            values = [math.nan if cell is None else float(np.float32(float(cell))) for cell in cells]
        if "label" in table.column_names:
            cell = table["label"][row].as_py()
            label = 0 if cell is None or math.isnan(cell) else float(cell)
        if (
            us is not None
            and FIRST_US <= us <= LAST_US
            and first
            and label in (-1, 0, 1)
            and not any(map(math.isinf, values))
        ):
            wanted[us] = values
    assert valid.timestamps.tolist() == sorted(wanted)
    found = valid.values.astype(np.float64)
    assert np.array_equal(found, np.array([wanted[us] for us in sorted(wanted)]).reshape(found.shape), equal_nan=True)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_any_table_gives_its_good_rows_and_counts_the_others(table: pa.Table) -> None:
    """Whatever its types: no row more, none less, no reading that differs, or one line that says why."""
    check_table(table)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_ten_thousand_tables(table: pa.Table) -> None:
    """The same for long."""
    check_table(table)


_written = pa.BufferOutputStream()
pq.write_table(pa.table({"timestamp": times(40), "a": np.arange(40.0)}), _written)
WHOLE = _written.getvalue().to_pybytes()
HARM = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6)


def check_damaged(harm: list[tuple[int, int]], cut: int) -> None:
    """Read a damaged file: it is refused in one line, or gives rows that are finite."""
    data = bytearray(WHOLE)
    for place, byte in harm:
        data[place] = byte
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pump.parquet").write_bytes(bytes(data[: len(data) - cut]))
        for item in read(Path(folder)):
            if isinstance(item, Refusal):
                assert "\n" not in item.reason
                continue
            valid = validate(item, channels_of(item), extra_allowed=False, before=Before())
            assert len(valid.timestamps) + len(valid.quarantine) == len(item.table)
            assert not np.isinf(valid.values).any()


def test_a_column_whose_name_is_no_text_refuses_its_file(tmp_path: Path) -> None:
    """In one line, and the other file comes in."""
    pq.write_table(pa.table({"timestamp": times(3), "éé": [1.0, 2.0, 3.0]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(
        (tmp_path / "a.parquet").read_bytes().replace("éé".encode(), b"\xff\xfe\xff\xfe")
    )
    (tmp_path / "b.parquet").write_bytes(WHOLE)
    refused, batch = read(tmp_path)
    assert refused.reason.startswith("is no readable Parquet file: 'utf-8' codec can't decode")
    assert batch.series == "b"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HARM, st.one_of(st.just(0), st.integers(1, 100)))
def test_a_damaged_file_is_refused_or_read(harm: list[tuple[int, int]], cut: int) -> None:
    """Bytes turned over, an end cut off: never anything but rows or one line."""
    check_damaged(harm, cut)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HARM, st.one_of(st.just(0), st.integers(1, 100)))
def test_ten_thousand_damaged_files(harm: list[tuple[int, int]], cut: int) -> None:
    """The same for long."""
    check_damaged(harm, cut)
