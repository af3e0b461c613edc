"""Range queries: Prometheus and VictoriaMetrics as servers of their own, and one that answers as it should not."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from range_servers import START_S, RangeServer, VictoriaMetrics, samples

from tasks.ingest import ingest
from tasks.rows import read_rows, require_snapshot
from tasks.sources import prometheus
from watchkeeper.errors import SourceError, WatchkeeperError
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

START = datetime.fromtimestamp(START_S, UTC)
END = START + timedelta(hours=7)
QUERIES = {"pressure_bar": "last_over_time(pressure[1m])", "flow": "max_over_time(flow[1m])"}


def watch(url: str, **options: Any) -> Watch:
    """A watch of the pump house, a row a minute."""
    source = {"kind": "prometheus", "url": url, "queries": QUERIES, "since": START.isoformat(), **options}
    return Watch(name="unit", source=source)


def wanted(instance: str) -> dict[int, tuple[float, float]]:
    """What the rows are, one after the other: minutes after the start, the last pressure and the highest flow."""
    of, rows = samples(), {}
    for minute in range(1, 420):
        inside = [
            [value for second, value in of[metric, instance].items() if (minute - 1) * 60 < second < minute * 60]
            for metric in ("pressure", "flow")
        ]
        if inside[0]:
            rows[minute] = (inside[0][-1], max(inside[1]))
    return rows


def stored(lake: Lake, series: str) -> dict[int, tuple[float, ...]]:
    """What is stored, by minutes after the start."""
    rows = read_rows(lake, require_snapshot(lake, "unit"), series, tuple(QUERIES))
    minutes = [(stamp // 1_000_000 - START_S) / 60 for stamp in rows.timestamps.tolist()]
    return {int(minute): tuple(row) for minute, row in zip(minutes, rows.values.tolist(), strict=True)}


def test_rows_are_what_a_loop_over_the_samples_gives(lake: Lake, range_server: RangeServer) -> None:
    """A gap is a gap, and no row is made where there is no sample."""
    done = ingest(lake.uri, watch(range_server.url), END)
    assert (done.quarantined, done.refused) == ({}, ())
    assert require_snapshot(lake, "unit").series == ("a_9100", "b_9100")
    for series, instance in (("a_9100", "a:9100"), ("b_9100", "b:9100")):
        rows, loop = stored(lake, series), wanted(instance)
        assert rows.keys() == loop.keys()
        assert all(np.array_equal(np.float32(rows[minute]), np.float32(loop[minute])) for minute in loop)


def test_a_channel_without_a_sample_is_a_missing_reading(lake: Lake, range_server: RangeServer) -> None:
    """Where another one has some; a metric that nobody knows is no error of the server's."""
    queries = {"known": "last_over_time(flow[1m])", "unknown": "last_over_time(nothing[1m])"}
    ingest(lake.uri, watch(range_server.url, queries=queries), END)
    rows = read_rows(lake, require_snapshot(lake, "unit"), "a_9100", ("known", "unknown"))
    assert np.isnan(rows.values).all(axis=0).tolist() == [False, True]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(120, 24_000), max_size=4),
    points=st.sampled_from([7, 10_000]),
    late_s=st.sampled_from([60, 900]),
)
def test_any_cuts_give_the_rows_of_one_ingest(
    tmp_path_factory: pytest.TempPathFactory, range_server: RangeServer, cuts: list[int], points: int, late_s: int
) -> None:
    """Wherever an ingest stopped, and in however many answers a stretch comes."""
    whole, parts = (Lake(tmp_path_factory.mktemp("lake").as_uri()) for _ in range(2))
    ingest(whole.uri, watch(range_server.url), END)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prometheus, "POINTS", points)
        for end in [*sorted(cuts), 25_200]:
            some = watch(range_server.url, late_s=late_s, stretch_s=7200)
            assert ingest(parts.uri, some, START + timedelta(seconds=end)).quarantined == {}
    for series in ("a_9100", "b_9100"):
        assert stored(whole, series) == stored(parts, series)


