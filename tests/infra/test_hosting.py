"""What hosts Watchkeeper, checked as far as it can be without an engine: schemas, linters, and what they do not see."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.templating import find_placeholders

REPOSITORY = Path(__file__).parents[2]
INFRA = REPOSITORY / "infra"
HADOLINT = Path(sys.executable).with_name("hadolint")
DOCKERFILES = sorted(INFRA.glob("Dockerfile*"))
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text())
SCHEMA = json.loads((Path(__file__).parent / "compose_spec.json").read_text())
TEMPLATE = json.loads((INFRA / "kubernetes/gpu-base-job-template.json").read_text())
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*")
"""An image with a version of at least two numbers."""


def problems_of(compose: dict[str, Any]) -> list[str]:
    """What is wrong with a compose file, beyond its schema."""
    found = []
    services, volumes = compose["services"], compose.get("volumes", {})
    for name, service in services.items():
        if not PINNED.fullmatch(service.get("image", "")):
            found.append(f"{name}: image is not pinned")
        for other in service.get("depends_on", {}):
            condition = service["depends_on"][other]["condition"]
            if other not in services:
                found.append(f"{name}: depends on {other}, which is no service")
            elif condition == "service_healthy" and "healthcheck" not in services[other]:
                found.append(f"{name}: waits for the health of {other}, which has no check")
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                if not (INFRA / source).exists():
                    found.append(f"{name}: mounts {source}, which is not there")
            elif source not in volumes:
                found.append(f"{name}: volume {source} is not declared")
        found += [
            f"{name}: port {port} is open to all" for port in service.get("ports", ()) if not port.startswith("127.")
        ]
        build = service.get("build")
        if build and not (INFRA / build["context"] / build["dockerfile"]).is_file():
            found.append(f"{name}: builds {build['dockerfile']}, which is not there")
    return found


def test_the_compose_file_fits_its_schema_and_its_own_parts() -> None:
    """Every key is one of the specification's; images are pinned; what a service names is there; ports are loopback."""
    jsonschema.Draft201909Validator(SCHEMA).validate(COMPOSE)
    assert problems_of(COMPOSE) == []
    assert set(COMPOSE["services"]) >= {"postgres", "prefect", "mlflow", "s3", "worker", "gpu-worker"}
    assert COMPOSE["services"]["gpu-worker"]["profiles"] == ["gpu"]


@pytest.mark.parametrize(
    ("service", "change", "problem"),
    [
        ("worker", {"image": "watchkeeper:latest"}, "not pinned"),
        ("worker", {"image": "watchkeeper"}, "not pinned"),
        ("worker", {"depends_on": {"prefekt": {"condition": "service_started"}}}, "no service"),
        ("worker", {"depends_on": {"bucket": {"condition": "service_healthy"}}}, "no check"),
        ("worker", {"volumes": ["data:/data"]}, "not declared"),
        ("worker", {"volumes": ["../watch:/watches"]}, "not there"),
        ("s3", {"ports": ["8333:8333"]}, "open to all"),
        ("worker", {"build": {"context": "..", "dockerfile": "Dockerfile"}}, "not there"),
    ],
)
def test_a_broken_compose_file_would_be_noticed(service: str, change: dict[str, Any], problem: str) -> None:
    """Each check of the file sees the mistake that it is for."""
    broken = copy.deepcopy(COMPOSE)
    broken["services"][service] |= change
    assert any(found.startswith(f"{service}: ") and problem in found for found in problems_of(broken))


def test_a_misspelt_key_of_a_compose_file_would_be_noticed() -> None:
    """The schema refuses a key that it does not know."""
    broken = copy.deepcopy(COMPOSE)
    broken["services"]["worker"]["entry_point"] = ["watchkeeper"]
    with pytest.raises(jsonschema.ValidationError, match="entry_point"):
        jsonschema.Draft201909Validator(SCHEMA).validate(broken)


def test_every_secret_of_the_compose_file_is_asked_for_and_none_is_written() -> None:
    """Variables have no default; the example lists each of them, empty."""
    text = (INFRA / "compose.yaml").read_text()
    asked = set(re.findall(r"(?<!\$)\$\{(\w+):\?", text))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", text)) == asked
    example = dict(line.split("=") for line in (INFRA / "compose.env.example").read_text().splitlines() if "=" in line)
    assert example.pop("COMPOSE_PROJECT_NAME") == "watchkeeper"
    assert example == dict.fromkeys(asked, "")


