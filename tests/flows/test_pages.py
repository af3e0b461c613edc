"""Artifacts at a real Prefect server, after the life of a watch."""

import json
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.exceptions import PrefectException

from tasks import artifacts
from tasks.step import step
from watchkeeper.progress import progress_of

pytestmark = pytest.mark.usefixtures("prefect_server")


def artifacts_at(key: str | None = None, run: UUID | None = None) -> list[Any]:
    """The artifacts with a key or of a flow run, oldest first."""
    wanted = ArtifactFilter(
        key=ArtifactFilterKey(any_=[key]) if key else None,
        flow_run_id=ArtifactFilterFlowRunId(any_=[run]) if run else None,
    )
    with get_client(sync_client=True) as client:
        return sorted(client.read_artifacts(artifact_filter=wanted), key=lambda found: found.created)


def test_every_decision_of_the_life_is_an_artifact(through_prefect) -> None:
    """A promotion and two rollbacks under one key: Prefect shows the latest, and the history behind it."""
    found = artifacts_at("tiny-decision")
    assert [one.data.splitlines()[0] for one in found] == [
        "# Version 1 promoted",
        "# Rolled back to version 2",
        "# Rolled back to version 1",
    ]
    assert {one.type for one in found} == {"markdown"}
    for reason in through_prefect.retrained.decision.reasons:
        assert f"- {reason}" in found[0].data


def test_the_evaluation_is_an_artifact(through_prefect) -> None:
    """A table of the scorers, with the figures of the record."""
    (found,) = artifacts_at("tiny-evaluation")
    table = json.loads(found.data) if isinstance(found.data, str) else found.data
    means = {line["scorer"]: line["vus_pr"] for line in table if line["series"] == "mean"}
    evaluation = through_prefect.retrained.evaluation
    assert means == {name: round(evaluation.mean(name, "vus_pr"), 4) for name in means}
    assert {"random", "trivial", "combination"} < set(means)
    assert found.type == "table"


def test_the_quality_of_new_rows_is_an_artifact(through_prefect) -> None:
    """A table of what to look at for each ingest that brought rows, and in its description a link to the page."""
    lake, found = through_prefect.lake, artifacts_at("tiny-quality")
    reports = {key for key in lake.list("reports/tiny") if "/quality-" in key and key.endswith(".json")}
    assert len(found) == len(reports) > 1
    for artifact in found:
        (key,) = (key for key in reports if f"]({lake.uri_of(key.replace('.json', '.html'))})" in artifact.description)
        table = json.loads(artifact.data) if isinstance(artifact.data, str) else artifact.data
        assert table == lake.get_json(key)["report"]["findings"]


def test_each_drift_check_is_an_artifact_with_a_link(through_prefect) -> None:
    """A table of the channels for each check, and in its description a link to the check's page."""
    found = artifacts_at("tiny-drift")
    assert len(found) == len(through_prefect.checks) == 2
    for artifact, check in zip(found, through_prefect.checks, strict=True):
        table = json.loads(artifact.data) if isinstance(artifact.data, str) else artifact.data
        verdict = artifacts.read_verdict(through_prefect.lake, check)
        wanted = [column for found in verdict.values() for column in found["columns"]]
        assert [(line["channel"], line["drifted"] == "yes") for line in table] == [
            (column["column"], column["drifted"]) for column in wanted
        ]
        assert f"]({check.report})" in artifact.description
        assert check.report.startswith("file:///")


def test_a_long_step_shows_its_progress(monkeypatch) -> None:
    """One artifact for the step's run, filled when it ends; a step that fails leaves it where it was."""
    monkeypatch.setattr(artifacts, "PAUSE_S", 0.0)

    @step()
    def train(fails: bool) -> str:
        tell = progress_of("train")
        for share in (0.25, 0.5):
            tell(share, "epoch")
        if fails:
            raise ValueError("broken")
        return "trained"

    @flow
    def learn(watch: str, fails: bool) -> str:  # noqa: ARG001 - the artifact is named by the watch
        return train(fails)

    for fails, percent, about in ((False, 100.0, "train: trained"), (True, 50.0, "train: epoch")):
        state = learn("aside", fails, return_state=True)
        # Prefect keeps a run's result as an artifact too
        (found,) = [one for one in artifacts_at(run=state.state_details.flow_run_id) if one.type == "progress"]
        assert (found.key, found.type, found.data, found.description) == (
            "aside-train-progress",
            "progress",
            percent,
            about,
        )


def test_a_server_that_takes_no_artifacts_fails_no_step(monkeypatch, caplog) -> None:
    """One warning, and the step returns what it found."""

    def refuse(*_: object) -> None:
        raise PrefectException("no room")

    monkeypatch.setattr(artifacts, "PAUSE_S", 0.0)
    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", refuse)

    @step()
    def train() -> str:
        for share in (0.25, 0.5):
            progress_of("train")(share, "epoch")
        return "trained"

    @flow
    def learn(watch: str) -> str:  # noqa: ARG001 - the artifact is named by the watch
        return train()

    assert learn("aside") == "trained"
    said = [record.getMessage() for record in caplog.records if "no room" in record.getMessage()]
    assert said == ["no progress of train: no room"]
