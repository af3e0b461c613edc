"""The flows through Prefect's engine, against a real server."""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from flows.ingest import ingest
from tasks.check_drift import EVENT
from tasks.step import step
from watchkeeper.errors import DataError, LakeError, WatchError
from watchkeeper.labels import read_labels
from watchkeeper.promotion import read_audit

STEPS = ("ingest", "prepare", "train vae", "warm up", "train agent", "evaluate", "register", "promote", "ask")
pytestmark = pytest.mark.usefixtures("prefect_server")

EVENT_TIMEOUT_S = 60
"""An event goes to the server on a thread of its own, and the server writes events in batches."""


def task_runs_of(flow_run: UUID) -> list[Any]:
    with get_client(sync_client=True) as client:
        return client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))


def flow_runs() -> list[tuple[str, Any]]:
    """Name of the flow, and run, of every run that the server knows."""
    with get_client(sync_client=True) as client:
        return [(client.read_flow(run.flow_id).name, run) for run in client.read_flow_runs()]


def events_named(name: str) -> list[dict[str, Any]]:
    with get_client(sync_client=True) as client:
        response = client.request("POST", "/events/filter", json={"filter": {"event": {"name": [name]}}})
    return list(response.raise_for_status().json()["events"])


def test_a_retrain_ends_in_a_champion_judged_on_held_out_rows(through_prefect) -> None:
    """Version 1 is promoted on figures of the latest quarter of the rows, better than the random row's."""
    done = through_prefect.retrained
    assert (done.version.version, done.decision.action, done.decision.previous) == (1, "promoted", None)
    assert done.ingested.rows == done.ingested.new_rows == done.prepared.rows == 6 * 24 * 60
    assert done.evaluation.start == datetime(2026, 1, 9, 12, tzinfo=UTC)
    assert done.evaluation.end == datetime(2026, 1, 10, 23, 59, tzinfo=UTC)
    assert done.evaluation.mean("combination", "vus_pr") > done.evaluation.mean("random", "vus_pr")


def test_a_retrain_leaves_every_step_in_the_lake(through_prefect) -> None:
    """Rows, prepared rows, each step's output, the questions, their answers and the decision lie in the lake."""
    lake, done = through_prefect.lake, through_prefect.retrained
    raw = [key for key in lake.list("raw/watch=tiny/series=line_1") if int(key.split("date=2026-01-")[1][:2]) < 11]
    assert sum(len(lake.get_table(key)) for key in raw) == done.ingested.rows
    assert len(lake.get_table(f"{done.prepared.folder}/series=line_1.parquet")) == done.prepared.rows
    folder = Path(done.prepared.key).parent.as_posix()
    found = {Path(key).name for key in lake.list(folder)}
    outputs = ("prepare", "base", "warm_up", "agent", "evaluation-against-none", "evaluation-against-none-traces")
    assert found == {f"{name}.{ending}" for name in outputs for ending in ("json", "safetensors")}
    labels = read_labels(lake, lake.list("labels/watch=tiny"))
    (questions,) = lake.list("queue/tiny")
    assert len(lake.get_json(questions)) == labels["origin"].to_pylist().count("answered") == 8
    assert read_audit(lake, "tiny")[0] == done.decision


def test_scores_begin_where_the_champion_stopped_learning(through_prefect) -> None:
    """The score flow scores the held-out rows, each once, and writes them as the champion's."""
    done, lake = through_prefect.scored, through_prefect.lake
    tables = [lake.get_table(key) for key in lake.list("scores/watch=tiny/series=line_1")]
    assert (done.version, done.start, done.rows) == (1, through_prefect.retrained.evaluation.start, 36 * 60)
    assert sum(len(table) for table in tables) == done.rows
    assert {version for table in tables for version in table["version"].to_pylist()} == {1}
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["alarm"] for row in rows] == [row["score"] >= row["threshold"] for row in rows]
    assert sum(row["alarm"] for row in rows) >= done.alarms


def test_ingest_takes_only_what_is_new(through_prefect) -> None:
    """Two ingests after the retrain bring two days and one day, and each makes a snapshot of its own."""
    first, second = through_prefect.ingested
    assert (first.new_rows, second.new_rows) == (2 * 24 * 60, 24 * 60)
    assert second.rows == 9 * 24 * 60
    assert len(through_prefect.lake.list("snapshots/tiny")) == 3


