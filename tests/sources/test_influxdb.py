"""Points of InfluxDB 1, from a server of its own."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from canned import canned
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from influxdb import PASSWORD, InfluxDB

from tasks.ingest import ingest
from tasks.rows import Rows, read_rows, require_snapshot
from tasks.sources.influx import v1
from watchkeeper.errors import DataError, SourceError, WatchError, WatchkeeperError
from watchkeeper.labels import read_labels
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch, load_watch

START = datetime(2026, 1, 5, tzinfo=UTC)
SECOND = int(START.timestamp())
END = START + timedelta(days=2)


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUX_PASSWORD", PASSWORD)


def watch(server: InfluxDB, measurement: str | tuple[str, ...], **options: Any) -> Watch:
    """A watch of measurements whose tag `unit` names the series."""
    source = {
        "kind": "influxdb", "version": 1, "url": server.url, "database": "plant", "user": "keeper",
        "password": "$INFLUX_PASSWORD", "measurement": measurement, "series": "unit", "since": START.isoformat(),
        **options,
    }  # fmt: skip
    channels = source.pop("channels", ())
    return Watch(name="unit", source=source, channels=channels)


def rows_of(lake: Lake, series: str) -> Rows:
    """What is stored."""
    snapshot = require_snapshot(lake, "unit")
    return read_rows(lake, snapshot, series, snapshot.channels)


@pytest.fixture
def name() -> str:
    """A measurement that no other test has."""
    return f"m{uuid.uuid4().hex}"


def test_points_come_in_as_they_are(lake: Lake, influxdb: InfluxDB, name: str) -> None:
    """To the last bit, over chunks and days; integers and booleans are numbers, words are no channel."""
    values = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    lines = [
        f"{name},unit={unit},site=x a={float(a)!r}{'' if row % 7 == 0 else f',b={float(b)!r}'},n={row}i,"
        f'on={str(row % 2 == 0).lower()},note="ok, ""so",label={int(row in (5, 6))}i {SECOND + 60 * row}'
        for unit in ("pump\\ 1", "pump_2")
        for row, (a, b) in enumerate(values)
    ]
    influxdb.write("\n".join(line.replace('""', '\\"') for line in lines))
    done = ingest(lake.uri, watch(influxdb, name), END)
    assert (done.rows, done.quarantined, done.refused) == (4000, {}, ())
    snapshot = require_snapshot(lake, "unit")
    assert (snapshot.series, snapshot.channels) == (("pump_1", "pump_2"), ("a", "b", "n", "on"))
    stored = rows_of(lake, "pump_1")
    values[::7, 1] = np.nan
    assert np.array_equal(stored.values[:, :2], values, equal_nan=True)
    assert stored.values[:, 2].tolist() == list(range(2000))
    assert stored.values[:, 3].tolist() == [1, 0] * 1000
    assert stored.timestamps.tolist() == [(SECOND + 60 * row) * 10**6 for row in range(2000)]
    assert len(lake.list("labels/watch=unit")) == 2  # an event and what is normal around it, a file a series
    assert read_labels(lake, lake.list("labels/watch=unit"))["label"].to_pylist() == [0, 0, 1, 1, 0, 0]


def test_measurements_share_their_series(lake: Lake, influxdb: InfluxDB, name: str) -> None:
    """Moment by moment, with the measurement in the channel's name; a condition counts where a point has the tag."""
    cpu, memory = f"{name}cpu", f"{name}mem"
    influxdb.write(
        f"{cpu},unit=a,core=all x=1 {SECOND}\n{cpu},unit=a,core=0 x=9 {SECOND}\n"
        f"{cpu},unit=a,core=all x=2 {SECOND + 20}\n"
        f"{memory},unit=a x=3 {SECOND}\n{memory},unit=a x=4 {SECOND + 10}\n{memory},unit=b x=5 {SECOND + 10}\n"
    )
    some = watch(influxdb, (cpu, memory), where={"core": "all"})
    assert ingest(lake.uri, some, END).rows == 4
    assert require_snapshot(lake, "unit").channels == (f"{cpu}.x", f"{memory}.x")
    assert np.array_equal(
        rows_of(lake, "a").values, np.array([[1, 3], [np.nan, 4], [2, np.nan]], np.float32), equal_nan=True
    )
    assert np.array_equal(rows_of(lake, "b").values, np.array([[np.nan, 5]], np.float32), equal_nan=True)


def test_two_points_at_a_moment_are_not_mixed(lake: Lake, influxdb: InfluxDB, name: str) -> None:
    """Where tags that do not name the series tell them apart: the second is set aside; so is one without the tag."""
    influxdb.write(
        f"{name},unit=a,core=0 x=1 {SECOND}\n{name},unit=a,core=1 x=2 {SECOND}\n"
        f"{name},unit=a,core=0 x=3 {SECOND + 10}\n{name},core=0 x=4 {SECOND + 10}\n"
    )
    done = ingest(lake.uri, watch(influxdb, name), END)
    assert done.quarantined == {"timestamp stands twice": 1, "series is missing or no name": 1}
    assert rows_of(lake, "a").values[1].tolist() == [3]
    apart = watch(influxdb, name, series=["unit", "core"])
    done = ingest(Lake(f"{lake.uri}/other").uri, apart, END)
    assert done.quarantined == {"series is missing or no name": 1}
    assert require_snapshot(Lake(f"{lake.uri}/other"), "unit").series == ("a.0", "a.1")


