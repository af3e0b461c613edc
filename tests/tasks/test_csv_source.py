import gzip
import math
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.ingest import ingest
from tasks.rows import read_rows, require_snapshot
from tasks.sources import Batch, cells, delimited, read_source
from tasks.validate import Before, channels_of, validate
from watchkeeper.errors import DataError, WatchError, WatchkeeperError
from watchkeeper.lake import Lake
from watchkeeper.records import Refusal
from watchkeeper.sources import CsvSource
from watchkeeper.watch import Watch, load_watch

START = datetime(2026, 1, 5, tzinfo=UTC)


def read(folder: Path, until: datetime | None = None, seen: tuple[str, ...] = (), **options: Any) -> list[Any]:
    return list(read_source(CsvSource(kind="csv", folder=str(folder), **options), until, seen))


def one(folder: Path, text: str | bytes, name: str = "pump.csv", **options: Any) -> Any:
    """The one batch, or the one refusal, of a folder with this file."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (item,) = read(folder, **options)
    return item


def minutes(batch: Batch) -> list[float | None]:
    """Times in minutes from the start."""
    times = batch.table["timestamp"].to_pylist()
    return [None if time is None else (time - START) / timedelta(minutes=1) for time in times]


def reasons(batch: Batch) -> list[str]:
    assert batch.reasons is not None
    return list(batch.reasons)


def test_a_plain_file(tmp_path: Path) -> None:
    """Times, readings and labels as they stand there; the series is the file's name."""
    text = "timestamp,a,b,label\n2026-01-05 00:00:00,1.5,,0\n2026-01-05 00:01:00,NaN,-2e3,1\n"
    batch = one(tmp_path, text, "pump.train.csv")
    assert (batch.series, batch.origin, minutes(batch)) == ("pump", "pump.train.csv", [0, 1])
    table = batch.table
    assert table.column_names == ["timestamp", "a", "b", "label"]
    assert table["a"].type == pa.float32()
    assert (table["a"][0].as_py(), table["b"].to_pylist(), table["label"].to_pylist()) == (1.5, [None, -2000], [0, 1])


