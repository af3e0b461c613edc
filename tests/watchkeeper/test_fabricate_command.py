"""`watchkeeper fabricate` as it is typed: what it writes and prints, and what it refuses in one line."""

import sys
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from watchkeeper.cli import main
from watchkeeper.watch import load_watch


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["watchkeeper", "fabricate", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(("facility", "rows"), [("water", 1440), ("nuclear", 2880), ("grid", 17_280)])
def test_the_printed_watch_file_reads_what_was_written(
    facility: str, rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / 'a "folder" [with] ü'
    assert typed(monkeypatch, facility, "--days", "1", "--out", str(out)) == 0
    said = capsys.readouterr().out
    snippet = said[said.index("[source]\n") :]
    assert tomllib.loads(snippet)["source"]["folder"] == str(out)
    (tmp_path / f"{facility}.toml").write_text(snippet, encoding="utf-8")
    source = load_watch(facility, tmp_path).source
    assert pq.read_table(source.path() / source.files).num_rows == rows
    assert f"{rows:,} rows" in said


def test_options_reach_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "--days",
        "2",
        "--start",
        "2025-03-01T06:00+02:00",
        "--anomalies",
        "none",
        "--shift",
        "step@1",
        "--seed",
        "9",
    )
    assert typed(monkeypatch, "water", *words, "--out", str(tmp_path)) == 0
    table = pq.read_table(tmp_path / "water.parquet")
    assert table["timestamp"][0].as_py().isoformat() == "2025-03-01T04:00:00+00:00"
    assert not table["label"].to_numpy().any()
    events = (tmp_path / "water.events.json").read_text(encoding="utf-8")
    assert '"shift": {"kind": "step", "day": 1.0}' in events
    assert '"seed": 9' in events
    assert "0 anomalies" in capsys.readouterr().out


def test_rows_in_the_future_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    assert typed(monkeypatch, "water", "--days", "1", "--start", "2150-01-01", "--out", str(tmp_path)) == 0
    assert "in the future" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("brewery",), "facility brewery: unknown; wanted one of water, nuclear, grid"),
        (("water", "--days", "0"), "days must give a row at least"),
        (("water", "--days", "nan"), "days must give a row at least"),
        (("water", "--days", "many"), "--days"),
        (("water", "--seed", "-1"), "seed must be 0 or more"),
        (("water", "--start", "monday"), "--start monday: not a time"),
        (("water", "--start", "0001-01-01T00:00+05:00"), "not a time"),
        (("water", "--anomalies", "drift,floods"), "anomalies floods: unknown"),
        (("water", "--shift", "step"), "shift step: no day is named; wanted KIND@DAY"),
        (("water", "--shift", "wave@3"), "shift wave: unknown"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """Status 2, and nothing is written."""
    monkeypatch.setenv("COLUMNS", "200")
    assert typed(monkeypatch, *words, "--out", str(tmp_path / "new")) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path, capsys, monkeypatch) -> None:
    words = ("water", "--days", "1", "--out", str(tmp_path))
    assert typed(monkeypatch, *words) == 0
    assert typed(monkeypatch, *words) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert typed(monkeypatch, *words, "--overwrite") == 0
