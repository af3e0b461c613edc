"""The flow `score`: the champion over new rows, alarms out."""

from prefect import flow

from tasks.measured import measured
from tasks.probation import probation
from tasks.score import score as score_rows
from watchkeeper.parameters import WatchName
from watchkeeper.records import Scored
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="score")
@measured("score")
def score(watch: WatchName) -> Scored:
    """Score the rows that the champion has not scored yet, and look after a champion that is new.

    Args:
        watch: the name of a watch file.
    """
    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    scored = score_rows(settings.lake_uri, settings.registry_uri, chosen)
    probation(settings.lake_uri, settings.registry_uri, chosen)
    return scored
