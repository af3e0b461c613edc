"""A question as a picture of characters: the channels that stand out most in its window, with what lies around it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.rows import read_rows, require_snapshot
from watchkeeper.clock import to_microseconds
from watchkeeper.lake import Lake
from watchkeeper.records import Question

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"
"""Stands where nothing was read."""
AROUND = 2
"""Window lengths shown on either side."""
TOP = 3
"""Channels shown."""
WIDTH = 60
"""Characters of a line."""


@dataclass(frozen=True)
class Line:
    """One channel: what lies before the window, in it, and after it, and its range in the channel's own units."""

    channel: str
    before: str
    window: str
    after: str
    low: float
    high: float


def picture_of(lake: Lake, watch: str, question: Question) -> list[Line]:
    """Draw the channels that stand out most in a question's window; none where its rows are not there any more."""
    snapshot = require_snapshot(lake, watch)
    margin = AROUND * (question.end - question.start)
    since, until = question.start - margin, question.end + margin
    files = tuple(f for f in snapshot.files if f.series == question.series and f.start < until and since <= f.end)
    near = snapshot.model_copy(update={"files": files})
    rows = read_rows(lake, near, question.series, snapshot.channels)
    shown = (rows.timestamps >= to_microseconds(since)) & (rows.timestamps < to_microseconds(until))
    times, values = rows.timestamps[shown], rows.values[shown]
    inside = (times >= to_microseconds(question.start)) & (times < to_microseconds(question.end))
    if not inside.any():
        return []
    chosen = np.argsort(-stand_out(values, inside), kind="stable")[:TOP]
    return [_line(snapshot.channels[channel], values[:, channel], inside) for channel in chosen]


def stand_out(values: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return how far each channel goes in the window from its middle around it, in its usual distances from that.

    Args:
        values: float32 (time, channel), NaN where nothing was read.
        inside: bool (time,), the window's rows, at least one.
    """
    filled = np.nan_to_num(values.astype(np.float64))
    around = filled[~inside] if (~inside).any() else filled
    middle = np.median(around, axis=0)
    usual = np.abs(around - middle).mean(axis=0)
    farthest = np.abs(filled[inside] - middle).max(axis=0)
    result: npt.NDArray[np.float64] = farthest / np.maximum(usual, 1e-9)
    return result


def _line(channel: str, values: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]) -> Line:
    first, last = int(inside.argmax()), len(inside) - int(inside[::-1].argmax())
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (float("nan"), float("nan"))
    middle = float(np.median(known)) if len(known) else low
    before, window, after = (
        spark(part, low, high, middle, _width(len(part), len(values))) for part in np.split(values, [first, last])
    )
    return Line(channel, before, window, after, low, high)


def _width(part: int, rows: int) -> int:
    return min(part, max(1, round(WIDTH * part / rows))) if part else 0


def spark(values: npt.NDArray[np.float32], low: float, high: float, middle: float, width: int) -> str:
    """Draw values as bars of eight heights; of the values of one character, the farthest from the middle is drawn.

    Args:
        values: (time,), NaN where nothing was read.
        low: the value of the lowest bar.
        high: the value of the highest one.
        middle: where the values mostly lie.
        width: characters, at most as many as values.
    """
    bars = []
    for part in np.array_split(values, width) if width else ():
        known = part[np.isfinite(part)]
        if not len(known):
            bars.append(GAP)
            continue
        extreme = known[np.abs(known - middle).argmax()]  # a short spike is what the question is about
        share = (extreme - low) / (high - low) if high > low else 0.5
        bars.append(BARS[min(int(share * len(BARS)), len(BARS) - 1)])
    return "".join(bars)
