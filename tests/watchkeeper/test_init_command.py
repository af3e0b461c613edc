"""`watchkeeper init` as it is typed: what it writes and prints, and what it refuses in one line."""

import gzip
import math
import random
import re
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from watchkeeper.cli import main
from watchkeeper.watch import load_watch

DATA = "timestamp,flow,label\n" + "".join(f"2026-01-05 00:{at:02d}:00,{at % 7},0\n" for at in range(60))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to look at, in a folder that becomes the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pump 7.csv").write_text(DATA)
    return tmp_path / "pump 7.csv"


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["watchkeeper", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_watch_is_written_and_the_next_command_said(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is called after the place; the table says what was found, the last line what to do."""
    assert typed(monkeypatch, "init", str(place), "--name", "pump") == 2  # the file's own name cannot be a series
    assert "rename the file" in capsys.readouterr().err
    place = place.rename(place.with_name("pump_7.csv"))
    assert typed(monkeypatch, "init", str(place)) == 0
    said = capsys.readouterr().out
    assert "60, 2026-01-05 00:00 to 2026-01-05 00:59 UTC" in said
    assert said.rstrip().endswith("watchkeeper retrain --watch pump_7")
    assert load_watch("pump_7", Path("watches")).channels == ("flow",)


def test_nothing_is_replaced_unasked(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch file that is there stays as it is, until --force says otherwise."""
    place = place.rename(place.with_name("pump.csv"))
    Path("watches").mkdir()
    there = Path("watches") / "pump.toml"
    there.write_text("mine\n")
    assert typed(monkeypatch, "init", str(place)) == 2
    assert "--force" in capsys.readouterr().err
    assert there.read_text() == "mine\n"
    assert typed(monkeypatch, "init", str(place), "--force") == 0
    assert load_watch("pump", Path("watches")).source.kind == "csv"
    assert [one.name for one in Path("watches").iterdir()] == ["pump.toml"]


def test_printed_and_not_written(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--print gives the file alone, fit for a pipe, and writes nothing."""
    place = place.rename(place.with_name("pump.csv"))
    assert typed(monkeypatch, "init", str(place), "--print") == 0
    assert tomllib.loads(capsys.readouterr().out)["source"]["files"] == "pump.csv"
    assert not Path("watches").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nowhere"], "no such file or folder"),
        (["empty"], "it is empty"),
        (["x.csv", "--name", "../x"], "a name holds letters"),
        (["x.csv", "--start", "2026-01-05"], "both --start and --interval"),
        (["x.csv", "--start", "soon", "--interval", "60"], "not a time"),
        (["x.csv", "--zone", "Mars/Olympus"], "no time zone"),
        (["x.csv", "--timestamp", "when"], "has no column when"),
        (["x.csv", "--format", "%Q"], "no time format"),
        (["x.csv", "--label", "flow"], "is no label"),
        (["mixed"], "files of several kinds"),
        (["a$b"], "holds a $"),
        (["\0"], "is no path"),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], reason: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be looked at ends with status 2, one line, and nothing written."""
    place.rename(place.with_name("x.csv"))
    for folder in ("empty", "mixed", "a$b"):
        Path(folder).mkdir()
    for name in ("a.csv", "b.parquet"):
        (Path("mixed") / name).write_text(DATA)
    assert typed(monkeypatch, "init", *words) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not Path("watches").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_a_packed_file_that_breaks_off_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Wherever it breaks off, also behind what is looked at first."""
    monkeypatch.chdir(tmp_path)
    noise = random.Random(0)  # noqa: S311 - no secret
    rows = [
        f"2026-01-{1 + at // 1440:02d} {at // 60 % 24:02d}:{at % 60:02d}:00,{noise.random()}" for at in range(20_000)
    ]
    packed = gzip.compress("\n".join(["timestamp,flow", *rows, ""]).encode())
    (tmp_path / "pump.csv.gz").write_bytes(packed[: 8 + int(share * len(packed))])
    assert typed(monkeypatch, "init", "pump.csv.gz") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: pump.csv.gz ")
    assert len(said.strip().splitlines()) == 1


def pumps(rows: int) -> list[tuple[datetime, str, float, float, bool]]:
    """Readings of two pumps, a minute apart: waves, noise, and a jump every 300 rows."""
    draw = random.Random(0)  # noqa: S311 - no secret
    return [
        (
            datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=at),
            pump,
            math.sin(at / 9) + draw.gauss(0, 0.1) + 3 * (at % 300 >= 285),
            math.cos(at / 9) + draw.gauss(0, 0.1),
            at % 300 >= 285,
        )
        for at in range(rows)
        for pump in ("p1", "p2")
    ]


def german(rows: int) -> str:
    lines = [
        f"{time:%d.%m.%Y %H:%M};{pump};{flow:.3f};{load:.3f}".replace(".", ",").replace(",01,2026", ".01.2026")
        + f";{'schlecht' if bad else 'gut'}\n"
        for time, pump, flow, load, bad in pumps(rows)
    ]
    return "Zeit;Pumpe;Fluss;Druck;Zustand\n" + "".join(lines)


def line_protocol(rows: int) -> str:
    return "".join(
        f'pump,unit={pump} flow={flow:.3f},load={load:.3f},label={int(bad)}i,note="x" {int(time.timestamp())}\n'
        for time, pump, flow, load, bad in pumps(rows)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "written"), [("all.csv", german), ("all.lp", line_protocol)])
def test_the_watch_that_was_written_is_retrained_and_scores(
    name: str, written: Callable[[int], str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From files in any hand to alarms, with nothing mended by hand, and better than chance."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / name).write_text(written(2200))
    for words in (["init", "plant"], ["retrain", "--watch", "plant"], ["score", "--watch", "plant"]):
        assert typed(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "4,400 new rows" in said
    assert "version 1 promoted" in said
    found = dict(re.findall(r"^  (random|combination) +([.0-9]+)", said, re.MULTILINE))  # the last ones are of the mean
    assert float(found["combination"]) > 2 * float(found["random"])
