"""What the command line prints: steps while they run, tables and paths at the end."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlparse

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from watchkeeper.records import Backtested, Decision, DriftCheck, Evaluation, Ingested, Retrained, Scored, findings_line
from watchkeeper.registry import VersionLine

if TYPE_CHECKING:
    from tasks.splits import Metadata

console = Console(highlight=False, soft_wrap=True)
METRICS = {
    "vus_pr": "VUS-PR",
    "auc_pr": "AUC-PR",
    "best_f1": "best F1",
    "f1": "F1",
    "event_recall": "event recall",
    "alarms_per_day": "alarms/day",
}
SHOWN_ROWS = ("random", "trivial", "vae", "agent", "combination", "champion")
"""Shown for each series; the other members are shown in the mean."""
HIDDEN_ROW = "norm"
"""The same as the trivial row."""
MARK = {
    "promoted": "green",
    "kept": "green",
    "confirmed": "green",
    "rolled back": "yellow",
    "refused": "red",
    "failed": "red",
}


class Steps:
    """Shows each step while it runs, and its line of result when it is done."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # a log file has no use for bars
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, step: str) -> None:
        """Show a bar for the step."""
        self._tasks[step] = self._progress.add_task(step, total=1.0, words="")

    def advanced(self, step: str, share: float, words: str) -> None:
        """Move its bar."""
        if step in self._tasks:
            self._progress.update(self._tasks[step], completed=share, words=words)

    def finished(self, step: str, seconds: float, line: str) -> None:
        """Replace the bar by the step's line of result."""
        self.failed(step)
        self._progress.console.print(
            f"  [green]✓[/] {escape(step):<12} [dim]{seconds:6.1f} s[/]  {escape(line)}", soft_wrap=True
        )

    def failed(self, step: str) -> None:
        """Take the bar away; the error is said by who called."""
        if step in self._tasks:
            self._progress.remove_task(self._tasks.pop(step))


def ingested(done: Ingested) -> None:
    """Print what an ingest did, with each warning and each refusal."""
    for reason, count in sorted(done.quarantined.items()):
        console.print(f"  [yellow]quarantined[/] {count:,} rows: {escape(reason)}")
    for refusal in done.refused:
        console.print(f"  [red]refused[/] {escape(refusal.origin)}: {escape(refusal.reason)}")
    for warning in done.warnings:
        console.print(f"  [yellow]note[/] {escape(warning)}")
    if done.report:
        console.print(f"  quality  {escape(findings_line(done.findings))}")
        console.print(f"  report   {escape(path_of(done.report))}")


def retrained(done: Retrained) -> None:
    """Print what a retrain took in and left out, the evaluation and the decision."""
    ingested(done.ingested)
    for refusal in done.prepared.left_out:
        console.print(f"  [yellow]left out[/] {escape(refusal.origin)}: {escape(refusal.reason)}")
    evaluation(done.evaluation)
    decided(done.decision)


def evaluation(found: Evaluation) -> None:
    """Print the figures on the held-out rows: per series, and in the mean."""
    title = f"Held-out rows {found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M}; truth: {found.truth}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in METRICS.values():
        table.add_column(name, justify="right")
    for name in dict.fromkeys(row.series for row in found.rows):
        table.add_row(escape(name), style="bold")
        for row in (row for row in found.rows if row.series == name and row.row in SHOWN_ROWS):
            table.add_row(f"  {row.row}", *(_figure(getattr(row, metric)) for metric in METRICS))
    others = [row for row in dict.fromkeys(row.row for row in found.rows) if row not in (*SHOWN_ROWS, HIDDEN_ROW)]
    table.add_row("mean", style="bold")
    for name in (*SHOWN_ROWS[:2], *others, *SHOWN_ROWS[2:]):
        if any(row.row == name for row in found.rows):
            style = "bold" if name == "combination" else ""
            table.add_row(f"  {name}", *(_figure(found.mean(name, metric)) for metric in METRICS), style=style)
    console.print(table)


def scored(done: Scored) -> None:
    """Print what a score run did."""
    if done.start and done.end:
        console.print(f"  rows from {done.start:%Y-%m-%d %H:%M} to {done.end:%Y-%m-%d %H:%M} UTC")
    if done.left_out:
        console.print(f"  [yellow]not scored[/] {escape(', '.join(done.left_out))}: newer than the version; retrain")


def drift(check: DriftCheck) -> None:
    """Print a drift check's verdict and its files."""
    for reason in check.reasons:
        console.print(f"  {escape(reason)}")
    console.print(f"  report   {escape(path_of(check.report))}")
    console.print(f"  verdict  {escape(path_of(check.verdict))}")
    if check.started:
        console.print(f"  event    watchkeeper.drift.detected {check.event_id}")


