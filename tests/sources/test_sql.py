"""Rows of SQL databases: PostgreSQL as a server of its own, and SQLite."""

import sqlite3
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import PASSWORD, Postgres

from tasks.ingest import ingest
from tasks.rows import Rows, read_rows, require_snapshot
from watchkeeper.errors import SourceError, WatchError, WatchkeeperError
from watchkeeper.labels import read_labels
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

START = datetime(2026, 1, 5, tzinfo=UTC)
END = START + timedelta(days=2)
QUERY = "SELECT t AS timestamp, unit AS series, a, b FROM {} WHERE t >= :start AND t < :end"

pytestmark = pytest.mark.usefixtures("_password")


def watch(server: Postgres, query: str, **options: Any) -> Watch:
    """A watch of a query."""
    more = {"since": START.isoformat(), **options}
    channels = more.pop("channels", ())
    return Watch(name="unit", source={"kind": "sql", "url": server.url, "query": query, **more}, channels=channels)


def rows_of(lake: Lake, series: str) -> Rows:
    """What is stored."""
    snapshot = require_snapshot(lake, "unit")
    return read_rows(lake, snapshot, series, snapshot.channels)


def minutes(count: int, first: int = 0) -> list[datetime]:
    """Times, a minute apart."""
    return [START + timedelta(minutes=one) for one in range(first, first + count)]


@pytest.fixture
def table(postgres: Postgres) -> str:
    """An empty table: t, unit, a, b."""
    name = f"t{uuid.uuid4().hex}"
    postgres.run(f"CREATE TABLE {name} (t timestamptz, unit text, a real, b double precision)")
    return name


def test_rows_come_in_as_they_are(lake: Lake, postgres: Postgres, table: str) -> None:
    """Two series over two days, readings to the last bit, missing ones missing, names made fit for a path."""
    values = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    rows = [
        (time, unit, float(a), None if row % 7 == 0 else float(b))
        for unit in ("pump 1", "pump_2")
        for row, (time, (a, b)) in enumerate(zip(minutes(2000), values, strict=True))
    ]
    postgres.insert(table, rows[::-1])  # a query without ORDER BY gives rows in no order
    done = ingest(lake.uri, watch(postgres, QUERY.format(table)), END)
    assert (done.rows, done.quarantined, done.refused) == (4000, {}, ())
    assert not any("backward" in one for one in done.warnings)
    assert require_snapshot(lake, "unit").series == ("pump_1", "pump_2")
    stored = rows_of(lake, "pump_1")
    values[::7, 1] = np.nan
    assert np.array_equal(stored.values, values, equal_nan=True)
    assert stored.timestamps.tolist() == [int(time.timestamp()) * 1_000_000 for time in minutes(2000)]
    assert {file.date for file in require_snapshot(lake, "unit").files} == {"2026-01-05", "2026-01-06"}


def test_what_comes_late_is_taken_in_order_or_set_aside_once(lake: Lake, postgres: Postgres, table: str) -> None:
    """Within the tolerance it is a row like any; after it, it is counted by one ingest alone."""
    last = datetime.now(UTC).replace(microsecond=0)
    ages = [7200, 7140, 5400, 3000, 10]  # seconds
    postgres.insert(table, [(last - timedelta(seconds=age), "pump", age, 0.0) for age in ages])
    late = watch(postgres, QUERY.format(table), since="-3h", late_s=3600)
    assert ingest(lake.uri, late).new_rows == 3
    postgres.insert(table, [(last - timedelta(seconds=age), "pump", age, 0.0) for age in (3100, 6000, 7000, 9900)])
    done = ingest(lake.uri, late)
    # 9900 lies before the first row that was ever taken: nobody asked for it
    assert (done.new_rows, done.quarantined) == (0, {"late: before the newest row stored": 2})
    again = ingest(lake.uri, late)
    assert (again.new_rows, again.quarantined, again.snapshot) == (0, {}, done.snapshot)
    patient = watch(postgres, QUERY.format(table), since="-3h")
    assert ingest(lake.uri, patient).new_rows == 3
    assert rows_of(lake, "pump").values[:, 0].tolist() == [7200, 7140, 5400, 3100, 3000, 10]


