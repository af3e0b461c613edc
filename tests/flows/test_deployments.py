"""The flows as Prefect finds them: by entrypoint, with `flows/` first on the path, from prefect.yaml."""

import copy
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prefect import Flow
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.exceptions import ParameterTypeError, SignatureMismatchError
from prefect.flows import load_flow_from_entrypoint

from tasks.check_drift import EVENT
from watchkeeper.stack.deploy import complete, flow_of
from watchkeeper.watch import Schedule, load_watch

REPOSITORY = Path(__file__).parents[2]
PLAN = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
DEPLOYMENTS = PLAN["deployments"]
NAMES = [f"{flow_of(found)}/{found['name']}" for found in DEPLOYMENTS]
WATCH = {"watch": "plant"}


def load(deployment: dict[str, Any]) -> Flow[..., Any]:
    return load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)


def test_every_flow_has_a_deployment_and_no_two_share_a_name() -> None:
    """Each file in flows/ is deployed, and flow and deployment together name one thing."""
    files = {path.stem for path in (REPOSITORY / "flows").glob("*.py")} - {"__init__"}
    assert {name.split("/")[0] for name in NAMES} == files
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_a_deployment_loads_and_its_parameters_fit(deployment: dict[str, Any], monkeypatch) -> None:
    """Its entrypoint is a flow, and its parameters, with a watch, are those of the flow, with what the flow needs."""
    monkeypatch.chdir(REPOSITORY)
    flow = load(deployment)
    own = deployment.get("parameters", {})
    assert "watch" not in own  # one set of deployments serves every watch
    assert flow.validate_parameters(own | WATCH).keys() >= own.keys()
    assert deployment["enforce_parameter_schema"]
    for trigger in deployment.get("triggers", ()):
        given = {**own, **trigger["parameters"], **WATCH}
        assert flow.validate_parameters(given).keys() >= given.keys()


@pytest.mark.parametrize(
    ("entrypoint", "wrong"),
    [
        ("rollback", {"wach": "plant"}),
        ("rollback", {"watch": "plant", "to": "the last one"}),
        ("retrain", {"watch": "../plant"}),
        ("retrain", {"watch": "plant", "until": "garbage"}),
        ("ingest", {"watch": "plant", "until": "2026-13-01"}),
    ],
)
def test_a_wrong_parameter_is_refused(entrypoint: str, wrong: dict[str, Any], monkeypatch) -> None:
    """A misspelt parameter and one of the wrong kind do not reach the flow."""
    monkeypatch.chdir(REPOSITORY)
    flow = load({"entrypoint": f"flows/{entrypoint}.py:{entrypoint}"})
    with pytest.raises((ParameterTypeError, SignatureMismatchError), match=r"wach|to|watch|until"):
        flow.validate_parameters(wrong)


def test_a_server_can_refuse_a_time_that_is_none(monkeypatch) -> None:
    """The schema that the server checks holds a pattern: it does not look at formats. A time without zone is UTC."""
    monkeypatch.chdir(REPOSITORY)
    flow = load({"entrypoint": "flows/retrain.py:retrain"})
    schema = flow.parameters.model_dump()
    for until, fits in (("2026-01-26", True), ("2026-01-26T12:00Z", True), ("garbage", False), ("tomorrow", False)):
        assert not fits ^ jsonschema.Draft202012Validator(schema).is_valid(WATCH | {"until": until})
    given = flow.validate_parameters(WATCH | {"until": "2026-01-26"})["until"]
    assert given == datetime(2026, 1, 26, tzinfo=UTC)


def test_schedules_are_those_of_the_watch_files() -> None:
    """Each scheduled deployment gets one schedule a watch, at the watch's time; the others get none."""
    watches = [load_watch("plant", REPOSITORY / "watches"), load_watch("smd", REPOSITORY / "watches")]
    watches[1] = watches[1].model_copy(update={"schedule": Schedule(retrain="5 3 * * *")})
    plan = copy.deepcopy(PLAN)
    complete(plan, watches, "default")
    schedules = {
        f"{flow_of(found)}/{found['name']}": {one["slug"]: one["cron"] for one in found["schedules"]}
        for found in plan["deployments"]
        if "schedules" in found
    }
    assert schedules == {
        "ingest/scheduled": {"plant": "*/15 * * * *", "smd": "*/15 * * * *"},
        "retrain/nightly": {"plant": "0 2 * * *", "smd": "5 3 * * *"},
        "score/scheduled": {"plant": "*/15 * * * *", "smd": "*/15 * * * *"},
        "check_drift/scheduled": {"plant": "30 * * * *", "smd": "30 * * * *"},
        "collect/nightly": {watch.name: watch.schedule.collect for watch in watches},
    }
    for found in plan["deployments"]:
        for one in found.get("schedules", ()):
            assert one["parameters"] == {"watch": one["slug"]}
            assert one["timezone"] == "UTC"


@pytest.mark.parametrize("pool", ["default", "gpu"])
def test_retrains_on_drift_alone_go_to_the_gpu_pool(pool: str) -> None:
    """Where there is such a pool, retrain/on-drift goes there; everything else stays."""
    plan = copy.deepcopy(PLAN)
    complete(plan, [load_watch("plant", REPOSITORY / "watches")], pool)
    pools = {found["name"]: found["work_pool"]["name"] for found in plan["deployments"]}
    assert pools.pop("on-drift") == pool
    assert set(pools.values()) == {"default"}


def test_the_trigger_waits_for_the_event_that_the_check_sends() -> None:
    """retrain/on-drift expects the event by its name, for any watch, and reads fields that its payload has."""
    (triggers,) = [found["triggers"] for found in DEPLOYMENTS if found["name"] == "on-drift"]
    trigger = DeploymentEventTrigger.model_validate(triggers[0])
    assert (trigger.expect, trigger.enabled) == ({EVENT}, True)
    assert trigger.match.matches({"prefect.resource.id": "watchkeeper.watch.plant"})
    assert not trigger.match.matches({"prefect.resource.id": "prefect.flow.plant"})
    fields = {re.fullmatch(r"\{\{ event\.payload\.(\w+) \}\}", value)[1] for value in trigger.parameters.values()}
    assert fields <= {"watch", "version", "report", "reasons"}


def test_no_file_of_the_flows_shadows_a_module(tmp_path: Path) -> None:
    """Without the repository on the path, no name in flows/ can be imported: none is hidden when flows/ comes first."""
    names = sorted(path.stem for path in (REPOSITORY / "flows").glob("*.py") if path.stem != "__init__")
    script = f"from importlib.util import find_spec\nprint([n for n in {[*names, 'json']} if find_spec(n)])"
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['json']"  # json shows that the script would see one
