"""What the columns of a table are: clock, label, series, channels, and what is none of them, with the reason."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tasks.look import Choice
from tasks.look.clocks import TIME_OF_DAY, Clock, find_clock
from tasks.look.dialect import Dialect, is_number
from tasks.look.roles import (
    ANOMALOUS_WORDS,
    LABEL_NAMES,
    LEAKS,
    NORMAL_WORDS,
    SURE_LABEL,
    TIME_NAMES,
    Columns,
    filled,
    some,
)
from tasks.look.series import wide, with_series
from tasks.sources.cells import MISSING_CELLS, SAMPLE_ROWS
from watchkeeper.errors import DataError

SENTINEL = re.compile(r"-9{3,}([.,]\d{1,2})?")
NUMERIC_SHARE = 0.5
"""Of a channel's cells that are not empty, more than so many are numbers."""
COUNTED = 0.99
"""Of a counter's steps, more than so many are 1; the others lie between what was looked at."""
WORDS_KEPT = 5
"""Cells of words in a column of numbers may be so many different ones to count as marks of a missing reading."""


def find_columns(table: Dialect, choice: Choice, others: Sequence[Dialect] = ()) -> Columns:
    """Tell what each column is.

    Args:
        table: rows of a file; they tell which rows belong together.
        choice: what a person has said.
        others: rows of further files: what words a label has, and which of day and month comes first, may stand there.

    Raises:
        DataError: there is no clock, or more than one may be meant; there is no column of numbers; a column that was
            named is not there.
    """
    named = [*choice.timestamp, *(name for name in (choice.label, choice.series) if name is not None)]
    for name in named:
        if name not in table.names:
            raise DataError(f"has no column {name}; its columns are {some(table.names)}")
    if not table.rows:
        raise DataError("has no rows that can be read")
    cells = {name: table.column(name) for name in table.names}
    every = {
        name: [cell for one in (table, *others) if name in one.names for cell in one.column(name)]
        for name in table.names
    }
    time, clock = ((), None) if choice.start is not None else _find_time(cells, every, choice)
    found = Columns(time, clock)
    rest = [name for name in table.names if name not in time]
    missing = _missing_marks([every[name] for name in rest], table.decimal)
    found = replace(found, missing=missing)
    found = _with_label(found, every, rest, table.decimal, choice.label)
    rest = [name for name in rest if name != found.label and name not in found.ignored]
    ignored, numbers, words = dict(found.ignored), [], []
    for name in rest:
        kind = _kind(every[name], table.decimal, missing)
        if kind == "empty":
            ignored[name] = "holds nothing"
        elif name == choice.series or kind == "word":
            words.append(name)
        elif why := _no_channel(name, cells[name], clock is not None):
            ignored[name] = why
        else:
            numbers.append(name)
    found = replace(found, ignored=ignored)
    if not numbers:
        raise DataError(f"has no column of numbers beside its clock and label; its columns are {some(table.names)}")
    if clock is None:
        return wide(found, numbers, words, cells)
    return with_series(found, cells, numbers, words, choice)


def _kind(cells: Sequence[str], decimal: str, missing: Sequence[str]) -> str:
    """Tell whether a column holds a "number", a "word" or is "empty"."""
    present = filled(cells, missing)
    if not present:
        return "empty"
    numbers = sum(is_number(cell, decimal) for cell in present)
    early = any(is_number(cell, decimal) for cell in cells[:SAMPLE_ROWS])  # the source looks no further
    return "number" if early and numbers > NUMERIC_SHARE * len(present) else "word"


def _find_time(
    cells: Mapping[str, list[str]], every: Mapping[str, list[str]], choice: Choice
) -> tuple[tuple[str, ...], Clock]:
    if choice.timestamp:
        return choice.timestamp, _settled(choice.timestamp, cells, every, choice)
    found: list[tuple[tuple[str, ...], Clock]] = []
    of_day = [name for name, column in cells.items() if _all_match(filled(column), TIME_OF_DAY)]
    for name, column in cells.items():
        present = filled(column)
        clock = find_clock(present) if _may_be_time(name, present) else None
        if clock is None:
            continue
        pair = (name, *of_day[:1])
        if clock.dates_only and of_day and (both := find_clock(_joined(pair, cells))):
            found.append((pair, both))
        else:
            found.append(((name,), clock))
    if not found and of_day:
        raise DataError(f"column {of_day[0]} holds times of day, and no column holds dates; add one to the file")
    if not found:
        raise DataError(
            f"has no column of times that can be read; its columns are {some(list(cells))}; name it with --timestamp "
            f"and --format, or make up a clock with --start and --interval"
        )
    best, _ = max(found, key=lambda one: _rank(one[0], one[1], cells))
    return best, _settled(best, cells, every, choice)


def _joined(names: tuple[str, ...], cells: Mapping[str, list[str]]) -> list[str]:
    """Return the cells of a clock, joined as the source joins them, without empty ones."""
    joined = (" ".join(row).strip() for row in zip(*(cells[name] for name in names), strict=True))
    return [one for one in joined if one not in MISSING_CELLS]


