"""The flow `rollback`: an earlier version becomes champion again."""

from prefect import flow

from tasks.measured import measured
from tasks.rollback import rollback as roll_back
from watchkeeper.parameters import WatchName
from watchkeeper.records import Decision
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="rollback")
@measured("rollback")
def rollback(watch: WatchName, to: int | None = None, why: str = "asked for") -> Decision:
    """Make an earlier version champion again.

    Args:
        watch: the name of a watch file.
        to: the version; None for the previous champion.
        why: for the audit record.
    """
    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    return roll_back(settings.lake_uri, settings.registry_uri, chosen, to, why)
