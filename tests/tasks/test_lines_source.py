import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.ingest import ingest
from tasks.rows import read_rows, require_snapshot
from tasks.sources import read_source
from tasks.sources.lines.parser import Parser, read_parts
from tasks.sources.lines.parts import Part, joined
from tasks.validate import Before, validate
from watchkeeper.errors import DataError, WatchError
from watchkeeper.lake import Lake
from watchkeeper.records import Refusal
from watchkeeper.sources import LinesSource
from watchkeeper.watch import Watch, load_watch

START = datetime(2026, 1, 5, tzinfo=UTC)
SECOND = int(START.timestamp())
NS = SECOND * 10**9


def read(folder: Path, until: datetime | None = None, seen: tuple[str, ...] = (), **options: Any) -> list[Any]:
    return list(read_source(LinesSource(kind="lines", folder=str(folder), **options), until, seen))


def one(folder: Path, text: str | bytes, **options: Any) -> Any:
    """The one batch, or the one refusal, of a folder with this file."""
    (folder / "pump.lp").write_bytes(text if isinstance(text, bytes) else text.encode())
    (item,) = read(folder, **options)
    return item


def lines(*rows: str, first: int = 0) -> str:
    """Lines a second apart."""
    return "".join(f"{row} {NS + (first + at) * 10**9}\n" for at, row in enumerate(rows))


def test_fields_are_channels_and_tags_name_the_series(tmp_path: Path) -> None:
    """All kinds of numbers are numbers, texts are none; a field may lack; labels are labels."""
    text = lines(
        'm,unit=a,x=1 f=1.5,i=-3i,u=7u,b=t,note="on, or \\"off\\" = x"',
        "m,unit=a f=2e-3,i=4i,label=1i",
        "m,unit=b f=-.5,b=FALSE",
    )
    (tmp_path / "all.lp").write_text(f"# a remark\n\n{text}")
    a, b = read(tmp_path, series="unit")
    assert (a.series, b.series, a.rows.tolist(), b.rows.tolist()) == ("a", "b", [2, 3], [4])
    assert a.table.column_names == ["timestamp", "b", "f", "i", "u", "label"]
    assert a.table["f"].to_pylist() == [1.5, pytest.approx(0.002)]
    assert a.table["i"].to_pylist() == [-3, 4]
    assert [math.isnan(cell) for cell in a.table["u"].to_pylist()] == [False, True]
    assert (a.table["b"][0].as_py(), b.table["b"][0].as_py(), b.table["f"][0].as_py()) == (1, 0, -0.5)
    assert a.table["label"].to_pylist()[1] == 1
    assert a.table["timestamp"].to_pylist() == [START, START + timedelta(seconds=1)]


def test_escapes_are_those_of_the_protocol(tmp_path: Path) -> None:
    """A backslash hides what ends a name, and is a sign like any other elsewhere."""
    text = r"""my\ m\,x=y,the\ unit=a\,b\=c\ d,path=c:\dir fi\=eld\,\ x=1,back\slash=2,s="a\\" """
    batch = one(tmp_path, f"{text.strip()} {NS}\n", series="the unit", measurement="my m,x=y")
    assert batch.series == "a_b_c_d"
    assert batch.table.column_names == ["timestamp", "back\\slash", "fi=eld, x"]
    assert [batch.table[name][0].as_py() for name in batch.table.column_names[1:]] == [2, 1]


