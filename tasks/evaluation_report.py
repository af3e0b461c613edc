"""The page of a promotion decision: the verdict first, then the reasons, the tables, and the events that tell.

One HTML file that loads nothing, and the same as JSON beside it. Everything that came from outside is escaped.
"""

import html
from collections.abc import Sequence
from datetime import UTC

from tasks.evaluation_plot import draw
from tasks.gate import forgotten
from tasks.held_out import CHAMPION, COMBINATION, RANDOM, TRIVIAL
from tasks.html_page import document
from tasks.splits import LABELS, Metadata, read_metadata
from tasks.traces import PAST, Trace, read_traces
from watchkeeper.clock import to_datetime
from watchkeeper.lake import Lake
from watchkeeper.records import Decision, Evaluation, IncidentResult

METRICS = {
    "vus_pr": ("VUS-PR", "volume under the precision-recall surface, window 100: what the gate goes by"),
    "auc_pr": ("AUC-PR", "average precision over all thresholds"),
    "precision": ("precision", "share of the alarmed samples that are anomalous, at the deployed threshold"),
    "recall": ("recall", "share of the anomalous samples that are alarmed, at the deployed threshold"),
    "f1": ("F1", "of the two"),
    "best_f1": ("best F1", "over all thresholds: it looks at the labels, so it is an upper bound"),
    "event_recall": ("event recall", "share of the events with an alarm inside"),
    "delay_s": ("delay, min", "from the start of an event to its first alarm, mean over the events found"),
    "alarms_per_day": ("alarms/day", "a series"),
    "affiliation_f1": ("affiliation F1", "how near alarms and events are; noise scores well above 0.5"),
}
ADJUSTED = "point-adjusted F1"
"""Shown for two rows alone: noise scores high in it, so it is nothing to go by."""
VERDICTS = {"promoted": "takes over", "refused": "refused"}


def write_report(lake: Lake, decision: Decision, evaluation: Evaluation) -> str:
    """Write a decision's page and its JSON under `reports/<watch>/<date>/`, and return the page's URI."""
    stamp = decision.when.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    stem = f"reports/{decision.watch}/{evaluation.end:%Y-%m-%d}/evaluation-{stamp}-v{decision.version}"
    whole = {"decision": decision.model_dump(mode="json"), "evaluation": evaluation.model_dump(mode="json")}
    lake.put_json(f"{stem}.json", whole)
    traces = read_traces(lake, f"{evaluation.key}-traces")
    lake.put(f"{stem}.html", page(decision, evaluation, traces, read_metadata(lake, evaluation)).encode())
    return lake.uri_of(f"{stem}.html")


def page(decision: Decision, evaluation: Evaluation, traces: Sequence[Trace], metadata: Metadata | None = None) -> str:
    """Write the page.

    Args:
        decision: what the gate said.
        evaluation: what it rests on.
        traces: events to draw, the most telling first.
        metadata: which rows went where; None once they are cleared away.
    """
    against = f"version {evaluation.against}" if evaluation.against else "no champion"
    verdict = VERDICTS.get(decision.action, decision.action)
    title = html.escape(f"Version {decision.version} of watch {decision.watch}: {verdict}")
    told = "".join(f"<li>{html.escape(reason)}</li>" for reason in decision.reasons)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in evaluation.notes)
    asked = decision.evidence.get("retrain")
    facts = [
        f"decided {decision.when:%Y-%m-%d %H:%M:%S} UTC by {decision.who}" + (f" (retrain: {asked})" if asked else ""),
        f"held-out rows {evaluation.start:%Y-%m-%d %H:%M} to {evaluation.end:%Y-%m-%d %H:%M} UTC, "
        f"which the candidate was not trained on; truth: {evaluation.truth}; compared with {against}",
        f"evaluation {evaluation.key}",
    ]
    said = "".join(f"<p class='dim'>{html.escape(fact)}</p>" for fact in facts)
    parts = [
        f'<h1 class="{html.escape(decision.action)}">{title}</h1><ul>{told}</ul>',
        f"<p>Worth knowing:</p><ul>{notes}</ul>" if notes else "",
        said,
        _held_out(evaluation),
        _parts(metadata) if metadata else "",
        _incidents(evaluation),
        _pictures(traces),
        legend(),
    ]
    return document(title, parts)


def _held_out(evaluation: Evaluation) -> str:
    """Return the tables: the mean over the series first, the series folded away below."""
    names = list(dict.fromkeys(row.row for row in evaluation.rows))
    mean = [(name, {metric: evaluation.mean(name, metric) for metric in METRICS}) for name in _order(names)]
    adjusted = [
        f"{name} {_figure(evaluation.mean(row, 'point_adjusted_f1'))}"
        for name, row in (("candidate", COMBINATION), ("random row", RANDOM))
    ]
    out = f"<h2>Held-out rows</h2>{figures_table(mean)}<p class='dim'>{ADJUSTED}: {', '.join(adjusted)}</p>"
    for series in dict.fromkeys(row.series for row in evaluation.rows):
        own = {row.row: row for row in evaluation.rows if row.series == series}
        rows = [(name, {metric: getattr(own[name], metric) for metric in METRICS}) for name in _order(list(own))]
        out += f"<details><summary>{html.escape(series)}</summary>{figures_table(rows)}</details>"
    return out


