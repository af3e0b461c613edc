"""What a look at a place finds, and that the watch file written from it takes in what was reported."""

import gzip
import math
import os
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.ingest import ingest
from tasks.look import Choice
from tasks.look.clocks import find_clock
from tasks.look.found import Found
from tasks.look.look import look
from tasks.look.rhythm import autocorrelation, rhythm_of, season_of, suggest_window
from tasks.look.suggest import suggest
from tasks.look.trial import Stretch
from tasks.look.writer import name_for, write_watch
from watchkeeper.errors import DataError
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch, load_watch

NOW = datetime(2026, 2, 1, tzinfo=UTC)
START = datetime(2026, 1, 5, tzinfo=UTC)
ROWS = 60


REAL = os.environ.get("WATCHKEEPER_DATA", "")  # a fixture takes settings away from the tests


def times(form: str, rows: int = ROWS, step: timedelta = timedelta(minutes=1)) -> list[str]:
    return [(START + at * step).strftime(form) for at in range(rows)]


def lines(*columns: Iterable[object], sep: str = ",") -> str:
    return "".join(sep.join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def wave(rows: int = ROWS, decimal: str = ".") -> list[str]:
    return [f"{5 + math.sin(at / 3):.3f}".replace(".", decimal) for at in range(rows)]


def found_in(folder: Path, data: str | bytes, name: str = "pump.csv", **choice: Any) -> Found:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return look(str(folder / name), Choice(**choice), NOW)


def taken_in(found: Found, folder: Path) -> tuple[Watch, int, tuple[str, ...]]:
    """Write the watch file, load it, and ingest: the watch, its rows and channels."""
    (folder / "w.toml").write_text(write_watch(found, "w"), encoding="utf-8")
    watch = load_watch("w", folder)
    lake = Lake((folder / "lake").as_uri())
    done = ingest(lake.uri, watch)
    assert not done.refused
    assert done.quarantined == found.quarantined
    return watch, done.rows, tuple(lake.get_json(f"snapshots/w/{done.snapshot}.json")["channels"])


def german() -> bytes:
    rows = lines(times("%d.%m.%Y"), times("%H:%M:%S"), wave(decimal=","), ["gut", "schlecht"] * 30, sep=";")
    return f"Anlage 7\n\nDatum;Uhrzeit;Öldruck;Zustand\n{rows}".replace("\n", "\r\n").encode("latin-1")


def in_long_form() -> str:
    stamps = [time for time in times("%Y-%m-%d %H:%M:%S") for _ in range(2)]
    return "time,tag,value\n" + lines(stamps, ["flow", "level"] * ROWS, [at % 7 for at in range(2 * ROWS)])


def two_series() -> str:
    stamps = [time for time in times("%Y-%m-%dT%H:%M:%SZ") for _ in range(2)]
    return "time,machine,rpm\n" + lines(stamps, ["p1", "p2"] * ROWS, [at % 9 for at in range(2 * ROWS)])


ISO = times("%Y-%m-%d %H:%M:%S")
SECONDS = [int(START.timestamp()) + 60 * at for at in range(ROWS)]
AWKWARD: dict[str, tuple[str | bytes, str, dict[str, Any], tuple[str, ...], int]] = {
    # what it is: its bytes, its name, the keys that are wanted, the channels, the rows
    "plain": ("timestamp,a,label\n" + lines(ISO, wave(), [0, 1] * 30), "p.csv", {}, ("a",), ROWS),
    "German": (
        german(), "p.csv",
        {
            "timestamp": ["Datum", "Uhrzeit"], "format": "%d.%m.%Y %H:%M:%S", "delimiter": ";", "decimal": ",",
            "encoding": "latin-1", "skip_lines": 2, "label": "Zustand", "label_words": {"gut": 0, "schlecht": 1},
        },
        ("Öldruck",), ROWS,
    ),
    "unix seconds": ("ts,a\n" + lines(SECONDS, wave()), "p.csv", {"timestamp": "ts", "format": "unix_s"}, ("a",), ROWS),
    "unix ms": (
        "ts,a\n" + lines([1000 * one for one in SECONDS], wave()), "p.csv",
        {"timestamp": "ts", "format": "unix_ms"}, ("a",), ROWS,
    ),
    "unix µs": (
        "ts,a\n" + lines([10**6 * one for one in SECONDS], wave()), "p.csv",
        {"timestamp": "ts", "format": "unix_us"}, ("a",), ROWS,
    ),
    "unix ns": (
        "ts,a\n" + lines([10**9 * one for one in SECONDS], wave()), "p.csv",
        {"timestamp": "ts", "format": "unix_ns"}, ("a",), ROWS,
    ),
    "junk before the header": (
        "Report of pump 7\nmade by hand, on a Monday, at noon, and late\n\nwhen,a\n" + lines(ISO, wave()), "p.csv",
        {"timestamp": "when", "skip_lines": 3}, ("a",), ROWS,
    ),
    "no header": (
        lines(ISO, wave(), wave()), "p.csv", {"columns": ["timestamp", "c01", "c02"]}, ("c01", "c02"), ROWS,
    ),
    "units below the header": (
        "time\tp\tq\n[s]\t[bar]\t[l/min]\n" + lines(ISO, wave(), wave(), sep="\t"), "p.tsv",
        {"timestamp": "time", "delimiter": "\t", "columns": ["time", "p", "q"], "skip_lines": 2}, ("p", "q"), ROWS,
    ),
    "long form": (
        in_long_form(), "p.csv",
        {"timestamp": "time", "form": "long", "channel": "tag"}, ("flow", "level"), ROWS,
    ),
    "two series in a file": (two_series(), "p.csv", {"timestamp": "time", "series": "machine"}, ("rpm",), 2 * ROWS),
    "packed": (gzip.compress(("timestamp,a\n" + lines(ISO, wave())).encode()), "p.csv.gz", {}, ("a",), ROWS),
    "UTF-16": (
        ("timestamp;a\n" + lines(ISO, wave(), sep=";")).encode("utf-16"), "p.csv",
        {"delimiter": ";", "encoding": "utf-16"}, ("a",), ROWS,
    ),
    "ragged rows": (
        "timestamp,a,b\n" + lines(ISO, wave(), wave()) + "2026-01-06 00:00:00,1\n2026-01-06 00:01:00,1,2,3\n", "p.csv",
        {}, ("a", "b"), ROWS,
    ),
    "a name twice": (
        "timestamp,a,a\n" + lines(ISO, wave(), wave()), "p.csv",
        {"columns": ["timestamp", "a", "a_2"], "skip_lines": 1}, ("a", "a_2"), ROWS,
    ),
    "pandas' own index": (
        ",timestamp,a,note\n" + lines(range(ROWS), ISO, wave(), ["x", "y"] * 30), "p.csv",
        {"columns": ["column_1", "timestamp", "a", "note"], "skip_lines": 1, "ignore": ["column_1", "note"]},
        ("a",), ROWS,
    ),
    "marks for what is missing": (
        "timestamp,a,b\n" + lines(ISO, [*wave()[2:], "Bad", "Bad"], ["-999", "-999", *wave()[2:]]), "p.csv",
        {"missing": ["-999", "Bad"]}, ("a", "b"), ROWS,
    ),
    "American dates": (
        "date,a\n" + lines(times("%m/%d/%Y %I:%M:%S %p", step=timedelta(hours=8)), wave()), "p.csv",
        {"timestamp": "date", "format": "%m/%d/%Y %I:%M:%S %p"}, ("a",), ROWS,
    ),
    "day and month told by midnight": (
        "date,a\n" + lines(times("%d/%m/%Y %H:%M", step=timedelta(hours=1)), wave()), "p.csv",
        {"timestamp": "date", "format": "%d/%m/%Y %H:%M"}, ("a",), ROWS,
    ),
    "names that are taken": (
        "timestamp,score,reason\n" + lines(ISO, wave(), wave()), "p.csv",
        {"rename": {"score": "score_reading", "reason": "reason_reading"}}, ("score_reading", "reason_reading"), ROWS,
    ),
    "hostile names": (
        'timestamp,"say ""hi"" \\n","a\x07\x7f#]","\t="\n' + lines(ISO, wave(), wave(), wave()), "p.csv",
        {}, ('say "hi" \\n', "a\x07\x7f#]", "="), ROWS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", AWKWARD)
def test_awkward_files(what: str, tmp_path: Path) -> None:
    """Each file gets the keys that it needs and no others, and the watch takes in what was reported."""
    data, name, wanted, channels, rows = AWKWARD[what]
    found = found_in(tmp_path / "data", data, name)
    watch, taken, names = taken_in(found, tmp_path)
    keys = tomllib.loads((tmp_path / "w.toml").read_text(encoding="utf-8"))["source"]
    for key in ("kind", "folder", "files"):
        keys.pop(key)
    assert keys == wanted
    assert (found.rows, tuple(one.name for one in found.channels)) == (rows, channels)
    assert (taken, names) == (rows, channels)
    assert watch.channels == channels


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank lines": (b"\n\n\n", "is empty"),
    "binary": (bytes(range(256)) * 20, "is no text"),
    "a workbook": (b"PK\x03\x04" + b"\0" * 100, "save its tables as CSV"),
    "prose": (b"It was a dark night.\nNobody slept, and nobody spoke.\n" * 5, "no table"),
    "no clock": (b"a,b\n" + b"1.5,2\n2.5,3\n1.5,4\n" * 9, "--start and --interval"),
    "times of day": (b"time,a\n10:00:00,1\n10:00:01,2\n10:00:02,4\n", "no column holds dates"),
    "no numbers": (b"timestamp,a\n2026-01-05,x\n2026-01-06,y\n2026-01-07,z\n", "no column of numbers"),
    "one column": (b"timestamp\n2026-01-05\n2026-01-06\n2026-01-07\n", "no column of numbers"),
    "header alone": (b"timestamp,a,b\n", "no table"),
    "not packed": (b"timestamp,a\n", "is it packed"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_source(what: str, tmp_path: Path) -> None:
    """What cannot be a source is refused in one line that says why."""
    data, reason = WRONG[what]
    with pytest.raises(DataError, match=reason) as refused:
        found_in(tmp_path / "d", data, "p.csv.gz" if what == "not packed" else "p.csv")
    assert "\n" not in str(refused.value)


def test_day_and_month_are_not_guessed(tmp_path: Path) -> None:
    """Where nothing tells them apart, both readings are shown; an option decides."""
    data = "date,a\n" + lines(times("%d/%m/%Y %H:%M"), wave())
    with pytest.raises(DataError) as refused:
        found_in(tmp_path / "d", data)
    assert '--format "%d/%m/%Y %H:%M" or --format "%m/%d/%Y %H:%M"' in str(refused.value)
    assert found_in(tmp_path / "d", data, format="%d/%m/%Y %H:%M").start == START
    with pytest.raises(DataError, match="timestamp is in the future"):  # 1 May, seen from February
        found_in(tmp_path / "d", data, format="%m/%d/%Y %H:%M")


def test_a_made_up_clock(tmp_path: Path) -> None:
    """Files without a clock come in with a start and an interval."""
    data = "a,b\n" + lines(wave(), wave())
    found = found_in(tmp_path / "d", data, start=START, interval_s=60.0)
    assert (found.start, found.rhythm.interval_s) == (START, 60)
    _, rows, channels = taken_in(found, tmp_path)
    assert (rows, channels) == (ROWS, ("a", "b"))


def test_files_of_several_kinds(tmp_path: Path) -> None:
    """A folder of two kinds of tables is refused with the patterns that tell them apart; a pattern chooses."""
    for name in ("pump_1", "pump_2"):
        (tmp_path / f"{name}.csv").write_text("timestamp,a\n" + lines(ISO, wave()))
    (tmp_path / "fan_1.csv").write_text("timestamp,x,y\n" + lines(ISO, wave(), wave()))
    with pytest.raises(DataError, match=r'--files "pump_\*.csv": timestamp, a; --files "fan_1\*.csv": timestamp, x, y'):
        look(str(tmp_path), Choice(), NOW)
    found = look(str(tmp_path), Choice(files="pump_*.csv"), NOW)
    assert (found.rows, found.series) == (2 * ROWS, ("pump_1", "pump_2"))


def test_labels_in_some_files_alone(tmp_path: Path) -> None:
    """Training files without the label are of the same kind as test files with it, and its words may stand in one."""
    (tmp_path / "m.1.csv").write_text("timestamp,a\n" + lines(ISO, wave()))
    later = times("%Y-%m-%d %H:%M:%S", 2 * ROWS)[ROWS:]
    (tmp_path / "m.2.csv").write_text("timestamp,a,label\n" + lines(later, wave(), ["normal"] * 50 + ["attack"] * 10))
    found = look(str(tmp_path), Choice(), NOW)
    assert (found.rows, found.series, found.labelled, found.anomalous) == (2 * ROWS, ("m",), ROWS, 10)
    assert found.source["label_words"] == {"normal": 0, "attack": 1}
    assert found.rhythm.gaps == 0


def test_a_large_file_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head, middle and end of a file stand for all of it: the rows are estimated, the range is that of the file."""
    monkeypatch.setattr("tasks.look.text.BUDGET", 2**17)
    monkeypatch.setattr("tasks.look.text.LEAST", 2**17)
    rows = 60_000
    data = "timestamp,a\n" + lines(times("%Y-%m-%d %H:%M:%S", rows, timedelta(seconds=30)), wave(rows))
    found = found_in(tmp_path / "d", data)
    assert not found.whole
    assert abs(found.rows - rows) < rows / 50
    assert (found.start, found.end) == (START, START + (rows - 1) * timedelta(seconds=30))
    assert (found.rhythm.interval_s, found.rhythm.gaps) == (30, 0)


def test_parquet(tmp_path: Path) -> None:
    """Types tell the clock, words and counters; the watch takes in what was reported."""
    table = pa.table(
        {
            "n": pa.array(range(ROWS)),
            "at": pa.array([START + at * timedelta(minutes=1) for at in range(ROWS)]),
            "who": ["x"] * ROWS,
            "a": np.arange(ROWS) % 7,
            "anomaly": [at == 5 for at in range(ROWS)],
        }
    )
    (tmp_path / "d").mkdir()
    pq.write_table(table, tmp_path / "d" / "m.parquet")
    found = look(str(tmp_path / "d"), Choice(), NOW)
    assert {key: found.source[key] for key in ("timestamp", "label", "ignore")} == {
        "timestamp": "at", "label": "anomaly", "ignore": ("n", "who"),
    }  # fmt: skip
    _, rows, channels = taken_in(found, tmp_path)
    assert (rows, channels, found.anomalous) == (ROWS, ("a",), 1)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"t": [1, 2, 3], "a": [1.0, 2.0, 3.0]}, "no column of type timestamp; column t is int64"),
        ({"timestamp": [START] * 3, "who": ["x", "y", "z"], "a": [1.0, 2.0, 3.0]}, "several rows of each moment"),
        ({"timestamp": [START] * 3, "who": ["x", "y", "z"]}, "no column of numbers"),
    ],
)
def test_parquet_that_is_no_source(columns: dict[str, Any], reason: str, tmp_path: Path) -> None:
    """What a Parquet source cannot read is said before a watch file is written."""
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    with pytest.raises(DataError, match=reason):
        look(str(tmp_path), Choice(), NOW)


def test_a_benchmark_as_downloaded(tmp_path: Path) -> None:
    """The folder of the Server Machine Dataset is known by what lies in it."""
    folder = tmp_path / "ServerMachineDataset"
    for part, data in (
        ("train", "0.1,0.2\n" * 60),
        ("test", "0.3,0.4\n" * 40),
        ("test_label", "0\n" * 30 + "1\n" * 10),
    ):
        (folder / part).mkdir(parents=True)
        (folder / part / "machine-1-1.txt").write_text(data)
    found = look(str(folder), Choice(), NOW)
    assert (found.source["kind"], found.source["format"]) == ("benchmark", "smd")
    _, rows, _ = taken_in(found, tmp_path)
    assert (rows, found.rows, found.anomalous) == (100, 100, 10)


@pytest.mark.parametrize(
    ("cells", "format"),
    [
        (["2026-01-05T00:00:00.123Z"], None),
        (["5.1.2026 7:05", "15.1.2026 17:05"], "%d.%m.%Y %H:%M"),
        (["05.01.26 07:05:01,5"], "%d.%m.%y %H:%M:%S,%f"),
        (["20260105 070501"], "%Y%m%d %H%M%S"),
        (["2026/01/05 07:05"], "%Y/%m/%d %H:%M"),
        (["5-Jan-2026 07:05"], "%d-%b-%Y %H:%M"),
        (["01/13/2026 07:05:00 AM"], "%m/%d/%Y %I:%M:%S %p"),
        (["05.01.2026 07:05:00 +0100"], "%d.%m.%Y %H:%M:%S %z"),
    ],
)
def test_clocks(cells: list[str], format: str | None) -> None:
    """Spellings of times are told from their cells."""
    clock = find_clock(cells)
    assert clock is not None
    assert (clock.format, clock.others) == (format, ())


@pytest.mark.parametrize(
    "cells", [["1.5", "2.5"], ["20", "30"], ["running"], [], ["99.99.2026"], ["12345678901234567890"]]
)
def test_what_is_no_clock(cells: list[str]) -> None:
    """Readings and words are no times."""
    assert find_clock(cells) is None


def stretch(values: np.ndarray[Any, Any], steps: Iterable[int] | None = None) -> Stretch:
    rows = len(values)
    us = np.cumsum(np.full(rows, 60) if steps is None else np.fromiter(steps, np.int64, rows)) * 1_000_000
    return Stretch("s", us, values.reshape(rows, -1).astype(np.float32), np.full(rows, -1, np.int8))


def test_gaps_are_counted() -> None:
    """Two holes in minutes of rows: of nine and of 59 rows."""
    steps = [60] * 100
    steps[20], steps[50] = 600, 3600
    rhythm = rhythm_of([stretch(np.arange(100), steps)])
    assert (rhythm.interval_s, rhythm.gaps, rhythm.longest_gap_s, rhythm.lost) == (60, 2, 3600, 68)


def test_autocorrelation_is_that_of_the_slow_loop() -> None:
    """The Fourier form gives what sums over pairs of rows give, the trend taken off."""
    values = np.random.default_rng(1).normal(size=(90, 2)).cumsum(axis=0)
    index = np.arange(90.0)
    wanted = []
    for at in range(2):
        rest = values[:, at] - np.polyval(np.polyfit(index, values[:, at], 1), index)
        wanted.append([(rest[lag:] * rest[: 90 - lag]).mean() / (rest * rest).mean() for lag in range(30)])
    auto = autocorrelation(values)
    assert auto is not None
    np.testing.assert_allclose(auto, np.mean(wanted, axis=0), atol=1e-9)


@pytest.mark.parametrize("period", [12, 24, 60, 96])
def test_the_season_becomes_the_window(period: int) -> None:
    """A daily wave in noise gives a window of one day; one that is too long does not."""
    index = np.arange(20 * period)
    noise = np.random.default_rng(0).normal(size=len(index))
    window, why = suggest_window([stretch(np.sin(2 * np.pi * index / period) + 0.3 * noise)], 60)
    assert abs(window - period) <= 1
    assert "season" in why
    auto = autocorrelation(np.sin(2 * np.pi * np.arange(3000)[:, None] / 300))
    assert auto is not None
    assert abs((season_of(auto) or 0) - 300) <= 1


def test_little_data_gets_a_small_watch() -> None:
    """Networks and the agent are left out, and the window is one that the rows can be split for."""
    small = suggest(rows=160, series=1, longest=160, interval_s=60, window=(100, ""))
    assert (small.members, small.agent, small.trainable) == (("norm", "pca", "ridge", "quiet"), False, True)
    assert small.window == 12  # of 24 rows for calibration, a window goes off as the gap
    large = suggest(rows=500_000, series=100, longest=5_000, interval_s=3600, window=(50, ""))
    assert (large.window, "lstm" in large.members, large.agent, large.alarms) == (50, True, True, 0.2)
    assert large.drift_days == math.ceil(200 / 24)


def test_a_short_memory_gives_the_usual_window() -> None:
    """Noise forgets at once, and a slow walk does not: neither has a season, and no window is below the default."""
    noise = np.random.default_rng(0).normal(size=16_000)
    assert suggest_window([stretch(noise)], 60)[0] == 50
    assert suggest_window([stretch(np.convolve(noise, np.ones(80), "valid"))], 60)[0] == 100


def test_a_file_beyond_its_head(tmp_path: Path) -> None:
    """Rows of head and end do not overlap: a counter still counts, and the long form is still known."""
    rows = 12_000
    stamps = times("%Y-%m-%d %H:%M:%S", rows)
    counted = "n,timestamp,a\n" + lines(range(rows), stamps, wave(rows))
    assert found_in(tmp_path / "d", counted).columns.ignored == {"n": "counts the rows"}  # type: ignore[union-attr] # CSV
    blocks = [(time, tag, at % 3) for tag in ("b", "a", "label") for at, time in enumerate(stamps)]
    found = found_in(tmp_path / "d", "time,tag,value\n" + "".join(f"{t},{tag},{v}\n" for t, tag, v in blocks))
    _, taken, channels = taken_in(found, tmp_path)
    assert (taken, channels, found.columns.ignored) == (  # type: ignore[union-attr] # CSV
        rows, ("a", "b"), {"label": "tells where the anomalies are"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("pump 7", "pump_7"),
        ("Größe", "Groe"),
        ("..", "watch"),
        ("日本", "watch"),
        ("-x", "x"),
        ("a/b", "a_b"),
        ("", "watch"),
    ],
)
def test_names_are_made_fit(place: str, name: str) -> None:
    """Whatever a place is called, the watch has a name that it may have."""
    assert name_for(place) == name


HOSTILE = ['quo"te.csv', "back\\slash.csv", "line\nbreak.csv", "br[a]ck*et?.csv", "tab\t#.csv", "ende'''.csv", "ü.csv"]


@pytest.mark.parametrize("folder", HOSTILE)
def test_hostile_folders_cannot_break_the_file(folder: str, tmp_path: Path) -> None:
    """Quotes, backslashes, line ends and control characters in a path stay inside their string."""
    place = tmp_path / folder
    found = found_in(place, "timestamp,a\n" + lines(ISO, wave()), "p[1]*.csv"[1:] if os.sep in folder else "p.csv")
    _, rows, _ = taken_in(found, tmp_path)
    assert rows == ROWS


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(str.strip)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_hand_is_read_back(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """CSV written with a random delimiter, decimal sign, clock, encoding and names has all its rows and channels."""
    draw = data.draw
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    decimal = draw(st.sampled_from(["."] if delimiter == "," else [".", ","]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]))
    form = draw(st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M:%S", "unix_ms"]))
    step = draw(st.sampled_from([1, 60, 3600]))
    rows = draw(st.integers(20, 60))
    names = draw(st.lists(st.sampled_from(["flow", "Öl", "p 1", "x-y", "T_in", "Ω/s" if "utf" in encoding else "ß"]),
                          min_size=1, max_size=4, unique=True))  # fmt: skip
    junk = draw(st.integers(0, 3))
    values = np.round(np.random.default_rng(draw(st.integers(0, 9))).normal(20, 5, (rows, len(names))), 3)
    stamps = [START + at * timedelta(seconds=step) for at in range(rows)]
    cells = [str(int(one.timestamp() * 1000)) if form == "unix_ms" else one.strftime(form) for one in stamps]
    body = lines(cells, *[[str(one).replace(".", decimal) for one in column] for column in values.T], sep=delimiter)
    text = "made by a machine\n" * junk + delimiter.join(["time", *names]) + "\n" + body
    folder = tmp_path_factory.mktemp("any")
    found = found_in(folder / "d", text.encode(encoding))
    _, taken, channels = taken_in(found, folder)
    assert (found.rows, taken, channels) == (rows, rows, tuple(names))
    assert found.start == START
    assert [one.low for one in found.channels] == [np.float32(one) for one in values.min(axis=0)]


@pytest.mark.skipif(not REAL, reason="WATCHKEEPER_DATA names no folder of real series")
@pytest.mark.parametrize("files", ["smd_machine_1_6.*.parquet", "batadal_*.parquet", "mscloud_app1_*.parquet"])
def test_real_data(files: str, tmp_path: Path) -> None:
    """Real series give a watch that takes in the rows that were reported."""
    found = look(REAL, Choice(files=files), datetime.now(UTC))
    _, rows, _ = taken_in(found, tmp_path)
    assert found.whole
    assert rows == found.rows > 0
