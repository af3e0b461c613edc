"""Lines into rows: which lines can be used, and those of one moment of a series put together, as InfluxDB does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.sources.cells import NO_LABEL, NO_NUMBER
from tasks.sources.lines.cells import Bools, Reasons
from tasks.sources.lines.parts import LABEL, Floats, Part, Short
from tasks.sources.long_form import TWICE
from tasks.sources.times import Ints

TOO_LARGE = "reading is infinite"
AT_ONCE = 2**17
"""Readings that are put into their places together: what is needed for that stays in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one series, in the order in which they stand in the file.

    Attributes:
        series: which of the parser's series.
        rows: int64 (row,), where the first line of each stands in the file.
        us: int64 (row,), µs since 1970 UTC.
        timeless: bool (row,), where there is no time.
        reasons: why a row cannot be used, "" where it can.
        values: float32 (row, channel), NaN where there is no reading.
        label: float32 (row,), NaN where there is none.
    """

    series: int
    rows: Ints
    us: Ints
    timeless: Bools
    reasons: Reasons
    values: Floats
    label: Floats


def judged(part: Part, fields: Sequence[str], channels: tuple[str, ...]) -> tuple[Part, list[str]]:
    """Tell which lines can be used, and what the channels are.

    A text where a number is wanted sets its line aside; a field that holds nothing but texts is no channel. A line
    without any number is set aside; one that has numbers, but none of the watch's channels, is left out.

    Args:
        part: a whole file.
        fields: what the codes of fields mean.
        channels: of the watch, in order; () where it has none yet.

    Returns:
        The lines that are not left out, with their reasons, and the channels: those of the watch, then all others that
        have a number.
    """
    reasons, label = part.reasons.copy(), part.field == LABEL
    known = np.array([name in channels for name in fields] + [False], bool)  # the last stands for the label
    numeric = np.zeros(len(fields) + 1, bool)
    numeric[part.field[(reasons == "")[part.line]]] = True
    wrong = (numeric | known)[part.text_field]
    _note(reasons, part.text_line[wrong & (part.text_field != LABEL)], NO_NUMBER)
    _note(reasons, part.text_line[wrong & (part.text_field == LABEL)], NO_LABEL)
    _note(reasons, part.line[label & ~np.isin(part.value, (-1, 0, 1))], NO_LABEL)
    _note(reasons, part.line[np.isinf(part.value)], TOO_LARGE)
    some, useful = np.zeros(len(reasons), bool), np.zeros(len(reasons), bool)
    some[part.line] = True
    useful[part.line[label | (known[part.field] if channels else True)]] = True
    _note(reasons, np.flatnonzero(~some), NO_NUMBER)
    names = [*channels, *sorted({fields[code] for code in np.flatnonzero(numeric[:-1]).tolist()} - {*channels})]
    return without(replace(part, reasons=reasons), some & ~useful & (reasons == "")), names


def _note(reasons: Reasons, lines: Ints | Short, why: str) -> None:
    reasons[lines[reasons[lines] == ""]] = why


def without(part: Part, left_out: Bools) -> Part:
    """Return a part without some of its lines."""
    if not left_out.any():
        return part
    stay, place = ~left_out, np.cumsum(~left_out, dtype=np.int32) - 1
    read, text = stay[part.line], stay[part.text_line]
    return Part(
        part.rows[stay], part.us[stay], part.timeless[stay], part.series[stay], part.reasons[stay],
        place[part.line[read]], part.field[read], part.value[read],
        place[part.text_line[text]], part.text_field[text],
    )  # fmt: skip


def one_row_a_moment(part: Part, fields: Sequence[str], names: Sequence[str]) -> Iterator[Rows]:
    """Put the good lines of each moment together into one row; each line that is set aside is a row of its own.

    A line with a field of which the moment has a reading already is set aside, whole. A moment's label is the highest
    of its lines' labels.

    Args:
        part: lines as `judged` returns them.
        fields: what the codes of fields mean.
        names: of the channels, in order.
    """
    places = {name: at for at, name in enumerate(names)}
    columns = np.array([places.get(name, -1) for name in fields] + [-1], np.int32)  # the last stands for the label
    reasons = part.reasons.copy()
    moment = _moments(part, reasons == "")
    count = int(moment.max(initial=-1)) + 1
    if count < (moment >= 0).sum():  # a moment has several lines
        lost = _second_readings(moment[part.line], columns[part.field], part.line, (count, len(names)))
        reasons[lost] = TWICE
        moment[lost] = -1
    good, bad = np.flatnonzero(moment >= 0), np.flatnonzero(moment < 0)
    row = moment.copy()
    row[bad] = count + np.arange(len(bad))
    values = np.full((count + len(bad), len(names)), np.nan, np.float32)
    labels = np.full(len(values), np.nan, np.float32)
    for start in range(0, len(part.line), AT_ONCE):
        line, field, value = (one[start : start + AT_ONCE] for one in (part.line, part.field, part.value))
        read, label = columns[field] >= 0, field == LABEL
        values[row[line[read]], columns[field[read]]] = value[read]
        np.fmax.at(labels, row[line[label]], value[label])
    first = np.empty(count, np.int64)  # line of each moment: the one that stands first
    first[moment[good[::-1]]] = good[::-1]
    lines = np.r_[first, bad]
    order = np.argsort(part.series[lines], kind="stable")
    cuts = np.flatnonzero(np.diff(part.series[lines[order]])) + 1
    for mine in np.split(order, cuts) if len(order) else ():
        ordered = mine[_in_order(part, lines[mine], mine < count)]
        at = lines[ordered]
        yield Rows(
            series=int(part.series[at[0]]),
            rows=part.rows[at],
            us=part.us[at],
            timeless=part.timeless[at],
            reasons=reasons[at],
            values=values[ordered],
            label=labels[ordered],
        )


def _moments(part: Part, good: Bools) -> Ints:
    """Return a number for each line: of its moment, by series and time; −1 where it is not good."""
    order = np.flatnonzero(good)
    order = order[np.lexsort((part.us[order], part.series[order]))]
    new = (np.diff(part.us[order], prepend=0) != 0) | (np.diff(part.series[order], prepend=-1) != 0)
    moment = np.full(len(good), -1, np.int64)
    moment[order] = np.cumsum(new) - 1
    return moment


def _second_readings(moment: Ints, column: Short, line: Short, shape: tuple[int, int]) -> list[int]:
    """Return the lines with a reading of a channel of which their moment has one from a line before.

    Args:
        moment: (reading,), of its line, −1 where it has none.
        column: (reading,), its channel, −1 where it has none.
        line: (reading,).
        shape: how many moments and channels there are.
    """
    moments, columns = shape
    used = np.flatnonzero((moment >= 0) & (column >= 0))
    slot = moment[used] * columns + column[used]
    owner = np.empty(moments * columns, np.int32)
    owner[slot] = line[used]
    doubtful = np.zeros(moments, bool)
    doubtful[moment[used][owner[slot] != line[used]]] = True
    used = used[doubtful[moment[used]]]
    used = used[np.lexsort((line[used], moment[used]))]
    lost: list[int] = []
    here, current, taken, mine = -1, -1, set[int](), set[int]()
    for at, one, channel in zip(moment[used].tolist(), line[used].tolist(), column[used].tolist(), strict=True):
        if one != current:
            taken = set() if at != here else taken | mine
            here, current, mine = at, one, set()
        if channel in taken:
            if lost[-1:] != [one]:
                lost.append(one)
            mine = set()
        elif lost[-1:] != [one]:
            mine.add(channel)
    return lost


def _in_order(part: Part, lines: Ints, good: Bools) -> Ints:
    """Return the order of a series' rows: as in the file, but a bad line behind the row of its moment.

    The row comes first because of two rows of one moment the validation takes the first.
    """
    place = part.rows[lines].copy()
    moments, bad = np.flatnonzero(good), np.flatnonzero(~good & ~part.timeless[lines])
    if len(moments) and len(bad):  # the moments ascend
        at = np.searchsorted(part.us[lines[moments]], part.us[lines[bad]]).clip(max=len(moments) - 1)
        same = part.us[lines[moments[at]]] == part.us[lines[bad]]
        place[bad[same]] = np.maximum(place[bad[same]], place[moments[at[same]]])
    return np.lexsort((~good, place))
