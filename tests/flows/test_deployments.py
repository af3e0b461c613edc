"""The flows as Prefect finds them: by entrypoint, with `flows/` first on the path, from prefect.yaml."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.flows import load_flow_from_entrypoint

from tasks.check_drift import EVENT

REPOSITORY = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
NAMES = [f"{Path(found['entrypoint'].split(':')[0]).stem}/{found['name']}" for found in DEPLOYMENTS]


def load(deployment: dict[str, Any]) -> Flow[..., Any]:
    return load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)


def test_every_flow_has_a_deployment_and_no_two_share_a_name() -> None:
    """Each file in flows/ is deployed, and flow and deployment together name one thing."""
    files = {path.stem for path in (REPOSITORY / "flows").glob("*.py")} - {"__init__"}
    assert {name.split("/")[0] for name in NAMES} == files
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_a_deployment_loads_and_its_parameters_fit(deployment: dict[str, Any], monkeypatch) -> None:
    """Its entrypoint is a flow, and its parameters are those of the flow, with what the flow needs."""
    monkeypatch.chdir(REPOSITORY)
    flow = load(deployment)
    assert flow.validate_parameters(deployment["parameters"]).keys() >= deployment["parameters"].keys()
    for trigger in deployment.get("triggers", ()):
        given = {**deployment["parameters"], **trigger["parameters"]}
        assert flow.validate_parameters(given).keys() >= given.keys()


def test_a_parameter_that_a_flow_lacks_would_be_noticed(monkeypatch) -> None:
    """The check above refuses a misspelt parameter and one of the wrong kind."""
    monkeypatch.chdir(REPOSITORY)
    flow = load({"entrypoint": "flows/rollback.py:rollback"})
    for wrong in ({"wach": "plant"}, {"watch": "plant", "to": "the last one"}):
        with pytest.raises(Exception, match=r"watch|wach|to"):
            flow.validate_parameters(wrong)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_schedules_are_those_of_the_watch_file(deployment: dict[str, Any]) -> None:
    """The watch that a deployment names says the same times; on-drift and manual ones have none."""
    watch = tomllib.loads((REPOSITORY / "watches" / f"{deployment['parameters']['watch']}.toml").read_text())
    flow = Path(deployment["entrypoint"].split(":")[0]).stem
    times = [(schedule["cron"], schedule["timezone"]) for schedule in deployment.get("schedules", ())]
    scheduled = deployment["name"] in ("scheduled", "nightly")
    assert times == ([(watch["schedule"][flow], "UTC")] if scheduled else [])


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
