"""Artifacts: what a person finds in Prefect's pages. Inside flow runs only; without an engine nothing is made.

One key for each watch and kind, so that Prefect shows the latest one and the history behind it.
"""

import re
import time
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from httpx import HTTPError
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from tasks.logs import logger
from watchkeeper.lake import Lake, digest
from watchkeeper.progress import Listener
from watchkeeper.records import Decision, DriftCheck, Evaluation, Ingested, Probation, findings_line

METRICS = ("vus_pr", "auc_pr", "best_f1", "f1", "event_recall", "alarms_per_day")
REPLAY = "backtest"
"""The flow whose steps are those of others, played in the past."""
PAUSE_S = 2.0
"""At least this long before a step's progress artifact is made, and between two updates: each is a call to a server."""


def key_of(watch: str, kind: str) -> str:
    """Return an artifact's key: lowercase letters, digits and dashes, the same for the same watch and kind.

    A name that has other signs gets a few signs of its digest, so that `Pump_1` and `pump-1` are not mixed up.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", watch.lower()).strip("-")
    name = plain if plain == watch else f"{plain}-{digest(watch.encode())[:6]}".strip("-")
    return f"{name}-{re.sub('[^a-z0-9]+', '-', kind)}"


def publish(result: object, lake_uri: str | None) -> None:
    """Show a step's result, where it is one that people look for: a decision, an evaluation, a drift check, an ingest.

    Args:
        result: what a step returned.
        lake_uri: the lake that the step worked on; None for a step that knows none.
    """
    watch = _watch()
    if watch is None:
        return
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    try:
        if isinstance(result, Decision):
            create_markdown_artifact(decision_page(result), key_of(watch, "decision"), str(result))
        elif isinstance(result, Probation) and result.state not in ("none", "running"):
            create_markdown_artifact(page_of(str(result), result.reasons), key_of(watch, "decision"), str(result))
        elif isinstance(result, Evaluation):
            about = f"{result}. Held-out rows {result.start:%Y-%m-%d %H:%M} to {result.end:%Y-%m-%d %H:%M} UTC."
            create_table_artifact(evaluation_table(result), key_of(watch, "evaluation"), about)
        elif isinstance(result, Ingested) and result.report and lake_uri:
            table = quality_table(Lake(lake_uri), result)
            about = f"{result}. Quality: {findings_line(result.findings)}. Report: [{result.report}]({result.report})"
            create_table_artifact(table, key_of(watch, "quality"), about)
        elif isinstance(result, DriftCheck) and lake_uri:
            table = drift_table(read_verdict(Lake(lake_uri), result))
            about = f"{result}. Report: [{result.report}]({result.report})"
            create_table_artifact(table, key_of(watch, "drift"), about)
    except (PrefectException, HTTPError) as error:
        logger().warning("no artifact of %s: %s", type(result).__name__, error)  # the result stands without its picture


def decision_page(decision: Decision) -> str:
    """Write a decision as Markdown: the verdict, its reasons, and what it rests on."""
    about = [f"By {decision.who}, {decision.when:%Y-%m-%d %H:%M:%S} UTC."]
    if decision.previous is not None:
        about.append(f"The champion until then was version {decision.previous}.")
    told = {**decision.evidence, "audit record": decision.key}
    about += ["", *(f"- {name}: `{value}`" for name, value in told.items() if value)]
    return "\n".join([page_of(str(decision), decision.reasons), "", *about])


def page_of(verdict: str, reasons: Sequence[str]) -> str:
    """Write a verdict and its reasons as Markdown."""
    return "\n".join([f"# {verdict[0].upper()}{verdict[1:]}", "", *(f"- {reason}" for reason in reasons)])


def evaluation_table(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the scorers' figures: a row for each scorer and series, and the means first."""
    scorers = list(dict.fromkeys(row.row for row in evaluation.rows))
    means = [
        {"series": "mean", "scorer": name} | {metric: _round(evaluation.mean(name, metric)) for metric in METRICS}
        for name in scorers
    ]
    each = [
        {"series": row.series, "scorer": row.row} | {metric: _round(getattr(row, metric)) for metric in METRICS}
        for row in evaluation.rows
    ]
    return means + each


def drift_table(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the channels' distances: a row for each series and channel, in the verdict's order."""
    return [
        {
            "series": series,
            "channel": column["column"],
            "drifted": "yes" if column["drifted"] else "no",
            "moved (σ)": _round(column["moved"]),
            "limit (σ)": _round(column["limit"]),
            "spread (×)": _round(column["spread"]),
            "spread limit (×)": _round(column["spread_limit"]),
            "reason": column["reason"],
        }
        for series, found in verdict.items()
        for column in found["columns"]
    ]


def quality_table(lake: Lake, ingested: Ingested) -> list[dict[str, Any]]:
    """Return what somebody should look at in the rows that an ingest took in: a row for each finding."""
    key = ingested.report.removeprefix(f"{lake.uri}/").removesuffix(".html")
    names = ("series", "channel", "kind", "text")
    return [{name: one[name] for name in names} for one in lake.get_json(f"{key}.json")["report"]["findings"]]


def read_verdict(lake: Lake, check: DriftCheck) -> dict[str, Any]:
    """Return what a drift check found, by series."""
    return dict(lake.get_json(check.verdict.removeprefix(f"{lake.uri}/"))["series"])


class Progress:
    """Shows a step's progress as an artifact of its run, and passes on what it hears.

    Short steps, and steps that say nothing of their progress, make none.
    """

    def __init__(self, outer: Listener | None, watch: str) -> None:
        self._outer, self._watch = outer, watch
        self._artifact: UUID | None = None
        self._told_at = time.monotonic()
        self._broken = False

    def started(self, step: str) -> None:
        """Pass it on."""
        self._told_at = time.monotonic()
        if self._outer:
            self._outer.started(step)

    def advanced(self, step: str, share: float, words: str) -> None:
        """Update the artifact, unless that was done a moment ago."""
        if self._outer:
            self._outer.advanced(step, share, words)
        if time.monotonic() - self._told_at >= PAUSE_S:
            self._tell(step, share, words)

    def finished(self, step: str, seconds: float, line: str) -> None:
        """Fill the bar."""
        if self._artifact:
            self._tell(step, 1.0, line)
        if self._outer:
            self._outer.finished(step, seconds, line)

    def failed(self, step: str) -> None:
        """Leave the bar where it was: it says how far the step came."""
        if self._outer:
            self._outer.failed(step)

    def _tell(self, step: str, share: float, words: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._broken:
            return
        percent, about = round(100 * min(max(share, 0.0), 1.0), 1), f"{step}: {words}" if words else step
        try:
            if self._artifact:
                update_progress_artifact(self._artifact, percent, about)
            else:
                key = key_of(self._watch, f"{step} progress")
                self._artifact = cast(
                    UUID, create_progress_artifact(percent, key, about)
                )  # not awaited: steps are sync
        except (PrefectException, HTTPError) as error:
            self._broken = True
            logger().warning("no progress of %s: %s", step, error)
        self._told_at = time.monotonic()


def progress_listener(outer: Listener | None) -> Listener | None:
    """Return who is to hear of a step: inside a run of a watch its progress artifact too."""
    watch = _watch()
    return outer if watch is None else Progress(outer, watch)


def _watch() -> str | None:
    """Return the watch of the flow run under way, or None."""
    run = FlowRunContext.get()
    watch = run.parameters.get("watch") if run and run.parameters else None
    # What a backtest replays must not stand where people look for what is so.
    return f"{watch}-{REPLAY}" if watch and run and run.flow and run.flow.name == REPLAY else watch


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
