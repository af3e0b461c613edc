"""InfluxDB 2: Flux through its own client, answers as annotated CSV."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from tasks.sources import Batch
from tasks.sources.databases import Ask
from tasks.sources.folder import first_line
from tasks.sources.influx.points import Gathered, Points, series_name
from watchkeeper.clock import to_datetime
from watchkeeper.errors import DataError, SourceError, WatchError
from watchkeeper.influx import InfluxSource
from watchkeeper.table import fill

INSTALL = "pip install 'watchkeeper[influxdb]'"
SECTION = re.compile(rb"\r?\n\r?\n(?=#)")
TYPES = {
    "long": pa.int64(),
    "unsignedLong": pa.uint64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "dateTime:RFC3339": pa.timestamp("ns", "UTC"),
    "dateTime:RFC3339Nano": pa.timestamp("ns", "UTC"),
}
"""Of the annotation `datatype`; all else is text."""


@contextmanager
def open_v2(source: InfluxSource, channels: tuple[str, ...]) -> Iterator[Ask]:
    """Give what asks for the points of a stretch."""
    if not channels:
        raise WatchError("InfluxDB 2 needs `channels` in the watch file, its fields: a stretch of time may lack some")
    try:
        import influxdb_client
    except ModuleNotFoundError as error:
        raise DataError(f"the client of InfluxDB 2 is not installed: no module {error.name}; {INSTALL}") from error
    token = fill(source.token or "", "source token", "set it to a token that may read the bucket")
    with influxdb_client.InfluxDBClient(
        source.url, token, org=source.org, timeout=round(source.timeout_s * 1000), enable_gzip=True
    ) as client:
        api = client.query_api()

        def ask(start: int, end: int) -> Iterator[Batch]:
            gathered = Gathered()
            for measurement in source.measurement:
                fields = source.wanted(measurement, channels)
                if fields:
                    answer = _run(api, points_flux(source, measurement, list(fields.values()), start, end), source)
                    try:
                        gather(answer, source, measurement, gathered)
                    except (pa.ArrowException, KeyError, UnicodeDecodeError, StopIteration) as error:
                        raise DataError(
                            f"{source.url} does not answer as InfluxDB 2 does: {first_line(error)}; correct `url`"
                        ) from error
            return gathered.batches(channels)

        yield ask


def quoted(text: str) -> str:
    """Write a text of Flux so that nothing in it ends it, or is taken for an expression."""
    signs = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(signs.get(sign, sign) for sign in text).replace("${", "\\${") + '"'


def points_flux(source: InfluxSource, measurement: str, fields: list[str], start: int, end: int) -> str:
    """Write the query for some fields of a measurement with start <= time < end, in µs since 1970 UTC."""
    low, high = (f"{to_datetime(us):%Y-%m-%dT%H:%M:%S.%fZ}" for us in (start, end))
    any_field = " or ".join(f"r._field == {quoted(field)}" for field in (*fields, source.label))
    only = [
        f"(not exists r[{quoted(tag)}] or r[{quoted(tag)}] == {quoted(text)})" for tag, text in source.where.items()
    ]
    tests = " and ".join([f"r._measurement == {quoted(measurement)}", f"({any_field})", *only])
    kept = ", ".join(quoted(column) for column in ("_time", "_value", "_field", *source.series))
    return (
        f"from(bucket: {quoted(source.bucket or '')}) |> range(start: {low}, stop: {high}) "
        f"|> filter(fn: (r) => {tests}) |> keep(columns: [{kept}])"
    )


def _run(api: Any, query: str, source: InfluxSource) -> bytes:
    """Run a query and return its answer, or say in one line why there is none."""
    import urllib3.exceptions
    from influxdb_client.rest import ApiException

    try:
        answer: bytes = api.query_raw(query).read()
    except ApiException as error:
        said = f"{source.url}: {_message(error)}"
        if error.status is None or error.status >= 500 or error.status == 429:
            raise SourceError(said) from error
        raise DataError(f"{said}; correct the source in the watch file, or the rights of the token") from error
    except urllib3.exceptions.HTTPError as error:
        raise SourceError(f"{source.url}: {type(error).__name__}; is InfluxDB up, and reachable from here?") from error
    return answer


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"]).splitlines()[0][:300]
    except (ValueError, KeyError, TypeError, IndexError):
        return f"answered with status {error.status} ({error.reason})"


def gather(answer: bytes, source: InfluxSource, measurement: str, into: Gathered) -> None:
    """Read annotated CSV: sections of tables of the same columns, each table the points of a field and its tags.

    Raises:
        SourceError: the database gave the query up.
        pa.ArrowException, KeyError, UnicodeDecodeError, StopIteration: it is no such text.
    """
    for section in SECTION.split(answer):
        if section.strip():
            table = _section(section)
            if "error" in table.column_names:
                raise SourceError(f"{source.url}: {table['error'][0].as_py()}")
            ids = table["table"].to_numpy()
            cuts = np.r_[0, np.flatnonzero(np.diff(ids)) + 1, len(ids)]
            for low, high in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
                _points(table.slice(low, high - low), source, measurement, into)


def _section(section: bytes) -> pa.Table:
    """Read one section by the types that it says it has."""
    types: list[str] = []
    while section.startswith(b"#"):
        line, _, section = section.partition(b"\n")
        if line.startswith(b"#datatype"):
            types = next(csv.reader([line.decode().strip()]))
    names = next(csv.reader([section.partition(b"\n")[0].decode().strip()]))
    kinds = {name: TYPES.get(kind, pa.string()) for name, kind in zip(names, types, strict=False) if name}
    return pacsv.read_csv(
        pa.BufferReader(section),
        read_options=pacsv.ReadOptions(use_threads=False, block_size=len(section) + 1),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(column_types=kinds, include_columns=list(kinds), null_values=[""]),
    )


def _points(table: pa.Table, source: InfluxSource, measurement: str, into: Gathered) -> None:
    tags = [table[tag][0].as_py() if tag in table.column_names else None for tag in source.series]
    series = series_name(tags) if source.series else measurement
    field = str(table["_field"][0].as_py())
    us = table["_time"].cast(pa.int64()).to_numpy() // 1000
    column, bad = table["_value"], np.zeros(len(table), dtype=bool)
    if pa.types.is_string(column.type):
        bad, readings = np.asarray(column.is_valid()), np.full(len(table), np.nan)
    else:
        readings = column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
    name = "label" if field == source.label else source.channel(measurement, field)
    into.add(series, f"{measurement}.{field}", Points(us, {name: readings}, bad))
