"""What the doctor asks Prefect's server: does it answer, does anybody run what is deployed, and on time?"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from watchkeeper.doctor import Check, failed, left_out, ok

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse

OURS = "watchkeeper"
"""The tag of our deployments (prefect.yaml)."""
SCHEDULED = ("scheduled", "nightly")
"""Deployments of these names have a schedule for each watch."""
LATE_S = 120
"""A run that waits longer than this has nobody to run it: Prefect calls a run late after 15 s, which is soon."""
TIMEOUT_S = 10.0
PAGE = 200
"""Rows that Prefect gives at once at most."""


def check_prefect(api: str, watches: Sequence[str]) -> Iterator[Check]:
    """Check the server, its version, and for our deployments the pools, the workers, the schedules and the lateness.

    Args:
        api: the server's address; "" where none is set up.
        watches: those that should be scheduled.
    """
    if not api:
        yield left_out("prefect", "no server is set up; flows run as plain calls")
        return
    from prefect import __version__
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException
    from prefect.settings import PREFECT_API_URL, temporary_settings

    mend = "start it (`watchkeeper up`, or your server), or mend or unset PREFECT_API_URL"
    try:
        httpx.get(f"{api}/health", timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield failed("prefect", f"no answer from {api} ({type(error).__name__})", mend)
        return
    try:
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
            found = str(client.api_version())
            if found.split(".")[:2] != __version__.split(".")[:2]:
                yield failed("prefect", f"{api} is Prefect {found}, this is {__version__}", "install the same on both")
            else:
                yield ok("prefect", f"{api} answers, Prefect {found}")
            ours = _deployments(client)
            if not ours:
                yield left_out("deployments", "none of ours; `watchkeeper deploy` puts them there")
                return
            yield _schedules(client, ours, watches)
            yield from _pools(client, ours)
            yield _late(client, {one.id for one in ours}, datetime.now(UTC))
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        secret = status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
        words = "set PREFECT_API_AUTH_STRING or PREFECT_API_KEY to its secret" if secret else mend
        yield failed("prefect", f"{api} answered {status}", words)
    except (httpx.HTTPError, PrefectException, ValueError) as error:
        yield failed("prefect", f"{api}: {' '.join(str(error).split())[:200]}", "is this the API of a Prefect server?")


def _schedules(client: "SyncPrefectClient", ours: Sequence["DeploymentResponse"], watches: Sequence[str]) -> Check:
    """Check that a watch that is scheduled at all is scheduled in every deployment that has schedules."""
    names = {one.id: f"{client.read_flow(one.flow_id).name}/{one.name}" for one in ours}
    scheduled = [one for one in ours if one.name in SCHEDULED]
    asleep = [names[one.id] for one in ours if one.paused]
    asleep += [
        f"{names[one.id]} for {_watch_of(one, schedule)}"
        for one in scheduled
        for schedule in one.schedules
        if not schedule.active
    ]
    if asleep:
        return failed("schedules", f"switched off: {', '.join(asleep)}", "switch them on at the server's page")
    covered = {names[one.id]: {_watch_of(one, schedule) for schedule in one.schedules} for one in scheduled}
    known = [watch for watch in watches if any(watch in those for those in covered.values())]
    missing = [f"{watch} in {name}" for watch in known for name, those in covered.items() if watch not in those]
    if missing:
        return failed("schedules", f"not scheduled: {', '.join(missing)}", "run `watchkeeper deploy`")
    if not known:
        return left_out("schedules", f"none for {', '.join(watches)}; `watchkeeper deploy` makes them")
    return ok("schedules", f"{len(covered)} deployments, active for {', '.join(known)}")


def _watch_of(deployment: "DeploymentResponse", schedule: "DeploymentSchedule") -> str:
    return str({**deployment.parameters, **schedule.parameters}.get("watch", "no watch"))


def _pools(client: "SyncPrefectClient", ours: Sequence["DeploymentResponse"]) -> Iterator[Check]:
    """Check that each deployment has a work pool, and that each pool has a worker online and is not paused."""
    from prefect.client.schemas.objects import WorkerStatus

    lost = sorted({one.name for one in ours if not one.work_pool_name})
    if lost:
        yield failed("pools", f"the work pool of {', '.join(lost)} is gone", "run `watchkeeper deploy`")
    for name in sorted({one.work_pool_name for one in ours if one.work_pool_name}):
        workers = [worker for worker in client.read_workers_for_work_pool(name) if worker.status == WorkerStatus.ONLINE]
        if client.read_work_pool(name).is_paused:
            yield failed(f"pool {name}", "it is paused", f"run: prefect work-pool resume {name}")
        elif not workers:
            mend = f"run `watchkeeper up`, or: prefect worker start --pool {name}"
            yield failed(f"pool {name}", "no worker is online", mend)
        else:
            yield ok(f"pool {name}", f"{len(workers)} online: {', '.join(worker.name for worker in workers)}")


def _late(client: "SyncPrefectClient", ours: Collection[UUID], now: datetime) -> Check:
    """Check that no run of ours waits for somebody to run it."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateName,
    )

    late = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"]))),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(ours))),
        limit=PAGE,
    )
    since = [run.expected_start_time for run in late if run.expected_start_time]
    waits = max(((now - at).total_seconds() for at in since), default=0.0)
    if waits > LATE_S:
        found = f"{len(late)} wait, the oldest for {waits / 60:,.0f} min"
        return failed("late runs", found, "is a worker at work, and is the pool's limit large enough?")
    return ok("late runs", "none" if not late else f"{len(late)}, none for more than {LATE_S} s")


def _deployments(client: "SyncPrefectClient") -> "list[DeploymentResponse]":
    found: list[DeploymentResponse] = []
    while True:
        page = client.read_deployments(limit=PAGE, offset=len(found))
        found += page
        if len(page) < PAGE:
            return [one for one in found if OURS in one.tags]