def test_a_file_in_another_hand(tmp_path: Path) -> None:
    """Semicolons, decimal commas, German dates, junk lines, Latin-1, renamed and ignored columns, markers, words."""
    text = (
        "Anlage 7;;;;\r\nexportiert am 6.1.;;;;\r\n"
        "Datum;Uhrzeit; Öldruck ;Notiz;Zustand\r\n"
        "5.1.2026;0:00;1,5;ok;gut\r\n5.1.2026;0:01;-999;?;schlecht\r\n5.1.2026;0:02;+2,5e1;;\r\n"
        "5.1.2026;0:03;1.5;;gut\r\n5.1.2026;0:04;2,5;;mittel\r\n"
    )
    batch = one(
        tmp_path,
        text.encode("latin-1"),
        delimiter=";",
        decimal=",",
        encoding="latin-1",
        skip_lines=2,
        timestamp=("Datum", "Uhrzeit"),
        format="%d.%m.%Y %H:%M",
        label="Zustand",
        label_words={"gut": 0, "schlecht": 1},
        missing=("-999",),
        rename={"Öldruck": "oil_bar"},
        ignore=("Notiz",),
    )
    assert minutes(batch) == [0, 1, 2, 3, 4]
    assert batch.table["oil_bar"].to_pylist() == [1.5, None, 25, None, 2.5]
    assert batch.table["label"].to_pylist() == [0, 1, None, 0, None]
    assert reasons(batch) == ["", "", "", "reading is no number", "label is neither 0, 1 nor missing"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_marks_of_the_encoding_are_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    """What Windows writes at the head of a file does not hide the first column."""
    text = "timestamp,a\n2026-01-05,1\n".encode(encoding)
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    assert one(tmp_path, text, encoding=declared).table.column_names == ["timestamp", "a"]


def test_a_packed_file(tmp_path: Path) -> None:
    """The name says how it is packed."""
    batch = one(tmp_path, gzip.compress(b"timestamp,a\n2026-01-05,1\n"), "pump.csv.gz", files="*.csv.gz")
    assert (batch.series, minutes(batch)) == ("pump", [0])


def test_bad_rows_are_named_and_the_others_come_in(tmp_path: Path, lake: Lake) -> None:
    """Each bad row has its reason and its place; with the good ones, they are all rows of the file."""
    text = (
        "timestamp,a,b\n2026-01-05 00:00:00,1,2\n2026-01-05 00:01:00,one,2\n2026-01-05 00:02:00,1\n"
        "someday,1,2\n,1,2\n\n2026-01-05 00:00:00,3,4\n2026-01-05 00:03:00,inf,2\n2026-01-05 00:02:30,5,6\n"
    )
    (tmp_path / "pump.csv").write_text(text)
    watch = Watch(name="unit", source={"kind": "csv", "folder": str(tmp_path)})
    done = ingest(lake.uri, watch)
    assert done.quarantined == {
        "reading is no number": 1,
        "number of cells differs from the header's": 1,
        "timestamp cannot be read": 1,
        "timestamp is missing": 1,
        "timestamp stands twice": 1,
        "reading is infinite": 1,
    }
    assert (done.new_rows, done.refused) == (2, ())
    kept = pa.concat_tables(lake.get_table(key) for key in lake.list("quarantine/unit"))
    found = dict(zip(kept["row"].to_pylist(), kept["reason"].to_pylist(), strict=True))
    assert found == {
        1: "reading is no number",
        2: "number of cells differs from the header's",
        3: "timestamp cannot be read",
        4: "timestamp is missing",
        5: "timestamp stands twice",
        6: "reading is infinite",
    }
    assert ingest(lake.uri, watch).new_rows == 0  # the file is known, and passed over
    assert len(lake.list("quarantine/unit")) == 1


def test_a_lone_quote_swallows_no_rows(tmp_path: Path) -> None:
    """The lines up to the next quote are rows of their own; a quoted number is a number."""
    rows = "".join(f"2026-01-05 00:0{row}:00,{'7' if row != 3 else chr(34) + '7'},ok\n" for row in range(9))
    batch = one(tmp_path, "timestamp,a,note\n" + rows)
    assert len(batch.table) == 9
    assert minutes(batch) == list(range(9))
    assert batch.table["a"].to_pylist() == [7] * 9


def test_blocks_are_joined_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut anywhere, a file gives the same rows at the same places, whether its blocks are clean or not."""
    lines = [f"2026-01-05 00:{row // 60:02d}:{row % 60:02d},{row},{row / 7:.4f}" for row in range(900)]
    lines[100], lines[777] = "2026-01-05 00:01:40,x,1", "2026-01-05 00:12:57,1"
    text = "timestamp,a,b\n" + "\n".join(lines)
    whole = one(tmp_path, text)
    plain = cells.read_parts
    for block in (64, 1000, 4096):
        small = lambda path, layout, size=block: plain(path, layout, size)  # noqa: E731 # shorter so
        monkeypatch.setattr(delimited, "read_parts", small)
        batch = one(tmp_path, text)
        order, wanted = np.argsort(batch.rows), np.argsort(whole.rows)
        assert batch.rows[order].tolist() == list(range(900))
        assert batch.table.take(order).equals(whole.table.take(wanted))
        assert (batch.reasons[order] == whole.reasons[wanted]).all()


def test_a_large_file_comes_in_parts(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part is larger than the bound, only the last one bears the file's digest, and nothing is lost."""
    monkeypatch.setattr(delimited, "BATCH_READINGS", 200)
    plain = cells.read_parts
    monkeypatch.setattr(delimited, "read_parts", lambda path, layout, size=2048: plain(path, layout, size))
    text = "timestamp,a\n" + "".join(f"2026-01-05 {row // 60:02d}:{row % 60:02d}:00,{row}\n" for row in range(900))
    (tmp_path / "pump.csv").write_text(text)
    parts = read(tmp_path)
    assert len(parts) > 3
    assert [part.content is not None for part in parts] == [False] * (len(parts) - 1) + [True]
    watch = Watch(name="unit", source={"kind": "csv", "folder": str(tmp_path)})
    assert ingest(lake.uri, watch).new_rows == 900
    snapshot = require_snapshot(lake, "unit")
    assert read_rows(lake, snapshot, "pump", ("a",)).values[:, 0].tolist() == list(range(900))


def minute_row(minute: int, value: int) -> str:
    return f"2026-01-05 {minute // 60:02d}:{minute % 60:02d}:00,{value}\n"


@pytest.mark.parametrize("name", [None, "pump"])
def test_rows_out_of_order_cross_the_parts(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    """A row that comes a few rows late is no late row, wherever a part ends; a time that stands twice goes in once."""
    monkeypatch.setattr(delimited, "BATCH_READINGS", 200)
    plain = cells.read_parts
    monkeypatch.setattr(delimited, "read_parts", lambda path, layout, size=1024: plain(path, layout, size))
    order = np.argsort(np.arange(900) + np.random.default_rng(0).uniform(0, 9, 900), kind="stable").tolist()
    rows = [minute_row(minute, minute) for minute in [*order[:700], 40, *order[700:], 41]]
    head, folder = "timestamp,a\n", tmp_path / "files"
    folder.mkdir()
    if name:
        head, rows = "timestamp,a,pump\n", [row.replace("\n", f",{name}\n") for row in rows]
    (folder / "pump.csv").write_text(head + "".join(rows))
    watch = Watch(name="unit", source={"kind": "csv", "folder": str(folder), "series": name and "pump"})
    done = ingest(lake.uri, watch)
    assert (done.new_rows, done.quarantined) == (900, {"timestamp stands twice": 2})
    kept = read_rows(lake, require_snapshot(lake, "unit"), "pump", ("a",))
    assert kept.values[:, 0].tolist() == list(range(900))
    backward = int((np.diff([*order[:700], 40, *order[700:], 41]) < 0).sum())
    assert done.warnings == (f"pump.csv: {backward} backward timestamps, put in order",)
    assert ingest(lake.uri, watch).quarantined == {}  # the file is known


def test_a_file_that_breaks_off_is_not_taken_in(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are the parts that came before it did."""
    monkeypatch.setattr(delimited, "BATCH_READINGS", 200)
    plain = cells.read_parts
    monkeypatch.setattr(delimited, "read_parts", lambda path, layout, size=1024: plain(path, layout, size))
    noise = np.random.default_rng(0).integers(0, 10**6, 900).tolist()
    text = "timestamp,a\n" + "".join(minute_row(minute, value) for minute, value in enumerate(noise))
    whole = gzip.compress(text.encode())
    (tmp_path / "pump.csv").write_bytes(b"")
    (tmp_path / "good.csv").write_text("timestamp,b\n2026-01-05,1\n")
    (tmp_path / "fan.csv.gz").write_bytes(whole[: len(whole) * 2 // 3])
    watch = Watch(name="unit", source={"kind": "csv", "folder": str(tmp_path), "files": "*.csv*"})
    done = ingest(lake.uri, watch)
    assert sorted(refusal.origin for refusal in done.refused) == ["fan.csv.gz", "pump.csv"]
    assert require_snapshot(lake, "unit").channels == ("b",)
    assert (done.rows, done.warnings) == (1, ())


def test_a_series_of_several_files_comes_in_the_order_of_time(tmp_path: Path) -> None:
    """Not in that of their names; and a known file is passed over."""
    for name, day in (("pump.a", 7), ("pump.b", 6), ("pump.c", 5)):
        (tmp_path / f"{name}.csv").write_text(f"timestamp,a\n2026-01-0{day},1\n")
    found = read(tmp_path)
    assert [batch.origin for batch in found] == ["pump.c.csv", "pump.b.csv", "pump.a.csv"]
    again = read(tmp_path, seen=(found[0].content, found[2].content))
    assert [batch.origin for batch in again] == ["pump.b.csv"]


def test_rows_from_until_on_are_left_for_later(tmp_path: Path) -> None:
    """Such a file is read again."""
    (tmp_path / "pump.csv").write_text("timestamp,a\n2026-01-05 00:00,1\n2026-01-05 00:01,2\n,3\n")
    (batch,) = read(tmp_path, START + timedelta(minutes=1))
    assert (minutes(batch), batch.rows.tolist(), batch.content) == ([0, None], [0, 2], None)


def test_a_column_names_the_series(tmp_path: Path) -> None:
    """Rows are cut by it; those that name none go to quarantine, and known series are passed over."""
    text = "timestamp,pump,a\n2026-01-05,p1,1\n2026-01-05,p2,2\n2026-01-06,p1,3\n2026-01-06,../p,4\n2026-01-06,,5\n"
    (tmp_path / "all.csv").write_text(text)
    found = read(tmp_path, series="pump")
    assert [(batch.series, batch.rows.tolist()) for batch in found] == [
        ("p1", [0, 2]),
        ("p2", [1]),
        ("unnamed", [3, 4]),
    ]
    assert reasons(found[2]) == ["series is missing or no name"] * 2
    again = read(tmp_path, series="pump", seen=(found[0].content,))
    assert [batch.series for batch in again] == ["p2", "unnamed"]


def test_the_long_form(tmp_path: Path) -> None:
    """One reading a row becomes one moment a row; each row that does not fit is named, and they add up."""
    text = (
        "zeit,wer,was,wert,label\n"
        "2026-01-05 00:00,p,b,2,0\n2026-01-05 00:00,p,a,1,1\n2026-01-05 00:01,p,a,3,\n2026-01-05 00:01,p,a,4,\n"
        "2026-01-05 00:01,p,,5,\n,p,a,6,\n2026-01-05 00:01,p,b,x,\n2026-01-05 00:02,p,c,9,\n2026-01-05 00:00,q,b,7,0\n"
    )
    options = {"form": "long", "timestamp": "zeit", "series": "wer", "channel": "was", "value": "wert"}
    (tmp_path / "all.csv").write_text(text)
    p, q = read(tmp_path, **options, ignore=("c",))
    assert (p.series, q.series) == ("p", "q")
    assert p.table.slice(0, 2).to_pydict() == {
        "timestamp": [START, START + timedelta(minutes=1)],
        "a": [1, 3],
        "b": [2, pytest.approx(math.nan, nan_ok=True)],
        "label": [1, -1],
    }
    assert p.rows.tolist() == [0, 2, 3, 4, 5, 6]
    assert reasons(p) == [
        "",
        "",
        "channel has two readings at this time",
        "channel is missing",
        "timestamp is missing",
        "reading is no number",
    ]
    assert q.table["b"].to_pylist() == [7]


def test_files_without_a_clock_get_one(tmp_path: Path) -> None:
    """A regular one; each file of a series goes on where the one before it ended, also when that one is known."""
    (tmp_path / "pump.1.csv").write_text("a,b\n1,2\n3\nx,4\n")
    (tmp_path / "pump.2.csv").write_text("a,b\n5,6\n")
    clock = {"start": START, "interval_s": 60}
    first, second = read(tmp_path, **clock)
    assert (minutes(first), minutes(second)) == ([0, 2, None], [3])
    (again,) = read(tmp_path, seen=(first.content,), **clock)
    assert minutes(again) == [3]
    assert read(tmp_path, seen=(first.content, second.content), **clock) == []


def test_an_empty_line_of_a_single_column_is_a_missing_reading(tmp_path: Path) -> None:
    """Without a clock of its own, the line says when the later ones were read."""
    batch = one(tmp_path, "1\n\n3\n", columns=("a",), start=START, interval_s=60)
    assert (minutes(batch), batch.table["a"].to_pylist()) == ([0, 1, 2], [1, None, 3])


def test_local_time_through_the_autumn_night(tmp_path: Path) -> None:
    """The hour that comes twice is told apart, across a file in another zone."""
    shown = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    text = "timestamp,a\n" + "".join(f"2026-10-25 {time},1\n" for time in shown)
    batch = one(tmp_path, text, zone="Europe/Berlin")
    first = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    assert batch.table["timestamp"].to_pylist() == [first + timedelta(minutes=30 * row) for row in range(6)]


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        (b"", {}, "is empty"),
        (b"when,a\n1,2\n", {}, "no column timestamp; its columns begin with when, a"),
        (b"timestamp,a,a\n2026-01-05,1,2\n", {}, "column a stands twice"),
        (b"timestamp,,a\n2026-01-05,1,2\n", {}, "column 2 has no name"),
        (b"timestamp,a,b\n2026-01-05,1,2\n", {"rename": {"a": "b"}}, "column b stands twice"),
        (b"timestamp,a\n1,1\n", {"start": START, "interval_s": 1}, "add it to `ignore`"),
        (b"timestamp,\xe9\n2026-01-05,1\n", {}, "not UTF-8; set `encoding`"),
        (b"\xff\xfet\x00", {}, 'is UTF-16; set encoding = "utf-16"'),
        (b"\xff\xfd", {"encoding": "ascii"}, "header that is not UTF-8"),
        (b"\x00\xd8A\x00", {"encoding": "utf-16-le"}, "is not utf-16-le"),
        (b"t\x00i", {"encoding": "utf-16-le"}, "is not utf-16-le"),
        (b"timestamp,channel,value\n2026-01-05,label,1\n", {"form": "long"}, "a channel called label"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_alone(
    tmp_path: Path, text: bytes, options: dict[str, Any], reason: str
) -> None:
    """With one line that says why; the next file is read all the same."""
    (tmp_path / "a_bad.csv").write_bytes(text)
    good = tmp_path / "z_good.csv"
    body = "2026-01-05,a,1\n" if options.get("form") else "2026-01-05,1\n"
    header = "timestamp,channel,value\n" if options.get("form") else "timestamp,a\n"
    good.write_text(header + body, encoding=options.get("encoding", "utf-8"))
    refused, *others = read(tmp_path, **options)
    assert isinstance(refused, Refusal)
    assert reason in refused.reason
    assert "\n" not in refused.reason
    assert [type(item) for item in others] == [Refusal if "start" in options else Batch]  # it has a clock, too


def test_a_column_of_words_is_left_to_the_watch(tmp_path: Path, lake: Lake) -> None:
    """It is refused where the watch takes all columns, and no matter where it names its channels."""
    (tmp_path / "pump.csv").write_text("timestamp,a,operator\n2026-01-05,1,Anna\n2026-01-06,2,\n")
    source = {"kind": "csv", "folder": str(tmp_path)}
    with pytest.raises(DataError, match="channel operator is string, wanted a number"):
        ingest(lake.uri, Watch(name="unit", source=source))
    assert ingest(lake.uri, Watch(name="unit", source=source, channels=("a",))).new_rows == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ('format = "%d.%q.%Y"', "no time format"),
        ('format = "%H:%M"', "no time format"),
        ('format = "%d.%d.%m"', "no time format"),
        ('zone = "Mars/Base"', "no time zone"),
        ('zone = "../etc/passwd"', "no time zone"),
        ('encoding = "klingon"', "no text encoding"),
        ('delimiter = ";;"', "at most 1 character"),
        ('decimal = ","', "must differ"),
        ("start = 2026-01-05T00:00:00Z", "needs both start and interval_s"),
        ("interval_s = 0", "greater than 0"),
        ('start = 2026-01-05\ninterval_s = 1\nform = "long"', "a made-up clock is for wide files"),
        ('delimeter = ";"', "unknown key source.csv.delimeter"),
    ],
)
def test_a_mistake_in_the_watch_file_is_one_line(tmp_path: Path, options: str, problem: str) -> None:
    """It names the file and what was wanted."""
    (tmp_path / "pump.toml").write_text(f'[source]\nkind = "csv"\nfolder = "{tmp_path}"\n{options}\n')
    with pytest.raises(WatchError) as raised:
        load_watch("pump", tmp_path)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_missing_or_empty(tmp_path: Path) -> None:
    """Both are errors of the watch as a whole, and so is a pattern that is none."""
    with pytest.raises(DataError, match=r"nowhere does not exist; correct `folder`"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no file \*\.csv"):
        read(tmp_path)
    with pytest.raises(DataError, match="is no pattern"):
        read(tmp_path, files="/etc/*")


CELL = st.one_of(
    st.floats(width=32).map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(["", "NaN", " 7 ", "+3", "1e99", "1_0", "0x1", "1.5.2", "x", "inf", "-", "ß", "\x00", "1 2", "'"]),
)
TIMES = st.one_of(
    st.integers(0, 40).map(lambda minute: f"2026-01-05 00:{minute:02d}:00"),
    st.sampled_from(["", "2026-01-05", "2026-02-30", "soon", "2026-01-05T00:00:07.1234567", "2026-01-05 01:00:00Z"]),
)
ROW = st.one_of(
    st.tuples(TIMES, CELL, CELL).map(list),
    st.lists(CELL, min_size=1, max_size=5).filter(lambda row: any(cell.strip() for cell in row) or len(row) > 1),
)


def admitted(batch: Batch) -> tuple[dict[int, list[float]], Counter[str]]:
    """The rows that validation lets in, by time, and the reasons for the others."""
    valid = validate(batch, channels_of(batch), extra_allowed=False, before=Before())
    assert len(valid.timestamps) + len(valid.quarantine) == len(batch.table)
    return dict(zip(valid.timestamps.tolist(), valid.values.tolist(), strict=True)), valid.reasons()


def by_hand(row: list[str]) -> tuple[int, list[float]] | None:
    """The obvious reading of one row, by Python's own means; None where it is bad."""
    if len(row) != 3:
        return None
    try:
        time = datetime.fromisoformat(row[0].strip())
        if "_" in "".join(row[1:]):
            return None
        with np.errstate(over="ignore"):
            values = [float(np.float32(float(cell.strip() or "nan"))) for cell in row[1:]]
    except ValueError:
        return None
    time = time.replace(tzinfo=time.tzinfo or UTC)
    return (
        None
        if any(map(math.isinf, values))
        else ((time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1), values)
    )


def check_table(rows: list[list[str]]) -> None:
    """Read rows as a file and compare with the obvious reading."""
    text = "timestamp,a,b\n" + "".join(",".join(row) + "\n" for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        batch = one(Path(folder), text)
    assert isinstance(batch, Batch)
    assert len(batch.table) == len(rows)
    if any(batch.table.schema.field(name).type == pa.string() for name in "ab"):
        return  # not one number in the column: the validation refuses the file
    found, _ = admitted(batch)
    wanted: dict[int, list[float]] = {}
    clean = {}
    for place, row in enumerate(rows):
        reading = by_hand(row)
        if reading is not None:
            clean[place] = reading[0]
            wanted.setdefault(*reading)
    # A bad row may be the first of its moment; a later good one then counts as standing twice.
    assert found.keys() <= wanted.keys()
    first_of_moment = {}
    stamps = batch.table["timestamp"].cast(pa.int64()).to_pylist()
    for place, stamp in sorted(zip(batch.rows.tolist(), stamps, strict=True)):
        if stamp is not None:
            first_of_moment.setdefault(stamp, place)
    assert found.keys() == {stamp for stamp, place in first_of_moment.items() if place in clean}
    for stamp, values in found.items():
        assert values == pytest.approx(wanted[stamp], rel=1e-6, nan_ok=True)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, max_size=12))
def test_any_table_gives_its_good_rows_and_counts_the_others(rows: list[list[str]]) -> None:
    """The oracle reads cell by cell with Python's own means: no row more, none less, no reading that differs."""
    check_table(rows)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, max_size=12))