def test_what_is_stored_stays_and_people_are_told(lake: Lake, postgres: Postgres, table: str) -> None:
    """A reading that comes into a stored bin, and one that is corrected; another ingest does not say it again."""
    postgres.insert(table, [(time, "pump", 1.0, None) for time in minutes(60)])
    bins, raw = Lake(f"{lake.uri}-bins"), lake
    rules = {raw: {"late_s": 3000}, bins: {"late_s": 3000, "every_s": 600}}
    hour = START + timedelta(hours=1)
    for one, rule in rules.items():
        ingest(one.uri, watch(postgres, QUERY.format(table), **rule), hour)
    postgres.run(f"UPDATE {table} SET a = 2 WHERE t = '{START + timedelta(minutes=55)}'")  # noqa: S608 - the test's own
    postgres.insert(table, [(START + timedelta(minutes=33, seconds=30), "pump", 5.0, None)])
    changed, late = "late: differs from what is stored for its time", "late: before the newest row stored"
    said = {raw: {changed: 1, late: 1}, bins: {changed: 2}}
    for one, rule in rules.items():
        assert ingest(one.uri, watch(postgres, QUERY.format(table), **rule), hour).quarantined == said[one]
        assert ingest(one.uri, watch(postgres, QUERY.format(table), **rule), hour).quarantined == {}
        assert set(rows_of(one, "pump").values[:, 0].tolist()) == {1.0}


def test_a_bad_reading_goes_to_quarantine_once(lake: Lake, postgres: Postgres, table: str) -> None:
    """Also where the ingests after it look at its time again; a row without a series is one, too."""
    postgres.insert(
        table,
        [(START + timedelta(minutes=at), unit, a, 1.0) for at, (unit, a) in enumerate(
            [("pump", 1), ("pump", float("inf")), (None, 3), ("pump", 4), ("pump", 5)])],
    )  # fmt: skip
    some = watch(postgres, QUERY.format(table), late_s=86_400)
    first = ingest(lake.uri, some, START + timedelta(minutes=4))
    assert (first.new_rows, first.quarantined) == (2, {"reading is infinite": 1, "series is missing or no name": 1})
    second = ingest(lake.uri, some, END)
    assert (second.new_rows, second.quarantined) == (1, {})


@pytest.fixture(scope="module")
def busy(postgres: Postgres) -> str:
    """A table of three series with gaps, one of which ends early and one of which begins late."""
    postgres.run("CREATE TABLE busy (t timestamptz, unit text, a real, b double precision)")
    draw = np.random.default_rng(1)
    rows = [
        (START + timedelta(seconds=int(second)), unit, float(draw.normal()), float(draw.normal()))
        for unit, low, high in (("one", 0, 9000), ("two", 0, 2000), ("three", 4000, 9000))
        for second in np.unique(draw.integers(low, high, 300))
    ]
    draw.shuffle(rows)
    postgres.insert("busy", rows)
    return QUERY.format("busy")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(400, 9100), max_size=5),
    late_s=st.sampled_from([0, 700]),
    stretch_s=st.sampled_from([1800, 86_400]),
)
def test_any_cuts_give_the_rows_of_one_ingest(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, busy: str,
    cuts: list[int], late_s: int, stretch_s: int,
) -> None:  # fmt: skip
    """No row is lost or doubled, wherever an ingest stopped, and nothing is late that was there."""
    whole, parts = (Lake(tmp_path_factory.mktemp("lake").as_uri()) for _ in range(2))
    ingest(whole.uri, watch(postgres, busy), START + timedelta(seconds=9200))
    some = watch(postgres, busy, late_s=late_s, stretch_s=stretch_s)
    for cut in [*sorted(cuts), 9200]:
        assert ingest(parts.uri, some, START + timedelta(seconds=cut)).quarantined == {}
    assert require_snapshot(parts, "unit").series == ("one", "three", "two")
    for series in ("one", "two", "three"):
        one, other = rows_of(whole, series), rows_of(parts, series)
        assert one.timestamps.tolist() == other.timestamps.tolist()
        assert one.values.tobytes() == other.values.tobytes()


LONG = "SELECT t AS timestamp, unit AS series, a AS value, what AS channel FROM {} WHERE t >= :start AND t < :end"


