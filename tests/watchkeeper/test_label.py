"""Questions, answers and labels on the command line, and what the next retrain makes of them."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from flows.retrain import retrain
from watchkeeper.cli import main
from watchkeeper.cli.picture import BARS, GAP, picture_of, spark, stand_out
from watchkeeper.labels import counted, read_labels
from watchkeeper.lake import Lake
from watchkeeper.questions import open_questions
from watchkeeper.records import Question
from watchkeeper.registry import Registry, folder_of
from watchkeeper.version import read_version

DAY = "2026-01-06"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _environment_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001 - undone before it
    """The command line hands its options over as environment variables; no test sees another's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def lake(home: Path) -> Lake:
    """The lake of a home with a champion, with three questions in its queue that nobody has answered."""
    made = Lake((home / "lake").as_uri())
    item = {"series": "line_1", "reason": "top", "answer": None}
    windows = [{**item, "start": f"{DAY}T0{hour}:00Z", "end": f"{DAY}T0{hour}:25Z"} for hour in (1, 3, 5)]
    made.put_json(f"queue/tiny/{'e' * 32}.json", windows)
    return made


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `watchkeeper …` in this process with something typed in, and returns its status and what it said."""

    def call(*words: object, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["watchkeeper", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def human(lake: Lake) -> list[tuple[str, str, int, str]]:
    """What people have said: start and end as hour and minute, label, who."""
    table = read_labels(lake, counted(lake.list("labels/watch=tiny"), lake.list("queue/tiny")))
    rows = [row for row in table.to_pylist() if row["origin"] == "human"]
    return sorted((f"{row['start']:%H:%M}", f"{row['end']:%H:%M}", row["label"], row["who"]) for row in rows)


def numbers(lake: Lake) -> list[int]:
    return [found.number for found in open_questions(lake, "tiny")]


def state(lake: Lake) -> list[str]:
    return [*lake.list("labels"), *lake.list("queue")]


def test_questions_are_listed_with_their_numbers(lake: Lake, cli: Cli) -> None:
    """Number, series, times, why and how long ago; where nobody asks, it says so."""
    status, out, err = cli("questions", "-w", "tiny")
    assert (status, err) == (0, "")
    assert [line.split()[:6] for line in out.splitlines()[1:4]] == [
        [str(number), "line_1", DAY, f"0{hour}:00:00", DAY, f"0{hour}:25:00"]
        for number, hour in ((1, 1), (2, 3), (3, 5))
    ]
    assert out.count("highest score") == 3
    for number in (1, 2, 3):
        assert cli("answer", "-w", "tiny", number, "normal")[0] == 0
    assert "no open questions" in cli("questions", "-w", "tiny")[1]
    assert numbers(lake) == []


def test_an_answer_by_number_is_a_label_of_its_window(lake: Lake, cli: Cli) -> None:
    """It closes that question alone, under the name that was given."""
    status, out, _ = cli("answer", "-w", "tiny", 2, "anomalous", "--who", "ann")
    assert (status, "2 questions wait" in out) == (0, True)
    assert human(lake) == [("03:00", "03:25", 1, "ann")]
    assert numbers(lake) == [1, 3]


def test_going_through_the_questions_writes_each_answer(lake: Lake, cli: Cli) -> None:
    """a and ? are answers, s is none, q ends; a word that is not known is asked for again."""
    status, out, _ = cli("answer", "-w", "tiny", "--who", "ann", typed="a\nwhat\n?\ns\n")
    assert status == 0
    assert human(lake) == [("01:00", "01:25", 1, "ann"), ("03:00", "03:25", -1, "ann")]
    assert numbers(lake) == [3]
    assert "3 of 3" in out
    assert "1 anomalous, 1 unknown" in out
    assert set(out) & set(BARS)


@pytest.mark.parametrize("typed", ["n\nq\n", "n\n"])
def test_whoever_stops_half_way_loses_nothing(lake: Lake, cli: Cli, typed: str) -> None:
    """Quitting and the end of the input both end well, with what was said written."""
    assert cli("answer", "-w", "tiny", typed=typed)[0] == 0
    assert [line[2] for line in human(lake)] == [0]
    assert numbers(lake) == [2, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["answer", "-w", "tiny", "9", "normal"], "question 9 of watch tiny is not open"),
        (["answer", "-w", "tiny", "1", "broken"], "'broken' is no label; wanted anomalous, normal or unknown"),
        (["answer", "-w", "tiny", "1"], "no answer given"),
        (["questions", "-w", "tine"], "did you mean tiny?"),
    ],
)
def test_an_answer_that_cannot_be_is_one_line(lake: Lake, cli: Cli, words: list[str], said: str) -> None:
    """Status 2, and nothing written."""
    before = state(lake)
    status, _, err = cli(*words)
    assert (status, err.startswith("error: "), err.count("\n"), said in err) == (2, True, 1, True), err
    assert state(lake) == before


def test_an_event_that_nobody_asked_about_is_labelled(lake: Lake, cli: Cli) -> None:
    """Times without a zone are UTC; the end may lie where the next row would."""
    event = ["--series", "line_1", "--who", "ann"]
    one = ["--start", "2026-01-06T10:00+02:00", "--end", "2026-01-06T09:00", "--as", "anomalous"]
    last = ["--start", "2026-01-10T23:00", "--end", "2026-01-11", "--as", "normal"]
    assert [cli("label", "-w", "tiny", *event, *words)[0] for words in (one, last)] == [0, 0]
    assert human(lake) == [("08:00", "09:00", 1, "ann"), ("23:00", "00:00", 0, "ann")]


GOOD = {"--series": "line_1", "--start": DAY, "--end": f"{DAY}T01:00", "--as": "normal"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--series": "line_2"}, "no series 'line_2'; did you mean line_1?"),
        ({"--series": "xyz"}, "no series 'xyz'; known are line_1"),
        ({"--start": "yesterday"}, "start 'yesterday' is not a time"),
        ({"--start": f"{DAY}T01:00"}, "does not lie before end"),
        ({"--start": "2026-01-07"}, "does not lie before end"),
        ({"--start": "2026-01-04T23:59"}, "reaches out of the data of line_1, which go from 2026-01-05 00:00:00"),
        ({"--end": "2026-01-11T00:01"}, "to 2026-01-10 23:59:00 UTC"),
        ({"--start": f"{DAY}T00:00:10", "--end": f"{DAY}T00:00:50"}, "has no row from"),
        ({"--as": "odd"}, "'odd' is no label; wanted anomalous, normal or unknown"),
        ({"--as": None}, "--as is missing"),
        ({"--series": None}, "--series is missing"),
        ({"--from": "events.csv"}, "--from and --series"),
    ],
)
def test_a_label_that_cannot_be_is_one_line(lake: Lake, cli: Cli, change: dict[str, str | None], said: str) -> None:
    """Status 2, what was found, what was wanted, and nothing written."""
    before = state(lake)
    words = [word for pair in {**GOOD, **change}.items() if pair[1] is not None for word in pair]
    status, _, err = cli("label", "-w", "tiny", *words)
    assert (status, err.startswith("error: "), err.count("\n"), said in err) == (2, True, 1, True), err
    assert state(lake) == before


def test_events_come_from_a_file(lake: Lake, cli: Cli, tmp_path: Path) -> None:
    """Columns in any order, a byte order mark, blank lines; all of them in one batch."""
    file = tmp_path / "events.csv"
    rows = [f"Anomalous,line_1,{DAY}T01:00,{DAY}T01:05", "", f"unknown, line_1 ,{DAY}T05:00,{DAY}T06:00"]
    file.write_text("\n".join(["label,series,start,end", *rows]), encoding="utf-8-sig")
    before = len(lake.list("labels"))
    status, out, _ = cli("label", "-w", "tiny", "--from", file, "--who", "ann")
    assert (status, "1 anomalous, 1 unknown" in out) == (0, True)
    assert human(lake) == [("01:00", "01:05", 1, "ann"), ("05:00", "06:00", -1, "ann")]
    assert (len(lake.list("labels")) - before, numbers(lake)) == (1, [2])


HEADER = "series,start,end,label\n"
FIRST = f"line_1,{DAY}T01:00,{DAY}T02:00,normal\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "wanted a first line series,start,end,label"),
        (b"series,start,end\n", "found series,start,end"),
        (HEADER.encode(), "no events below the first line"),
        (f"{HEADER}{FIRST}line_1,{DAY},normal\n".encode(), "line 3: 3 fields, wanted 4"),
        (f"{HEADER}{FIRST}line_1,{DAY},{DAY}T01:00,maybe\n".encode(), "line 3: 'maybe' is no label"),
        (f"{HEADER}{FIRST}line_7,{DAY},{DAY}T01:00,normal\n".encode(), "line 3: watch tiny has no series 'line_7'"),
        (f"{HEADER}{FIRST}line_1,{DAY}T01:00,{DAY},normal\n".encode(), "line 3: start"),
        (f"{HEADER}{FIRST}line_1,1999-01-01,{DAY},normal\n".encode(), "line 3: 1999-01-01 00:00:00 to"),
        (f'{HEADER}line_1,"{DAY}'.encode(), "no CSV: unexpected end of data"),
        (b"\xff\xfe\x00", "no CSV: "),
    ],
)
def test_a_file_with_one_bad_row_changes_nothing(
    lake: Lake, cli: Cli, tmp_path: Path, content: bytes, said: str
) -> None:
    """The line names the file and the row; the good rows before it are not written either."""
    file = tmp_path / "events.csv"
    file.write_bytes(content)
    before = state(lake)
    status, _, err = cli("label", "-w", "tiny", "--from", file)
    assert (status, err.startswith("error: "), err.count("\n"), said in err) == (2, True, 1, True), err
    assert state(lake) == before


def test_a_file_that_is_not_there_is_one_line(lake: Lake, cli: Cli, tmp_path: Path) -> None:
    """With the system's reason."""
    status, _, err = cli("label", "-w", "tiny", "--from", tmp_path / "none.csv")
    assert (status, err.endswith("none.csv: cannot be read: No such file or directory\n")) == (2, True), err
    assert human(lake) == []


