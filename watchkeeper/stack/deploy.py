"""Deploy: prefect.yaml and the schedules of the watch files, put on a Prefect server."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from watchkeeper.errors import SettingsError, WatchError, WatchkeeperError
from watchkeeper.settings import Settings
from watchkeeper.sources import FolderSource
from watchkeeper.stack.part import last_line
from watchkeeper.stack.state import folder_of
from watchkeeper.watch import Watch, load_watch

FILE = Path("prefect.yaml")
SCHEDULED = ("scheduled", "nightly")
"""Deployments of these names get a schedule for each watch."""
ON_DRIFT = "on-drift"
"""The deployment that goes to the GPU pool where there is one."""
POOL, GPU_POOL = "default", "gpu"


class Deployed(BaseModel):
    """What was put on the server.

    Attributes:
        api: the server.
        schedules: deployment, watch and cron of every schedule.
        skipped: watches that cannot run here, with the reason.
        pool: the work pool of retrains on drift.
    """

    model_config = ConfigDict(frozen=True)

    api: str
    schedules: tuple[tuple[str, str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    pool: str


def deploy(settings: Settings, names: Sequence[str]) -> Deployed:
    """Put every deployment on the server that PREFECT_API_URL names, with schedules for the watches.

    Prefect keeps a deployment's schedules that it is not told of. So a watch that is named is added to those there are;
    when all of them are deployed, schedules of watches that are gone, or cannot run, go.

    Args:
        settings: where the watches are.
        names: of the watches; none for every watch of the folder whose source can be found.

    Raises:
        SettingsError: there is no prefect.yaml here.
        WatchError: a watch is unknown, its file is not valid, or none can run here.
        WatchkeeperError: the server does not answer or refuses.
    """
    watches, skipped = choose_watches(settings, names)
    plan = _read_plan()
    pool = _prepare_pools()
    complete(plan, watches, pool)
    file = folder_of(settings.home) / "prefect.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    _put(file)
    if not names:
        _retire(plan, {watch.name for watch in watches})
    return Deployed(
        api=os.environ["PREFECT_API_URL"],
        schedules=tuple(
            (name_of(deployment), schedule["slug"], schedule["cron"])
            for deployment in plan["deployments"]
            for schedule in deployment.get("schedules", ())
        ),
        skipped=tuple(skipped.items()),
        pool=pool,
    )


def choose_watches(settings: Settings, names: Sequence[str]) -> tuple[list[Watch], dict[str, str]]:
    """Return the watches to schedule, and those of the folder that cannot run here, with the reason.

    Raises:
        WatchError: a watch is unknown, its file is not valid, its source is not to be found although it was named, or
            there is none.
    """
    watches, skipped = [], {}
    for name in names or sorted(path.stem for path in settings.watches.glob("*.toml")):
        watch = load_watch(name, settings.watches, settings.data)
        try:
            if isinstance(watch.source, FolderSource):
                watch.source.path()
        except WatchError as error:
            if names:
                raise
            skipped[name] = str(error)
        else:
            watches.append(watch)
    if not watches:
        reasons = "".join(f"; {name}: {reason}" for name, reason in skipped.items())
        raise WatchError(f"no watch in {settings.watches.absolute()} can be scheduled{reasons}")
    return watches, skipped


def complete(plan: Mapping[str, Any], watches: Sequence[Watch], pool: str) -> None:
    """Add to what prefect.yaml says the schedules of the watches and the work pool of retrains on drift."""
    for deployment in plan["deployments"]:
        if deployment["name"] in SCHEDULED:
            deployment["schedules"] = [
                {
                    "cron": getattr(watch.schedule, flow_of(deployment)),
                    "timezone": "UTC",
                    "slug": watch.name,
                    "parameters": {"watch": watch.name},
                }
                for watch in watches
            ]
        if deployment["name"] == ON_DRIFT:
            deployment["work_pool"] = {"name": pool}


def flow_of(deployment: Mapping[str, Any]) -> str:
    """Return the name of the flow's file, which is also its key in a watch's schedule."""
    return Path(deployment["entrypoint"].split(":")[0]).stem


def name_of(deployment: Mapping[str, Any]) -> str:
    """Return what Prefect calls a deployment: its flow's name and its own."""
    return f"{flow_of(deployment).replace('_', '-')}/{deployment['name']}"


def _read_plan() -> dict[str, Any]:
    if not FILE.is_file():
        raise SettingsError(f"there is no {FILE} in {Path.cwd()}; run from the project's folder")
    plan: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return plan


def _prepare_pools() -> str:
    """Make the pool `default` where there is none, and return the pool of retrains on drift."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            pools = {pool.name for pool in client.read_work_pools()}
            if POOL not in pools:
                with suppress(ObjectAlreadyExists):  # somebody else was quicker
                    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        raise WatchkeeperError(
            f"the Prefect server at {os.environ['PREFECT_API_URL']} does not answer as it should: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return GPU_POOL if GPU_POOL in pools else POOL


def _retire(plan: Mapping[str, Any], names: set[str]) -> None:
    """Delete the schedules, of those that a deploy has made, whose watch is not one of these."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for deployment in plan["deployments"]:
            if deployment["name"] in SCHEDULED:
                found = client.read_deployment_by_name(name_of(deployment))
                for schedule in found.schedules:
                    ours = schedule.slug is not None and schedule.parameters.get("watch") == schedule.slug
                    if ours and schedule.slug not in names:
                        client.delete_deployment_schedule(found.id, schedule.id)


def _put(file: Path) -> None:
    """Let Prefect's own command deploy a file: it knows triggers, pull steps and parameter schemas best."""
    log = file.with_name("prefect-deploy.log")
    with log.open("wb") as output:
        done = subprocess.run(  # noqa: S603 - Prefect's command, with arguments of ours
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            env={**os.environ, "PWD": str(Path.cwd())},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode:
        raise WatchkeeperError(f"prefect deploy ended with status {done.returncode}; {log} says: {last_line(log)}")
