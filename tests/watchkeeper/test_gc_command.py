"""`watchkeeper gc` as it is typed: what it prints, and what it refuses in one line."""

import sys
from pathlib import Path

import pytest

from watchkeeper.cli import main
from watchkeeper.cli.collect import hours_of, size_of
from watchkeeper.errors import BadInputError


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["watchkeeper", "gc", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "wanted either --watch NAME or --all"),
        (("--all", "--watch", "tiny"), "wanted either --watch NAME or --all"),
        (("--watch", "tiny", "--older-than", "soon"), "--older-than soon: not an age"),
        (("--watch", "tiny", "--older-than", "-2d"), "not an age"),
        (("--watch", "tini"), "did you mean tiny?"),
        (("--watch", "tiny", "--keep", "0"), "--keep"),
    ],
)
def test_bad_input_is_refused_in_one_line(words: tuple[str, ...], said: str, home: Path, capsys, monkeypatch) -> None:
    """Status 2, one clear line, and nothing is deleted."""
    before = sorted((home / "lake").rglob("*"))
    assert typed(monkeypatch, *words) == 2
    assert said in capsys.readouterr().err
    assert sorted((home / "lake").rglob("*")) == before


def test_without_watch_files_all_is_refused(tmp_path: Path, capsys, monkeypatch) -> None:
    """In a folder that holds none, nothing is cleared in silence."""
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    assert typed(monkeypatch, "--all") == 2
    assert "no watch files" in capsys.readouterr().err


def test_what_goes_is_told_in_a_table(home: Path, capsys, monkeypatch) -> None:
    """A dry run names kind, number, size and reason, and deletes nothing; then it goes; then there is nothing."""
    orphan = home / "lake/raw/watch=tiny/series=line_1/date=2026-01-05/0123.parquet"
    orphan.write_bytes(b"x" * 2_500)
    assert typed(monkeypatch, "--all") == 0
    assert "watch tiny: nothing to collect" in capsys.readouterr().out  # it is younger than a day
    assert typed(monkeypatch, "--watch", "tiny", "--older-than", "0h", "--dry-run") == 0
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if line.startswith("raw rows")]
    assert line.split()[2:6] == ["1", "1", "2.5", "kB"]
    assert "no snapshot names them" in line
    assert "a dry run: nothing was deleted" in told
    assert orphan.exists()
    assert typed(monkeypatch, "--watch", "tiny", "--older-than", "0h") == 0
    assert "would go" not in capsys.readouterr().out
    assert not orphan.exists()
    assert typed(monkeypatch, "--watch", "tiny", "--older-than", "0h") == 0
    assert "nothing to collect" in capsys.readouterr().out


@pytest.mark.parametrize(("age", "hours"), [("90m", 1.5), ("36h", 36), ("2d", 48), ("1w", 168), ("0.5 d", 12)])
def test_ages_are_read(age: str, hours: float) -> None:
    """Minutes, hours, days and weeks."""
    assert hours_of(age) == hours


@pytest.mark.parametrize("age", ["", "2", "d", "2y", "2d3h", "1e3h", "nan d"])
def test_what_is_no_age_is_refused(age: str) -> None:
    """A number without a unit could be anything."""
    with pytest.raises(BadInputError, match="not an age"):
        hours_of(age)


def test_sizes_are_written_for_people() -> None:
    """Powers of ten, one digit after the point from kilobytes on."""
    sizes = [size_of(n) for n in (0, 999, 1_000, 2_549, 1_000_000, 1_234_000_000, 5 * 10**15)]
    assert sizes == ["0 B", "999 B", "1.0 kB", "2.5 kB", "1.0 MB", "1.2 GB", "5,000.0 TB"]
