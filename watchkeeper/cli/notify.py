"""`watchkeeper notify`: people hear of failed flows."""

import os
from typing import Annotated

import typer

from watchkeeper.errors import BadInputError
from watchkeeper.settings import load_settings


def notify(
    block: Annotated[
        str | None, typer.Option(help="Prefect notification block, as slack-webhook/ops; default the setting `notify`.")
    ] = None,
) -> None:
    """Let Prefect's server tell people, through one of its blocks, when a flow fails or no worker is there."""
    if block is not None:
        os.environ["WATCHKEEPER_NOTIFY"] = block
    wanted = load_settings().notify
    if not wanted:
        raise BadInputError("notify: no block is named; wanted --block slack-webhook/ops, or WATCHKEEPER_NOTIFY")
    if not os.environ.get("PREFECT_API_URL"):
        raise BadInputError(
            "notify: PREFECT_API_URL is not set; wanted the API of a Prefect server that is kept running"
        )
    from watchkeeper.cli.show import console
    from watchkeeper.notify import tell_failures

    told = tell_failures(wanted)
    for name in told.automations:
        console.print(f"{name}: told through {wanted}", markup=False)
    if not told.pools:
        console.print("no deployments yet: run `prefect deploy --all`, then this again, to hear of missing workers")
