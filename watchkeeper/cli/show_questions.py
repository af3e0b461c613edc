"""What the command line prints of questions and answers."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from watchkeeper.cli.picture import Line
from watchkeeper.cli.show import console
from watchkeeper.questions import Answer, Open

REASONS = {
    "margin": "unsure",
    "top": "highest score",
    "random": "random sample",
}
"""Why the agent asked (models/query.py), in words for people."""
TIME = "%Y-%m-%d %H:%M:%S"


def questions(watch: str, waiting: Sequence[Open], now: datetime) -> None:
    """Print the open questions."""
    if not waiting:
        console.print(f"watch {escape(watch)} has no open questions")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("number", "series", "start (UTC)", "end (UTC)", "reason", "age"):
        table.add_column(name, justify="right" if name in ("number", "age") else "left")
    for found in waiting:
        asked = found.question
        start, end, reason = f"{asked.start:{TIME}}", f"{asked.end:{TIME}}", REASONS.get(asked.reason, asked.reason)
        table.add_row(str(found.number), escape(asked.series), start, end, escape(reason), age(now, found.asked))
    console.print(table)
    name = escape(watch)
    console.print(
        f"`watchkeeper answer --watch {name}` goes through them, `… answer --watch {name} NUMBER WORD` answers one"
    )


def question(found: Open, place: int, total: int, lines: Sequence[Line]) -> None:
    """Print a question with a picture of its window and what lies around it."""
    asked = found.question
    console.print()
    console.print(
        f"[bold]{place} of {total}[/]  question {found.number}: {escape(asked.series)} "
        f"{asked.start:{TIME}} to {asked.end:{TIME}} UTC, {escape(REASONS.get(asked.reason, asked.reason))}"
    )
    if not lines:
        console.print("  [yellow]its rows are not in the lake any more[/]")
    width = max((len(line.channel) for line in lines), default=0)
    for line in lines:
        bars = f"[dim]{line.before}[/][bold yellow]│{line.window}│[/][dim]{line.after}[/]"
        console.print(f"  {escape(line.channel):<{width}}  {bars}  [dim]{line.low:.4g} to {line.high:.4g}[/]")


def ask() -> str:
    """Ask what the window between the bars was."""
    return console.input(r"  \[a]nomalous, \[n]ormal, \[?] don't know, \[s]kip, \[q]uit: ")


def labelled(watch: str, answers: Sequence[Answer], waiting: int) -> None:
    """Print what was written and what still waits."""
    if not answers:
        console.print(f"nothing written, {waiting} questions wait")
        return
    counts = Counter(answer.word for answer in answers)
    told = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    console.print(
        f"written: {told}; {waiting} questions wait; "
        f"the next `watchkeeper retrain --watch {escape(watch)}` learns from them"
    )


def age(now: datetime, then: datetime) -> str:
    """Return how long ago something was, in the largest unit that fits."""
    seconds = max((now - then).total_seconds(), 0.0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