def test_long_form_gives_each_channel_its_column(lake: Lake, postgres: Postgres) -> None:
    """A stretch may lack one, those that the watch does not name are left out, a second reading is set aside."""
    postgres.run("CREATE TABLE readings (t timestamptz, unit int, what text, a real)")
    at = START + timedelta(days=1)
    postgres.insert(
        "readings",
        [(START, 7, "x", 1), (START, 7, "y", 2), (START, 7, "noise", 9), (START + timedelta(hours=1), 7, "noise", 9),
         (at, 7, "y", 3), (at, 7, "y", 4)],
    )  # fmt: skip
    query = LONG.format("readings")
    with pytest.raises(WatchError, match='form = "long" needs `channels`'):
        ingest(lake.uri, watch(postgres, query, form="long"), END)
    done = ingest(lake.uri, watch(postgres, query, form="long", channels=("x", "y")), END)
    assert (done.rows, done.quarantined) == (2, {"channel has two readings at this time": 1})
    assert np.array_equal(rows_of(lake, "7").values, np.array([[1, 2], [np.nan, 3]], np.float32), equal_nan=True)


PART = "SELECT {} FROM busy WHERE {}"
WITHIN = "t >= :start AND t < :end"
WRONG = {
    "table": ({"query": QUERY.format("nowhere")}, 'relation "nowhere" does not exist'),
    "no series": ({"query": PART.format("t AS timestamp, a", WITHIN)}, "no column series; its columns are"),
    "no channel": ({"query": PART.format("t AS timestamp, unit AS series", WITHIN)}, "gives no channel beside"),
    "twice": ({"query": PART.format("t AS timestamp, unit AS series, a, a", WITHIN)}, "gives column a twice"),
    "text": (
        {"query": PART.format("t AS timestamp, unit AS series, unit AS a", WITHIN)}, "column a is no number, it holds '"
    ),
    "bounds": (
        {"query": PART.format("t AS timestamp, unit AS series, a", "t >= :start OR t < :end"), "since": "2026-01-04"},
        "limit its column timestamp",
    ),
    "number": (
        {"query": PART.format("extract(epoch FROM t) AS timestamp, unit AS series, a", WITHIN)},
        "wanted a timestamp, or `format`",
    ),
    "write": (
        {"query": PART.format("t AS timestamp, unit AS series, nextval('n') AS a", WITHIN)}, "read-only transaction"
    ),
    "empty": ({"since": "2025-01-05", "until": "2025-01-06"}, "has no row from 2025-01-05 00:00 to 2025-01-06 00:00"),
    "span": ({"since": "2026-01-09"}, "correct `since`, `until` or `late_s`"),
    "database": ({"url": ("/postgres", "/nothing")}, 'database "nothing" does not exist'),
    "user": ({"url": ("keeper", "nobody")}, 'password authentication failed for user "nobody"'),
    "variable": ({"url": ("$PG_PASSWORD", "$PG_OTHER")}, "the environment variable PG_OTHER is not set"),
    "driver": ({"url": ("postgresql:", "mysql+nodriver:")}, "SQLAlchemy knows no database mysql+nodriver"),
    "no driver": ({"url": ("postgresql:", "mysql+pymysql:")}, "no module pymysql"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_one_line(lake: Lake, postgres: Postgres, busy: str, what: str) -> None:
    """With what to mend, never with the password, and nothing is written."""
    postgres.run("CREATE SEQUENCE IF NOT EXISTS n")
    options, message = WRONG[what]
    url = postgres.url.replace(*options.get("url", ("", "")))
    source = {"kind": "sql", "since": START.isoformat(), "query": busy, "until": END.isoformat(), **options, "url": url}
    with pytest.raises(WatchkeeperError) as error:
        ingest(lake.uri, Watch(name="unit", source=source))
    assert message in str(error.value)
    assert error.value.exit_status == 2
    assert "\n" not in str(error.value)
    assert PASSWORD not in str(error.value)
    assert lake.list("") == []


def test_a_server_that_is_not_there_is_a_failure(lake: Lake, unused_port: int) -> None:
    """Status 1: the next scheduled run may find it."""
    url = f"postgresql://keeper:$PG_PASSWORD@127.0.0.1:{unused_port}/postgres"
    some = Watch(name="unit", source={"kind": "sql", "url": url, "query": QUERY.format("busy")})
    with pytest.raises(SourceError, match=r"^postgresql://keeper:\*\*\*@127.*refused.*is the database up") as error:
        ingest(lake.uri, some)
    assert error.value.exit_status == 1


def test_a_server_that_dies_half_way_costs_nothing(lake: Lake, dying_postgres: Postgres) -> None:
    """One line, nothing is published, and the ingest after its return has every row once."""
    query = QUERY.format("busy")
    dying_postgres.run("CREATE TABLE busy (t timestamptz, unit text, a real, b double precision)")
    dying_postgres.insert("busy", [(time, "pump", 1.0, row) for row, time in enumerate(minutes(4000))])
    some, asked = watch(dying_postgres, query, stretch_s=36_000), iter(range(100))

    def die_at_the_fifth(*_: Any) -> None:
        if next(asked) == 4:  # after the first day
            dying_postgres.stop()

    sa.event.listen(sa.Engine, "before_cursor_execute", die_at_the_fifth)
    try:
        with pytest.raises(SourceError, match="is the database up"):
            ingest(lake.uri, some)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", die_at_the_fifth)
    assert lake.list("snapshots") == []
    assert lake.list("raw") != []
    dying_postgres.start()
    assert ingest(lake.uri, some).rows == 4000
    assert rows_of(lake, "pump").values[:, 1].tolist() == list(range(4000))


@pytest.mark.parametrize(("format", "clock"), [
    (None, "%Y-%m-%d %H:%M:%S"), (None, "%Y-%m-%dT%H:%M:%SZ"), ("unix_s", 1), ("unix_ms", 1e3), ("unix_ns", 1e9),
])  # fmt: skip
def test_sqlite_with_any_clock(lake: Lake, tmp_path: Path, format: str | None, clock: str | float) -> None:
    """Its times are text or numbers; an ingest goes on where the one before it ended, and the file is not written."""
    with sqlite3.connect(tmp_path / "plant.db") as connection:
        connection.execute("CREATE TABLE r (t, unit, a, label)")
        written = [t.strftime(clock) if isinstance(clock, str) else int(t.timestamp() * clock) for t in minutes(3000)]
        connection.executemany(
            "INSERT INTO r VALUES (?, 'pump', ?, ?)", [(t, str(row), row == 7) for row, t in enumerate(written)]
        )
    connection.close()
    file, time = tmp_path / "plant.db", "datetime(t)" if "T" in str(clock) else "t"
    query = "SELECT t AS timestamp, unit AS series, a, label FROM r WHERE <t> >= :start AND <t> < :end".replace(
        "<t>", time
    )
    source = {"kind": "sql", "url": f"sqlite:///{file}", "query": query, "format": format, "since": START.isoformat()}
    some = Watch(name="unit", source=source)
    assert ingest(lake.uri, some, START + timedelta(days=1)).rows == 1440
    assert ingest(lake.uri, some).rows == 3000
    assert rows_of(lake, "pump").values[:, 0].tolist() == list(range(3000))
    events = read_labels(lake, lake.list("labels/watch=unit"))
    assert (len(lake.list("labels/watch=unit")), events["label"].to_pylist()) == (2, [0, 1, 0, 0])  # a file an ingest
    missing = Watch(name="unit", source={**source, "url": f"sqlite:///{file}x"})
    with pytest.raises(WatchkeeperError, match="unable to open database file"):
        ingest(lake.uri, missing)
    assert not Path(f"{file}x").exists()


def test_what_is_stored_does_not_depend_on_the_stretch(tmp_path: Path) -> None:
    """Days, events, bad rows and notes are those of one question, whatever is asked at once; only places differ."""
    with sqlite3.connect(tmp_path / "plant.db") as connection:
        connection.execute("CREATE TABLE r (t, unit, a, label)")
        rows = [
            (int(time.timestamp()), unit, "inf" if row == 2000 else 5, 1000 <= row < 1500)
            for row, time in enumerate(minutes(3000))
            for unit in ("pump", "fan")
        ]
        connection.executemany("INSERT INTO r VALUES (?, ?, ?, ?)", rows)
    connection.close()
    query = "SELECT t AS timestamp, unit AS series, a, label FROM r WHERE t >= :start AND t < :end"
    source = {"kind": "sql", "url": f"sqlite:///{tmp_path / 'plant.db'}", "query": query, "format": "unix_s"}
    found = []
    for stretch_s in (1800, 50_000, 10_000_000):
        some = Watch(name="unit", source=source | {"since": START.isoformat(), "stretch_s": stretch_s})
        lake = Lake((tmp_path / str(stretch_s)).as_uri())
        done = ingest(lake.uri, some)
        assert (done.rows, done.quarantined) == (5998, {"reading is infinite": 2})
        assert done.warnings == ("fan: constant channel a", "pump: constant channel a")
        found.append([{key: lake.get(key) for key in lake.list(folder)} for folder in ("raw", "labels", "snapshots")])
        assert len(lake.list("quarantine")) == 2
    assert found[0] == found[1] == found[2]
    assert [len(objects) for objects in found[0]] == [6, 2, 1]
