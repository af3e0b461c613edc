"""Alone: a flow runs once at a time for a watch; a second run ends at once and says since when the first is under way.

A limit on a deployment would not do: nightly, on-drift and manual retrains are three deployments, and the command line
is none. So the flow itself takes a lock in the home, which holds on one machine and needs no server, and, inside a
flow run, a lease at Prefect's server, which holds for every machine that asks the same server.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar, cast
from urllib.parse import quote

from filelock import FileLock, Timeout
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLeaseHolder, FlowRun, StateType
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Cancelled

from watchkeeper.errors import BusyError
from watchkeeper.settings import load_settings

P = ParamSpec("P")
R = TypeVar("R")

LEASE_S = 60
"""How long a server keeps the place of a run that was killed; the shortest that Prefect grants."""
LOCKED = 423
"""The HTTP status with which it answers when the place is taken."""
LONGEST = timedelta(days=1)
"""A run that began earlier and has not ended never will: its machine died before it could tell the server."""


def alone(function: Callable[P, R]) -> Callable[P, R]:
    """Let a flow's function run once at a time for its parameter `watch`.

    Inside a flow run, the run that came second ends as Cancelled with the reason; elsewhere BusyError says it.
    """
    what = function.__name__.replace("_", " ")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        watch = str(kwargs["watch"] if "watch" in kwargs else args[0])
        context = FlowRunContext.get()
        run = context.flow_run if context else None
        with ExitStack() as held:
            try:
                held.enter_context(_alone_at_home(load_settings().home, what, watch))
                if run:
                    held.enter_context(_alone_at_server(run, what, watch))
            except BusyError as error:
                if run is None:
                    raise
                return cast("R", Cancelled(message=str(error)))  # Prefect takes a state that a flow returns as it is
            return function(*args, **kwargs)

    return call


def _busy(what: str, watch: str, since: datetime | None) -> BusyError:
    begun = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return BusyError(f"a {what} of {watch} is under way{begun}; wait for it")


@contextmanager
def _alone_at_home(home: Path, what: str, watch: str) -> Iterator[None]:
    """Hold the lock of this home; the kernel lets go of it when the process ends, however it ends."""
    home.mkdir(parents=True, exist_ok=True)
    stem = f"{what}-{quote(watch, safe='')}"  # a name that came over the network stays a file's name
    since = home / f"{stem}.since"  # beside the lock: whoever tries for the lock empties its file
    try:
        with FileLock(home / f"{stem}.lock", timeout=0):
            since.write_text(datetime.now(UTC).isoformat())
            yield
    except Timeout as error:
        raise _busy(what, watch, _read_time(since)) from error


def _read_time(file: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(file.read_text())
    except (OSError, ValueError):  # the other one has not written it yet; it is only for the message
        return None


@contextmanager
def _alone_at_server(run: FlowRun, what: str, watch: str) -> Iterator[None]:
    """Hold the one place that the server has for such runs.

    A server that keeps leases in memory, as Prefect's does unless told otherwise, forgets them when it is started anew,
    and the place stays taken for ever. So a place that is taken while no such run is under way is freed and taken.
    """
    place = f"watchkeeper {what} {watch}"
    with get_client(sync_client=True) as client, ExitStack() as held:
        with suppress(ObjectAlreadyExists):  # two first runs at once: both find none, one makes it
            client.upsert_global_concurrency_limit_by_name(place, 1)
        if client.read_global_concurrency_limit_by_name(place).active_slots:
            if others := _under_way(client, run, watch):
                raise _busy(what, watch, max(others))  # an earlier one may be dead
            client.release_concurrency_slots([place], slots=1, occupancy_seconds=1)
        try:
            held.enter_context(
                concurrency(
                    place,
                    max_retries=0,
                    lease_duration=LEASE_S,
                    # Should the server not answer for a while, the work goes on: it is worth more than the place.
                    raise_on_lease_renewal_failure=False,
                    holder=ConcurrencyLeaseHolder(type="flow_run", id=run.id),
                )
            )
        except ConcurrencySlotAcquisitionError as error:
            if not _is_taken(error):
                raise
            raise _busy(what, watch, None) from error  # taken between the look and the try
        yield


def _is_taken(error: ConcurrencySlotAcquisitionError) -> bool:
    response = getattr(error.__cause__, "response", None)
    return getattr(response, "status_code", None) == LOCKED


def _under_way(client: SyncPrefectClient, run: FlowRun, watch: str) -> list[datetime]:
    """Return when the other runs of the same flow for the same watch began that have not ended."""
    found = client.read_flow_runs(
        flow_filter=FlowFilter(id=FlowFilterId(any_=[run.flow_id])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING]))
        ),
    )
    begun = [
        other.start_time or other.created or datetime.now(UTC)
        for other in found
        if other.id != run.id and other.parameters.get("watch") == watch
    ]
    return [time for time in begun if datetime.now(UTC) - time < LONGEST]
