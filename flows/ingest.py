"""The flow `ingest`: new rows from the watch's source into the raw store."""

from prefect import flow

from tasks.ingest import ingest as ingest_rows
from tasks.measured import measured
from watchkeeper.parameters import Time, WatchName
from watchkeeper.records import Ingested
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="ingest", retries=0)
@measured("ingest")
def ingest(watch: WatchName, until: Time | None = None) -> Ingested:
    """Take in what the watch's source has beyond what is stored.

    Args:
        watch: the name of a watch file.
        until: rows from this time on are left for a later ingest.
    """
    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    return ingest_rows(settings.lake_uri, chosen, until)
