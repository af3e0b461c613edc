"""Servers of measurements over HTTP: what InfluxDB 1 and Prometheus' API say of what they hold, and since when."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np

from tasks.look import Choice
from tasks.sources.folder import first_line
from tasks.sources.influx.v1 import NUMERIC, quoted
from watchkeeper.clock import to_datetime
from watchkeeper.errors import DataError, SourceError
from watchkeeper.table import VARIABLE, fill

URL = re.compile(r"(influxdb|prometheus|victoriametrics|https?)(\+https?)?://")
TIMEOUT_S = 30.0
LOOKED_AT = 20_000
"""Rows that are tried out: the latest."""
YEARS, STEP_S = 3, 10_800.0
"""So far back Prometheus' API is asked since when it has samples, three hours at a time."""
MOST_METRICS = 40
OWN = re.compile(r"(go|prometheus|promhttp|scrape|vm|vmagent|flag|process|net_conntrack|python)_.*|up|ALERTS.*")
"""Metrics that servers and exporters tell about themselves."""
PARTS = re.compile(r".*_(bucket|count|sum|created|info)")
"""Parts of histograms, and what is no reading."""


@dataclass(frozen=True)
class Held:
    """What a server holds.

    Attributes:
        name: what a watch on it may be called.
        keys: of the source.
        rows: about so many, of all series.
        begin: of the latest rows, which are tried out.
        oldest, newest: of all rows.
        notes: what a person should know.
    """

    name: str
    keys: dict[str, Any]
    rows: int
    begin: datetime
    oldest: datetime
    newest: datetime
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Address:
    """Where a server is, and who asks: the password by the name of its variable."""

    url: str
    path: str
    user: str | None
    password: str | None


def look_into(place: str, choice: Choice, now: datetime) -> Held:
    """Ask a server what it holds.

    Args:
        place: http://host:8086/database for InfluxDB, http://host:9090 for Prometheus' API; with user and the variable
            of the password before the host where they are needed.
        choice: its `table` is a measurement, or a pattern of metrics.
        now: the present time.

    Raises:
        DataError: it is no such server, refuses us, or what it holds leaves a choice.
        SourceError: it cannot be reached.
        WatchError: the variable of the password is not set.
    """
    at = _address(place)
    password = at.password and fill(at.password, "password", "set it to the user's password")
    auth = None if at.user is None else (at.user, password or "")
    with httpx.Client(base_url=at.url, auth=auth, timeout=TIMEOUT_S, trust_env=False) as client:
        version = _get(client, "/ping", plain=True).headers.get("X-Influxdb-Version", "")
        if re.match(r"v?1\.", version):
            return _influx(client, at, choice)
        if version:
            raise DataError(
                f"{at.url} is InfluxDB {version}; init looks at version 1 alone: docs/data.md says what a watch needs"
            )
        return _prometheus(client, at, choice, now)


def _address(place: str) -> _Address:
    parts = urlsplit(place)
    host = parts.netloc.rpartition("@")[2]
    if not host:
        raise DataError(f"{place} names no host; wanted one like {parts.scheme}://host:port")
    scheme = "https" if parts.scheme.endswith("https") else "http"
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    if password and not VARIABLE.fullmatch(unquote(password)):
        raise DataError("a watch file holds no secret; write $NAME for the password and set the variable NAME")
    return _Address(
        f"{scheme}://{host}", unquote(parts.path).strip("/"), unquote(user) or None, unquote(password) or None
    )


def _get(client: httpx.Client, path: str, params: dict[str, str] | None = None, *, plain: bool = False) -> Any:
    """Ask, and return the answer: a response where it is wanted plain, else what its JSON holds."""
    url = client.base_url
    try:
        response = client.get(path, params=params)
        if response.status_code in (401, 403):
            raise DataError(f"{url}: refuses us ({response.status_code}); write user and variable as user:$NAME@host")
        if plain:
            return response
        body = response.json()
    except httpx.HTTPError as error:
        said = first_line(error) or type(error).__name__
        raise SourceError(f"{url}: {said}; is the server up, and reachable from here?") from error
    except ValueError as error:
        raise DataError(f"{url} is neither InfluxDB nor a server with Prometheus' API") from error
    if not isinstance(body, dict) or "error" in body:
        raise DataError(f"{url}: {str(body.get('error') if isinstance(body, dict) else body)[:200]}")
    return body