def test_ten_thousand_tables(rows: list[list[str]]) -> None:
    """The same for long."""
    check_table(rows)


BYTES = st.one_of(st.binary(max_size=200), st.binary(max_size=150).map(b"timestamp,a\n2026-01-05,1\n".__add__))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BYTES)
def test_any_bytes_are_rows_or_a_reason(data: bytes) -> None:
    """Nothing but an error of our own comes out, and what comes in is a finite reading at a time of the calendar."""
    check_bytes(data)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BYTES)
def test_ten_thousand_files_of_bytes(data: bytes) -> None:
    """The same for long."""
    check_bytes(data)


def check_bytes(data: bytes) -> None:
    """Read bytes as a file, wide, long and on a made-up clock."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pump.csv").write_bytes(data)
        for options in ({}, {"form": "long"}, {"columns": ("a", "b"), "start": START, "interval_s": 1}):
            try:
                for item in read(Path(folder), **options):
                    if isinstance(item, Batch) and channels_of(item):
                        found, _ = admitted(item)
                        assert all(math.isfinite(x) or math.isnan(x) for row in found.values() for x in row)
            except WatchkeeperError as error:
                assert "\n" not in str(error)  # noqa: PT017 # the error may come or not


def test_words_outlive_the_block_that_they_came_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks share their memory; what was read from one is not overwritten by the next."""
    plain = cells.read_parts
    monkeypatch.setattr(delimited, "read_parts", lambda path, layout, size=256: plain(path, layout, size))
    lines = [f"2026-01-05 {row // 60:02d}:{row % 60:02d}:00,p{row % 7},{row}\n" for row in range(600)]
    (tmp_path / "all.csv").write_text("timestamp,pump,a\n" + "".join(lines))
    found = read(tmp_path, series="pump")
    assert [batch.series for batch in found] == [f"p{at}" for at in range(7)]
    for at, batch in enumerate(found):
        assert batch.table["a"].to_pylist() == list(range(at, 600, 7))