@pytest.mark.parametrize(("precision", "unit"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_timestamps_have_the_unit_that_is_given(tmp_path: Path, precision: str, unit: int) -> None:
    """Digits beyond a microsecond are cut; times before 1970 are times."""
    batch = one(tmp_path, f"m a=1 {SECOND * unit + unit // 2}\nm a=2 -{unit}\n", precision=precision)
    half = timedelta(seconds=0.5 if unit > 1 else 0)
    assert batch.table["timestamp"].to_pylist() == [START + half, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)]


BAD = {
    "m": "line is no line protocol",
    f"m a {NS}": "line is no line protocol",
    f"m a=1,a=2 {NS}": "line is no line protocol",
    f"m,t=1,t=2 a=1 {NS}": "line is no line protocol",
    f"m,t= a=1 {NS}": "line is no line protocol",
    f"m a=1=2,3 {NS}": "line is no line protocol",
    f"m a=1, {NS}": "line is no line protocol",
    f"m a=one {NS}": "line is no line protocol",
    f"m a=nan {NS}": "line is no line protocol",
    f"m a=0x10i {NS}": "line is no line protocol",
    f"m a=99999999999999999999i {NS}": "line is no line protocol",
    f'm a="open {NS}': "line is no line protocol",
    f"m a=1\t{NS}": "line is no line protocol",
    f"m a=+1 {NS}": "line is no line protocol",
    f"m a=1e999 {NS}": "line is no line protocol",
    f'm a="x"y {NS}': "line is no line protocol",
    f"m a\\\\=1 {NS}": "line is no line protocol",
    "m a=1 12:00": "timestamp cannot be read",
    "m a=1 99999999999999999999": "timestamp cannot be read",
    "m a=1": "timestamp is missing",
    f'm a="word" {NS}': "reading is no number",
    f"m a=1e39 {NS}": "reading is infinite",
    f"m label=2,a=1 {NS}": "label is neither 0, 1 nor missing",
    f'm label="bad",a=1 {NS}': "label is neither 0, 1 nor missing",
}


def test_bad_lines_go_to_quarantine_with_reason_and_place(tmp_path: Path, lake: Lake) -> None:
    """Each is named, the others come in, and together they are all lines; a second ingest passes the file over."""
    (tmp_path / "pump.lp").write_text("\n".join(["m a=5,label=0 1000", *BAD, "m a=6 2000"]))
    watch = Watch(name="unit", source={"kind": "lines", "folder": str(tmp_path)})
    done = ingest(lake.uri, watch)
    assert (done.new_rows, done.quarantined, done.refused) == (2, dict(Counter(BAD.values())), ())
    kept = [lake.get_table(key) for key in lake.list("quarantine/unit")]
    found = {
        row: reason
        for table in kept
        for row, reason in zip(table["row"].to_pylist(), table["reason"].to_pylist(), strict=True)
    }
    assert found == dict(enumerate(BAD.values(), 1))
    assert ingest(lake.uri, watch).new_rows == 0
    assert len(lake.list("quarantine/unit")) == len(kept)


def test_lines_of_a_moment_are_one_row(tmp_path: Path) -> None:
    """Wherever they stand, of one measurement or of several; a field that comes again is set aside."""
    text = f"cpu,h=a x=1 {NS}\nmem,h=a y=2 {NS + 10**9}\nmem,h=a y=3 {NS}\ncpu,h=a x=4 {NS}\ncpu,h=b,core=0 x=9 {NS}\n"
    a, b = one_file(tmp_path, text, series="h", measurement=["cpu", "mem"])
    assert a.rows.tolist() == [0, 1, 3]
    assert np.array_equal(a.table["cpu.x"].to_numpy(), [1, np.nan, 4], equal_nan=True)
    assert np.array_equal(a.table["mem.y"].to_numpy(), [3, 2, np.nan], equal_nan=True)
    assert a.reasons.tolist() == ["", "", "channel has two readings at this time"]
    assert b.series == "b"
    (only,) = one_file(tmp_path, text, series="h", measurement="mem")
    assert only.table["y"].to_pylist() == [2, 3]
    (a,) = one_file(tmp_path, text, series="h", measurement="cpu", where={"core": "1"})
    assert a.series == "a"


def one_file(folder: Path, text: str, **options: Any) -> list[Any]:
    """What a folder with this file gives."""
    (folder / "pump.lp").write_text(text)
    return read(folder, **options)


def test_a_bad_line_takes_nothing_from_the_moment_it_stands_at(tmp_path: Path) -> None:
    """Before its good line or behind it, it is set aside for its own reason, and the clock does not go back for it."""
    text = f"m a=1 {NS}\nm a=x {NS + 10**9}\nm a=2 {NS + 10**9}\nm a=oops {NS}\nm a=3 {NS + 2 * 10**9}\n"
    (batch,) = one_file(tmp_path, text)
    assert batch.rows.tolist() == [0, 2, 1, 3, 4]
    valid = validate(batch, ("a",), extra_allowed=False, before=Before())
    assert valid.values[:, 0].tolist() == [1, 2, 3]
    assert dict(valid.reasons()) == {"line is no line protocol": 2}
    assert batch.clock().backward == 1


def test_of_several_lines_at_a_moment_the_first_counts(tmp_path: Path) -> None:
    """A line that is set aside keeps no later one out, and labels are the highest of a moment."""
    rows = ["m a=1", "m b=2,a=9", "m b=3,label=0", "m c=4,label=1", "m c=5"]
    (batch,) = one_file(tmp_path, "".join(f"{row} {NS}\n" for row in rows))
    assert batch.rows.tolist() == [0, 1, 4]
    assert [batch.table[name][0].as_py() for name in ("a", "b", "c", "label")] == [1, 3, 4, 1]
    assert batch.reasons.tolist() == [
        "",
        "channel has two readings at this time",
        "channel has two readings at this time",
    ]


def test_a_text_is_no_channel_where_nothing_else_is_there(tmp_path: Path) -> None:
    """It is passed over beside numbers, set aside alone, and no number where its field has numbers elsewhere."""
    batch = one(tmp_path, lines('m a=1,note="x"', 'm note="y"', 'm a="z",b=2', "m a=3,b=4"))
    assert batch.table.column_names == ["timestamp", "a", "b"]
    assert batch.reasons.tolist() == ["", "reading is no number", "reading is no number", ""]


def test_an_export_of_influxdb_comes_in_as_it_is(tmp_path: Path) -> None:
    """`influx_inspect export` writes a head, and a field a line, one field after another."""
    head = "# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z\n# DDL\n"
    head += 'CREATE DATABASE "plant" WITH NAME autogen\n'
    head += "# DML\n# CONTEXT-DATABASE:plant\n# CONTEXT-RETENTION-POLICY:autogen\n# writing tsm data\n"
    fields = [lines(*[f"m,unit={unit} {name}={at}{kind}" for at in range(20)])
              for unit in "ab" for name, kind in (("x", ""), ("y", "i"))]  # fmt: skip
    (tmp_path / "export.lp").write_text(head + "".join(fields))
    a, b = read(tmp_path, series="unit")
    for batch in (a, b):
        assert batch.table["x"].to_pylist() == batch.table["y"].to_pylist() == list(range(20))
    assert (set(a.reasons), a.rows[0], b.rows[0]) == ({""}, 7, 47)


def test_fields_are_renamed_left_out_and_chosen(tmp_path: Path, lake: Lake) -> None:
    """A line that has nothing of what is wanted is left out, not counted."""
    text = lines("m score=1,junk=x", "m junk=2", "m score=3,other=4", "m other=5")
    (refused,) = one_file(tmp_path, text)
    assert "has a field called score, as Watchkeeper's own" in refused.reason
    assert one(tmp_path, text, rename={"score": "points"}).reasons.tolist() == ["line is no line protocol", "", "", ""]
    text = text.replace("junk=x", "junk=0")
    batch = one(tmp_path, text, rename={"score": "points"}, ignore=("junk",))
    assert batch.rows.tolist() == [0, 2, 3]
    assert batch.table.column_names == ["timestamp", "other", "points"]
    source = {"kind": "lines", "folder": str(tmp_path), "rename": {"score": "points"}}
    done = ingest(lake.uri, Watch(name="unit", source=source, channels=("points",)))
    assert (done.rows, done.quarantined) == (2, {})


def test_files_of_one_ingest_share_their_channels(tmp_path: Path) -> None:
    """What the first file has, later ones may lack."""
    (tmp_path / "b.lp").write_text(lines("m x=1,y=2"))
    (tmp_path / "a.lp").write_text(lines("m y=3", first=1))
    first, second = read(tmp_path)
    assert (first.origin, second.origin) == ("b.lp", "a.lp")
    assert second.table.column_names == ["timestamp", "x", "y"]


def test_files_come_in_the_order_of_time_and_a_cut_is_made_up_for(tmp_path: Path, lake: Lake) -> None:
    """Whatever their names; what an ingest left for later comes with the next one, whole."""
    (tmp_path / "z.lp").write_text(lines("m,u=p a=0", "m,u=p a=1"))
    (tmp_path / "a.lp").write_text(lines("m,u=p a=2", "m,u=p a=3", "m,u=q a=4", first=2))
    watch = Watch(name="unit", source={"kind": "lines", "folder": str(tmp_path), "series": "u"})
    assert ingest(lake.uri, watch, START + timedelta(seconds=3)).rows == 3
    assert ingest(lake.uri, watch).rows == 5
    (tmp_path / "b.lp").write_text(lines("m,u=q a=5", first=5))
    assert ingest(lake.uri, watch).rows == 6
    snapshot = require_snapshot(lake, "unit")
    assert read_rows(lake, snapshot, "p", ("a",)).values[:, 0].tolist() == [0, 1, 2, 3]
    assert read_rows(lake, snapshot, "q", ("a",)).values[:, 0].tolist() == [4, 5]


def test_a_file_may_lack_a_channel_but_not_bring_a_new_one(tmp_path: Path, lake: Lake) -> None:
    """Once a watch has channels: what lacks is missing, what is new is refused with what to do."""
    (tmp_path / "a.lp").write_text(lines("m x=1,y=2"))
    watch = Watch(name="unit", source={"kind": "lines", "folder": str(tmp_path)})
    assert ingest(lake.uri, watch).rows == 1
    (tmp_path / "b.lp").write_text(lines("m y=3", first=1))
    (tmp_path / "c.lp").write_text(lines("m y=3,z=4", first=2))
    done = ingest(lake.uri, watch)
    assert (done.rows, [one.origin for one in done.refused]) == (2, ["c.lp"])
    assert "extra channel z" in done.refused[0].reason


def test_series_that_would_share_a_name_are_refused(tmp_path: Path) -> None:
    """Signs that a path cannot have become `_`."""
    (batch,) = one_file(tmp_path, lines("m,u=a:b x=1"), series="u")
    assert batch.series == "a_b"
    (refused,) = one_file(tmp_path, lines("m,u=a:b x=1", "m,u=a/b x=1"), series="u")
    assert isinstance(refused, Refusal)
    assert "would both be called a_b" in refused.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"", "holds no line"), (b"# only\n", "holds no line"), (b'm a="x" 1\n', "no field that holds numbers"),
     (b"m a=1\nm a=2\nm a=x 1\n", "has no line that can be used: timestamp is missing, 2 times"),
     (b"m timestamp=1 1\n", "a field called timestamp"), (b"\xff\xfem\x00", "is UTF-16")],
)  # fmt: skip
def test_a_file_that_gives_no_rows_is_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    """With one line that says why."""
    refused = one(tmp_path, text)
    assert isinstance(refused, Refusal)
    assert reason in refused.reason


