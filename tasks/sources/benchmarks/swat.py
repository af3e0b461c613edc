"""SWaT (2015) saved as CSV: a file of normal days and one with attacks, or both in one; a reading a second.

Blanks stand around names, words and times (` Timestamp`, ` 28/12/2015 10:00:00 AM`), some attacks are spelled
`A ttack`, a line of junk may precede the header, and some copies have semicolons and decimal commas.
"""

import re
from pathlib import Path

from tasks.sources.benchmarks.piece import Piece, head_of, matching, text_piece
from tasks.sources.cells import Layout
from tasks.sources.delimited import Clock
from watchkeeper.sources import BenchmarkSource

ZONE = "Asia/Singapore"
WORDS = {"Normal": 0, "Attack": 1, "A ttack": 1, "0": 0, "1": 1}


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the files, normal days first."""
    paths = sorted(matching(folder.rglob("*.csv"), source), key=lambda one: ("attack" in one.name.lower(), one.name))
    return [_piece(path, source) for path in paths]


def _piece(path: Path, source: BenchmarkSource) -> Piece:
    lines = head_of(path)
    at = next((at for at, line in enumerate(lines) if re.search(r"(^|[,;])\s*\"?\s*Timestamp\b", line)), None)
    if at is None:
        return text_piece("swat", path, Layout(time=("Timestamp",)), Clock())  # which says what is missing
    header = lines[at]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    names = tuple(cell.strip().strip('"').strip() for cell in header.split(delimiter))
    first = next(iter(lines[at + 1 :]), "").split(delimiter)
    time = first[names.index("Timestamp")] if len(first) == len(names) else ""
    layout = Layout(
        time=("Timestamp",),
        format=_format(time.strip()),
        label=next((name for name in names if name.startswith("Normal")), None),
        label_words=WORDS,
        names=names,
        skip=at + 1,
        delimiter=delimiter,
        decimal="," if delimiter == ";" and any("," in line for line in lines[at + 1 :]) else ".",
        ignore=("",),
    )
    return text_piece("swat", path, layout, Clock(source.zone or ZONE))


def _format(time: str) -> str | None:
    """Tell how a file writes its times by its first row."""
    if "/" not in time:
        return None
    return "%d/%m/%Y %I:%M:%S %p" if time[-1:] in ("M", "m") else "%d/%m/%Y %H:%M:%S"
