"""Notifications of failure: automations at Prefect's server that send through one of its notification blocks.

The server sends, not the run: a run that was killed, or whose machine is gone, cannot. Two things are told: a flow of
ours that ended as failed, crashed or timed out, and a work pool of ours that no worker serves any more.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
from prefect.automations import AutomationCore, EventTrigger, Posture, ResourceSpecification
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.events.actions import SendNotification
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_UI_URL

from watchkeeper.errors import BadInputError, WatchkeeperError

if TYPE_CHECKING:
    from uuid import UUID

TAG = "watchkeeper"
"""What prefect.yaml tags every deployment with: by it the server knows our runs from others'."""
FAILED, NO_WORKER = "watchkeeper: a flow failed", "watchkeeper: no worker"


@dataclass(frozen=True)
class Told:
    """What is told from now on: the names of the automations, and of the work pools that are looked after."""

    automations: tuple[str, ...]
    pools: tuple[str, ...]


def tell_failures(block: str) -> Told:
    """Make or change the automations that tell of failures through a block.

    Args:
        block: type and name of a notification block at the server, as `slack-webhook/ops`.

    Raises:
        BadInputError: the server has no such block, or it is none that notifies.
        WatchkeeperError: the server does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            document = _document(client, block)
            pools = _pools(client)
            pages = str(PREFECT_UI_URL.value() or "").rstrip("/")
            wanted = [failed_flow(document, pages)] + ([no_worker(document, pages, pools)] if pools else [])
            for automation in wanted:
                _put(client, automation)
    except httpx.HTTPError as error:
        raise WatchkeeperError(f"Prefect's server does not do it: {error}") from error
    return Told(tuple(automation.name for automation in wanted), pools)


def failed_flow(block: "UUID", pages: str) -> AutomationCore:
    """Return the automation that tells of a run that failed: watch, flow, error and link.

    Args:
        block: the id of a notification block.
        pages: the address of the server's pages. The server itself does not always know it.
    """
    return AutomationCore(
        name=FAILED,
        description="A flow of Watchkeeper failed, crashed or timed out.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="Watchkeeper: {{ flow.name }} of {{ flow_run.parameters.watch }} {{ flow_run.state.name }}",
                body=(
                    "{{ flow.name }} of watch {{ flow_run.parameters.watch }} ended as {{ flow_run.state.name }}: "
                    "{{ flow_run.state.message }}\n" + pages + "/runs/flow-run/{{ flow_run.id }}"
                ),
            )
        ],
    )


def no_worker(block: "UUID", pages: str, pools: tuple[str, ...]) -> AutomationCore:
    """Return the automation that tells of a work pool without a worker: nothing is run there any more."""
    return AutomationCore(
        name=NO_WORKER,
        description="No worker serves a work pool of Watchkeeper any more.",
        trigger=EventTrigger(
            expect={"prefect.work-pool.not-ready"},
            match=ResourceSpecification({"prefect.resource.name": list(pools)}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="Watchkeeper: no worker in {{ work_pool.name }}",
                body=(
                    "No worker serves the work pool {{ work_pool.name }}: its scheduled flows do not run.\n"
                    + pages
                    + "/work-pools/work-pool/{{ work_pool.name }}"
                ),
            )
        ],
    )


def _document(client: SyncPrefectClient, block: str) -> "UUID":
    kind, _, name = block.partition("/")
    try:
        document = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound as error:
        raise BadInputError(
            f"notify: Prefect's server has no block {block}; `prefect block ls` lists those that it has"
        ) from error
    schema = document.block_schema
    if schema is None or "notify" not in schema.capabilities:
        raise BadInputError(f"notify: block {block} does not notify; wanted one such as slack-webhook/ops")
    return document.id


def _pools(client: SyncPrefectClient) -> tuple[str, ...]:
    """Return the names of the work pools that our deployments run in."""
    ours = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))
    return tuple(sorted({deployment.work_pool_name for deployment in ours if deployment.work_pool_name}))


def _put(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Make an automation, or change the one of the same name."""
    known = client.read_automations_by_name(automation.name)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)
