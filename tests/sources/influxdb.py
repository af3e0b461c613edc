"""An InfluxDB 1 server for tests."""

from pathlib import Path
from typing import Any

import httpx
from servers import Server, free_port, program

PASSWORD = "p@ss/w:'rd"  # noqa: S105 - of a server that lives as long as a test
PACKAGE = "influxdb"
CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = true
log-enabled = false
"""


class InfluxDB(Server):
    """A server with one user and one database, `plant`."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        config = folder / "influxdb.conf"
        config.write_text(CONFIG.format(folder=folder, port=port, rpc=free_port()))
        super().__init__([program("influxd", PACKAGE), "-config", str(config)], port, folder / "log")
        self.url = f"http://127.0.0.1:{port}"

    def prepare(self) -> None:
        """Make the user and the database."""
        word = PASSWORD.replace("'", "\\'")
        self._post("/query", data={"q": f"CREATE USER keeper WITH PASSWORD '{word}' WITH ALL PRIVILEGES"})
        self._post("/query", data={"q": "CREATE DATABASE plant"})

    def write(self, lines: str) -> None:
        """Write points in line protocol, their times in seconds."""
        self._post("/write", params={"db": "plant", "precision": "s"}, content=lines.encode())

    def client(self) -> httpx.Client:
        """Return what asks the server; the caller closes it."""
        return httpx.Client(base_url=self.url, auth=("keeper", PASSWORD))

    def _post(self, path: str, **what: Any) -> None:
        httpx.post(self.url + path, auth=("keeper", PASSWORD), **what).raise_for_status()
