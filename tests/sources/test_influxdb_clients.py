"""InfluxDB 2 and 3 through their own clients, against processes that speak the wire protocol as far as it is used."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from canned import Request, canned
from flight import flight_server

from tasks.ingest import ingest
from tasks.rows import read_rows, require_snapshot
from tasks.sources.influx import v2, v3
from watchkeeper.errors import DataError, SourceError, WatchError, WatchkeeperError
from watchkeeper.influx import InfluxSource
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

START = datetime(2026, 1, 5, tzinfo=UTC)
END = START + timedelta(days=2)

HEAD = (
    "#datatype,string,long,dateTime:RFC3339,{},string,string\r\n#group,false,false,false,false,true,true\r\n"
    "#default,_result,,,,,\r\n,result,table,_time,_value,_field,unit\r\n"
)
FAILED = "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,engine: gone,897\r\n\r\n"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUX_TOKEN", "t0ken")


def watch(version: int, url: str, **options: Any) -> Watch:
    """A watch of the measurement `pumps`, whose tag `unit` names the series."""
    place = {"org": "works", "bucket": "plant"} if version == 2 else {"database": "plant"}
    source = {
        "kind": "influxdb", "version": version, "url": url, "token": "$INFLUX_TOKEN", "measurement": "pumps",
        "series": "unit", "since": START.isoformat(), **place, **options,
    }  # fmt: skip
    channels = source.pop("channels", ("x", "n") if version == 2 else ())
    return Watch(name="unit", source=source, channels=channels)


def stored(lake: Lake, series: str) -> tuple[list[int], Any]:
    """Minutes from the start, and readings."""
    snapshot = require_snapshot(lake, "unit")
    rows = read_rows(lake, snapshot, series, snapshot.channels)
    return ((rows.timestamps - int(START.timestamp()) * 10**6) // 60_000_000).tolist(), rows.values


def flux_answer(asked: Request) -> tuple[int, bytes]:
    """Answer for the stretch that a query asks for, as InfluxDB 2 writes it: a section a type, a table a field."""
    assert asked.path == "/api/v2/query?org=works"
    assert asked.headers["Authorization"] == "Token t0ken"
    query = json.loads(asked.body)["query"]
    low, high = (datetime.fromisoformat(time) for time in re.findall(r"\d{4}-[^ ,)]+Z", query))
    tables: dict[str, list[str]] = {"double": [], "long": []}
    for number, (unit, field, kind) in enumerate(
        [("p,1", "x", "double"), ("p2", "x", "double"), ("p,1", "n", "long"), ("p2", "label", "long")]
    ):
        for minute in range(0, 2880, 480 if field == "label" else 10):
            time = START + timedelta(minutes=minute)
            if low <= time < high and not (field == "n" and minute % 20):
                name = f'"{unit}"' if "," in unit else unit
                value = int(minute == 960) if field == "label" else minute
                row = f",,{number},{time:%Y-%m-%dT%H:%M:%S.000000001Z},{value},{field},{name}\r\n"
                tables[kind].append(row)
    return 200, "".join(HEAD.format(kind) + "".join(rows) + "\r\n" for kind, rows in tables.items() if rows).encode()


def test_version_2_gives_fields_side_by_side(lake: Lake) -> None:
    """Over several stretches; a field may lack in one, and where another one has a reading."""
    with canned(flux_answer) as url:
        done = ingest(lake.uri, watch(2, url), START + timedelta(hours=30))
        assert (done.rows, done.quarantined) == (360, {})
        assert ingest(lake.uri, watch(2, url), END).rows == 576
    minutes, values = stored(lake, "p_1")
    assert minutes == list(range(0, 2880, 10))
    assert values[:, 0].tolist() == minutes
    assert np.isnan(values[1::2, 1]).all()
    assert values[::2, 1].tolist() == minutes[::2]
    assert np.isnan(stored(lake, "p2")[1][:, 1]).all()
    assert lake.list("labels/watch=unit") != []


def test_version_2_asks_for_what_it_means() -> None:
    """Names are texts of Flux, in which neither a quote nor an expression ends them."""
    source = watch(2, "http://db", where={'a"b': "${1}\\"}, measurement='m"', series=("u\n",)).source
    assert isinstance(source, InfluxSource)
    assert v2.points_flux(source, 'm"', ["x"], 0, 1_500_000) == (
        'from(bucket: "plant") |> range(start: 1970-01-01T00:00:00.000000Z, stop: 1970-01-01T00:00:01.500000Z) '
        '|> filter(fn: (r) => r._measurement == "m\\"" and (r._field == "x" or r._field == "label") '
        'and (not exists r["a\\"b"] or r["a\\"b"] == "\\${1}\\\\")) '
        '|> keep(columns: ["_time", "_value", "_field", "u\\n"])'
    )


@pytest.mark.parametrize(
    ("status", "said", "kind", "message"),
    [
        (401, b'{"code":"unauthorized","message":"unauthorized access"}', DataError, "unauthorized access; correct"),
        (404, b'{"code":"not found","message":"could not find bucket"}', DataError, "could not find bucket; correct"),
        (503, b"<html>", SourceError, "answered with status 503"),
        (
            200,
            (HEAD.format("double") + ",,0,2026-01-05T00:00:00Z,1,x,p\r\n\r\n" + FAILED).encode(),
            SourceError,
            "gone",
        ),
        (200, b"<html>hello</html>", DataError, "does not answer as InfluxDB 2 does"),
        (200, b"\xff\xfe\n\n#", DataError, "does not answer as InfluxDB 2 does"),
        (200, (HEAD.format("double") + ",,0,soon,1,x,p\r\n").encode(), DataError, "does not answer as InfluxDB 2 does"),
        (200, b"", DataError, "has no row from"),
    ],
)
def test_what_version_2_says_is_said_in_one_line(
    lake: Lake, status: int, said: bytes, kind: type[WatchkeeperError], message: str
) -> None:
    """Points before an error are not taken for all, and the token is never said."""
    with canned(lambda _: (status, said)) as url, pytest.raises(kind, match=message) as error:
        ingest(lake.uri, watch(2, url), END)
    assert "\n" not in str(error.value)
    assert "t0ken" not in str(error.value)
    assert lake.list("snapshots") == []


def test_words_of_version_2_are_set_aside(lake: Lake) -> None:
    """A field of words gives no reading."""
    text = HEAD.format("string") + ",,0,2026-01-05T00:00:00Z,open,x,p\r\n\r\n"
    text += HEAD.format("double") + ",,1,2026-01-05T00:01:00Z,7,x,p\r\n\r\n"
    with canned(lambda _: (200, text.encode())) as url:
        done = ingest(lake.uri, watch(2, url), START + timedelta(hours=1))
    assert (done.rows, done.quarantined) == (1, {"reading is no number": 1})


def test_version_2_needs_channels(lake: Lake) -> None:
    """It does not say which of its fields are numbers."""
    with pytest.raises(WatchError, match="InfluxDB 2 needs `channels`"):
        ingest(lake.uri, watch(2, "http://127.0.0.1:9", channels=()))


@pytest.mark.parametrize("version", [2, 3])
def test_a_server_that_is_not_there_is_a_failure(lake: Lake, unused_port: int, version: int) -> None:
    """Status 1 and one line."""
    some = watch(version, f"http://127.0.0.1:{unused_port}", timeout_s=5)
    with pytest.raises(SourceError, match="is InfluxDB up, and reachable from here") as error:
        ingest(lake.uri, some)
    assert "\n" not in str(error.value)
    assert "t0ken" not in str(error.value)


def rows(unit: str, first: int, last: int) -> list[tuple[Any, ...]]:
    """Rows of version 3, ten minutes apart."""
    times = [START + timedelta(minutes=minute) for minute in range(first, last, 10)]
    return [
        (f"{time:%Y-%m-%dT%H:%M:%S.%fZ}", row / 7, row if row % 2 else None, row == 5, unit)
        for row, time in enumerate(times)
    ]


def test_version_3_gives_columns_of_numbers(lake: Lake) -> None:
    """Its schema says which these are; tags with signs that SQL would trip over name series and conditions."""
    columns = {"x": "f", "n": "i", "label": "b", 'u"nit': "t"}
    with flight_server() as server:
        server.add("pumps", columns, rows("p'1", 0, 2880) + rows("p2", 1000, 2000) + rows("out", 0, 2880))
        some = watch(3, f"http://127.0.0.1:{server.port}", series='u"nit', where={"none": "x"})
        assert ingest(lake.uri, some, START + timedelta(hours=20)).rows == 120 + 20 + 120
        assert ingest(lake.uri, some, END).rows == 288 + 100 + 288
        minutes, values = stored(lake, "p_1")
        assert require_snapshot(lake, "unit").channels == ("n", "x")
        assert minutes == list(range(0, 2880, 10))
        assert np.array_equal(values[:, 1], (np.arange(288) / 7).astype(np.float32))
        assert np.isnan(values[::2, 0]).all()
        assert values[1::2, 0].tolist() == list(range(1, 288, 2))
        one, other = Lake(f"{lake.uri}/one"), {"series": (), "where": {'u"nit': "p'1"}}
        assert ingest(one.uri, watch(3, f"http://127.0.0.1:{server.port}", **other), END).rows == 288
        assert require_snapshot(one, "unit").series == ("pumps",)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"measurement": "nowhere'"}, DataError, "has no measurement nowhere'; correct"),
        ({"channels": ("x", "unit")}, DataError, "has no numeric field unit; it has x \\(Float64\\)"),
        ({"database": "other"}, SourceError, "database not found"),
        ({"token": "$INFLUX_OTHER"}, DataError, "no such token"),
    ],
)
def test_what_version_3_says_is_said_in_one_line(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], kind: type[WatchkeeperError], message: str
) -> None:
    """With what to mend, never with the token."""
    monkeypatch.setenv("INFLUX_OTHER", "s3cret")
    with flight_server() as server:
        server.add("pumps", {"x": "f", "n": "i", "label": "b", "unit": "t"}, rows("p", 0, 100))
        with pytest.raises(kind, match=message) as error:
            ingest(lake.uri, watch(3, f"http://127.0.0.1:{server.port}", **options), END)
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)
    assert lake.list("") == []


def test_version_3_quotes_names() -> None:
    """Neither a quote nor an apostrophe ends them."""
    source = watch(3, "http://db", where={"t'": "a'b"}, measurement='m"').source
    assert isinstance(source, InfluxSource)
    assert v3.points_sql(source, 'm"', {"c": 'f"'}, {"t'", "unit"}, 0, 10**6) == (
        'SELECT "time", "unit", "f""" FROM "m""" WHERE "time" >= \'1970-01-01T00:00:00.000000Z\' '
        "AND \"time\" < '1970-01-01T00:00:01.000000Z' AND (\"t'\" = 'a''b' OR \"t'\" IS NULL)"
    )
