"""The flow `score`: the champion over new rows, alarms out."""

from prefect import flow

from tasks.score import score as score_rows
from watchkeeper.records import Scored
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="score")
def score(watch: str) -> Scored:
    """Score the rows that the champion has not scored yet.

    Args:
        watch: the name of a watch file.
    """
    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    return score_rows(settings.lake_uri, settings.registry_uri, chosen)
