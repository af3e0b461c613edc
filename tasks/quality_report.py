"""The page on the quality of what an ingest took in: what to look at first, then clocks and channels.

One HTML file that loads nothing. Everything that came from outside is escaped.
"""

import html
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from tasks.html_page import document
from tasks.quality_findings import LONG, ChannelQuality, Finding, Place, SeriesQuality, said_s
from watchkeeper.records import Record, Refusal, findings_line

SHOWN = 200
"""Findings on the page at most; the JSON beside it has all of them."""
OPEN = 4
"""So many series are shown unfolded."""


class QualityReport(Record):
    """The quality of what one ingest took in."""

    watch: str
    snapshot: str
    """Of all rows behind it."""
    series: tuple[SeriesQuality, ...]
    refused: tuple[Refusal, ...]
    findings: tuple[Finding, ...]

    def kinds(self) -> dict[str, int]:
        """Count the findings by kind, in their order."""
        return dict(Counter(one.kind for one in self.findings))

    def __str__(self) -> str:
        return findings_line(self.kinds())


def page(report: QualityReport) -> str:
    """Write the page."""
    title = html.escape(f"Quality of new rows of watch {report.watch}")
    new = sum(one.new for one in report.series)
    known = sum(one.known for one in report.series)
    bad = sum(sum(one.quarantined.values()) for one in report.series)
    verdict = "promoted" if not report.findings else "noted"
    facts = (
        f"{new:,} new rows of {len(report.series):,} series, {known:,} were stored before, {bad:,} went to quarantine; "
    )
    facts += f"snapshot {report.snapshot}. Times are UTC."
    parts = [
        f'<h1 class="{verdict}">{title}: {html.escape(str(report))}</h1><p class="dim">{html.escape(facts)}</p>',
        _findings(report.findings),
        _clocks(report.series),
        *(_channels(one, folded=at >= OPEN) for at, one in enumerate(report.series) if one.channels),
        _legend(),
    ]
    return document(title, parts)


def _findings(found: Sequence[Finding]) -> str:
    if not found:
        return ""
    rows = [[(one.series, ""), (one.channel, ""), (one.text, "")] for one in found[:SHOWN]]
    more = f"<p>and {len(found) - SHOWN:,} more</p>" if len(found) > SHOWN else ""
    return f"<h2>What to look at</h2>{_table(('series', 'channel', ''), rows, figures=0)}{more}"


def _clocks(series: Sequence[SeriesQuality]) -> str:
    head = ("series", "first new row", "last new row", "new", "known", "set aside", "usual step", "steps off", "gaps",
            "longest gap", "back")  # fmt: skip
    rows = []
    for one in series:
        clock, bad = one.clock, sum(one.quarantined.values())
        rows.append(
            [
                (one.series, ""),
                (_when(one.start), "time"),
                (_when(one.end), "time"),
                (f"{one.new:,}", ""),
                (f"{one.known:,}", ""),
                (f"{bad:,}", _bad(bad)),
                ("–" if clock.interval_s is None else said_s(clock.interval_s), ""),
                (_share(clock.off, clock.steps), ""),
                (f"{clock.gaps:,}", _bad(clock.gaps)),
                (said_s(clock.longest[0].seconds) if clock.longest else "–", ""),
                (f"{clock.backward:,}", _bad(clock.backward)),
            ]
        )
    return f"<h2>Rows and clocks</h2>{_table(head, rows, figures=8)}"


def _channels(one: SeriesQuality, folded: bool) -> str:
    head = ["channel", "missing", "longest missing", "stuck", "longest same", "usual", "lowest", "highest"]
    if ranged := any(channel.range for channel in one.channels):
        head += ["range", "outside"]
    rows = [_channel(channel, one.new, ranged) for channel in one.channels]
    table, name = _table(head, rows, figures=len(head) - 1), html.escape(one.series)
    return f"<details{'' if folded else ' open'}><summary>Channels of {name}</summary>{table}</details>"


def _channel(one: ChannelQuality, rows: int, ranged: bool) -> list[tuple[str, str]]:
    stuck = "constant" if one.never_changed else f"{one.stuck:,}"
    cells = [
        (one.channel, ""),
        (_share(one.missing, rows), ""),
        (_place(one.missing_run), _bad(one.missing_run is not None and one.missing_run.rows > LONG)),
        (stuck, _bad(one.never_changed or one.stuck)),
        (_place(one.same_run), ""),
        (f"{one.usual_run:,}", ""),
        ("–" if one.lowest is None else f"{one.lowest:.6g}", ""),
        ("–" if one.highest is None else f"{one.highest:.6g}", ""),
    ]
    if ranged:
        cells.append(("" if one.range is None else f"{one.range[0]:g} to {one.range[1]:g}", ""))
        cells.append(("" if one.range is None else f"{one.outside:,}", _bad(one.outside)))
    return cells


def _table(head: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], figures: int) -> str:
    """Write a table of (words, class) cells; the last so many columns are figures."""
    first = len(head) - figures
    top = "".join(f"<th{' class=n' if at >= first else ''}>{html.escape(word)}</th>" for at, word in enumerate(head))
    body = ""
    for row in rows:
        body += "<tr>"
        for at, (word, style) in enumerate(row):
            classes = " ".join(one for one in ("n" if at >= first else "", style) if one)
            body += f'<td class="{classes}">{html.escape(word)}</td>'
        body += "</tr>"
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _legend() -> str:
    told = {
        "known": "rows that were stored before",
        "set aside": "rows that went to quarantine",
        "constant": "never changed, in all rows that ever came",
        "stuck": f"runs of one value of more than {LONG} times as many rows as is usual for the channel",
        "usual": "half of all readings that ever came lie in runs of one value of no more rows; a power of two",
        "steps off": "steps between two rows that differ from the usual one by more than a tenth",
        "gaps": "steps of at least five usual ones",
        "back": "how often the source's clock went back from one row to the next, rows in quarantine among them",
        "longest same": "from its first row, which may have come with an earlier ingest",
    }
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(why)}</td></tr>" for name, why in told.items())
    return f"<details><summary>What the columns mean</summary><table>{rows}</table></details>"


def _place(place: Place | None) -> str:
    return "–" if place is None else f"{place.rows:,} from {place.at:%Y-%m-%d %H:%M}"


def _when(time: datetime | None) -> str:
    return "–" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def _share(count: int, of: int) -> str:
    return "–" if not of else "0" if not count else f"{count / of:.2%}"


def _bad(found: object) -> str:
    return "bad" if found else ""
