"""Which clock a column of cells is: the formats that read it, and what tells them apart."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.sources.times import AWARE, NAIVE, Ints, parse_times
from watchkeeper.clock import DAY_US

SHARE = 0.95
"""Of the cells that are not empty, at least so many are times where a column is a clock."""
SHAPES = 4
"""So many spellings of a column are tried: fractions and zones may stand on some of its cells alone."""
DECIDES_US = 20 * DAY_US
"""A reading that leaps by so much, where another one does not leap by two days, is the wrong one."""

UNIX = (("unix_s", 8.0, 9.65), ("unix_ms", 11.0, 12.65), ("unix_us", 14.0, 15.65), ("unix_ns", 17.0, 18.65))
"""Formats of clocks that count from 1970, with the powers of ten between which their numbers lie: 1973 to 2111."""
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d{1,9})?)?(\s*[AaPp][Mm])?")
_DATE = (
    r"(?P<date>\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|\d{8}"
    r"|\d{1,2}[ -][A-Za-z]{3}[ -](?:\d{4}|\d{2})|[A-Za-z]{3} \d{1,2},? \d{4})"
)
_TIME = r"(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?|\d{6}|\d{4})"
CALENDAR = re.compile(
    rf"{_DATE}(?:(?P<between>[ ,T_-]{{0,3}}){_TIME}(?P<half>\s?[AaPp][Mm])?(?P<zone>\s?(?:Z|[+-]\d\d:?\d\d))?)?"
)


@dataclass(frozen=True)
class Clock:
    """A clock that was found.

    Attributes:
        format: as in a watch file; None is ISO 8601.
        others: formats that read the cells as well, where nothing tells which is meant.
        aware: whether the cells name their zone, or count from 1970 UTC.
        dates_only: whether they lack the time of day.
        why: what told it from another reading, "" where there is only one.
    """

    format: str | None
    others: tuple[str | None, ...] = ()
    aware: bool = False
    dates_only: bool = False
    why: str = ""


def looks_like_time(cell: str) -> bool:
    """Tell whether a cell may be a date, a time of day, or both."""
    return bool(CALENDAR.fullmatch(cell) or TIME_OF_DAY.fullmatch(cell)) and not cell.isdigit()


def find_clock(cells: Sequence[str]) -> Clock | None:
    """Find the format of a column's cells; None where they are no times.

    Args:
        cells: in the order of the file, trimmed, without missing ones.
    """
    if not cells:
        return None
    if unix := _unix(cells):
        return Clock(unix, aware=True)
    shapes = Counter(re.sub(r"\d", "0", cell) for cell in cells)
    first = {re.sub(r"\d", "0", cell): cell for cell in reversed(cells)}
    tried = [one for shape, _ in shapes.most_common(SHAPES) for one in _formats(first[shape])]
    readings = {}
    for format in [None, *dict.fromkeys(tried)]:
        us, state = parse_times(pa.array(cells, pa.string()), format)
        share = float((state <= AWARE).mean())
        if share >= SHARE:
            readings[format] = (share, us[state <= AWARE], bool((state[state <= AWARE] != NAIVE).all()))
        if format is None and readings:
            break  # ISO 8601 leaves no doubt
    if not readings:
        return None
    best = max(share for share, _, _ in readings.values())
    kept = [format for format, (share, _, _) in readings.items() if share == best]
    chosen, why = _decide({format: readings[format][1] for format in kept})
    others = () if why else tuple(format for format in kept if format != chosen)
    dates_only = not any(":" in cell or len(cell) > 11 for cell in cells[:50])
    return Clock(chosen, others, readings[chosen][2], dates_only, why)


def _unix(cells: Sequence[str]) -> str | None:
    if not all(re.fullmatch(r"\d{9,19}(\.\d+)?", cell) for cell in cells[:50]):
        return None
    numbers = [float(cell) for cell in cells if re.fullmatch(r"\d{9,19}(\.\d+)?", cell)]
    middle = np.log10(np.median(numbers))
    for format, low, high in UNIX:
        if low <= middle <= high and len(numbers) >= SHARE * len(cells):
            return format
    return None


def _formats(cell: str) -> list[str]:
    """Return the formats that may be meant by a cell, the likelier first."""
    found = CALENDAR.fullmatch(cell)
    if not found:
        return []
    time = found["between"] or ""
    if found["time"]:
        if ":" in found["time"]:
            clock = ["%I" if found["half"] else "%H", "%M", *(["%S"] if found["time"].count(":") > 1 else [])]
            time += ":".join(clock)
            sign = re.search(r"[.,]", found["time"])
            time += f"{sign[0]}%f" if sign else ""
        else:
            time += "%H%M%S" if len(found["time"]) == 6 else "%H%M"
        if found["half"]:
            time += " %p" if found["half"][0].isspace() else "%p"
        if found["zone"]:
            time += " %z" if found["zone"][0].isspace() else "%z"
    return [date + time for date in _dates(found["date"])]


def _dates(date: str) -> list[str]:
    if date.isdigit():
        return ["%Y%m%d"]
    if named := re.fullmatch(r"\d{1,2}([ -])[A-Za-z]{3}([ -])(\d+)", date):
        return [f"%d{named[1]}%b{named[2]}{'%Y' if len(named[3]) == 4 else '%y'}"]
    if date[0].isalpha():
        return ["%b %d, %Y" if "," in date else "%b %d %Y"]
    parts = re.split(r"([-/.])", date)
    one, two = parts[1], parts[3]
    if len(parts[0]) == 4:
        return [f"%Y{one}%m{two}%d"]
    year = "%Y" if len(parts[4]) == 4 else "%y"
    if "." in (one, two):
        return [f"%d{one}%m{two}{year}"]  # no country writes the month first with points
    orders = [f"%d{one}%m{two}{year}", f"%m{one}%d{two}{year}"]
    return orders if year == "%Y" else [*orders, f"%y{one}%m{two}%d"]


def _decide(readings: dict[str | None, Ints]) -> tuple[str | None, str]:
    """Choose by the steps from row to row. Returns the format, and why, "" where nothing tells."""
    if len(readings) == 1:
        return next(iter(readings)), ""
    leaps = {format: int(np.abs(np.diff(us)).max(initial=0)) for format, us in readings.items()}
    order = sorted(leaps, key=lambda one: leaps[one])
    if leaps[order[0]] <= 2 * DAY_US and leaps[order[1]] >= DECIDES_US:
        days = leaps[order[1]] // DAY_US
        return order[0], f"read as {order[1]}, time would leap by {days:,} days between two rows"
    return next(iter(readings)), ""
