"""A flow that fails is told to people: from the automation at a real server to a receiver of our own."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow, tags
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client

from watchkeeper.errors import BadInputError, DataError
from watchkeeper.notify import FAILED, NO_WORKER, TAG, no_worker, tell_failures

pytestmark = pytest.mark.usefixtures("prefect_server")
ARRIVES_TIMEOUT_S = 120
"""From the run's last state over the server's event, trigger and action to the receiver: seconds when it is quiet."""


@pytest.fixture
def received() -> Iterator[list[str]]:
    """What came to the address of the block `custom-webhook/ops`."""
    bodies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    CustomWebhookNotificationBlock(
        name="ops",
        url=f"http://127.0.0.1:{server.server_port}/ops",
        json_data={"subject": "{{subject}}", "text": "{{body}}"},
    ).save("ops", overwrite=True)
    yield bodies
    server.shutdown()
    thread.join()
    server.server_close()


def automations() -> list[Any]:
    with get_client(sync_client=True) as client:
        return [one for one in client.read_automations() if one.name in (FAILED, NO_WORKER)]


def test_a_flow_that_fails_is_told_once_in_one_message(received: list[str]) -> None:
    """The message names flow, watch, error and run; other people's flows, and ours that end well, are not told."""
    tell_failures("custom-webhook/ops")
    line = f"the sky over {uuid4()} is grey"

    @flow(name="look-out")
    def look_out(watch: str, fails: bool) -> str:  # noqa: ARG001 - the message names it
        if fails:
            raise DataError(line)
        return "all quiet"

    look_out("plant", True, return_state=True)  # not tagged as ours
    with tags(TAG):
        look_out("quiet", False, return_state=True)
        state = look_out("plant", True, return_state=True)
    deadline = time.monotonic() + ARRIVES_TIMEOUT_S
    while not received and time.monotonic() < deadline:
        time.sleep(0.2)
    (message,) = (json.loads(body) for body in received)
    told = f"look-out of watch plant ended as Failed: Flow run encountered an exception: DataError: {line}"
    assert message["subject"] == "Watchkeeper: look-out of plant Failed"
    said, link = message["text"].split("\n")
    assert said == told
    assert link.endswith(f"/runs/flow-run/{state.state_details.flow_run_id}")


def test_asked_twice_it_is_told_once(received: list[str]) -> None:
    """The automation is changed, not doubled."""
    for _ in range(2):
        told = tell_failures("custom-webhook/ops")
    assert [one.name for one in automations()] == list(told.automations)
    assert not received


def test_a_block_that_is_not_there_or_cannot_notify_is_refused() -> None:
    """One line, and no automation that would never tell anybody."""
    Secret(value="x").save("silent", overwrite=True)
    before = automations()
    with pytest.raises(BadInputError, match="no block slack-webhook/nobody"):
        tell_failures("slack-webhook/nobody")
    with pytest.raises(BadInputError, match="block secret/silent does not notify"):
        tell_failures("secret/silent")
    assert automations() == before


def test_a_missing_worker_is_told_for_our_work_pools_only() -> None:
    """The trigger matches the pools that it was given, when the server finds them without a worker."""
    trigger = no_worker(uuid4(), "http://127.0.0.1:4200", ("default", "gpu")).trigger
    assert trigger.expect == {"prefect.work-pool.not-ready"}
    for name, ours in (("default", True), ("gpu", True), ("others", False)):
        assert (
            trigger.match.matches({"prefect.resource.id": "prefect.work-pool.1", "prefect.resource.name": name}) == ours
        )
