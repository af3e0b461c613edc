"""The flow `check_drift`: the Evidently report, the verdict, and the event that asks for a retrain."""

from prefect import flow

from tasks.check_drift import check_drift as compare_days
from tasks.measured import measured
from watchkeeper.parameters import WatchName
from watchkeeper.records import DriftCheck
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="check-drift")
@measured("check-drift")
def check_drift(watch: WatchName) -> DriftCheck:
    """Compare the latest days with the champion's reference.

    Args:
        watch: the name of a watch file.
    """
    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    return compare_days(settings.lake_uri, settings.registry_uri, chosen)
