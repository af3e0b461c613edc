"""Prometheus' API, which VictoriaMetrics and others speak, too: a range query for each channel, side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.databases import Ask
from tasks.sources.folder import TIME
from watchkeeper.databases import PrometheusSource
from watchkeeper.errors import DataError, SourceError
from watchkeeper.table import fill

Floats = npt.NDArray[np.float64]

POINTS = 10_000
"""Of a series in one answer: Prometheus gives 11,000 at most, VictoriaMetrics 30,000."""
TOLERANCE = 1e-3  # seconds; the API tells times to a millisecond


@contextmanager
def open_prometheus(source: PrometheusSource) -> Iterator[Ask]:
    """Give what asks.

    Raises:
        DataError: the server refuses the credentials or a query, or is no such server.
        SourceError: it cannot be reached, or fails.
        WatchError: a variable that the watch file names is not set.
    """
    mend = "set it where ingest runs"
    auth, headers = None, {}
    if source.user is not None and source.password is not None:
        auth = httpx.BasicAuth(source.user, fill(source.password, "source password", mend))
    if source.token is not None:
        headers["Authorization"] = f"Bearer {fill(source.token, 'source token', mend)}"
    with httpx.Client(base_url=source.url, auth=auth, headers=headers, timeout=source.timeout_s) as client:

        def ask(start: int, end: int) -> Iterator[Batch]:
            step = round(source.step_s * 1e6)
            grid = np.arange(-(-start // step), -(-end // step)) * step
            columns: dict[str, dict[str, Floats]] = {}
            for low in range(0, len(grid), POINTS):
                part = slice(low, low + POINTS)
                for channel, query in source.queries.items():
                    for series, values in _range(client, source, channel, query, grid[part]):
                        of = columns.setdefault(series, {})
                        if channel not in of:
                            of[channel] = np.full(len(grid), np.nan)
                        of[channel][part] = values
            for series, found in columns.items():
                table = {name: found.get(name, np.full(len(grid), np.nan)) for name in source.queries}
                there = ~np.all([np.isnan(one) for one in table.values()], axis=0)
                times = pa.array(grid[there]).cast(TIME)
                yield Batch(
                    series, series, pa.table({"timestamp": times} | {name: one[there] for name, one in table.items()})
                )

        yield ask


def _range(
    client: httpx.Client, source: PrometheusSource, channel: str, query: str, grid: npt.NDArray[np.int64]
) -> Iterator[tuple[str, Floats]]:
    """Ask for one channel at some times and give each series with its values, NaN where it has none."""
    first, step = grid[0] / 1e6, source.step_s
    answer = _post(client, source, {
        "query": query,
        "start": f"{first:.3f}",
        "end": f"{grid[-1] / 1e6:.3f}",
        "step": f"{step:.3f}",
        "timeout": f"{source.timeout_s:.0f}s",
        "nocache": "1",  # VictoriaMetrics would move start and end, and answer from before a late sample
    })  # fmt: skip
    labels: dict[str, dict[str, str]] = {}
    for one in answer:
        series = str(one["metric"].get(source.series, ""))
        if series in labels:
            differ = sorted({key for key, _ in set(labels[series].items()) ^ set(one["metric"].items())})
            raise DataError(
                f"the query of {channel} gives several series of {source.series}={series!r}, which differ in "
                f"{', '.join(differ) or 'nothing'}; aggregate them, as in sum by ({source.series}) (…)"
            )
        labels[series] = one["metric"]
        if "values" not in one:
            raise DataError(f"the query of {channel} gives histograms, wanted numbers; histogram_quantile makes them")
        stamps, cells = zip(*one["values"], strict=True)
        at = (np.array(stamps, dtype=np.float64) - first) / step
        place = np.round(at).astype(np.int64)
        if (np.abs(at - place) * step > TOLERANCE).any() or place.min() < 0 or place.max() >= len(grid):
            raise SourceError(f"{source.url}: gave {channel} at other times than it was asked for")
        values = np.full(len(grid), np.nan)
        values[place] = np.array(cells, dtype=np.float64)
        yield series, values


def _post(client: httpx.Client, source: PrometheusSource, form: dict[str, str]) -> list[dict[str, Any]]:
    """Ask, and return the series of the answer, or say in one line why there is none."""
    try:
        response = client.post("/api/v1/query_range", data=form)
    except httpx.TimeoutException as error:
        raise SourceError(
            f"{source.url}: no answer within {source.timeout_s:g} s; set `stretch_s` lower or `timeout_s` higher"
        ) from error
    except httpx.TransportError as error:
        raise SourceError(f"{source.url}: {error}; is the server up, and reachable from here?") from error
    status = response.status_code
    if status in (401, 403):
        raise DataError(f"{source.url}: refuses us ({status}); correct `token`, or `user` and `password`")
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "status" not in body:
        if status >= 500 or status == 429:
            raise SourceError(f"{source.url}: answered with status {status}; is the server up?")
        raise DataError(f"{source.url}: answered with status {status}, and not as Prometheus does; correct `url`")
    if body["status"] != "success":
        said = str(body.get("error", "no reason given")).splitlines()[0]
        if status >= 500 or status == 429:
            raise SourceError(f"{source.url}: {said}")
        raise DataError(f"{source.url}: {said}; correct the query {form['query']!r}")
    if body.get("isPartial"):
        raise SourceError(f"{source.url}: gave a part of its rows alone, as some of its storage is not there")
    result: list[dict[str, Any]] = body["data"]["result"]
    return result