def versions(watch: str, lines: Sequence[VersionLine]) -> None:
    """Print the table of versions."""
    if not lines:
        console.print(f"watch {escape(watch)} has no versions yet; run `watchkeeper retrain --watch {escape(watch)}`")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("version", "alias", "made (UTC)", "VUS-PR", "snapshot"):
        table.add_column(name, justify="right" if name in ("version", "VUS-PR") else "left")
    for line in lines:
        made = datetime.fromtimestamp(line.created_ms / 1000, UTC)
        aliases = ", ".join(line.aliases)
        style = "bold green" if "champion" in line.aliases else ""
        table.add_row(
            str(line.version), aliases, f"{made:%Y-%m-%d %H:%M:%S}", _figure(line.vus_pr), line.snapshot, style=style
        )
    console.print(table)


def decided(decision: Decision) -> None:
    """Print a decision with its reasons."""
    style = MARK.get(decision.action, "")
    console.print(f"  [{style}]{decision}[/]")
    for reason in decision.reasons:
        console.print(f"    {escape(reason)}")
    if page := decision.evidence.get("report"):
        console.print(f"    report   {escape(path_of(str(page)))}")


def backtested(done: Backtested) -> None:
    """Print what a replayed life was worth, beside a first version that nobody retrains."""
    table = Table(title=f"{done.watch}: {done}", title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in METRICS.values():
        table.add_column(name, justify="right")
    for row in dict.fromkeys(row.row for row in done.rows):
        table.add_row(row, *(_figure(done.mean(row, metric)) for metric in METRICS))
    console.print(table)
    if done.difference is not None and done.low is not None and done.high is not None:
        console.print(f"  retraining was worth {done.difference:+.3f} [{done.low:+.3f}, {done.high:+.3f}] of VUS-PR")
    console.print(f"  report   {escape(path_of(done.report))}")


def parts(metadata: "Metadata") -> None:
    """Print which rows a retrain trained on, calibrated with and held out: the sums over the series."""
    from tasks.splits import totals

    title = f"Rows of {len(metadata.series)} series, snapshot {metadata.snapshot}, gaps of {metadata.gap}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "rows", "from (UTC)", "to", "anomalous", "normal"):  # a line of 80 signs has no room for unknown
        table.add_column(name, justify="left" if name in ("", "from (UTC)", "to") else "right", no_wrap=True)
    for part in totals(metadata):
        times = ("", "") if part.part == "gap" else (f"{part.start:%Y-%m-%d %H:%M}", f"{part.end:%Y-%m-%d %H:%M}")
        labels = (f"{part.labels[word]:,}" for word in ("anomalous", "normal"))
        table.add_row(part.part.replace("_", " "), f"{part.rows:,}", *times, *labels)
    console.print(table)


@dataclass(frozen=True)
class Reports:
    """The latest of each report of a watch, and its audit; None where there is none.

    Attributes:
        quality: what the report of an ingest found in one line, and its page's URI.
        evaluation: of a candidate.
        metadata: which rows that rests on.
        check: of drift.
        audit: decisions, oldest first.
    """

    quality: tuple[str, str] | None
    evaluation: Evaluation | None
    metadata: "Metadata | None"
    check: DriftCheck | None
    audit: Sequence[Decision]


def report(watch: str, found: Reports) -> None:
    """Print the latest of each report."""
    check, audit = found.check, found.audit
    if found.quality is None and found.evaluation is None and check is None and not audit:
        console.print(f"watch {escape(watch)} has no reports yet; run `watchkeeper retrain --watch {escape(watch)}`")
        return
    if found.quality:
        console.print(f"Latest rows: {escape(found.quality[0])}")
        console.print(f"  report   {escape(path_of(found.quality[1]))}")
    if found.metadata:
        parts(found.metadata)
    if found.evaluation:
        evaluation(found.evaluation)
    pages = [str(decision.evidence["report"]) for decision in audit if decision.evidence.get("report")]
    if pages:
        console.print(f"  report   {escape(path_of(pages[-1]))}")
    if check:
        console.print(f"{check.when:%Y-%m-%d %H:%M:%S} {check}")
        drift(check)
    for decision in audit[-10:]:
        when = f"{decision.when:%Y-%m-%d %H:%M:%S}"
        style = MARK.get(decision.action, "")
        console.print(f"{when} [{style}]{decision}[/] by {escape(decision.who)}: {escape(decision.reasons[0])}")


def heading(text: str) -> None:
    """Print a heading of the demo's story."""
    console.print()
    console.rule(f"[bold]{escape(text)}", align="left")


def path_of(uri: str) -> str:
    """Return a file URI as a path relative to the current folder where it lies below."""
    parsed = urlparse(uri)
    if parsed.scheme != "file":
        return uri
    path = Path(unquote(parsed.path))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def command_name() -> str:
    """Return how this program was called: its path below the current folder, or its bare name."""
    called = Path(sys.argv[0]).absolute()
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else called.name


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
