"""WADI, both editions: WADI_14days*.csv and WADI_attackdata*.csv, a reading a second.

Lines of junk stand before the header of some files, so that it is looked for. Channel names of the first edition begin
with the path of a Windows machine, which is cut off. Date and time are two columns. The second edition has labels in
the column `Attack LABLE (1:No Attack, -1:Attack)`, and its attack file has lost the hours of its times; they are
counted from the beginning that the documentation names. The first edition has no labels: a table apart has the attacks.
Channels without a single reading (2_LS_001_AL and three more) stay, as missing.
"""

import csv
import re
from datetime import UTC, datetime
from pathlib import Path

from tasks.sources.benchmarks.piece import Piece, head_of, matching, text_piece
from tasks.sources.cells import Layout
from tasks.sources.delimited import Clock, made_up
from watchkeeper.sources import BenchmarkSource

ZONE = "Asia/Singapore"
ATTACK_START = datetime(2017, 10, 9, 10, tzinfo=UTC)  # 18:00 in Singapore
ATTACK_MONTH = 10
WORDS = {"1": 0, "-1": 1, "1.0": 0, "-1.0": 1}
HOURLESS = re.compile(r"\d{1,2}:\d{1,2}\.\d+")


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the two files, normal days first."""
    paths = [path for path in matching(folder.rglob("*.csv"), source) if path.name.lower().startswith("wadi_")]
    return [_piece(path, source) for path in sorted(paths, key=lambda one: ("attack" in one.name.lower(), one.name))]


def _piece(path: Path, source: BenchmarkSource) -> Piece:
    lines = [[cell.strip() for cell in row] for row in csv.reader(head_of(path))]
    at = next((at for at, row in enumerate(lines) if {"Date", "Time"} <= set(row)), None)
    if at is None:
        return text_piece("wadi", path, Layout(time=("Date", "Time")), Clock())  # which says what is missing
    names = tuple("label" if cell.startswith("Attack LABLE") else cell.rsplit("\\", 1)[-1] for cell in lines[at])
    first = dict(zip(names, lines[at + 1] if at + 1 < len(lines) else [], strict=False))
    attack = "attack" in path.name.lower()
    lost = bool(HOURLESS.fullmatch(first.get("Time", "")))
    layout = Layout(
        time=() if lost else ("Date", "Time"),
        format=_format(first.get("Date", ""), first.get("Time", ""), attack),
        label_words=WORDS if "label" in names else {},
        names=names,
        skip=at + 1,
        ignore=("Row", "", *(("Date", "Time") if lost else ())),
    )
    clock = made_up(source.start or ATTACK_START, source.interval_s or 1.0) if lost else Clock(source.zone or ZONE)
    return text_piece("wadi", path, layout, clock)


def _format(date: str, time: str, attack: bool) -> str:
    """Tell how a file writes its times by its first row: normal days begin on 25 September, attacks in October."""
    numbers = [int(part) for part in re.findall(r"\d+", date)] + [0, 0, 0]
    month_first = numbers[0] == ATTACK_MONTH if attack else numbers[0] <= 12
    day = "%m/%d" if month_first else "%d/%m"
    year = "%Y" if numbers[2] >= 100 else "%y"
    fraction = ".%f" if "." in time else ""
    clock = f"%I:%M:%S{fraction} %p" if time[-1:] in ("M", "m") else f"%H:%M:%S{fraction}"
    return f"{day}/{year} {clock}"
