"""InfluxDB 1: InfluxQL over HTTP, answers read chunk by chunk as JSON.

CSV would be faster to read, but InfluxDB 1 leaves out the error of a query that it gives up half way, and what came
before would pass for all there is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np

from tasks.sources import Batch
from tasks.sources.databases import Ask
from tasks.sources.folder import first_line
from tasks.sources.influx.points import Gathered, Points, numbers, series_name
from watchkeeper.errors import DataError, SourceError
from watchkeeper.influx import InfluxSource
from watchkeeper.table import fill

CHUNK_ROWS = 10_000
"""Rows of one JSON text: as Python's own objects they take ten times the memory that they take later."""
MEND = ("authorization failed", "not found", "not authorized", "unable to parse authentication", "parsing query")
"""Words of a server that answers, and will give the same answer again until somebody mends something."""
NUMERIC = {"float", "integer", "unsigned", "boolean"}


@contextmanager
def open_v1(source: InfluxSource, channels: tuple[str, ...]) -> Iterator[Ask]:
    """Ask which fields there are, and give what asks for their points."""
    password = source.password and fill(source.password, "source password", "set it to the user's password")
    login = None if source.user is None else (source.user, password or "")
    # What the environment says of proxies and of logins (.netrc) is not what the watch file says.
    with httpx.Client(base_url=source.url, auth=login, timeout=source.timeout_s, trust_env=False) as client:
        server = _Server(client, source)
        fields = {measurement: server.fields(measurement, channels) for measurement in source.measurement}
        wanted = channels or tuple(channel for found in fields.values() for channel in found if channel != "label")

        def ask(start: int, end: int) -> Iterator[Batch]:
            gathered = Gathered()
            for measurement, found in fields.items():
                if found:
                    server.gather(measurement, found, start, end, gathered)
            return gathered.batches(wanted)

        yield ask


def quoted(name: str) -> str:
    """Write a name so that nothing in it ends it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def worded(text: str) -> str:
    """Write a text so that nothing in it ends it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def points_query(source: InfluxSource, measurement: str, fields: dict[str, str], start: int, end: int) -> str:
    """Write the query for some fields of a measurement with start <= time < end, in µs since 1970 UTC."""
    only = [f"({quoted(tag)}::tag = {worded(text)} OR {quoted(tag)}::tag = '')" for tag, text in source.where.items()]
    within = " AND ".join([f"time >= {start * 1000} AND time < {end * 1000}", *only])
    group = f" GROUP BY {', '.join(quoted(tag) for tag in source.series)}" if source.series else ""
    # `::field` and `::tag`: one may have the name of the other, and would be taken for it.
    chosen = ", ".join(f"{quoted(field)}::field" for field in fields.values())
    return f"SELECT {chosen} FROM {_place(source, measurement)} WHERE {within}{group}"  # noqa: S608 # all quoted


def _place(source: InfluxSource, measurement: str) -> str:
    return quoted(measurement) if source.retention is None else f"{quoted(source.retention)}.{quoted(measurement)}"


class _Server:
    """The server, and what is asked of it."""

    def __init__(self, client: httpx.Client, source: InfluxSource) -> None:
        self._client, self._source = client, source

    def fields(self, measurement: str, channels: tuple[str, ...]) -> dict[str, str]:
        """Return the fields to ask for by their channels: those of the watch, or all that hold numbers."""
        source = self._source
        types: dict[str, set[str]] = {}
        for answer in self._answers(f"SHOW FIELD KEYS FROM {_place(source, measurement)}"):
            for name, kind in answer["values"]:
                types.setdefault(name, set()).add(kind)
        if not types:
            known = [name for answer in self._answers("SHOW MEASUREMENTS") for (name,) in answer["values"]]
            raise DataError(
                f"database {source.database} has no measurement {measurement}; it has {', '.join(known[:8]) or 'none'}"
            )
        label = {"label": source.label} if types.get(source.label, set()) & NUMERIC else {}
        if channels:
            wanted = source.wanted(measurement, channels)
        else:
            numeric = sorted(name for name, kinds in types.items() if kinds & NUMERIC and name != source.label)
            wanted = {source.channel(measurement, name): name for name in numeric}
        absent = [name for name in wanted.values() if not types.get(name, set()) & NUMERIC]
        if absent or (not wanted and len(source.measurement) == 1):
            found = ", ".join(f"{name} ({'/'.join(sorted(kinds))})" for name, kinds in list(types.items())[:8])
            raise DataError(f"measurement {measurement} has no numeric field {', '.join(absent)}; it has {found}")
        return wanted | label if wanted else {}

    def gather(self, measurement: str, fields: dict[str, str], start: int, end: int, into: Gathered) -> None:
        """Ask for the points of a measurement."""
        for answer in self._answers(points_query(self._source, measurement, fields, start, end)):
            readings, bad = numbers(answer["values"])
            tags = answer.get("tags", {})
            name = series_name([tags[tag] for tag in self._source.series]) if self._source.series else measurement
            columns = {channel: readings[:, at] for at, channel in enumerate(fields, 1)}
            # Microseconds since 1970 are whole numbers of float64 until the year 2255.
            into.add(name, measurement, Points(readings[:, 0].astype(np.int64), columns, bad))

    def _answers(self, query: str) -> Iterator[dict[str, Any]]:
        """Run a query and give its series, chunk by chunk."""
        options = {"db": self._source.database or "", "epoch": "u", "chunked": "true", "chunk_size": str(CHUNK_ROWS)}
        try:
            with self._client.stream("POST", "/query", params=options, data={"q": query}) as response:
                for line in _lines(response):
                    answer = json.loads(line)
                    for result in answer.get("results", [answer]):
                        self._check(result.get("error", ""), response.status_code)
                        yield from result.get("series", [])
                self._check("" if response.is_success else "no answer of InfluxDB 1", response.status_code)
        except httpx.HTTPError as error:
            said = first_line(error) or type(error).__name__
            raise SourceError(f"{self._source.url}: {said}; is InfluxDB up, and reachable from here?") from error
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
            raise DataError(f"{self._source.url} does not answer as InfluxDB 1 does; correct `url`") from error

    def _check(self, said: str, status: int) -> None:
        if not said:
            return
        what = f"{self._source.url}: {said[:300]}"
        if status >= 500 or (status < 400 and not any(word in said for word in MEND)):
            raise SourceError(what)
        raise DataError(f"{what}; correct the source in the watch file, or the rights")


def _lines(response: httpx.Response) -> Iterator[bytes]:
    """Give the lines of an answer. A stream that breaks off raises, also between two lines."""
    parts: list[bytes] = []
    for data in response.iter_bytes():
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield b"".join([*parts, line])
            parts = []
        parts.append(rest)
    if any(parts):
        yield b"".join(parts)
