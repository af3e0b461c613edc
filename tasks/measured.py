"""Measured: a flow's figures for Prometheus, from what it returns. A flow that fails is measured too."""

import functools
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from cronsim import CronSim, CronSimError

from tasks.artifacts import read_verdict
from tasks.logs import logger
from watchkeeper.errors import BadInputError, WatchkeeperError
from watchkeeper.lake import Lake
from watchkeeper.metrics import Figure, record
from watchkeeper.questions import open_questions
from watchkeeper.records import Decision, DriftCheck, Ingested, Record, Retrained, Scored
from watchkeeper.settings import load_settings
from watchkeeper.watch import Watch, load_watch

P = ParamSpec("P")
R = TypeVar("R")
SUCCESS, FAILURE, CANCELLED = OUTCOMES = ("success", "failure", "cancelled")
FIRINGS = 400
"""Scheduled runs that are looked at for the longest pause: more than a year of days."""


def measured(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Measure a flow, whoever calls it: Prefect, or the command line without an engine.

    Stands below `@flow`. The flow's first parameter is the name of the watch.

    Args:
        name: the flow's.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            began, done = time.perf_counter(), None
            try:
                done = function(*args, **kwargs)
                return done
            finally:
                _record(name, str(kwargs.get("watch") or args[0]), done, time.perf_counter() - began)

        return call

    return wrap


def _record(flow: str, name: str, done: object, seconds: float) -> None:
    """Keep the figures of a run. What goes wrong here is a warning: the flow has ended as it has ended."""
    try:
        settings = load_settings()
        if not settings.metrics:
            return
        watch = load_watch(name, settings.watches, settings.data)
        # What ends otherwise than with a record was cancelled: the same flow was under way (tasks/alone.py).
        outcome = SUCCESS if isinstance(done, Record) else FAILURE if done is None else CANCELLED
        run = of_run(flow, watch, outcome, seconds, datetime.now(UTC))
        record(settings.metrics, watch.name, flow, [*run, *of_result(Lake(settings.lake_uri), watch, done)])
    except WatchkeeperError as error:
        if not isinstance(error, BadInputError) or done is not None:  # else it is what the flow itself failed with
            logger().warning("no metrics of %s of watch %s: %s", flow, name, error)


def of_run(flow: str, watch: Watch, outcome: str, seconds: float, now: datetime) -> list[Figure]:
    """Return the figures that every flow has."""
    # All outcomes, for Prometheus sees no increase in a counter that begins at one.
    figures = [Figure("watchkeeper_flow_runs", one == outcome, one) for one in OUTCOMES]
    figures.append(Figure("watchkeeper_flow_duration_seconds", seconds))
    if outcome == SUCCESS:
        figures.append(Figure("watchkeeper_last_success_timestamp_seconds", now.timestamp()))
    cron = getattr(watch.schedule, flow.replace("-", "_"), None)
    if cron and (pause := longest_pause_s(cron, now)):
        figures.append(Figure("watchkeeper_schedule_seconds", pause))
    return figures


def longest_pause_s(cron: str, now: datetime) -> float | None:
    """Return the longest time in seconds between two of the next firings; None for what is no cron expression."""
    try:
        firings = list(itertools.islice(CronSim(cron, now), FIRINGS))
    except CronSimError:
        return None
    return max(((after - before).total_seconds() for before, after in itertools.pairwise(firings)), default=None)


def of_result(lake: Lake, watch: Watch, done: Any) -> list[Figure]:
    """Return the figures of what a flow returned; none of what it did not."""
    if isinstance(done, Ingested):
        return [*_ingested(done), _queue(lake, watch)]
    if isinstance(done, Retrained):
        champion = done.decision.previous if done.decision.action == "refused" else done.decision.version
        return [*_ingested(done.ingested), _queue(lake, watch), *_decided(done.decision, champion)]
    if isinstance(done, Scored):
        return [
            Figure("watchkeeper_rows_scored", done.rows),
            Figure("watchkeeper_days_scored", done.days),
            Figure("watchkeeper_alarms", done.alarms),
            Figure("watchkeeper_alarm_budget_per_day", watch.alarms.budget_per_day),
            Figure("watchkeeper_champion_version", done.version),
        ]
    if isinstance(done, DriftCheck):
        shares = [series["share"] for series in read_verdict(lake, done).values()]
        return [
            Figure("watchkeeper_drift_share", max(shares, default=0.0)),
            Figure("watchkeeper_drift_detected", done.exceeds),
            Figure("watchkeeper_retrains_asked", done.started),
            Figure("watchkeeper_champion_version", done.version),
        ]
    return _decided(done, done.version) if isinstance(done, Decision) else []


def _ingested(done: Ingested) -> list[Figure]:
    bad = [Figure("watchkeeper_rows_quarantined", count, reason) for reason, count in done.quarantined.items()]
    return [
        Figure("watchkeeper_rows_ingested", done.new_rows),
        Figure("watchkeeper_files_refused", len(done.refused)),
        *bad,
        *(Figure("watchkeeper_quality_findings", count, kind) for kind, count in done.findings.items()),
    ]


def _decided(decision: Decision, champion: int | None) -> list[Figure]:
    figures = [Figure("watchkeeper_gate_decisions", 1, decision.action)]
    return figures if champion is None else [*figures, Figure("watchkeeper_champion_version", champion)]


def _queue(lake: Lake, watch: Watch) -> Figure:
    return Figure("watchkeeper_label_queue_length", len(open_questions(lake, watch.name)))