def _influx(client: httpx.Client, at: _Address, choice: Choice) -> Held:
    def ask(query: str, database: str = at.path) -> list[dict[str, Any]]:
        (result,) = _get(client, "/query", {"db": database, "q": query, "epoch": "u"})["results"]
        if "error" in result:
            raise DataError(f"{at.url}: {result['error'][:200]}")
        return list(result.get("series", []))

    def words(query: str) -> list[list[Any]]:
        return [row for series in ask(query) for row in series["values"]]

    if not at.path:
        known = [name for series in ask("SHOW DATABASES") for (name,) in series["values"] if name != "_internal"]
        raise DataError(f"InfluxDB needs the name of a database: {at.url}/NAME; there are {_some(known)}")
    measurements = [name for (name,) in words("SHOW MEASUREMENTS")]
    chosen = measurements if choice.table is None else [name for name in measurements if name == choice.table]
    if len(chosen) != 1:
        raise DataError(f"database {at.path} has the measurements {_some(measurements)}; choose one with --table")
    place = quoted(chosen[0])
    fields = [name for name, kind in words(f"SHOW FIELD KEYS FROM {place}") if kind in NUMERIC]
    if not fields:
        raise DataError(f"measurement {chosen[0]} has no field of numbers")
    tags = [name for (name,) in words(f"SHOW TAG KEYS FROM {place}")]
    values = {tag: len(words(f"SHOW TAG VALUES FROM {place} WITH KEY = {quoted(tag)}")) for tag in tags}
    series = tuple(tag for tag in tags if (values[tag] > 1 if choice.series is None else tag == choice.series))
    some = ", ".join(f"count({quoted(field)}::field)" for field in fields)
    counts = words(f"SELECT {some} FROM {place}")  # noqa: S608 - names are quoted
    rows = max(int(count or 0) for count in counts[0][1:])
    oldest, newest = (
        min_or_max(int(words(f"SELECT {which}({quoted(field)}::field) FROM {place}")[0][0]) for field in fields)  # noqa: S608
        for which, min_or_max in (("first", min), ("last", max))
    )
    keys: dict[str, Any] = {"kind": "influxdb", "version": 1, "url": at.url, "database": at.path}
    keys |= {} if at.user is None else {"user": at.user, "password": at.password}
    keys |= {"measurement": chosen[0], "series": series, "since": f"{to_datetime(oldest):%Y-%m-%d}"}
    keys = {name: value for name, value in keys.items() if value not in ((), None)}
    share = min(1.0, LOOKED_AT / max(1, rows))
    begin = oldest if share == 1 else newest - round((newest - oldest) * share)
    return Held(chosen[0], keys, rows, to_datetime(begin), to_datetime(oldest), to_datetime(newest))


def _some(names: list[str]) -> str:
    return (", ".join(names[:8]) + (" …" if len(names) > 8 else "")) or "none"


def _prometheus(client: httpx.Client, at: _Address, choice: Choice, now: datetime) -> Held:
    def ask(path: str, **params: str) -> Any:
        prefix = f"/{at.path}" if at.path else ""
        return _get(client, f"{prefix}/api/v1/{path}", params)["data"]

    since = {"start": f"{(now - timedelta(days=365 * YEARS)).timestamp():.0f}", "end": f"{now.timestamp():.0f}"}
    known = sorted(ask("label/__name__/values", **since))
    try:
        pattern = re.compile(choice.table) if choice.table is not None else None
    except re.error as error:
        raise DataError(f"--table {choice.table}: no pattern: {error}") from error
    metrics = [name for name in known if (pattern.fullmatch(name) if pattern else _is_reading(name))]
    if not metrics or len(metrics) > MOST_METRICS:
        raise DataError(
            f"{at.url} has {len(metrics):,} metrics that may be channels, of {len(known):,}: {_some(metrics or known)}"
            f"; choose up to {MOST_METRICS} with --table, a pattern like 'pump_.*'"
        )
    label = choice.series or "instance"
    found = set()
    for name in metrics:
        # What lies between two steps is seen too, as long as a step is.
        for one in ask("query_range", query=f"count(count_over_time({name}[3h]))", step="3h", **since)["result"]:
            found |= {float(stamp) for stamp, _ in one["values"]}
    if not found:
        raise DataError(f"{at.url} has no sample of {_some(metrics)} in the last {YEARS} years")
    oldest, last = min(found) - STEP_S, min(max(found), now.timestamp())
    samples = [
        np.array([float(stamp) for stamp, _ in one["values"]])
        for name in metrics
        for one in ask("query", query=f"{name}[3h]", time=f"{last:.0f}")["result"]
    ]
    steps = [float(np.median(np.diff(one))) for one in samples if len(one) > 1]
    step = max(1.0, round(float(np.median(steps)))) if steps else 60.0
    newest = max((float(one[-1]) for one in samples), default=last) + step
    series = ask("query", query=f"count(count by ({label}) (last_over_time({metrics[0]}[3h])))", time=f"{last:.0f}")[
        "result"
    ]
    count = int(series[0]["value"][1]) if series else 1
    rows = round((newest - oldest) / step * count)
    keys: dict[str, Any] = {
        "kind": "prometheus",
        "url": f"{at.url}/{at.path}".rstrip("/"),
        "series": label,
        "step_s": step,
    }
    keys |= {} if at.user is None else {"user": at.user, "password": at.password}
    keys |= {"since": f"{datetime.fromtimestamp(oldest, UTC):%Y-%m-%dT%H:%M:%SZ}"}
    keys |= {"queries": {name: _promql(name, label, step) for name in metrics}}
    begin = max(oldest, newest - LOOKED_AT / count * step)
    first, since_when, until = (datetime.fromtimestamp(one, UTC) for one in (begin, oldest, newest))
    return Held(urlsplit(at.url).hostname or "prometheus", keys, rows, first, since_when, until)


def _is_reading(name: str) -> bool:
    return not (OWN.fullmatch(name) or PARTS.fullmatch(name))


def _promql(name: str, label: str, step: float) -> str:
    """Return the query of a channel: one series for each value of the label; a counter becomes its rate."""
    if name.endswith("_total"):
        return f"sum by ({label}) (rate({name}[{max(60, round(4 * step))}s]))"
    return f"avg by ({label}) ({name})"
