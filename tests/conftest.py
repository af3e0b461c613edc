"""Fixtures that several rooms share."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from watchkeeper.lake import Lake
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("WATCHKEEPER_"):
            monkeypatch.delenv(name)


class SourceFolder:
    """A folder of Parquet files, and the watch that reads it. A longer series begins with the shorter one."""

    start = datetime(2026, 1, 5, tzinfo=UTC)

    def __init__(self, folder: Path, minutes: int = 10) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.minutes = folder, minutes

    def time(self, row: int) -> datetime:
        """When a row was read."""
        return self.start + row * timedelta(minutes=self.minutes)

    def table(
        self, stop: int, first: int = 0, *, seed: int = 0, label: dict[tuple[int, int], int] | None = None
    ) -> pa.Table:
        """Rows [first, stop) of channels a, b and c; `label` gives half-open stretches of rows, the others are 0."""
        index = np.arange(stop)
        noise = np.random.default_rng(seed).normal(size=(stop, 3))
        values = (20 + 5 * np.sin(index[:, None] / 9 + np.arange(3)) + noise).astype(np.float32)
        columns: dict[str, Any] = {"timestamp": pa.array([self.time(row) for row in index], pa.timestamp("us", "UTC"))}
        columns |= {name: values[:, channel] for channel, name in enumerate("abc")}
        if label is not None:
            columns["label"] = np.zeros(stop, np.int8)
            for (begin, end), value in label.items():
                columns["label"][begin:end] = value
        return pa.table(columns).slice(first)

    def write(self, name: str, table: pa.Table) -> Path:
        """Write `<name>.parquet`."""
        path = self.folder / f"{name}.parquet"
        pq.write_table(table, path)
        return path

    def watch(self, **changes: Any) -> Watch:
        """A watch of the folder with members that need no network."""
        table = {
            "name": "unit",
            "source": {"kind": "parquet", "folder": str(self.folder)},
            "window": 10,
            "members": ("norm", "ridge"),
            "agent": {"enabled": False},
            "split": {"held_out": 0.25},
        }
        return Watch(**{**table, **changes})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake((tmp_path / "lake").as_uri())


@pytest.fixture
def source(tmp_path: Path) -> SourceFolder:
    """An empty source folder."""
    return SourceFolder(tmp_path / "source")


@pytest.fixture(scope="module")
def module_source(tmp_path_factory: pytest.TempPathFactory) -> SourceFolder:
    """The same, shared by the tests of a module."""
    return SourceFolder(tmp_path_factory.mktemp("source"))


TINY = """
members = ["norm", "pca", "ridge", "vae"]
[source]
kind = "plant"
start = 2026-01-05T00:00:00Z
days = 6
seed = 7
lines = 1
[source.shift]
after_days = 6
[split]
held_out = 0.25
[labels]
budget = 8
imported = "oracle"
[agent]
episodes = 2
[drift]
days = 2
"""
"""A whole retrain of this watch takes a few CPU-seconds; the lstm would double them."""


@pytest.fixture(scope="session")
def tiny_watches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of watches that holds `tiny`."""
    folder = tmp_path_factory.mktemp("watches")
    (folder / "tiny.toml").write_text(TINY)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_watches: Path) -> Path:
    """A home in which version 1 of `tiny` is champion. Only for reading: a test that changes it takes `home`."""
    return _retrain(tmp_path_factory.mktemp("trained"), tiny_watches)


@pytest.fixture(scope="session")
def retrained(tmp_path_factory: pytest.TempPathFactory, trained: Path, tiny_watches: Path) -> Path:
    """The same home after a second retrain. Only for reading."""
    return _retrain(copy_home(trained, tmp_path_factory.mktemp("retrained") / "home"), tiny_watches)


def _retrain(home: Path, watches: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WATCHKEEPER_")]:
            patch.delenv(name)
        patch.setenv("WATCHKEEPER_HOME", str(home))
        patch.setenv("WATCHKEEPER_WATCHES", str(watches))
        from flows.retrain import retrain

        retrain.fn("tiny")
    return home


def copy_home(source: Path, target: Path) -> Path:
    """Copy a home."""
    return shutil.copytree(source, target)


@pytest.fixture(scope="session")
def copied() -> Callable[[Path, Path], Path]:
    """Copies a home."""
    return copy_home


@pytest.fixture
def home(trained: Path, tiny_watches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the home with a champion, which the settings of this process name."""
    folder = copy_home(trained, tmp_path / "home")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(folder))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tiny_watches))
    return folder


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an empty registry: MLflow takes seconds to make one, a copy takes none."""
    folder = tmp_path_factory.mktemp("database")
    Registry(f"sqlite:///{folder / 'registry.db'}")
    return folder / "registry.db"


@pytest.fixture(scope="module")
def registry(fresh_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry for the tests of a module; each takes a watch of its own."""
    home = tmp_path_factory.mktemp("größe und mehr")  # homes have blanks and umlauts in their names
    shutil.copy(fresh_database, home)
    return Registry(f"sqlite:///{home / 'registry.db'}")


@dataclass
class S3Server:
    """A real S3 server in a process of its own, and how to reach it."""

    kind: str
    port: int
    data: Path
    """Where rclone keeps objects as files; moto keeps them in memory."""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What AWS's tools need to know to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "watchkeeper",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        commands = {
            "moto": [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            "rclone": [
                str(Path(sys.executable).with_name("rclone")), "serve", "s3", "--config", os.devnull,
                "--addr", f"127.0.0.1:{self.port}", "--auth-key", "watchkeeper,not-a-secret", str(self.data),
            ],
        }  # fmt: skip
        self.process = subprocess.Popen(commands[self.kind], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"the {self.kind} server did not start")

    def stop(self) -> None:
        """Kill it, without a warning, as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        import boto3

        with pytest.MonkeyPatch.context() as patch:
            for variable, value in self.environment.items():
                patch.setenv(variable, value)
            client = boto3.session.Session().client("s3")
        client.create_bucket(Bucket=name)
        client.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Server]]:
    """Gives the session's server of a kind, started when it is first asked for."""
    running: dict[str, S3Server] = {}

    def server(kind: str) -> S3Server:
        if kind not in running:
            running[kind] = S3Server(kind, free_port(), tmp_path_factory.mktemp(kind))
            running[kind].start()
            running[kind].make_bucket("lakes")
        return running[kind]

    yield server
    for one in running.values():
        one.stop()


def speak_to(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Let the environment of this process name the server, and nothing else of AWS's."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture(params=["moto", "rclone"])
def s3_server(
    request: pytest.FixtureRequest, s3_servers: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch
) -> S3Server:
    """Each of two real servers in turn, shared by the session, with a bucket `lakes`; the environment names it."""
    return speak_to(s3_servers(request.param), monkeypatch)


@pytest.fixture
def own_s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that keeps its objects in files, for one test alone, which may stop and start it; bucket `lakes`."""
    server = S3Server("rclone", free_port(), tmp_path / "server")
    server.data.mkdir()
    server.start()
    server.make_bucket("lakes")
    yield speak_to(server, monkeypatch)
    server.stop()


@pytest.fixture(params=["folder", "moto", "rclone"])
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake in a folder, and in a bucket of each server in turn."""
    if request.param == "folder":
        return Lake((tmp_path / "lake").as_uri())
    server = request.getfixturevalue("s3_servers")(request.param)
    speak_to(server, request.getfixturevalue("monkeypatch"))
    return Lake(f"s3://lakes/{uuid.uuid4()}")