# The next retrain


def test_the_next_retrain_learns_from_people_and_asks_elsewhere(home: Path, retrained: Path, cli: Cli) -> None:
    """The manifest counts their labels row by row; no question touches what they spoke about, "unknown" included."""
    lake, plain = (Lake((folder / "lake").as_uri()) for folder in (home, retrained))
    event = ["label", "-w", "tiny", "--series", "line_1"]
    says = [
        ("2026-01-05T00:00", "2026-01-07T12:00", "unknown"),
        ("2026-01-08T02:00", "2026-01-08T03:00", "anomalous"),
        ("2026-01-08T04:00", "2026-01-08T04:30", "normal"),
    ]
    (old,) = lake.list("queue/tiny")
    for start, end, word in says:
        assert cli(*event, "--start", start, "--end", end, "--as", word)[0] == 0
    done = retrain.fn("tiny")

    truth: dict[datetime, int | None] = {}  # a slow loop over minutes: answers first, people over them
    words = [Question(**item) for item in lake.get_json(old)]
    spoken = [(one.start, one.end, one.answer) for one in words if one.answer is not None]
    values = {"unknown": None, "anomalous": 1, "normal": 0}
    spoken += [
        (datetime.fromisoformat(f"{start}Z"), datetime.fromisoformat(f"{end}Z"), values[word])
        for start, end, word in says
    ]
    for start, end, value in spoken:
        for minute in range(6 * 24 * 60):
            time = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=minute)
            if start <= time < end:
                truth[time] = value
    registry = Registry(f"sqlite:///{home / 'registry.db'}")
    registered = registry.get("tiny", done.version.version)
    manifest = read_version(lake, folder_of(registered), registered.sha256).manifest
    assert (manifest.labels["anomalous"], manifest.labels["normal"]) == (
        sum(value == 1 for value in truth.values()),
        sum(value == 0 for value in truth.values()),
    )

    (new,) = [key for key in lake.list("queue/tiny") if key != old and "/people/" not in key]
    asked = [Question(**item) for item in lake.get_json(new)]
    assert asked
    for question in asked:
        for start, end, _ in spoken:
            assert question.end <= start or end <= question.start
    (other,) = [key for key in plain.list("queue/tiny") if key != old]  # the same retrain, had nobody said anything
    noon = datetime(2026, 1, 7, 12, tzinfo=UTC)
    assert any(Question(**item).start < noon for item in plain.get_json(other))


