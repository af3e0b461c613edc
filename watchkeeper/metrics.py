"""Figures for Prometheus. Flows are short-lived, so nobody can scrape them: each run adds to what the last one left.

What is left lies where the setting `metrics` says: `file:///folder` for the node exporter's textfile collector, one
file for each watch and flow, or `http://host:9091` for a Pushgateway, one group each. Counters go on from what lies
there, so they count over runs; where it was lost they begin again, which Prometheus reads as a reset.

Every figure carries the labels `watch` and `flow`: the same figure from two flows would be refused as a duplicate.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, push_to_gateway, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from watchkeeper.errors import WatchkeeperError

PUSH_TIMEOUT_S = 5.0
JOB = "watchkeeper"
COMMON = ("watch", "flow")


@dataclass(frozen=True)
class Kind:
    """What a figure is: a counter is added to, a gauge is set."""

    type: Literal["counter", "gauge"]
    help: str
    label: str | None = None
    """The label that it has besides `watch` and `flow`."""


KINDS = {
    "watchkeeper_flow_runs": Kind("counter", "Runs of the flow that ended.", "outcome"),
    "watchkeeper_last_success_timestamp_seconds": Kind("gauge", "When the flow last succeeded."),
    "watchkeeper_flow_duration_seconds": Kind("gauge", "How long the flow's last run took."),
    "watchkeeper_schedule_seconds": Kind("gauge", "Longest time between two scheduled runs of the flow."),
    "watchkeeper_rows_ingested": Kind("counter", "Rows taken in."),
    "watchkeeper_rows_quarantined": Kind("counter", "Rows left out by validation.", "reason"),
    "watchkeeper_files_refused": Kind("counter", "Source files that could not be used."),
    "watchkeeper_quality_findings": Kind("counter", "What the reports on new rows found.", "kind"),
    "watchkeeper_rows_scored": Kind("counter", "Rows scored."),
    "watchkeeper_days_scored": Kind("counter", "Days of readings scored, summed over series."),
    "watchkeeper_alarms": Kind("counter", "Alarms raised."),
    "watchkeeper_alarm_budget_per_day": Kind("gauge", "Alarms a day and series that people are willing to look at."),
    "watchkeeper_champion_version": Kind("gauge", "The version that was champion when the flow ended."),
    "watchkeeper_drift_share": Kind("gauge", "Largest share of drifted channels of a series in the last check."),
    "watchkeeper_drift_detected": Kind("gauge", "Whether the last check found drift: 1 or 0."),
    "watchkeeper_retrains_asked": Kind("counter", "Drift checks that asked for a retrain."),
    "watchkeeper_gate_decisions": Kind("counter", "Decisions about versions.", "action"),
    "watchkeeper_label_queue_length": Kind("gauge", "Questions that wait for people."),
}
"""Every figure. In Prometheus the names of counters end in `_total`."""


@dataclass(frozen=True)
class Figure:
    """One figure of a run. `label` is the value of its kind's own label."""

    name: str
    value: float
    label: str = ""


Values = dict[tuple[str, str], float]
"""By name and value of the own label."""


class MetricsError(WatchkeeperError):
    """Figures could not be kept. It never fails a flow (tasks/measured.py)."""


class Exposition(Collector):
    """The figures of one watch and flow, as Prometheus reads them."""

    def __init__(self, watch: str, flow: str, values: Values) -> None:
        self._common, self._values = (watch, flow), values

    def collect(self) -> Iterator[Metric]:
        """Give each metric family with its samples."""
        for name, kind in KINDS.items():
            labels = [*COMMON, *([kind.label] if kind.label else [])]
            of_kind = CounterMetricFamily if kind.type == "counter" else GaugeMetricFamily
            family = of_kind(name, kind.help, labels=labels)
            for (known, label), value in sorted(self._values.items()):
                if known == name:
                    family.add_metric([*self._common, *([label] if kind.label else [])], value)
            if family.samples:
                yield family


def record(target: str, watch: str, flow: str, figures: Iterable[Figure]) -> None:
    """Add the figures of a run to what the last one left.

    Args:
        target: `file:///folder` or a Pushgateway's `http://…`.
        watch: the watch's name.
        flow: the flow's name.
        figures: of this run.

    Raises:
        MetricsError: what was left cannot be read, or the figures cannot be written.
    """
    parts = urlsplit(target)
    if parts.scheme == "file":
        path = Path(unquote(parts.path)) / f"watchkeeper_{watch}_{flow}.prom"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            write_to_textfile(str(path), _registry(watch, flow, add(read(before, watch, flow), figures)))
        except (OSError, ValueError) as error:
            raise MetricsError(f"{path}: {error}") from error
        return
    place = f"{parts.scheme}://{parts.hostname}:{parts.port or ''}".rstrip(":")  # without what may be a password
    try:
        request = urllib.request.Request(f"{target.rstrip('/')}/metrics")  # noqa: S310 - http or https: settings.py
        with urllib.request.urlopen(request, timeout=PUSH_TIMEOUT_S) as answer:  # noqa: S310 - the same
            before = answer.read().decode("utf-8")
        registry = _registry(watch, flow, add(read(before, watch, flow), figures))
        push_to_gateway(target, JOB, registry, {"watch": watch, "flow": flow}, PUSH_TIMEOUT_S)
    except urllib.error.URLError as error:
        raise MetricsError(f"{place} does not take them: {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MetricsError(f"{place} does not take them: {error or type(error).__name__}") from error


def read(text: str, watch: str, flow: str) -> Values:
    """Read the figures of a watch and flow from an exposition; what this release does not know is left out.

    Raises:
        ValueError: the text is no exposition.
    """
    values: Values = {}
    for family in text_string_to_metric_families(text):
        kind = KINDS.get(family.name)
        for sample in family.samples if kind else ():
            if (sample.labels.get("watch"), sample.labels.get("flow")) == (watch, flow):
                values[family.name, sample.labels.get(kind.label or "", "") if kind else ""] = sample.value
    return values


def add(before: Values, figures: Iterable[Figure]) -> Values:
    """Add counters and set gauges."""
    values = dict(before)
    for figure in figures:
        at = figure.name, figure.label
        values[at] = figure.value + (values.get(at, 0.0) if KINDS[figure.name].type == "counter" else 0.0)
    return values


def _registry(watch: str, flow: str, values: Values) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Exposition(watch, flow, values))
    return registry
