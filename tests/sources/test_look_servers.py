"""What a look at InfluxDB 1 and at Prometheus' API finds, and that the watch file takes it in."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from influxdb import PASSWORD, InfluxDB
from range_servers import RangeServer

from tasks.ingest import ingest
from tasks.look import Choice
from tasks.look.found import Found
from tasks.look.look import look
from tasks.look.writer import write_watch
from watchkeeper.errors import DataError, SourceError
from watchkeeper.lake import Lake
from watchkeeper.watch import load_watch

START = datetime(2026, 1, 5, tzinfo=UTC)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
ROWS = 200


def taken_in(found: Found, folder: Path) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Write the watch file, load it, and ingest: rows, channels, series."""
    (folder / "w.toml").write_text(write_watch(found, "w"), encoding="utf-8")
    lake = Lake((folder / "lake").as_uri())
    done = ingest(lake.uri, load_watch("w", folder))
    snapshot = lake.get_json(f"snapshots/w/{done.snapshot}.json")
    return done.rows, tuple(snapshot["channels"]), tuple(sorted({one["series"] for one in snapshot["files"]}))


@pytest.fixture
def pumps(influxdb: InfluxDB, monkeypatch: pytest.MonkeyPatch) -> str:
    """A measurement with two pumps, a tag that says the same of both, and a field of words; its name."""
    monkeypatch.setenv("INFLUX_PASSWORD", PASSWORD)
    name = f"p{uuid.uuid4().hex}"
    seconds = [int((START + timedelta(minutes=at)).timestamp()) for at in range(ROWS)]
    influxdb.write(
        "\n".join(
            f'{name},site=north,unit={unit} flow={at % 7},note="ok",rpm={at % 5}i {second}'
            for at, second in enumerate(seconds)
            for unit in ("a", "b")
        )
    )
    return name


def at(influxdb: InfluxDB, path: str = "/plant") -> str:
    return influxdb.url.replace("http://", "influxdb://keeper:$INFLUX_PASSWORD@") + path


def test_a_measurement_of_influxdb(influxdb: InfluxDB, pumps: str, tmp_path: Path) -> None:
    """Fields of numbers are channels, a tag that differs names the series."""
    found = look(at(influxdb), Choice(table=pumps), NOW)
    assert (found.rows, found.series, found.source["series"]) == (2 * ROWS, ("a", "b"), ("unit",))
    assert PASSWORD not in write_watch(found, "w")
    assert taken_in(found, tmp_path) == (2 * ROWS, ("flow", "rpm"), ("a", "b"))


def test_of_a_long_measurement_the_latest_rows(
    influxdb: InfluxDB, pumps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are tried out; the rest is known by its count and its first time."""
    monkeypatch.setattr("tasks.look.servers.LOOKED_AT", 40)
    found = look(at(influxdb), Choice(table=pumps), NOW)
    assert not found.whole
    assert found.start == START
    assert abs(found.rows - 2 * ROWS) <= 20
    assert taken_in(found, tmp_path)[0] == 2 * ROWS


@pytest.mark.usefixtures("pumps")
def test_what_leaves_a_choice(influxdb: InfluxDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases and measurements are listed; a wrong password and one in the open are refused."""
    with pytest.raises(DataError, match="there are plant"):
        look(at(influxdb, ""), Choice(), NOW)
    with pytest.raises(DataError, match=r"has the measurements .*choose one with --table"):
        look(at(influxdb), Choice(table="none"), NOW)
    with pytest.raises(DataError, match="holds no secret") as refused:
        look("influxdb://keeper:secret-word@localhost/plant", Choice(), NOW)
    assert "secret-word" not in str(refused.value)
    monkeypatch.setenv("INFLUX_PASSWORD", "wrong")
    with pytest.raises(DataError, match="refuses us"):
        look(at(influxdb), Choice(), NOW)


def test_metrics_of_prometheus(range_server: RangeServer, tmp_path: Path) -> None:
    """Gauges become channels, their step and their beginning are found; the watch takes in what was reported."""
    found = look(range_server.url, Choice(table="flow|pressure"), datetime.now(UTC))
    assert (found.rhythm.interval_s, found.series) == (15, ("a_9100", "b_9100"))
    assert [one.name for one in found.channels] == ["flow", "pressure"]
    rows, channels, series = taken_in(found, tmp_path)
    assert (rows, channels, series) == (found.rows, ("flow", "pressure"), ("a_9100", "b_9100"))


def test_metrics_have_to_be_chosen(range_server: RangeServer) -> None:
    """A pattern that nothing matches, and one that is none, are said."""
    with pytest.raises(DataError, match="has 0 metrics that may be channels"):
        look(range_server.url, Choice(table="nothing"), NOW)
    with pytest.raises(DataError, match="no pattern"):
        look(range_server.url, Choice(table="("), NOW)


def test_a_server_that_is_not_there(unused_port: int) -> None:
    """One line that asks whether it is up."""
    with pytest.raises(SourceError, match="is the server up"):
        look(f"http://127.0.0.1:{unused_port}", Choice(), NOW)
