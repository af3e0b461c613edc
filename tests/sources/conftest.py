"""Databases that tests fill and ingest from."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from influxdb import InfluxDB
from mosquitto import Mosquitto
from postgres import PACKAGE, PASSWORD, Postgres
from range_servers import KINDS, RangeServer
from servers import free_port, program


@contextmanager
def _postgres() -> Iterator[Postgres]:
    program("postgres", PACKAGE)
    folder = Path(tempfile.mkdtemp(prefix="watchkeeper-postgres-"))  # pytest's own folders are closed to other users
    try:
        server = Postgres(folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; each test makes tables of its own."""
    with _postgres() as server:
        yield server


@pytest.fixture
def dying_postgres() -> Iterator[Postgres]:
    """One for a test alone, which may stop and start it."""
    with _postgres() as server:
        yield server


@pytest.fixture(scope="module", params=sorted(KINDS))
def range_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    """Prometheus and VictoriaMetrics in turn, each with the same samples."""
    server = KINDS[request.param](tmp_path_factory.mktemp(request.param))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    """An InfluxDB 1 server; each test has measurements of its own."""
    server = InfluxDB(tmp_path_factory.mktemp("influxdb"))
    server.start()
    server.prepare()
    yield server
    server.stop()


@pytest.fixture
def dying_influxdb(tmp_path: Path) -> Iterator[InfluxDB]:
    """One for a test alone, which may stop and start it."""
    server = InfluxDB(tmp_path)
    server.start()
    server.prepare()
    yield server
    server.stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """An MQTT broker for a test alone, which may stop and start it."""
    folder = tmp_path / "broker"
    folder.mkdir()
    server = Mosquitto(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    return free_port()


@pytest.fixture
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password stands in the environment, where watch files look for it."""
    monkeypatch.setenv("PG_PASSWORD", PASSWORD)
