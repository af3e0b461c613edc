"""InfluxDB 3: SQL through its own client, answers as Arrow tables over Flight."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources import Batch
from tasks.sources.databases import Ask
from tasks.sources.folder import first_line
from tasks.sources.influx.points import Gathered, Points, series_name
from tasks.sources.influx.v2 import INSTALL
from watchkeeper.clock import to_datetime
from watchkeeper.errors import DataError, SourceError
from watchkeeper.influx import InfluxSource
from watchkeeper.table import fill

NUMERIC = ("Float", "Int", "UInt", "Boolean")


@contextmanager
def open_v3(source: InfluxSource, channels: tuple[str, ...]) -> Iterator[Ask]:
    """Ask which columns the measurements have, and give what asks for their points."""
    try:
        import influxdb_client_3
    except ModuleNotFoundError as error:
        raise DataError(f"the client of InfluxDB 3 is not installed: no module {error.name}; {INSTALL}") from error
    token = fill(source.token or "", "source token", "set it to a token that may read the database")
    with influxdb_client_3.InfluxDBClient3(
        source.url, database=source.database, token=token, query_timeout=round(source.timeout_s * 1000)
    ) as client:
        found = {measurement: _columns(client, source, measurement, channels) for measurement in source.measurement}
        wanted = channels or tuple(channel for fields, _ in found.values() for channel in fields if channel != "label")

        def ask(start: int, end: int) -> Iterator[Batch]:
            gathered = Gathered()
            for measurement, (fields, tags) in found.items():
                if fields:
                    table = _run(client, source, points_sql(source, measurement, fields, tags, start, end))
                    _gather(table, source, measurement, fields, gathered)
            return gathered.batches(wanted)

        yield ask


def quoted(name: str) -> str:
    """Write a name so that nothing in it ends it."""
    return '"' + name.replace('"', '""') + '"'


def worded(text: str) -> str:
    """Write a text so that nothing in it ends it."""
    return "'" + text.replace("'", "''") + "'"


def points_sql(
    source: InfluxSource, measurement: str, fields: dict[str, str], tags: set[str], start: int, end: int
) -> str:
    """Write the query for some fields of a measurement with start <= time < end, in µs since 1970 UTC."""
    low, high = (worded(f"{to_datetime(us):%Y-%m-%dT%H:%M:%S.%fZ}") for us in (start, end))
    only = [
        f"({quoted(tag)} = {worded(text)} OR {quoted(tag)} IS NULL)"
        for tag, text in source.where.items()
        if tag in tags
    ]
    columns = ["time", *dict.fromkeys([*[tag for tag in source.series if tag in tags], *fields.values()])]
    tests = " AND ".join([f'"time" >= {low}', f'"time" < {high}', *only])
    return f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(measurement)} WHERE {tests}"  # noqa: S608 # quoted


def _columns(
    client: Any, source: InfluxSource, measurement: str, channels: tuple[str, ...]
) -> tuple[dict[str, str], set[str]]:
    """Return the fields to ask for by their channels, those of the watch or all that hold numbers, and the tags."""
    where = f"table_schema = 'iox' AND table_name = {worded(measurement)}"
    table = _run(client, source, f"SELECT column_name, data_type FROM information_schema.columns WHERE {where}")  # noqa: S608 # quoted
    types = dict(zip(*(table[name].to_pylist() for name in ("column_name", "data_type")), strict=True))
    if not types:
        raise DataError(f"database {source.database} has no measurement {measurement}; correct `measurement`")
    numeric = sorted(name for name, kind in types.items() if kind.startswith(NUMERIC))
    label = {"label": source.label} if source.label in numeric else {}
    if channels:
        fields = source.wanted(measurement, channels)
    else:
        fields = {source.channel(measurement, name): name for name in numeric if name != source.label}
    absent = [name for name in fields.values() if name not in numeric]
    if absent or (not fields and len(source.measurement) == 1):
        has = ", ".join(f"{name} ({kind})" for name, kind in list(types.items())[:8])
        raise DataError(f"measurement {measurement} has no numeric field {', '.join(absent)}; it has {has}")
    return (fields | label if fields else {}), {name for name, kind in types.items() if kind.startswith("Dictionary")}


def _run(client: Any, source: InfluxSource, query: str) -> pa.Table:
    """Run a query and return its answer, or say in one line why there is none."""
    from influxdb_client_3.exceptions import InfluxDB3ClientQueryError
    from pyarrow import flight

    try:
        return client.query(query, language="sql")
    except InfluxDB3ClientQueryError as error:
        cause = error.__context__
        said = f"{source.url}: {first_line(error)[:300]}"
        if isinstance(cause, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError | pa.ArrowInvalid):
            raise DataError(f"{said}; correct the source in the watch file, or the rights of the token") from error
        raise SourceError(f"{said}; is InfluxDB up, and reachable from here?") from error


def _gather(table: pa.Table, source: InfluxSource, measurement: str, fields: dict[str, str], into: Gathered) -> None:
    """Cut the rows of an answer by the tags that name the series."""
    us = table["time"].cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy()
    columns = {
        channel: table[name].cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
        for channel, name in fields.items()
    }
    points = Points(us, columns, np.zeros(len(us), dtype=bool))
    if not source.series:
        into.add(measurement, measurement, points)
        return
    tags = [
        table[tag].cast(pa.string())
        if tag in table.column_names
        else pa.chunked_array([pa.nulls(len(us), pa.string())])
        for tag in source.series
    ]
    coded = [pc.fill_null(tag.combine_chunks(), "").dictionary_encode() for tag in tags]
    codes = np.zeros(len(us), np.int64)
    for one in coded:
        codes = codes * max(1, len(one.dictionary)) + np.asarray(one.indices)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        name = series_name([one.dictionary[one.indices[int(rows[0])].as_py()].as_py() for one in coded])
        into.add(name, measurement, points.take(rows))
