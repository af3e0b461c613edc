"""`watchkeeper quarantine`: what was set aside, by reason and row by row, from the command line."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.ingest import ingest
from tasks.quarantine import read_quarantine
from watchkeeper.cli import main
from watchkeeper.lake import Lake

GOOD = "timestamp,a,b\n2026-01-05 00:00,1,2\n2026-01-05 00:01,3,4\n"
BAD = "2026-01-05 00:02,inf,1\n2026-01-05 00:01,7,7\n,3,3\n2026-01-05 00:03,inf,1\n"


@pytest.fixture(autouse=True)
def _environment_restored() -> Iterator[None]:
    """The command line hands its options over as environment variables; no test sees another's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a watch `pumps` over two CSV files, one of which has bad rows, taken in; a watch without rows."""
    (tmp_path / "pump.csv").write_text(GOOD + BAD)
    (tmp_path / "fan.csv").write_text(GOOD)
    for name in ("pumps", "empty"):
        (tmp_path / f"{name}.toml").write_text(f'[source]\nkind = "csv"\nfolder = "{tmp_path}"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    ingest.fn("pumps")
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `watchkeeper quarantine …` in this process and returns status, output and error."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["watchkeeper", "quarantine", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.usefixtures("folder")
def test_reasons_are_counted_the_most_frequent_first(cli: Callable[..., tuple[int, str, str]]) -> None:
    """With the row that was set aside last, and the place of the readings."""
    status, out, _ = cli("-w", "pumps")
    assert status == 0
    assert lines(out)[1:] == [
        ["2", "1", "reading", "is", "infinite", "pump.csv", "2", "2026-01-05", "00:02:00"],
        ["1", "1", "timestamp", "is", "missing", "pump.csv", "4", "none"],
        ["1", "1", "timestamp", "stands", "twice", "pump.csv", "3", "2026-01-05", "00:01:00"],
        ["with", "their", "readings:", "home/lake/quarantine/pumps"],
    ]


@pytest.mark.usefixtures("folder")
def test_the_rows_of_a_reason_are_shown_up_to_a_limit(cli: Callable[..., tuple[int, str, str]]) -> None:
    """A few words of the reason are enough, in any case."""
    status, out, _ = cli("-w", "pumps", "--reason", "Infinite", "--limit", "1")
    assert status == 0
    assert lines(out)[0] == ["rows", "in", "quarantine:", "2;", "the", "last", "1"]
    assert lines(out)[2] == ["pump", "pump.csv", "2", "2026-01-05", "00:02:00", "reading", "is", "infinite"]
    assert len(lines(out)) == 4
    assert len(lines(cli("-w", "pumps", "--reason", "timestamp")[1])) == 5


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("-w", "pumps", "--reason", "zebra"),
            "no row is in quarantine for that; there are: reading is infinite; time",
        ),
        (("-w", "zebra"), "watch zebra"),
    ],
)
def test_what_is_not_there_is_one_line(words: tuple[str, ...], said: str, cli) -> None:
    """Status 2, and what there is."""
    status, _, error = cli(*words)
    assert status == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


def test_a_watch_without_quarantine_says_so(folder: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    """Also before its first ingest."""
    assert folder.exists()
    assert cli("-w", "empty")[:2] == (0, "watch empty: nothing is in quarantine\n")


def test_rows_of_a_file_that_grew_count_once(folder: Path) -> None:
    """It is read again with its bad rows; a new bad row comes first."""
    lake = Lake((folder / "home/lake").as_uri())
    before = read_quarantine(lake, "pumps")
    (folder / "pump.csv").write_text(GOOD + BAD + "2026-01-05 00:05,inf,1\n2026-01-05 00:06,1,1\n")
    ingest.fn("pumps")
    after = read_quarantine(lake, "pumps").to_pylist()
    assert len(lake.list("quarantine/pumps")) == 2
    assert len(after) == len(before) + 1 == 5
    assert {one["row"] for one in after} == {2, 3, 4, 5, 6}
