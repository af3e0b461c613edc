"""The doctor at a real Prefect server: deployments, pools, workers, schedules and late runs, sound and not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import prefect
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL
from prefect.states import Late

from watchkeeper.doctor import Check
from watchkeeper.doctor_prefect import OURS, check_prefect

POOL = "doctors-pool"
pytestmark = pytest.mark.usefixtures("prefect_server")


@flow(name="doctors-ingest")
def watch_over(watch: str) -> str:
    return watch


@dataclass(frozen=True)
class Server:
    """A server with a pool, a worker that is online, and a deployment scheduled for `tiny`."""

    client: SyncPrefectClient
    deployment: UUID


@pytest.fixture
def server() -> Iterator[Server]:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        client.send_worker_heartbeat(POOL, "nurse")
        schedule = DeploymentScheduleCreate(
            schedule=CronSchedule(cron="0 2 * * *"), active=True, parameters={"watch": "tiny"}, slug="tiny"
        )
        deployment = client.create_deployment(
            client.create_flow(watch_over), "scheduled", schedules=[schedule], work_pool_name=POOL, tags=[OURS]
        )
        yield Server(client, deployment)
        client.delete_deployment(deployment)
        if POOL in [pool.name for pool in client.read_work_pools()]:
            client.delete_work_pool(POOL)


def checks(*watches: str) -> list[Check]:
    return list(check_prefect(str(PREFECT_API_URL.value()), watches or ("tiny",)))


def the_failed() -> Check:
    (found,) = [check for check in checks() if check.state != "ok"]
    assert found.state == "failed"
    return found


def test_a_sound_server_passes(server: Server) -> None:  # noqa: ARG001 - must be there
    """Server, schedules, pool and lateness are each one check that is well."""
    found = checks()
    assert [(check.name, check.state) for check in found] == [
        ("prefect", "ok"),
        ("schedules", "ok"),
        (f"pool {POOL}", "ok"),
        ("late runs", "ok"),
    ]
    assert "nurse" in found[2].found


def test_a_server_without_deployments_of_ours_is_no_failure() -> None:
    """The command that puts them there is told, and nothing of others is looked at."""
    assert [(check.name, check.state) for check in checks()] == [("prefect", "ok"), ("deployments", "left out")]


def test_a_watch_that_is_not_scheduled_is_told(server: Server) -> None:
    """A watch in none of the deployments is left out; one that is in some and not in others is a failure."""
    assert [check.state for check in checks("other") if check.name == "schedules"] == ["left out"]
    second = server.client.create_deployment(
        server.client.create_flow(watch_over), "nightly", schedules=[], work_pool_name=POOL, tags=[OURS]
    )
    assert "tiny in doctors-ingest/nightly" in the_failed().found
    server.client.delete_deployment(second)


def test_a_schedule_that_is_off_is_found(server: Server) -> None:
    """It is named with its watch."""
    schedule = server.client.read_deployment(server.deployment).schedules[0]
    server.client.update_deployment_schedule(server.deployment, schedule.id, active=False, parameters={"watch": "tiny"})
    assert the_failed().found == "switched off: doctors-ingest/scheduled for tiny"


def test_a_deployment_that_is_paused_is_found(server: Server) -> None:
    """It is named."""
    server.client.pause_deployment(server.deployment)
    assert the_failed().found.startswith("switched off: doctors-ingest/scheduled")


def test_a_pool_that_is_paused_is_found(server: Server) -> None:
    """The command that resumes it is told."""
    server.client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))
    found = the_failed()
    assert (found.name, found.found) == (f"pool {POOL}", "it is paused")


def test_a_pool_without_a_worker_is_found(server: Server) -> None:
    """A worker that ended long ago is none."""
    server.client.delete_work_pool(POOL)
    server.client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    deployment = server.client.create_deployment(
        server.client.create_flow(watch_over), "manual", work_pool_name=POOL, tags=[OURS]
    )
    found = {check.name: check for check in checks()}[f"pool {POOL}"]
    assert (found.state, found.found) == ("failed", "no worker is online")
    server.client.delete_deployment(deployment)


def test_a_deployment_whose_pool_is_gone_is_found(server: Server) -> None:
    """Nobody will ever run it."""
    server.client.delete_work_pool(POOL)
    assert the_failed().mend == "run `watchkeeper deploy`"


def test_runs_that_wait_are_found(server: Server) -> None:
    """A run that is ten minutes late is a failure, one that is a few seconds late is none."""
    for minutes, state in ((0, "ok"), (10, "failed")):
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        server.client.create_flow_run_from_deployment(
            server.deployment, parameters={"watch": "tiny"}, state=Late(scheduled_time=at)
        )
        found = {check.name: check for check in checks()}["late runs"]
        assert found.state == state, found.found
    assert found.found == "2 wait, the oldest for 10 min"


def test_another_version_of_the_server_is_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Client and server of different minor versions do not fit."""
    monkeypatch.setattr(prefect, "__version__", "3.7.0")
    assert "this is 3.7.0" in the_failed().found


def test_a_page_that_is_no_server_of_prefects_is_found() -> None:
    """The server's address without /api gives pages: it is told, not thrown."""
    (found,) = check_prefect(str(PREFECT_API_URL.value()).removesuffix("/api"), ["tiny"])
    assert (found.name, found.state) == ("prefect", "failed")
