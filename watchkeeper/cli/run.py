"""Running flows from the command line: through Prefect's engine where an API is there, else as plain calls."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from watchkeeper.cli.show import Reports, Steps
from watchkeeper.errors import BusyError, SettingsError
from watchkeeper.progress import listening
from watchkeeper.settings import Settings, load_settings
from watchkeeper.stack.state import find_running
from watchkeeper.watch import load_watch

if TYPE_CHECKING:
    from tasks.collect import Collected
    from watchkeeper.lake import Lake
    from watchkeeper.records import Backtested, Decision, DriftCheck, Ingested, Retrained, Scored
    from watchkeeper.registry import Registry, VersionLine

R = TypeVar("R")

PREFECT_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a server on a fresh database takes 20 to 30 s
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # errors are said once, in one line, by the command line
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def _prepare(watch: str) -> Settings:
    """Load the settings, check that there is such a watch, and set what Prefect reads when it is imported."""
    loaded = load_settings()
    load_watch(watch, loaded.watches)
    for name, value in PREFECT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not use_server(loaded):
        home = Path(os.environ.setdefault("PREFECT_HOME", str((loaded.home / "prefect").absolute())))
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"home: cannot create {home}: {error.strerror}; name another with --home") from error
    return loaded


def use_server(settings: Settings) -> bool:
    """Let Prefect use the server that the environment names, or this home's stack where that is up.

    Returns:
        Whether there is one.
    """
    if not os.environ.get("PREFECT_API_URL") and (stack := find_running(settings.home)):
        os.environ["PREFECT_API_URL"] = stack.api
    return bool(os.environ.get("PREFECT_API_URL"))


def _call(settings: Settings, flow: Callable[..., R], **parameters: Any) -> R:
    function: Callable[..., R] = flow if settings.runs_through_prefect else flow.fn  # type: ignore[attr-defined] # of Flow
    from prefect.exceptions import CancelledRun

    with Steps() as steps, listening(steps):
        try:
            return function(**parameters)
        except CancelledRun as error:  # so Prefect tells what tasks/alone.py says
            raise BusyError(str(error)) from error


def is_embedded() -> bool:
    """Tell whether nobody else listens for events: no Prefect API with automations is configured."""
    return not os.environ.get("PREFECT_API_URL")


def ingest(watch: str, until: datetime | None = None) -> "Ingested":
    """Run the flow `ingest`."""
    settings = _prepare(watch)
    from flows.ingest import ingest as flow

    return _call(settings, flow, watch=watch, until=until)


def retrain(
    watch: str, reason: str = "asked for", report: str | None = None, until: datetime | None = None
) -> "Retrained":
    """Run the flow `retrain`, one at a time for a watch: two would train on the same snapshot.

    Raises:
        BusyError: another one is under way.
    """
    settings = _prepare(watch)
    from flows.retrain import retrain as flow

    return _call(settings, flow, watch=watch, reason=reason, report=report, until=until)


def score(watch: str) -> "Scored":
    """Run the flow `score`."""
    settings = _prepare(watch)
    from flows.score import score as flow

    return _call(settings, flow, watch=watch)


def check_drift(watch: str) -> "DriftCheck":
    """Run the flow `check_drift`."""
    settings = _prepare(watch)
    from flows.check_drift import check_drift as flow

    return _call(settings, flow, watch=watch)


def rollback(watch: str, to: int | None, why: str) -> "Decision":
    """Run the flow `rollback`."""
    settings = _prepare(watch)
    from flows.rollback import rollback as flow

    return _call(settings, flow, watch=watch, to=to, why=why)


def collect(watch: str, keep: int | None, older_than_hours: float | None, dry_run: bool) -> "Collected":
    """Run the flow `collect`."""
    settings = _prepare(watch)
    from flows.collect import collect as flow

    return _call(settings, flow, watch=watch, keep=keep, older_than_hours=older_than_hours, dry_run=dry_run)


def backtest(watch: str, start: datetime | None, until: datetime | None, every_hours: float) -> "Backtested":
    """Run the flow `backtest`."""
    settings = _prepare(watch)
    from flows.backtest import backtest as flow

    return _call(settings, flow, watch=watch, start=start, until=until, every_hours=every_hours)


def versions(watch: str) -> "list[VersionLine]":
    """Read the watch's versions."""
    _, registry = _stores(watch)
    return registry.versions(watch)


def report(watch: str) -> "Reports":
    """Read the latest of each report: of an ingest, an evaluation and the rows that it rests on, a drift check."""
    from tasks.check_drift import read_checks
    from tasks.evaluate import latest_evaluation
    from tasks.quality_run import latest_report
    from tasks.splits import read_metadata
    from watchkeeper.promotion import read_audit

    lake, _ = _stores(watch)
    checks = read_checks(lake, watch)
    audit = read_audit(lake, watch)
    found = latest_evaluation(lake, audit)
    return Reports(
        quality=latest_report(lake, watch),
        evaluation=found,
        metadata=read_metadata(lake, found) if found else None,
        check=checks[-1] if checks else None,
        audit=audit,
    )


def lake_of(watch: str) -> "Lake":
    """Open the lake of a watch that there is."""
    settings = _prepare(watch)
    from watchkeeper.lake import Lake

    return Lake(settings.lake_uri)


def _stores(watch: str) -> "tuple[Lake, Registry]":
    settings = _prepare(watch)
    from watchkeeper.lake import Lake
    from watchkeeper.registry import Registry

    lake = Lake(settings.lake_uri)
    return lake, Registry(settings.registry_uri)
