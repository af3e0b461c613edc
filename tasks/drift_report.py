"""The drift page: our verdict first, then Evidently's report, in one HTML file that loads nothing from a network."""

import html
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from tasks.drift import ColumnDrift, DriftVerdict
from tasks.drift_distance import Floats, distance, spread
from tasks.drift_sample import TIME

DRAWN = 12  # columns that Evidently draws, farthest first: 500 columns take it minutes and 40 MB
DISTANCE, SPREAD = "watchkeeper_distance", "watchkeeper_spread"  # our statistics' names in Evidently

STYLE = """
.verdict { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 24px auto; }
.verdict { max-width: 1180px; padding: 0 24px; }
.verdict h1 { font-size: 26px; margin: 0 0 8px; padding: 10px 14px; color: #fff; background: #2e7d32; }
.verdict h1.drift { background: #b3261e; }
.verdict table { border-collapse: collapse; margin: 8px 0 20px; }
.verdict th, .verdict td { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid #ddd; }
.verdict td.n { white-space: nowrap; }
.verdict td.n, .verdict th.n { text-align: right; font-variant-numeric: tabular-nums; }
.verdict tr.drifted td:first-child { font-weight: 600; color: #b3261e; }
.verdict summary { cursor: pointer; }
"""


def page(verdict: DriftVerdict, reference: pd.DataFrame, current: pd.DataFrame, subject: str = "") -> str:
    """Write the page.

    Args:
        verdict: what `judge` found on these rows.
        reference: the matched and sampled rows of the reference, with the columns of the verdict.
        current: the same of the current days.
        subject: what the rows are of, for the heading.
    """
    drawn = [column for column in verdict.columns if _drawable(column)][:DRAWN]
    title = html.escape(("Drift" if verdict.exceeds else "No drift") + (f": {subject}" if subject else ""))
    head = _verdict_section(verdict, drawn, title)
    if not drawn:
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="UTF-8"><title>{title}</title></head>'
            f"<body>{head}</body></html>\n"
        )
    body = _evidently(drawn, reference, current).strip()
    body = body.replace("<head>", f"<head><title>{title}</title>", 1)
    return body.replace("<body>", f"<body>{head}", 1) + "\n"


def _drawable(column: ColumnDrift) -> bool:
    """Whether the distances alone decided on the column, so that Evidently's page can say the same."""
    return column.kind in ("none", "values", "spread") and column.statistic + column.spread > 0


# The verdict


def _verdict_section(verdict: DriftVerdict, drawn: Sequence[ColumnDrift], title: str) -> str:
    drifted = [column for column in verdict.columns if column.drifted]
    others = [column for column in verdict.columns if not column.drifted]
    apart = ", weekends with weekends" if verdict.weekends_apart else ""
    limits = (
        f"A limit is the larger of the fixed threshold and what {verdict.blocks} stretches of the reference, each as "
        f"long as the current period, differ from the rest of it, with a margin."
        if verdict.blocks
        else "The limits are the fixed thresholds."
    )
    return (
        f"<style>{STYLE}</style>"
        f'<section class="verdict"><h1{" class=drift" if verdict.exceeds else ""}>{title}</h1>'
        f"<p>{'<br>'.join(html.escape(reason) for reason in verdict.reasons)}</p>"
        f"<p>Current: {_days(verdict.period_current)}. Reference: {_days(verdict.period_reference)}.<br>"
        f"Compared: {verdict.rows_current} rows of each, matched over {verdict.hours_compared} hours of the day "
        f"(UTC){apart}. {limits} σ is the reference's standard deviation.</p>"
        + (_table(drifted) if drifted else "<p>No column drifted.</p>")
        + (
            f"<details><summary>{len(others)} columns within their limits</summary>{_table(others)}</details>"
            if others
            else ""
        )
        + (f"<p>{_below(len(drawn))}</p>" if drawn else "")
        + "</section>"
    )


