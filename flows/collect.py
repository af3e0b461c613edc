"""The flow `collect`: what nothing needs any more goes, as `watchkeeper gc` has it."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.alone import alone
from tasks.collect import Collected
from tasks.collect import collect as clear
from tasks.measured import measured
from watchkeeper.parameters import WatchName
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="collect")
@measured("collect")
@alone
def collect(
    watch: WatchName,
    keep: Annotated[int, Field(ge=1)] | None = None,
    older_than_hours: Annotated[float, Field(ge=0)] | None = None,
    dry_run: bool = False,
) -> Collected:
    """Clear what no version needs, what killed runs left, and what the watch's rule does not keep.

    Args:
        watch: the name of a watch file.
        keep: how many of the newest versions stay; default what the watch file says.
        older_than_hours: nothing younger goes; default what the watch file says.
        dry_run: delete nothing, and tell what would go.
    """
    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    return clear(settings.lake_uri, settings.registry_uri, chosen, keep, older_than_hours, dry_run)