def lint(file: Path) -> str:
    return subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_dockerfiles_pass_the_linter_and_do_not_run_as_root(file: Path) -> None:
    """hadolint says nothing; the base is pinned; the last user is a number; what is copied is there."""
    assert lint(file) == ""
    text = file.read_text()
    (base,) = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert PINNED.fullmatch(base)
    assert int(re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1]) > 0
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((REPOSITORY / source).exists() for source in sources.split())


def test_the_linter_sees_a_bad_dockerfile(tmp_path: Path) -> None:
    """An image without a version and a switch to root are told."""
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd /tmp\nUSER root\n")
    assert {"DL3006", "DL3003", "DL3002"} <= set(re.findall(r"DL\d+", lint(bad)))


def test_images_carry_the_versions_that_the_project_names() -> None:
    """torch, Watchkeeper and MLflow in the images are those of pyproject.toml and constraints.txt."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    torch = next(one for one in project["dependencies"] if one.startswith("torch"))
    constraints = (REPOSITORY / "constraints.txt").read_text().splitlines()
    mlflow = next(line for line in constraints if line.startswith("mlflow-skinny")).replace("-skinny", "")
    assert all(torch in (INFRA / name).read_text() for name in ("Dockerfile", "Dockerfile.gpu"))
    assert mlflow in (INFRA / "Dockerfile.mlflow").read_text()
    assert mlflow in (INFRA / "mlflow-constraints.txt").read_text().splitlines()
    images = {service["image"] for service in COMPOSE["services"].values()}
    assert {f"watchkeeper:{project['version']}", f"watchkeeper-gpu:{project['version']}"} < images
    assert f"watchkeeper-mlflow:{mlflow.split('==')[1]}" in images


def test_the_gpu_image_is_the_cpu_image_with_another_torch() -> None:
    """Line by line, the two differ in torch's index and in the GPU's environment, and in nothing else."""
    lines = [
        [line.rstrip(" \\") for line in (INFRA / name).read_text().splitlines() if line and not line.startswith("#")]
        for name in ("Dockerfile", "Dockerfile.gpu")
    ]
    differing = set(lines[0]) ^ set(lines[1])
    assert all(re.search(r"TORCH_INDEX_URL|torch==|NVIDIA|WATCHKEEPER_DEVICE|ANALYTICS", line) for line in differing)
    assert any("WATCHKEEPER_DEVICE=cuda" in line for line in differing)


def check_template(template: dict[str, Any]) -> None:
    """Check a base job template as Prefect does when a work pool is made with it."""
    WorkPoolCreate(name="gpu", type="kubernetes", base_job_template=template)
    variables = template["variables"]
    jsonschema.Draft202012Validator.check_schema(variables)
    for variable in variables["properties"].values():
        if variable.get("default") is not None:
            schema = {**variable, "definitions": variables.get("definitions", {})}
            jsonschema.Draft202012Validator(schema).validate(variable["default"])
    used = {found.name for found in find_placeholders(template["job_configuration"])}
    assert used <= set(variables["properties"])


def test_the_kubernetes_template_gives_a_job_a_gpu() -> None:
    """The container asks for as many GPUs as it is limited to, is not root, and is the one that Prefect looks for."""
    check_template(TEMPLATE)
    spec = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    resources = container["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert TEMPLATE["variables"]["properties"]["gpus"]["default"] == 1
    assert container["name"] == "prefect-job"  # prefect-kubernetes refuses any other name
    assert container["command"] == ["/usr/bin/env"]  # else Prefect's command would be an argument of `watchkeeper`
    assert spec["securityContext"]["runAsNonRoot"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert TEMPLATE["variables"]["properties"]["image"]["default"] == f"watchkeeper-gpu:{project['version']}"


def test_a_broken_kubernetes_template_would_be_noticed() -> None:
    """A placeholder without a variable, and a default that its own schema refuses, do not pass."""
    missing = copy.deepcopy(TEMPLATE)
    del missing["variables"]["properties"]["gpus"]
    wrong = copy.deepcopy(TEMPLATE)
    wrong["variables"]["properties"]["gpus"]["default"] = "one"
    for broken in (missing, wrong):
        with pytest.raises((AssertionError, ValueError, jsonschema.ValidationError)):
            check_template(broken)
