"""A PostgreSQL server for tests."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2
from servers import Server, free_port, program

PASSWORD = "p@ss/w:rd"  # noqa: S105 - of a server that lives as long as a test; signs that a URL would trip over
PACKAGE = "postgresql-15"


class Postgres(Server):
    """A cluster of its own. It does not run as root, so root starts it as the user that the package brings."""

    def __init__(self, folder: Path) -> None:
        self.folder, port = folder, free_port()
        data, self._password = folder / "data", folder / "password"
        data.mkdir(parents=True)
        self._password.write_text(PASSWORD)
        self.as_user: list[str] = []
        if os.geteuid() == 0:
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
            for path in (folder, data, self._password):
                shutil.chown(path, "postgres", "postgres")
        server = program("postgres", PACKAGE)
        super().__init__(
            [*self.as_user, server, "-D", str(data), "-p", str(port), "-k", str(folder),
             "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "timezone=America/New_York"],
            port, folder / "log", self._ready,
        )  # fmt: skip
        subprocess.run(
            [*self.as_user, program("initdb", PACKAGE), "-D", str(data), "-U", "keeper", "--auth=scram-sha-256",
             f"--pwfile={self._password}", "--no-sync", "--locale=C.UTF-8"],
            check=True, capture_output=True,
        )  # fmt: skip

    @property
    def url(self) -> str:
        """The URL as a watch file has it."""
        return f"postgresql://keeper:$PG_PASSWORD@127.0.0.1:{self.port}/postgres"

    def connect(self) -> Any:
        """Connect for writing."""
        return psycopg2.connect(host="127.0.0.1", port=self.port, user="keeper", password=PASSWORD, dbname="postgres")

    def _ready(self) -> bool:
        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def run(self, sql: str) -> None:
        """Run a statement."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table."""
        from psycopg2.extras import execute_values

        with self.connect() as connection, connection.cursor() as cursor:
            execute_values(cursor, f"INSERT INTO {table} VALUES %s", rows)  # noqa: S608 - a table of the test's own
        connection.close()
