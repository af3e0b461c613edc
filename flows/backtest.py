"""The flow `backtest`: a watch's whole life replayed over its history, with a report at the end."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.alone import alone
from tasks.ask import ask
from tasks.backtest import close_night, live_day, open_stage, played
from tasks.backtest_report import conclude
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
from watchkeeper.records import Backtested
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch


@flow(name="backtest")
@measured("backtest")
@alone
def backtest(
    watch: WatchName,
    start: Time | None = None,
    until: Time | None = None,
    every_hours: Annotated[float, Field(gt=0)] = 24.0,
) -> Backtested:
    """Replay every night from `start` on: ingest, score, drift check, retrain, gate, labels from known truth.

    Nothing of the watch is changed, no event is sent, and only the report stays. Started again after a kill, it goes on
    with the first night that it lacks.

    Args:
        watch: the name of a watch file.
        start: the first night, whose version is the first; default when half of the history is there.
        until: rows from this time on are not played; default all that the source has.
        every_hours: between two nights.
    """
    settings = load_settings()
    chosen = load_watch(watch, settings.watches, settings.data)
    stage = open_stage(str(settings.home), chosen, start, until, every_hours)
    lake, registry, player = stage.lake, stage.registry, played(chosen)
    for night in stage.nights[stage.done :]:
        ingested = ingest(lake, player, night)
        day = live_day(stage, player, night)
        prepared = prepare(lake, player, ingested.snapshot)
        base = train_vae(lake, player, prepared, settings.device, settings.threads)
        replay = warm_up(lake, player, prepared, base)
        candidate = train_agent(lake, player, prepared, base, replay, settings.device, settings.threads)
        evaluation = evaluate(lake, registry, player, prepared, candidate)
        version = register(lake, registry, player, prepared, candidate, evaluation)
        promote(lake, registry, player, version, evaluation, "backtest", None)
        asked = ask(lake, player, prepared, candidate)
        close_night(stage, player, night, ingested, day, version, asked)
    return conclude(settings.lake_uri, stage, player, watch)
