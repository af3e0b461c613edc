"""What a look at a database finds, and that the watch file written from it takes in what was reported."""

import sqlite3
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from postgres import PASSWORD, Postgres

from tasks.ingest import ingest
from tasks.look import Choice
from tasks.look.found import Found
from tasks.look.look import look
from tasks.look.writer import write_watch
from watchkeeper.errors import DataError, SourceError, WatchError
from watchkeeper.watch import load_watch

START = datetime(2026, 1, 5, tzinfo=UTC)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
ROWS = 300

pytestmark = pytest.mark.usefixtures("_password")


def moments(step_s: int = 60) -> list[datetime]:
    return [START + timedelta(seconds=step_s * at) for at in range(ROWS)]


def taken_in(found: Found, folder: Path) -> tuple[int, tuple[str, ...]]:
    """Write the watch file, load it, and ingest: rows, and series."""
    (folder / "w.toml").write_text(write_watch(found, "w"), encoding="utf-8")
    watch = load_watch("w", folder)
    lake = (folder / "lake").as_uri()
    done = ingest(lake, watch)
    assert ingest(lake, watch).new_rows == 0
    return done.rows, watch.channels


def sqlite(folder: Path, create: str, insert: str, rows: list[Any]) -> str:
    """A database of one table; returns its URL."""
    with sqlite3.connect(folder / "plant.db") as database:
        database.execute(create)
        database.executemany(insert, rows)
    database.close()
    return f"sqlite:///{folder / 'plant.db'}"


def test_a_table_of_postgres(postgres: Postgres, tmp_path: Path) -> None:
    """Clock, series, words and a label of words are found; names that SQL would trip over are quoted."""
    table = f"T {uuid.uuid4().hex}"
    postgres.run(
        f'CREATE TABLE "{table}" '
        '("When" timestamptz, unit text, "Öl %" real, "score" numeric, note text, "Zustand" text)'
    )
    rows = [
        (time, unit, at % 7, at % 5, "x", "schlecht" if at > 290 else "gut")
        for at, time in enumerate(moments())
        for unit in ("p1", "p2")
    ]
    postgres.insert(f'"{table}"', rows)
    found = look(postgres.url, Choice(table=table, label="Zustand"), NOW)
    assert (found.rows, found.series, found.anomalous) == (2 * ROWS, ("p1", "p2"), 18)
    assert [one.name for one in found.channels] == ["Öl %", "score_reading"]
    assert (found.start, found.end) == (START, moments()[-1])
    text = write_watch(found, "w")
    assert PASSWORD not in text
    assert "$PG_PASSWORD" in text
    assert taken_in(found, tmp_path) == (2 * ROWS, ("Öl %", "score_reading"))


def test_the_long_form(tmp_path: Path) -> None:
    """A reading a row: channels are those of the latest rows."""
    rows = [(f"{time:%Y-%m-%d %H:%M:%S}", tag, at) for at, time in enumerate(moments()) for tag in ("flow", "level")]
    url = sqlite(tmp_path, "CREATE TABLE r (time text, tag text, value real)", "INSERT INTO r VALUES (?, ?, ?)", rows)
    found = look(url, Choice(), NOW)
    assert (found.rows, found.series) == (ROWS, ("r",))
    assert taken_in(found, tmp_path) == (ROWS, ("flow", "level"))


def test_a_clock_of_numbers(tmp_path: Path) -> None:
    """Milliseconds since 1970 are told by their size; without a column for it, the series is the table."""
    rows = [(at, int(time.timestamp() * 1000), at % 9) for at, time in enumerate(moments())]
    url = sqlite(
        tmp_path, "CREATE TABLE pump (id integer, ts integer, rpm real)", "INSERT INTO pump VALUES (?,?,?)", rows
    )
    found = look(url, Choice(), NOW)
    assert (found.source["format"], found.series, found.rhythm.interval_s) == ("unix_ms", ("pump",), 60)
    assert taken_in(found, tmp_path) == (ROWS, ("rpm",))


def test_of_a_large_table_the_latest_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tried out; how many there are, and since when, the database tells."""
    monkeypatch.setattr("tasks.look.database.LOOKED_AT", 50)
    rows = [(f"{time:%Y-%m-%d %H:%M:%S}", at % 9) for at, time in enumerate(moments(3600))]
    url = sqlite(tmp_path, "CREATE TABLE pump (timestamp text, rpm real)", "INSERT INTO pump VALUES (?,?)", rows)
    found = look(url, Choice(), NOW)
    assert not found.whole
    assert (found.start, found.end) == (START, moments(3600)[-1])
    assert abs(found.rows - ROWS) <= ROWS / 50
    assert taken_in(found, tmp_path)[0] == ROWS


@pytest.mark.parametrize("quote", ['"', "'", "'''", ":x", "\\", "\n", "%"])
def test_hostile_columns(quote: str, tmp_path: Path) -> None:
    """Quotes, colons, backslashes and line ends in the name of a column break neither the query nor the file."""
    name = f"a{quote}b"
    column = '"' + name.replace('"', '""') + '"'
    rows = [(f"{time:%Y-%m-%d %H:%M:%S}", at % 9, at) for at, time in enumerate(moments())]
    url = sqlite(tmp_path, f"CREATE TABLE t (time text, {column} real, b real)", "INSERT INTO t VALUES (?,?,?)", rows)
    found = look(url, Choice(), NOW)
    assert taken_in(found, tmp_path) == (ROWS, (name, "b"))


@pytest.mark.parametrize(
    ("url", "table", "reason", "error"),
    [
        ("sqlite:////nowhere/at/all.db", None, "unable to open", DataError),
        ("postgresql://keeper:secret-word@127.0.0.1/x", None, "holds no secret", DataError),
        ("postgresql://keeper:$NOT_SET@127.0.0.1/x", None, "NOT_SET is not set", WatchError),
        ("sqlite://", None, "no table has a clock and numbers; there are none", DataError),
        ("{}", "none", "there is no table none; there are a, b, words", DataError),
        ("{}", None, "tables a, b have a clock and numbers; choose one with --table", DataError),
        ("{}", "words", "has no column of times", DataError),
    ],
)
def test_what_is_no_source(url: str, table: str | None, reason: str, error: type[Exception], tmp_path: Path) -> None:
    """Each mistake has its own line, and no line has a password."""
    sqlite(tmp_path, "CREATE TABLE a (time text, x real)", "INSERT INTO a VALUES (?,?)", [("2026-01-05", 1)])
    with sqlite3.connect(tmp_path / "plant.db") as database:
        database.execute("CREATE TABLE b (time text, x real)")
        database.execute("CREATE TABLE words (a text, b real)")
        database.execute("INSERT INTO words VALUES ('x', 1.5)")
    database.close()
    with pytest.raises(error, match=reason) as refused:
        look(url.format(f"sqlite:///{tmp_path / 'plant.db'}"), Choice(table=table), NOW)
    assert "secret-word" not in str(refused.value)


def test_a_server_that_is_not_there(unused_port: int) -> None:
    """One line that asks whether it is up."""
    with pytest.raises(SourceError, match="is the database up"):
        look(f"postgresql://keeper:$PG_PASSWORD@127.0.0.1:{unused_port}/x", Choice(), NOW)
