"""Traces: a few events as candidate and champion saw them, thinned to what a picture can show.

They are cut while the scores are at hand (tasks/evaluate.py, tasks/incidents.py) and drawn when the decision is known
(tasks/evaluation_report.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.calibration import Scores
from models.detector import Scored as SeriesScored
from models.windows import Array
from tasks import runs
from tasks.rows import Rows
from watchkeeper.lake import Lake

MOST = 8
"""Events drawn in one report: those on which the two differ most."""
TOP = 3
"""Channels drawn of an event: those that made most of the candidate's score."""
POINTS = 480
"""Points of a line: as many as a page is wide."""
PAD = 120
"""Rows drawn before and after an event at least; a long event gets as many as it has itself."""
HELD_OUT, PAST = "held-out event", "past incident"


class Rank(NamedTuple):
    """How telling an event is; the larger the better to show."""

    differs: bool
    by: float


@dataclass(frozen=True, eq=False)
class Trace:
    """An event with some rows around it.

    Attributes:
        about: series, kind, start and end (µs since 1970 UTC), channels, found, champion_found; JSON-able.
        arrays: `time` (point,) in µs, `values` (point, channel) in the channels' units, and the scores over their own
            thresholds: `own` and, where there is a champion, `champion` (point,).
        rank: of the event among others.
    """

    about: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    rank: Rank


def cut(
    kind: str,
    series: str,
    channels: Sequence[str],
    rows: Rows,
    span: tuple[int, int],
    own: SeriesScored,
    champion: SeriesScored | None,
) -> Trace:
    """Cut an event out of scored rows.

    Args:
        kind: HELD_OUT or PAST.
        series: whose.
        channels: names of the columns of `rows`.
        rows: raw rows.
        span: the event in rows, half open.
        own: the candidate's scores of the same rows.
        champion: the champion's.
    """
    first, stop = span
    pad = max(PAD, stop - first)
    view = slice(max(0, first - pad), min(len(rows), stop + pad))
    shares = own.contributions[first:stop].mean(axis=0)
    top = np.argsort(-shares, kind="stable")[:TOP]
    edges = np.unique(np.linspace(0, view.stop - view.start, POINTS + 1).astype(np.int64))[:-1]
    arrays: dict[str, npt.NDArray[Any]] = {
        "time": rows.timestamps[view][edges],
        "values": _extremes(rows.values[view][:, top], edges),
        "own": np.maximum.reduceat(over_threshold(own)[view], edges).astype(np.float32),
    }
    if champion is not None:
        arrays["champion"] = np.maximum.reduceat(over_threshold(champion)[view], edges).astype(np.float32)
    about = {
        "kind": kind,
        "series": series,
        "start": int(rows.timestamps[first]),
        "end": int(rows.timestamps[stop - 1]) + 1,
        "channels": [channels[index] for index in top],
        "found": bool(own.alarm[first:stop].any()),
        "champion_found": None if champion is None else bool(champion.alarm[first:stop].any()),
    }
    return Trace(about, arrays, _rank(span, own, champion))


def over_threshold(scored: SeriesScored) -> Scores:
    """Return the score as a multiple of its threshold: 1 and above is an alarm, whatever the scale of the version."""
    above = scored.threshold > 0
    ratio = scored.score / np.where(above, scored.threshold, 1.0)
    over: Scores = np.where(above, ratio, 1.0 + scored.score - scored.threshold)
    return over


def most_telling(traces: Iterable[Trace]) -> list[Trace]:
    """Choose the events on which candidate and champion differ most: found by one alone first."""
    return sorted(traces, key=lambda trace: trace.rank, reverse=True)[:MOST]


def write_traces(lake: Lake, key: str, traces: Sequence[Trace]) -> None:
    """Store traces beside an evaluation."""
    arrays = {f"{at}/{name}": array for at, trace in enumerate(traces) for name, array in trace.arrays.items()}
    runs.publish(lake, key, {"traces": [trace.about for trace in traces]}, arrays)


def read_traces(lake: Lake, key: str) -> list[Trace]:
    """Read them back; none where an evaluation has none."""
    if not runs.published(lake, key):
        return []
    arrays = runs.arrays_of(lake, key)
    traces = []
    for at, about in enumerate(runs.about(lake, key)["traces"]):
        own = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{at}/")}
        traces.append(Trace(about, own, Rank(about["found"] != about["champion_found"], 0.0)))
    return traces


def _rank(span: tuple[int, int], own: SeriesScored, champion: SeriesScored | None) -> Rank:
    rows = slice(*span)
    height = float(over_threshold(own)[rows].max())
    if champion is None:
        return Rank(not own.alarm[rows].any(), -height)  # what was missed comes first
    differ = bool(own.alarm[rows].any()) != bool(champion.alarm[rows].any())
    return Rank(differ, abs(height - float(over_threshold(champion)[rows].max())))


def _extremes(values: Array, edges: npt.NDArray[np.int64]) -> Array:
    """Thin channels: of each stretch of rows the value farthest from the middle, so that no spike is lost."""
    out = np.empty((len(edges), values.shape[1]), dtype=np.float32)
    for column in range(values.shape[1]):
        channel = values[:, column]
        known = channel[np.isfinite(channel)]
        middle = np.median(known) if len(known) else 0.0
        for point, stretch in enumerate(np.split(channel, edges[1:])):
            present = stretch[np.isfinite(stretch)]
            out[point, column] = present[np.argmax(np.abs(present - middle))] if len(present) else np.nan
    return out