@pytest.mark.parametrize(
    ("key", "reason"),
    [('precision = "h"', "precision"), ('zone = "Europe/Berlin"', "need no zone"),
     ('rename = { a = "x", b = "x" }', "gives two fields one name")],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path: Path, key: str, reason: str) -> None:
    """In the watch file, and in where the folder is."""
    (tmp_path / "w.toml").write_text(f'[source]\nkind = "lines"\nfolder = "{tmp_path}"\n{key}\n')
    with pytest.raises(WatchError, match=reason) as raised:
        load_watch("w", tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"holds no file \*\.lp"):
        read(tmp_path)


@pytest.mark.parametrize("cell", ["+1", "inf", "nan", "0x10", "1_0", "1e999", "", "1d5", "7i7"])
def test_lines_that_become_a_table_are_read_as_strictly(tmp_path: Path, cell: str) -> None:
    """What pyarrow takes for a number and InfluxDB does not sets its line aside, alone."""
    batch = one(tmp_path, lines(*[f"m a={cell if at == 5 else at}" for at in range(20)]))
    assert [reason for reason in batch.reasons if reason] == ["line is no line protocol"]
    assert batch.reasons[5]
    assert batch.table["a"].to_pylist()[6:] == list(range(6, 20))


def test_what_does_not_fit_the_file_is_said(tmp_path: Path) -> None:
    """A unit of the clock, and tags, that no line has; some lines without the tags are set aside."""
    text = lines("m,u=p a=1", "m a=2")
    assert one(tmp_path, text, precision="s").reason.endswith(
        "timestamp cannot be read, 2 times; is `precision` right?"
    )
    assert one(tmp_path, text, series="v").reason == "no line of it has the tags that name the series: v"
    unnamed, named = read(tmp_path, series="u")
    assert (unnamed.series, unnamed.reasons.tolist()) == ("unnamed", ["series is missing or no name"])
    assert named.table["a"].to_pylist() == [1]