def _settled(
    names: tuple[str, ...], cells: Mapping[str, list[str]], every: Mapping[str, list[str]], choice: Choice
) -> Clock:
    """Return the one clock that is meant.

    Raises:
        DataError: the cells are no times, or more than one reading is left.
    """
    if choice.format is not None:
        aware = choice.format.startswith("unix_") or "%z" in choice.format
        return Clock(None if choice.format.lower() == "iso" else choice.format, aware=aware)
    joined = _joined(names, every)
    clock = find_clock(joined)
    if clock is None:
        shown = f", as {joined[0]!r}" if joined else ""
        raise DataError(
            f"column {' and '.join(names)} holds no times that can be read{shown}; say how they are written with "
            f"--format, as %d.%m.%Y %H:%M:%S or unix_ms"
        )
    first = find_clock(_joined(names, cells)) if clock.others else None
    if first and first.why:
        clock = replace(clock, format=first.format, others=(), why=first.why)
    if clock.others:
        readings = " or ".join(f'--format "{one}"' for one in (clock.format, *clock.others))
        raise DataError(
            f"column {' and '.join(names)} may mean two things, as in {joined[0]}: nothing in the rows that were "
            f"looked at tells day and month apart; choose {readings}"
        )
    return clock


def _all_match(cells: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return bool(cells) and all(pattern.fullmatch(cell) for cell in cells[:50])


def _may_be_time(name: str, cells: list[str]) -> bool:
    """Pass over columns of readings: numbers that count from 1970 are called so, or never fall."""
    if not cells or not any(char.isdigit() for char in cells[0]):
        return False
    if not re.fullmatch(r"\d+(\.\d+)?", cells[0]):
        return not is_number(cells[0], ".")
    if TIME_NAMES.search(name):
        return True
    if not all(re.fullmatch(r"\d+(\.\d+)?", cell) for cell in cells):
        return False
    steps = np.diff(np.array(cells, dtype=np.float64))
    return bool((steps >= 0).all() and (steps > 0).any())


def _rank(names: tuple[str, ...], clock: Clock, cells: Mapping[str, list[str]]) -> tuple[bool, bool, bool, int]:
    """Of two clocks, the one that tells the time of day is meant, then the one that is called so, then the first."""
    name = names[0]
    first = -list(cells).index(name)
    return not clock.dates_only, bool(TIME_NAMES.fullmatch(name)), bool(TIME_NAMES.search(name)), first


def _missing_marks(columns: list[list[str]], decimal: str) -> tuple[str, ...]:
    """Return words that stand again and again where numbers are wanted, and numbers like −999 that no sensor reads."""
    marks: Counter[str] = Counter()
    for cells in columns:
        present = Counter(filled(cells))
        numbers = {cell: count for cell, count in present.items() if is_number(cell, decimal)}
        total = sum(present.values())
        if sum(numbers.values()) <= NUMERIC_SHARE * total:
            continue
        words = {cell: count for cell, count in present.items() if cell not in numbers}
        if len(words) <= WORDS_KEPT:
            marks.update({cell: count for cell, count in words.items() if count > 1})
        sentinels = {cell: count for cell, count in numbers.items() if SENTINEL.fullmatch(cell)}
        others = [abs(float(cell.replace(decimal, "."))) for cell in numbers if cell not in sentinels]
        for cell, count in sentinels.items():
            if count > 1 and others and 2 * max(others) < abs(float(cell.replace(decimal, "."))):
                marks[cell] += count
    return tuple(sorted(marks))


def _with_label(
    found: Columns, cells: Mapping[str, list[str]], rest: list[str], decimal: str, chosen: str | None
) -> Columns:
    names = (
        [chosen]
        if chosen
        else sorted(
            (name for name in rest if LABEL_NAMES.fullmatch(name.strip())),
            key=lambda one: not SURE_LABEL.fullmatch(one.strip()),
        )
    )
    ignored = {
        name: "tells where the anomalies are" for name in rest if LEAKS.fullmatch(name.strip()) and name != chosen
    }
    notes = list(found.notes)
    for name in names:
        present = Counter(filled(cells[name]))
        kinds = {cell: cell.replace(decimal, ".") for cell in present}
        binary = present and all(is_number(cell, decimal) and float(kinds[cell]) in (-1, 0, 1) for cell in present)
        if binary and (chosen or SURE_LABEL.fullmatch(name.strip())):  # a state of 0 and 1 is a valve's
            return replace(found, label=name, ignored=ignored)
        words = {cell: _meaning(cell) for cell in present}
        if present and len(present) <= 6 and all(meaning is not None for meaning in words.values()):
            known = {cell: int(meaning) for cell, meaning in words.items() if meaning is not None}
            return replace(found, label=name, label_words=known, ignored=ignored)
        if chosen:
            raise DataError(
                f"column {name} is no label: it holds {some(list(present))}; wanted 0, 1 and −1, or words that say "
                f"normal or anomalous"
            )
        if SURE_LABEL.fullmatch(name.strip()):
            ignored[name] = "is called like a label, but its cells are no 0, 1 or known words: see label_words"
    return replace(found, ignored=ignored, notes=tuple(notes))


def _meaning(word: str) -> int | None:
    plain = word.strip().casefold()
    return 0 if plain in NORMAL_WORDS else 1 if plain in ANOMALOUS_WORDS else None


def _no_channel(name: str, cells: list[str], has_clock: bool) -> str:
    """Say why a column of numbers is no reading, "" where it is one."""
    present = filled(cells)
    if len(present) > 2 and all(re.fullmatch(r"\d+", cell) for cell in present):
        steps = np.diff(np.array(present, dtype=np.float64))
        if (steps == 1).mean() > COUNTED:
            return "counts the rows"
    if has_clock and name in ("timestamp", "label"):
        return "has a name that Watchkeeper uses itself"
    if TIME_NAMES.fullmatch(name) and find_clock(present) is not None:
        return "is another clock"
    return ""