def test_more_rows_than_one_answer_may_hold(lake: Lake, range_server: RangeServer) -> None:
    """A day of seconds is more than Prometheus gives at once."""
    fine = watch(range_server.url, step_s=1, queries={"flow": "last_over_time(flow[15s])"})
    ingest(lake.uri, fine, END)
    rows = read_rows(lake, require_snapshot(lake, "unit"), "a_9100", ("flow",))
    assert len(rows) >= 1500 * 15
    assert set(np.unique(rows.values)) == set(np.float32([*samples()["flow", "a:9100"].values()]))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "query": ({"queries": {"x": "sum by ("}}, "parse"),
    "ambiguous": ({"series": "job"}, "gives several series of job='pumps', which differ in instance; aggregate them"),
    "no api": ({"url": "/nowhere"}, "not as Prometheus does; correct `url`"),
    "empty": ({"queries": {"x": "nothing"}}, "has no row from 2026-01-05 00:00 to 2026-01-05 07:00"),
    "variable": ({"token": "$PROM_TOKEN"}, "source token: the environment variable PROM_TOKEN is not set"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_one_line(lake: Lake, range_server: RangeServer, what: str) -> None:
    """With what to mend, and nothing is written."""
    options, message = WRONG[what]
    options = {**options, "url": range_server.url + options.get("url", "")}
    with pytest.raises(WatchkeeperError) as error:
        ingest(lake.uri, watch(**options), END)
    assert message in str(error.value)
    assert error.value.exit_status == 2
    assert "\n" not in str(error.value)
    assert lake.list("") == []


def test_a_series_without_the_label_goes_to_quarantine(lake: Lake, range_server: RangeServer) -> None:
    """With the rows of the others taken in."""
    queries = {"flow": "last_over_time(flow[1m]) or vector(1)"}
    done = ingest(lake.uri, watch(range_server.url, queries=queries), START + timedelta(minutes=10))
    assert done.quarantined == {"series is missing or no name": 10}
    assert require_snapshot(lake, "unit").series == ("a_9100", "b_9100")


def test_a_password_is_sent_and_a_wrong_one_refused(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a server that asks for one; no message repeats it."""
    server = VictoriaMetrics(tmp_path, "-httpAuth.username=keeper", "-httpAuth.password=s3same", filled=False)
    server.answers = lambda: True
    server.start()
    try:
        for password, said in (("s3same", "has no row"), ("other", r"refuses us \(401\); correct `token`")):
            monkeypatch.setenv("PROM_PASSWORD", password)
            with pytest.raises(WatchkeeperError, match=said) as error:
                ingest(lake.uri, watch(server.url, user="keeper", password="$PROM_PASSWORD"), END)  # noqa: S106 - its name
            assert password not in str(error.value)
    finally:
        server.stop()


def test_a_server_that_dies_half_way_costs_nothing(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, nothing is published, and the ingest after its return has every row once."""
    server, some, asked = VictoriaMetrics(tmp_path), None, iter(range(100))
    server.start()
    some = watch(server.url, stretch_s=7200)
    post = httpx.Client.post

    def die_at_the_fourth(*args: Any, **options: Any) -> httpx.Response:
        if next(asked) == 3:
            server.stop()
        return post(*args, **options)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(httpx.Client, "post", die_at_the_fourth)
            with pytest.raises(SourceError, match="is the server up") as error:
                ingest(lake.uri, some, END)
        assert error.value.exit_status == 1
        assert lake.list("snapshots") == []
        server.start()
        ingest(lake.uri, some, END)
        assert stored(lake, "a_9100").keys() == wanted("a:9100").keys()
    finally:
        server.stop()


Reply = tuple[int, str]


@pytest.fixture
def answering() -> Iterator[Callable[[Reply], tuple[str, list[dict[str, str]]]]]:
    """A server that gives one reply, and keeps what it was asked."""
    running = []

    def start(reply: Reply) -> tuple[str, list[dict[str, str]]]:
        asked: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                asked.append({key: value for key, (value,) in parse_qs(form).items()} | dict(self.headers))
                self.send_response(reply[0])
                self.end_headers()
                self.wfile.write(reply[1].encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def reply(*values: tuple[float, str], **more: Any) -> Reply:
    """An answer with one series."""
    series = {"metric": {"instance": "a"}, "values": values}
    return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}, **more})


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ((503, "busy"), 1, "answered with status 503; is the server up"),
        ((200, "<html>"), 2, "not as Prometheus does"),
        ((301, ""), 2, "status 301, and not as Prometheus does"),
        ((503, '{"status": "error", "errorType": "timeout", "error": "query timed out"}'), 1, "query timed out"),
        (reply((START_S + 60, "1"), isPartial=True), 1, "gave a part of its rows alone"),
        (reply((START_S + 61, "1")), 1, "at other times than it was asked for"),
        (reply((START_S - 60, "1")), 1, "at other times than it was asked for"),
    ],
)
def test_an_answer_that_is_none_stops_the_ingest(
    lake: Lake, answering: Callable[[Reply], tuple[str, list[dict[str, str]]]], given: Reply, status: int, said: str
) -> None:
    """Rather than that rows are missing for good."""
    url, _ = answering(given)
    with pytest.raises(WatchkeeperError) as error:
        ingest(lake.uri, watch(url), END)
    assert said in str(error.value)
    assert error.value.exit_status == status
    assert lake.list("snapshots") == []


def test_stale_and_endless_values(
    lake: Lake, answering: Callable[[Reply], tuple[str, list[dict[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN is no reading, infinity goes to quarantine, the token is sent, and times are those of the step."""
    monkeypatch.setenv("PROM_TOKEN", "t0ken")
    values = [(START_S + 60 * at, value) for at, value in enumerate(["1", "NaN", "+Inf", "2"])]
    url, asked = answering(reply(*values))
    done = ingest(lake.uri, watch(url, queries={"x": "x"}, token="$PROM_TOKEN"), END)  # noqa: S106 - its name
    assert (done.rows, done.quarantined) == (2, {"reading is infinite": 1})
    (form,) = asked
    assert form["Authorization"] == "Bearer t0ken"
    assert (form["start"], form["end"], form["step"]) == (f"{START_S}.000", f"{START_S + 25140}.000", "60.000")