def test_blocks_are_joined_without_a_seam(tmp_path: Path) -> None:
    """Cut anywhere, a file gives the same lines at the same places."""
    rows = [f"m,u=p{at % 3} a={at}{',b=1i' if at % 5 else ''}{' ' if at % 7 else 'x'}{NS + at}" for at in range(500)]
    path = tmp_path / "x.lp"
    path.write_text("\n".join(rows))
    source = LinesSource(kind="lines", folder=str(tmp_path), series="u")
    whole, known = parsed(path, source, 2**20)
    assert whole.rows.tolist() == list(range(500))
    for block in (64, 333, 4096):
        part, seen = parsed(path, source, block)
        for name in ("rows", "us", "timeless", "reasons"):
            assert getattr(part, name).tolist() == getattr(whole, name).tolist()
        assert [seen.series[code] for code in part.series] == [known.series[code] for code in whole.series]
        assert readings(part, seen) == readings(whole, known)


def parsed(path: Path, source: LinesSource, block: int) -> tuple[Part, Parser]:
    """A file read in blocks of a size, and the parser that read it."""
    parser = Parser(source, "x")
    return joined(list(read_parts(path, parser, block))), parser


def readings(part: Part, parser: Parser) -> list[tuple[int, str, float]]:
    """Each reading with its line and its field."""
    fields = [parser.fields[code] for code in part.field]
    return sorted(zip(part.line.tolist(), fields, part.value.tolist(), strict=True))