# The picture


def test_bars_follow_the_values() -> None:
    """The lowest value is the lowest bar, the highest the highest; a gap is a dot."""
    values = np.array([0, 1, 2, 3, 4, 5, 6, 7, np.nan], np.float32)
    assert spark(values, 0, 7, 3.5, 9) == f"{BARS}{GAP}"
    assert spark(np.array([5, 5], np.float32), 5, 5, 5, 2) == BARS[4] * 2


def test_a_short_spike_is_not_averaged_away() -> None:
    """One value in a hundred is seen in a line of ten."""
    values = np.zeros(100, np.float32)
    values[42] = 9
    assert spark(values, 0, 9, 0, 10) == f"{BARS[0] * 4}{BARS[-1]}{BARS[0] * 5}"


def test_the_channel_that_stands_out_comes_first() -> None:
    """Measured by what a channel does around the window, not by its size."""
    values = np.random.default_rng(0).normal(size=(100, 3)) * np.array([1, 1000, 1])
    inside = np.arange(100) // 20 == 2
    values[50, 2] += 20
    assert stand_out(values.astype(np.float32), inside).argmax() == 2


def test_a_picture_shows_the_window_between_its_surroundings(lake: Lake) -> None:
    """Three channels; at the beginning of the data there is nothing before the window."""
    first = Question.of("line_1", 1767571200000000, 1767571200000000 + 25 * 60_000_000, "top", -1)
    lines = picture_of(lake, "tiny", first)
    assert len(lines) == 3
    assert all((line.before, bool(line.window), bool(line.after)) == ("", True, True) for line in lines)
    assert picture_of(lake, "tiny", Question.of("line_1", 0, 60_000_000, "top", -1)) == []