AWKWARD = st.text(st.sampled_from("ab \"'\\,=;-/.()${}é\n"), min_size=1, max_size=8).filter(lambda x: x.strip() == x)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(measurement=AWKWARD, tag=AWKWARD, text=AWKWARD, field=AWKWARD)
def test_no_name_breaks_out_of_its_quotes(
    tmp_path_factory: pytest.TempPathFactory, influxdb: InfluxDB, measurement: str, tag: str, text: str, field: str
) -> None:
    """Whatever names and values hold, the query means them: that point is found, and the one beside it is not."""

    def escaped(name: str) -> str:
        return "".join(f"\\{sign}" if sign in ", =" else sign for sign in name)

    if any("\n" in one or one.endswith("\\") or "\\" in one for one in (measurement, tag, text, field)):
        # Line protocol cannot write these, so there is no such point; the query is one all the same.
        query = v1.points_query(watch(influxdb, measurement, where={tag: text}).source, measurement, {"c": field}, 0, 1)
        assert query.count('"unit"') == 1
        lake = Lake(tmp_path_factory.mktemp("lake").as_uri())
        with pytest.raises(WatchkeeperError, match="has no measurement"):
            ingest(lake.uri, watch(influxdb, measurement, where={tag: text}), END)
        return
    lake, name = Lake(tmp_path_factory.mktemp("lake").as_uri()), f"{uuid.uuid4().hex} {measurement}"
    tags = "" if tag == "unit" else f",{escaped(tag)}={escaped(text)}"
    influxdb.write(
        f"{escaped(name)},unit=a{tags} {escaped(field)}=1 {SECOND}\n"
        f"{escaped(name)},unit=b,{escaped(tag)}=other {escaped(field)}=2 {SECOND}\n"
    )
    assert ingest(lake.uri, watch(influxdb, name, where={tag: text}), END).rows == 1
    assert require_snapshot(lake, "unit").channels == (field,)
    assert rows_of(lake, "a").values.tolist() == [[1]]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(400, 5900), max_size=4),
    late_s=st.sampled_from([0, 700]),
    every_s=st.sampled_from([None, 60]),
)
def test_any_cuts_give_the_rows_of_one_ingest(
    tmp_path_factory: pytest.TempPathFactory, influxdb: InfluxDB, cuts: list[int], late_s: int, every_s: int | None
) -> None:
    """No row is lost or doubled, wherever an ingest stopped, as stored or in bins."""
    draw = np.random.default_rng(1)
    influxdb.write("\n".join(
        f"busy,unit={unit} x={draw.normal():.6f} {SECOND + second}"
        for unit, low, high in (("one", 0, 6000), ("two", 0, 2000), ("three", 3000, 6000))
        for second in np.unique(draw.integers(low, high, 200))
    ))  # fmt: skip
    whole, parts = (Lake(tmp_path_factory.mktemp("lake").as_uri()) for _ in range(2))
    ingest(whole.uri, watch(influxdb, "busy", every_s=every_s), START + timedelta(seconds=6000))
    some = watch(influxdb, "busy", late_s=late_s, every_s=every_s, stretch_s=1800)
    for cut in [*sorted(cuts), 6000]:
        assert ingest(parts.uri, some, START + timedelta(seconds=cut)).quarantined == {}
    for series in ("one", "two", "three"):
        one, other = rows_of(whole, series), rows_of(parts, series)
        assert one.timestamps.tolist() == other.timestamps.tolist()
        assert one.values.tobytes() == other.values.tobytes()