def test_two_checks_in_a_row_ask_for_one_retrain(through_prefect) -> None:
    """The first check after the change finds drift and waits; the second asks; both leave verdict and page."""
    first, second = through_prefect.checks
    assert (first.exceeds, first.consecutive, first.started, first.event_id) == (True, 1, False, None)
    assert (second.exceeds, second.consecutive, second.started) == (True, 2, True)
    for check in (first, second):
        for uri in (check.report, check.verdict):
            assert through_prefect.lake.exists(uri.removeprefix(f"{through_prefect.lake.uri}/"))


def test_the_drift_event_reaches_the_server_with_its_types(through_prefect) -> None:
    """One event arrives under the id of the check; its payload keeps number, text and list as they were."""
    check = through_prefect.checks[1]
    deadline = time.monotonic() + EVENT_TIMEOUT_S
    while not (found := events_named(EVENT)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [event["id"] for event in found] == [check.event_id]
    payload = found[0]["payload"]
    assert payload == {"watch": "tiny", "version": 1, "report": check.report, "reasons": list(check.reasons)}
    assert type(payload["version"]) is int
    assert found[0]["resource"]["prefect.resource.id"] == "watchkeeper.watch.tiny"
    assert {resource["prefect.resource.role"] for resource in found[0]["related"]} >= {"flow", "flow-run"}


def test_a_rollback_moves_the_champion_and_says_so(through_prefect) -> None:
    """Back to a named version, then back to the previous one: the aliases follow, and the audit tells both."""
    there, back = through_prefect.rolled_back, through_prefect.returned
    assert (there.action, there.version, there.previous) == ("rolled back", 2, 1)
    assert (back.action, back.version, back.previous) == ("rolled back", 1, 2)
    assert through_prefect.registry.alias("tiny", "champion").version == 1
    assert through_prefect.registry.alias("tiny", "previous").version == 2
    assert [decision.version for decision in read_audit(through_prefect.lake, "tiny")] == [1, 2, 1]


def test_every_run_of_the_life_is_completed_at_the_server(through_prefect) -> None:
    """The server knows each flow run of the life as Completed, and each step of the retrain, run once."""
    known = [
        (name, run)
        for name, run in flow_runs()
        if run.parameters.get("watch") == through_prefect.retrained.version.watch
    ]
    counts = Counter((name, run.state_name) for name, run in known)
    flows = {"retrain": 1, "score": 1, "ingest": 2, "check-drift": 2, "rollback": 2}
    assert counts == {(name, "Completed"): count for name, count in flows.items()}
    (retrain,) = [run for name, run in known if name == "retrain"]
    steps = [(run.name.rsplit("-", 1)[0], run.state_name, run.run_count) for run in task_runs_of(retrain.id)]
    assert sorted(steps) == sorted((name, "Completed", 1) for name in STEPS)


@pytest.mark.parametrize(
    ("watch", "error", "steps"),
    [("gone", DataError, [("ingest", "Failed", 1)]), ("nowhere", WatchError, [])],
)
def test_bad_input_fails_at_once(
    watch: str, error: type[Exception], steps: list[tuple[str, str, int]], tmp_path, monkeypatch
) -> None:
    """A missing folder and an unknown watch end the flow run as Failed, and no step is tried again."""
    (tmp_path / "gone.toml").write_text(f'[source]\nkind = "parquet"\nfolder = "{tmp_path}/absent"\n')
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    state = ingest(watch, return_state=True)
    assert state.is_failed()
    with pytest.raises(error, match=watch if error is WatchError else "does not exist"):
        state.result()
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(state.state_details.flow_run_id).state_name == "Failed"
    runs = task_runs_of(state.state_details.flow_run_id)
    assert [(run.name.rsplit("-", 1)[0], run.state_name, run.run_count) for run in runs] == steps


def test_a_failing_store_is_tried_again() -> None:
    """A step whose storage fails once succeeds at the second try: bad input alone is not worth one."""
    tries = []

    @step(retries=1)
    def write() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise LakeError("the disk is full")
        return "written"

    @flow
    def store() -> str:
        return write()

    state = store(return_state=True)
    assert (state.result(), len(tries)) == ("written", 2)
    assert [run.run_count for run in task_runs_of(state.state_details.flow_run_id)] == [2]


@pytest.mark.usefixtures("prefect_server")
def test_a_step_says_its_line_of_result_in_prefects_log(caplog: pytest.LogCaptureFixture) -> None:
    """What a step found reaches the log that Prefect's server shows, not only a logger of our own."""

    @step()
    def look_around() -> str:
        return "three series, all quiet"

    @flow
    def walk() -> str:
        return look_around()

    with caplog.at_level("INFO"):
        walk()
    said = [record.getMessage() for record in caplog.records if record.name == "prefect.task_runs"]
    assert any(line.startswith("look around: three series, all quiet") for line in said)
