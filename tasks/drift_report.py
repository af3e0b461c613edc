"""The drift page: our verdict first, then Evidently's report, in one HTML file that loads nothing from a network."""

import html
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.drift import ColumnDrift, DriftVerdict
from tasks.drift_sample import TIME

DRAWN = 12  # columns that Evidently draws, farthest first: 500 columns take it minutes and 40 MB

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
    """Whether level and spread alone decided on the column, so that Evidently's page can say the same."""
    return column.kind in ("none", "values", "spread") and column.moved != 0


# The verdict


def _verdict_section(verdict: DriftVerdict, drawn: Sequence[ColumnDrift], title: str) -> str:
    drifted = [column for column in verdict.columns if column.drifted]
    others = [column for column in verdict.columns if not column.drifted]
    apart = ", weekends with weekends" if verdict.weekends_apart else ""
    hours = "each with the same hours of the day" if verdict.matched else "all hours together"
    return (
        f"<style>{STYLE}</style>"
        f'<section class="verdict"><h1{" class=drift" if verdict.exceeds else ""}>{title}</h1>'
        f"<p>{'<br>'.join(html.escape(reason) for reason in verdict.reasons)}</p>"
        f"<p>Current: {_days(verdict.period_current)}, {verdict.rows_current} rows. "
        f"Reference: {_days(verdict.period_reference)}, {verdict.rows_reference} rows.<br>"
        f"Compared over {verdict.hours_compared} hours of the day (UTC), {hours}{apart}. A limit is what chance "
        f"exceeds twice in ten thousand checks, given how the column strays in the reference. "
        f"σ is the reference's standard deviation around its usual course over the day.</p>"
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
        f'<td class="n">{column.moved:+.2f} / {column.limit:.2f}</td>'
        f'<td class="n">{column.spread:.2f} / {column.spread_limit:.2f}</td>'
        f'<td class="n">{column.missing_reference:.0%} → {column.missing_current:.0%}</td></tr>'
        for column in columns
    )
    return (
        '<table><tr><th>column</th><th>finding</th><th class="n">mean, reference</th><th class="n">mean, current</th>'
        '<th class="n">level moved / limit (σ)</th><th class="n">spread / limit (factor)</th>'
        '<th class="n">missing</th></tr>'
        f"{rows}</table>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _days(period: tuple[str, str]) -> str:
    start, end = (pd.Timestamp(moment).strftime("%Y-%m-%d %H:%M") for moment in period)
    return f"{start} to {end} UTC"


# Evidently's part


def _evidently(drawn: Sequence[ColumnDrift], reference: pd.DataFrame, current: pd.DataFrame) -> str:
    """Let Evidently draw columns, with our figures and limits, so that it marks the same ones as drifted."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    names = _harmless([column.column for column in drawn])
    metrics = [
        ValueDrift(column=name, method=_register(place, column), threshold=_shown(column)[2])
        for place, (name, column) in enumerate(zip(names, drawn, strict=True))
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


def _shown(column: ColumnDrift) -> tuple[str, float, float]:
    """Return what decided on a column: words, figure and limit."""
    if column.kind == "spread":
        return "factor between the spreads", max(column.spread, 1 / column.spread), column.spread_limit
    return "shift of the level in σ", abs(column.moved), column.limit


def _register(place: int, column: ColumnDrift) -> str:
    """Make the verdict's figure on a column known to Evidently as a drift method, and return the method's name.

    The figure cannot be had from the drawn rows alone, so the method gives back what was found.
    """
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    words, figure, limit = _shown(column)

    def decide(*_: object) -> tuple[float, bool]:
        return figure, figure > limit

    name = f"watchkeeper_{place}"  # a later page takes the name over: nothing grows from check to check
    register_stattest(StatTest(name, words, [ColumnType.Numerical]), decide)
    return name


def _harmless(names: Sequence[str]) -> list[str]:
    """Rename columns for Evidently, which writes names into a script unescaped: no sign that HTML reads as its own."""
    plain = [name.translate(str.maketrans("<>&", "‹›+")) for name in names]
    return [name if name not in plain[:i] else f"{name} ({i})" for i, name in enumerate(plain)]


def _repeatable(text: str) -> str:
    """Replace Evidently's random identifiers by counted ones, so that the same input gives the same page."""
    known: dict[str, str] = {}
    found = r"metric_[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    return re.sub(found, lambda match: known.setdefault(match[0], f"watchkeeper_{len(known)}"), text)