def test_what_comes_late_is_set_aside_once(lake: Lake, influxdb: InfluxDB, name: str) -> None:
    """Within the tolerance a point is taken in, in order; after it, it is counted by one ingest alone."""
    last = int(datetime.now(UTC).timestamp())

    def write(*ages: int) -> None:
        influxdb.write("\n".join(f"{name},unit=pump x={age} {last - age}" for age in ages))

    write(7200, 5400, 3000, 10)
    late = watch(influxdb, name, since="-3h", late_s=3600)
    assert ingest(lake.uri, late).new_rows == 2
    write(3100, 6000)
    assert ingest(lake.uri, late).quarantined == {"late: before the newest row stored": 1}
    assert ingest(lake.uri, late).quarantined == {}
    assert ingest(lake.uri, watch(influxdb, name, since="-3h")).new_rows == 3
    assert rows_of(lake, "pump").values[:, 0].tolist() == [7200, 5400, 3100, 3000, 10]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "measurement": ({"measurement": "nowhere"}, "has no measurement nowhere; it has"),
    "database": ({"database": "nothing"}, "database not found: nothing"),
    "retention": ({"retention": "short"}, "retention policy not found: short"),
    "user": ({"user": "nobody"}, "authorization failed"),
    "variable": ({"password": "$INFLUX_OTHER"}, "the environment variable INFLUX_OTHER is not set"),
    "field": ({"channels": ("x", "z")}, "has no numeric field z; it has"),
    "words": ({"channels": ("note",)}, "has no numeric field note; it has"),
    "empty": ({"since": "2025-01-05", "until": "2025-01-06"}, "has no row from 2025-01-05 00:00 to 2025-01-06 00:00"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_one_line(lake: Lake, influxdb: InfluxDB, what: str) -> None:
    """With what to mend, never with the password, and nothing is written."""
    influxdb.write(f'wrong,unit=a x=1,note="n" {SECOND}')
    options, message = WRONG[what]
    with pytest.raises(WatchkeeperError) as error:
        ingest(lake.uri, watch(influxdb, **{"measurement": "wrong", "until": END.isoformat(), **options}))
    assert message in str(error.value)
    assert error.value.exit_status == 2
    assert "\n" not in str(error.value)
    assert PASSWORD not in str(error.value)
    assert lake.list("") == []


def test_a_server_that_is_not_there_is_a_failure(lake: Lake, influxdb: InfluxDB, unused_port: int) -> None:
    """Status 1: the next scheduled run may find it."""
    with pytest.raises(SourceError, match="refused; is InfluxDB up, and reachable from here") as error:
        ingest(lake.uri, watch(influxdb, "m", url=f"http://127.0.0.1:{unused_port}"))
    assert error.value.exit_status == 1


FIELDS = b'{"results":[{"series":[{"columns":["fieldKey","fieldType"],"values":[["x","float"]]}]}]}\n'
POINTS = b'{"results":[{"series":[{"tags":{"unit":"a"},"columns":["time","x"],"values":[[1767571200000000,1]]}]}]}\n'


@pytest.mark.parametrize(
    ("rest", "kind", "said"),
    [
        (b'{"results":[{"error":"query-timeout limit exceeded"}]}\n', SourceError, "query-timeout limit exceeded"),
        (b'{"error":"engine is closed"}\n', SourceError, "engine is closed"),
        (b'{"results":[{"ser', DataError, "does not answer as InfluxDB 1 does"),
        (b"[1]\n", DataError, "does not answer as InfluxDB 1 does"),
    ],
)
def test_points_before_an_error_are_not_taken_for_all(
    lake: Lake, influxdb: InfluxDB, rest: bytes, kind: type[Exception], said: str
) -> None:
    """InfluxDB gives a query up behind points that it has sent already: nothing is published."""
    with canned(lambda asked: (200, FIELDS if b"FIELD" in asked.body else POINTS + rest)) as url:
        some = watch(influxdb, "m", url=url)
        with pytest.raises(kind, match=said):
            ingest(lake.uri, some, END)
    assert lake.list("snapshots") == []


def test_a_server_that_dies_half_way_costs_nothing(
    lake: Lake, dying_influxdb: InfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, nothing is published, and the ingest after its return has every row once."""
    dying_influxdb.write("\n".join(f"m,unit=a x={row} {SECOND + 60 * row}" for row in range(4000)))
    some, asked, plain = watch(dying_influxdb, "m", stretch_s=36_000), iter(range(100)), v1.points_query

    def die_at_the_fifth(*arguments: Any) -> str:
        if next(asked) == 4:  # after the first day
            dying_influxdb.stop()
        return plain(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(v1, "points_query", die_at_the_fifth)
        with pytest.raises(SourceError, match="is InfluxDB up"):
            ingest(lake.uri, some)
    assert lake.list("snapshots") == []
    assert lake.list("raw") != []
    dying_influxdb.start()
    assert ingest(lake.uri, some, START + timedelta(days=5)).rows == 4000
    assert rows_of(lake, "a").values[:, 0].tolist() == list(range(4000))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('password = "hunter2"', "a watch file holds no secret"),
        ('url = "http://me:hunter2@db:8086"', "url"),
        ("version = 4", "version"),
        ('token = "$T"', "InfluxDB 1 has no token"),
        ('version = 2\ntoken = "$T"\norg = "o"', "InfluxDB 2 needs bucket"),
        ('user = "me"', "user and password come together"),
        ('measurement = ["a", "b"]', "give `series`"),
        ("measurement = []", "measurement"),
        ("measurment = 1", "unknown key source.influxdb.measurment"),
    ],
)
def test_a_watch_file_that_is_wrong_says_so(tmp_path: Path, change: str, said: str) -> None:
    """One line that names the key; what stands where a password does is not repeated."""
    keys = {"version": "1", "url": '"http://db:8086"', "database": '"plant"', "measurement": '"m"'}
    changed = {line.split(" = ")[0] for line in change.split("\n")}
    lines = [f"{key} = {value}" for key, value in keys.items() if key not in changed]
    (tmp_path / "w.toml").write_text("\n".join(["[source]", 'kind = "influxdb"', *lines, change]))
    with pytest.raises(WatchError) as error:
        load_watch("w", tmp_path)
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)
