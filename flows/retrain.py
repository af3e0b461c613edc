"""The flow `retrain`: the whole chain, ending in a promotion decision."""

from prefect import flow

from tasks.alone import alone
from tasks.ask import ask
from tasks.evaluate import evaluate
from tasks.ingest import ingest
from tasks.measured import measured
from tasks.prepare import prepare
from tasks.promote import promote
from tasks.register import register
from tasks.train_agent import train_agent
from tasks.train_vae import train_vae
from tasks.warm_up import warm_up
from watchkeeper.parameters import Time, WatchName
from watchkeeper.records import Retrained
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="retrain")
@measured("retrain")
@alone
def retrain(
    watch: WatchName, reason: str = "asked for", report: str | None = None, until: Time | None = None
) -> Retrained:
    """Ingest, train a candidate, judge it beside the champion, and promote or refuse it.

    Started again after a kill, it does only what is missing and ends in the same version.

    Args:
        watch: the name of a watch file.
        reason: why, for the audit record.
        report: the drift report that asked for it, for the audit record.
        until: rows from this time on are left for a later ingest.
    """
    settings = load_settings()
    lake, registry = settings.lake_uri, settings.registry_uri
    chosen = load_watch(watch, settings.watches, settings.data)
    ingested = ingest(lake, chosen, until)
    prepared = prepare(lake, chosen, ingested.snapshot)
    base = train_vae(lake, chosen, prepared, settings.device, settings.threads)
    replay = warm_up(lake, chosen, prepared, base)
    candidate = train_agent(lake, chosen, prepared, base, replay, settings.device, settings.threads)
    evaluation = evaluate(lake, registry, chosen, prepared, candidate)
    version = register(lake, registry, chosen, prepared, candidate, evaluation)
    decision = promote(lake, registry, chosen, version, evaluation, reason, report)
    ask(lake, chosen, prepared, candidate)
    return Retrained(ingested=ingested, prepared=prepared, evaluation=evaluation, version=version, decision=decision)
