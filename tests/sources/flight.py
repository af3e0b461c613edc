"""What an InfluxDB 3 says over the wire: a Flight server that takes its tickets and runs their SQL in SQLite."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import flight

TYPES = {"f": pa.float64(), "i": pa.int64(), "b": pa.bool_(), "t": pa.dictionary(pa.int32(), pa.string())}


class _Token(flight.ServerMiddlewareFactory):  # type: ignore[misc] # pyarrow has no types
    def start_call(self, _info: Any, headers: dict[str, list[str]]) -> None:
        if headers.get("authorization") != ["Bearer t0ken"]:
            raise flight.FlightUnauthenticatedError("no such token")


class FlightServer(flight.FlightServerBase):  # type: ignore[misc] # pyarrow has no types
    """Serves the tables of a SQLite database."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), middleware={"token": _Token()})
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute("ATTACH ':memory:' AS information_schema")
        self._database.execute(
            "CREATE TABLE information_schema.columns (table_schema, table_name, column_name, data_type)"
        )
        self._types: dict[str, pa.DataType] = {}

    def add(self, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
        """Add a table: columns by name with the kind of each (f, i, b, t: a tag), rows with their time first."""
        named = ['"time"', *('"' + name.replace('"', '""') + '"' for name in columns)]
        self._database.execute(f'CREATE TABLE "{table}" ({", ".join(named)})')
        marks = ", ".join("?" * len(named))
        self._database.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)  # noqa: S608 - the test's own
        kinds = {"f": "Float64", "i": "Int64", "b": "Boolean", "t": "Dictionary(Int32, Utf8)"}
        for name, kind in columns.items():
            self._types[name] = TYPES[kind]
            self._database.execute(
                "INSERT INTO information_schema.columns VALUES ('iox', ?, ?, ?)", (table, name, kinds[kind])
            )

    def do_get(self, _context: Any, ticket: flight.Ticket) -> flight.RecordBatchStream:
        """Run the SQL of a ticket."""
        asked = json.loads(ticket.ticket)
        if asked["database"] != "plant":
            raise flight.FlightServerError("database not found")
        with self._lock:
            cursor = self._database.execute(asked["sql_query"])
            names = [column[0] for column in cursor.description]
            cells = list(zip(*cursor, strict=True)) or [()] * len(names)
        columns = {}
        for name, column in zip(names, cells, strict=True):
            if name == "time":
                text = pa.array(column, pa.string())
                columns[name] = text.cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("ns"))
            else:
                columns[name] = pa.array(column).cast(self._types.get(name, pa.string()))
        return flight.RecordBatchStream(pa.table(columns))


@contextmanager
def flight_server() -> Iterator[FlightServer]:
    """Serve on a free port for the time of a test."""
    server = FlightServer()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
