"""Figures for Prometheus, read back by prometheus_client's own parser, from a file and from a gateway."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from watchkeeper.metrics import KINDS, Exposition, Figure, MetricsError, add, read, record

RUN = [
    Figure("watchkeeper_rows_ingested", 100),
    Figure("watchkeeper_rows_quarantined", 3, 'label is "neither" 0,\\ nor 1'),
    Figure("watchkeeper_champion_version", 4),
]


class Gateway:
    """Keeps what is put, a group each, and shows all groups together, as a Pushgateway does."""

    def __init__(self) -> None:
        self.groups: dict[str, str] = {}
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                gateway.groups[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write("".join(gateway.groups.values()).encode())

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway on a free port."""
    made = Gateway()
    thread = Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def samples(text: str) -> dict[tuple[str, str], float]:
    """Every sample by its name and its labels, written out."""
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_run_leaves_a_file_that_prometheus_can_read(tmp_path: Path) -> None:
    """One file for the watch and flow, counters with `_total`, every sample with both labels, and no other file."""
    record(tmp_path.as_uri(), "plant", "ingest", RUN)
    (file,) = tmp_path.iterdir()
    assert file.name == "watchkeeper_plant_ingest.prom"
    assert samples(file.read_text()) == {
        ("watchkeeper_rows_ingested_total", "flow=ingest,watch=plant"): 100,
        (
            "watchkeeper_rows_quarantined_total",
            'flow=ingest,reason=label is "neither" 0,\\ nor 1,watch=plant',
        ): 3,
        ("watchkeeper_champion_version", "flow=ingest,watch=plant"): 4,
    }
    assert {"# TYPE watchkeeper_rows_ingested_total counter", "# TYPE watchkeeper_champion_version gauge"} < set(
        file.read_text().splitlines()
    )


def test_another_user_can_read_the_file(tmp_path: Path) -> None:
    """The node exporter runs under a name of its own."""
    record(tmp_path.as_uri(), "plant", "ingest", RUN)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o044 == 0o044


def test_counters_go_on_and_gauges_are_set(tmp_path: Path) -> None:
    """The second run adds to the counters of the first, and what it does not say stays."""
    for figures in (RUN, [Figure("watchkeeper_rows_ingested", 20), Figure("watchkeeper_champion_version", 3)]):
        record(tmp_path.as_uri(), "plant", "ingest", figures)
    values = read((tmp_path / "watchkeeper_plant_ingest.prom").read_text(), "plant", "ingest")
    assert values["watchkeeper_rows_ingested", ""] == 120
    assert values["watchkeeper_champion_version", ""] == 3
    assert values["watchkeeper_rows_quarantined", RUN[1].label] == 3


def test_watches_and_flows_are_counted_apart(tmp_path: Path) -> None:
    """Each has a file, and none sees the figures of another."""
    for watch, flow in (("a", "ingest"), ("b", "ingest"), ("a", "score"), ("a", "ingest")):
        record(tmp_path.as_uri(), watch, flow, [Figure("watchkeeper_rows_ingested", 1)])
    found = {path.name: samples(path.read_text()).popitem()[1] for path in tmp_path.iterdir()}
    assert found == {
        "watchkeeper_a_ingest.prom": 2,
        "watchkeeper_b_ingest.prom": 1,
        "watchkeeper_a_score.prom": 1,
    }


def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    """Half a file of something else is not taken for zero and not overwritten."""
    file = tmp_path / "watchkeeper_plant_ingest.prom"
    file.write_text("watchkeeper_rows_ingested_total{watch=")
    with pytest.raises(MetricsError, match=r"watchkeeper_plant_ingest\.prom"):
        record(tmp_path.as_uri(), "plant", "ingest", RUN)
    assert file.read_text() == "watchkeeper_rows_ingested_total{watch="
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """A file where the folder should be is one error of ours."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(MetricsError, match="taken"):
        record((tmp_path / "taken").as_uri(), "plant", "ingest", RUN)


def test_a_gateway_gets_a_group_for_each_watch_and_flow(gateway: Gateway) -> None:
    """Groups are named by watch and flow; counters go on from what the gateway shows, those of the same group only."""
    for watch in ("plant", "plant", "pumps"):
        record(gateway.address, watch, "ingest", RUN)
    assert set(gateway.groups) == {f"/metrics/job/watchkeeper/flow/ingest/watch/{name}" for name in ("plant", "pumps")}
    counted = {
        name: samples(text)["watchkeeper_rows_ingested_total", f"flow=ingest,watch={name}"]
        for name in ("plant", "pumps")
        for text in gateway.groups.values()
        if f'watch="{name}"' in text
    }
    assert counted == {"plant": 200, "pumps": 100}


def test_a_gateway_that_is_not_there_is_told(gateway: Gateway) -> None:
    """The error names host and port."""
    address = gateway.address.replace(str(gateway.server.server_port), "1")
    with pytest.raises(MetricsError, match=r"http://127\.0\.0\.1:1 does not take them"):
        record(address, "plant", "ingest", RUN)


def test_what_another_release_left_is_passed_over() -> None:
    """A figure that this release does not know neither breaks the reading nor comes back."""
    text = '# TYPE watchkeeper_gone counter\nwatchkeeper_gone_total{watch="w",flow="f"} 7\n'
    assert read(text, "w", "f") == {}


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(sorted(KINDS)), st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))
        ),
        st.floats(0, 1e15),
    ),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
)
def test_figures_come_back_from_the_exposition(values: dict[tuple[str, str], float], watch: str) -> None:
    """Whatever the labels hold, what is written is read."""
    values = {(name, label if KINDS[name].label else ""): value for (name, label), value in values.items()}
    written = generate_latest(Exposition(watch, "score", values)).decode()
    assert read(written, watch, "score") == values


def test_only_counters_are_added() -> None:
    """A gauge that was added to would grow with every run."""
    before = {(name, ""): 5.0 for name in KINDS}
    after = add(before, [Figure(name, 2) for name in KINDS])
    assert {name for (name, _), value in after.items() if value == 7} == {
        name for name, kind in KINDS.items() if kind.type == "counter"
    }
    assert set(after.values()) == {2, 7}
