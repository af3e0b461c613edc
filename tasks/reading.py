"""Scoring stored rows with a version: the rows asked for, with enough of those before them to be in the swing."""

from dataclasses import replace

import numpy as np

from models.detector import Detector, Scored
from models.member import State
from tasks.champion import Served
from tasks.rows import Rows, read_rows
from watchkeeper.lake import Lake
from watchkeeper.records import Snapshot

CONTEXT = 10_080
"""Rows before the first one asked for that are scored and thrown away where no state is at hand: a week of minutes.
Windows, moving average and hidden states forget within hundreds of rows, features within 10,000; the threshold looks
back over days."""


def score_rows(
    lake: Lake, served: Served, snapshot: Snapshot, series: str, after: int | None
) -> tuple[Scored | None, Rows]:
    """Score the rows of a series that are later than a time.

    Args:
        lake: where the rows are.
        served: the version that scores.
        snapshot: which rows there are.
        series: one that the version knows.
        after: µs since 1970 UTC; None scores all there is.

    Returns:
        The scores (None where there are no rows) and the rows that they belong to.
    """
    scored, rows, _ = go_on(lake, served, snapshot, series, after, None)
    return scored, rows


def go_on(
    lake: Lake, served: Served, snapshot: Snapshot, series: str, after: int | None, state: State | None
) -> tuple[Scored | None, Rows, State | None]:
    """Score as `score_rows` does, going on from a state.

    Args:
        lake: where the rows are.
        served: the version that scores.
        snapshot: which rows there are.
        series: one that the version knows.
        after: µs since 1970 UTC; None scores all there is.
        state: what this returned third for the rows up to `after`; without one, CONTEXT rows before bring it about.
    """
    context = CONTEXT if state is None else 0
    rows = read_rows(lake, snapshot, series, served.version.manifest.channels, after, context)
    first = 0 if after is None else int(np.searchsorted(rows.timestamps, after, side="right"))
    asked = Rows(rows.timestamps[first:], rows.values[first:])
    if not len(asked):
        return None, asked, state
    scored, later = served.detector.score(series, rows.values, rows.timestamps, state)
    return _from(scored, first), asked, later


def score_from(detector: Detector, series: str, rows: Rows, first: int) -> Scored:
    """Score rows and return what is said of those from `first` on."""
    scored, _ = detector.score(series, rows.values, rows.timestamps)
    return _from(scored, first)


def _from(scored: Scored, first: int) -> Scored:
    return replace(
        scored,
        score=scored.score[first:],
        threshold=scored.threshold[first:],
        alarm=scored.alarm[first:],
        members={name: scores[first:] for name, scores in scored.members.items()},
        contributions=scored.contributions[first:],
    )