def _parts(metadata: Metadata) -> str:
    """Return the table of which rows of which series went where, folded away."""
    body = ""
    for series, one in metadata.series.items():
        for part in one.parts:
            words = [series, part.part.replace("_", " "), f"{part.start:%Y-%m-%d %H:%M}", f"{part.end:%Y-%m-%d %H:%M}"]
            figures = [f"{part.rows:,}", *(f"{part.labels[word]:,}" for word in LABELS)]
            cells = "".join(f"<td>{html.escape(word)}</td>" for word in words)
            cells += "".join(f'<td class="n">{figure}</td>' for figure in figures)
            body += f"<tr>{cells}</tr>"
    head = "".join(f"<th>{word}</th>" for word in ("series", "part", "first row (UTC)", "last row"))
    head += "".join(f'<th class="n">{word}</th>' for word in ("rows", *LABELS))
    table = f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
    return f"<details><summary>Which rows were trained on, calibrated with and held out</summary>{table}</details>"


def _order(names: list[str]) -> list[str]:
    first = [name for name in (COMBINATION, CHAMPION) if name in names]
    floors = [name for name in (TRIVIAL, RANDOM) if name in names]
    return [*first, *(name for name in names if name not in (*first, *floors)), *floors]


def figures_table(rows: Sequence[tuple[str, dict[str, float | None]]]) -> str:
    """Return a table of figures, a row for each scorer: its name, and its METRICS."""
    shown = {COMBINATION: "candidate", RANDOM: "random row", TRIVIAL: "trivial row"}
    head = "".join(f'<th class="n" title="{html.escape(why)}">{name}</th>' for name, why in METRICS.values())
    body = ""
    for name, figures in rows:
        cells = "".join(
            f'<td class="n">{_figure(value / 60 if metric == "delay_s" and value is not None else value)}</td>'
            for metric, value in figures.items()
        )
        style = ' class="own"' if name in (COMBINATION, CHAMPION) else ""
        body += f"<tr{style}><td>{html.escape(shown.get(name, name))}</td>{cells}</tr>"
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'


def _incidents(evaluation: Evaluation) -> str:
    if not evaluation.incidents:
        return "<h2>Past incidents</h2><p>The library has none before the held-out rows.</p>"
    lost = forgotten(evaluation.incidents)
    differ = [one for one in evaluation.incidents if one.champion_found not in (None, one.found)]
    found = sum(one.found for one in evaluation.incidents)
    words = f"The candidate finds {found} of {len(evaluation.incidents)}. It may have been trained on them, so they "
    words += "can speak against it, never for it."
    whole = f"<details><summary>All past incidents</summary>{_incident_table(evaluation.incidents, lost)}</details>"
    telling = f"<p>Found by one of the two alone:</p>{_incident_table(differ, lost)}" if differ else ""
    return f"<h2>Past incidents</h2><p>{words}</p>{telling}{whole}"


def _incident_table(incidents: Sequence[IncidentResult], lost: Sequence[IncidentResult]) -> str:
    body = "".join(_incident(one, one in lost) for one in incidents)
    head = "<th>incident (UTC)</th><th>until</th><th>candidate</th><th>champion</th><th></th>"
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _incident(one: IncidentResult, lost: bool) -> str:
    remarks = ["forgotten"] if lost else []
    remarks += ["trained on, with its label"] if one.learnt else []
    remarks += [] if one.comparable else ["from another world: does not count"]
    style = ' class="lost"' if lost else "" if one.comparable else ' class="aside"'
    cells = (str(one), f"{one.end:%Y-%m-%d %H:%M}", _seen(one.found, one.delay_s))
    words = [*cells, _seen(one.champion_found, one.champion_delay_s), ", ".join(remarks)]
    return f"<tr{style}>{''.join(f'<td>{html.escape(word)}</td>' for word in words)}</tr>"


def _seen(found: bool | None, delay_s: float | None) -> str:
    if found is None:
        return "–"
    return f"found after {(delay_s or 0) / 60:.0f} min" if found else "missed"


def _pictures(traces: Sequence[Trace]) -> str:
    if not traces:
        return ""
    out = (
        "<h2>Events that tell</h2><p>Where candidate and champion differ most. Channels in their own units, scores as "
    )
    out += "multiples of their own thresholds; the event is shaded.</p>"
    for trace in traces:
        about = trace.about
        kind = "past incident" if about["kind"] == PAST else "held-out event"
        words = f"{kind}: {about['series']}, {to_datetime(about['start']):%Y-%m-%d %H:%M} to "
        words += f"{to_datetime(about['end']):%Y-%m-%d %H:%M}; candidate {_said(about['found'])}"
        if about["champion_found"] is not None:
            words += f", champion {_said(about['champion_found'])}"
        out += f"<h3>{html.escape(words)}</h3>{draw(trace)}"
    return out


def _said(found: bool) -> str:
    return "finds it" if found else "misses it"


def legend() -> str:
    """Say what the figures of `figures_table` mean, folded away."""
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(why)}</td></tr>" for name, why in METRICS.values())
    return f"<details><summary>What the figures mean</summary><table>{rows}</table></details>"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