def _below(drawn: int) -> str:
    return (
        f"Below, Evidently draws the {drawn} columns that moved farthest in comparison with their limits. "
        f"Channels that stuck or dropped out, or are constant, are in the tables alone."
    )


def _table(columns: Sequence[ColumnDrift]) -> str:
    rows = "".join(
        f"<tr{' class=drifted' if column.drifted else ''}><td>{html.escape(column.column)}</td>"
        f"<td>{html.escape(column.reason)}</td>"
        f'<td class="n">{_number(column.reference_mean)}</td><td class="n">{_number(column.current_mean)}</td>'
        f'<td class="n">{column.statistic:.2f} / {column.threshold:.2f}</td>'
        f'<td class="n">{column.spread:.2f} / {column.spread_threshold:.2f}</td>'
        f'<td class="n">{column.missing_reference:.0%} → {column.missing_current:.0%}</td></tr>'
        for column in columns
    )
    return (
        '<table><tr><th>column</th><th>finding</th><th class="n">mean, reference</th><th class="n">mean, current</th>'
        '<th class="n">distance / limit (σ)</th><th class="n">spread / limit (σ)</th><th class="n">missing</th></tr>'
        f"{rows}</table>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _days(period: tuple[str, str]) -> str:
    start, end = (pd.Timestamp(moment).strftime("%Y-%m-%d %H:%M") for moment in period)
    return f"{start} to {end} UTC"


# Evidently's part


def _evidently(drawn: Sequence[ColumnDrift], reference: pd.DataFrame, current: pd.DataFrame) -> str:
    """Let Evidently draw columns, with our statistics and thresholds, so that it marks the same ones as drifted."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    _register_statistics()
    names = _harmless([column.column for column in drawn])
    metrics = [
        ValueDrift(column=name, method=SPREAD, threshold=column.spread_threshold)
        if column.kind == "spread"
        else ValueDrift(column=name, method=DISTANCE, threshold=column.threshold)
        for name, column in zip(names, drawn, strict=True)
    ]
    definition = DataDefinition(numerical_columns=names)
    sides = []
    for frame in (current, reference):
        columns = {
            name: frame[column.column].astype(np.float64).replace([np.inf, -np.inf], np.nan)
            for name, column in zip(names, drawn, strict=True)
        }
        rows = pd.DataFrame(columns).set_index(pd.DatetimeIndex(frame[TIME], name="UTC").tz_localize(None))
        sides.append(Dataset.from_pandas(rows, data_definition=definition))
    snapshot = Report(metrics, include_tests=False).run(*sides)
    return _repeatable(str(snapshot.get_html_str(as_iframe=False)))


def _register_statistics() -> None:
    """Make our distances known to Evidently by name; doing so twice changes nothing."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    for name, shown, statistic in (
        (DISTANCE, "distance in σ of the reference (Wasserstein)", distance),
        (SPREAD, "distance in σ of the reference around the means (Wasserstein)", spread),
    ):

        def decide(
            reference: "pd.Series[float]",
            current: "pd.Series[float]",
            feature_type: object,  # noqa: ARG001 - Evidently's signature
            threshold: float,
            statistic: Callable[[Floats, Floats], float] = statistic,
        ) -> tuple[float, bool]:
            found = statistic(np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64))
            return found, found > threshold

        register_stattest(StatTest(name, shown, [ColumnType.Numerical]), decide)


def _harmless(names: Sequence[str]) -> list[str]:
    """Rename columns for Evidently, which writes names into a script unescaped: no sign that HTML reads as its own."""
    plain = [name.translate(str.maketrans("<>&", "‹›+")) for name in names]
    return [name if name not in plain[:i] else f"{name} ({i})" for i, name in enumerate(plain)]


def _repeatable(text: str) -> str:
    """Replace Evidently's random identifiers by counted ones, so that the same input gives the same page."""
    known: dict[str, str] = {}
    found = r"metric_[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    return re.sub(found, lambda match: known.setdefault(match[0], f"watchkeeper_{len(known)}"), text)
