"""Active learning: which windows to ask people about, under a hard budget.

A window is asked by the agent's advantage at its most anomalous sample: the sample that would raise the alarm.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from models.parts import UNKNOWN
from watchkeeper.errors import BadInputError

Interval = tuple[str, int, int]
"""Series, first row, row after the last."""


class Strategy(StrEnum):
    """How windows are chosen.

    `margin` asks where |Q0 − Q1| is smallest (DRTA). `random` asks anywhere. `mixed` takes turns between margin, the
    highest score and random: margin alone finds the most anomalous windows, and ends with a worse model.
    """

    MARGIN = "margin"
    MIXED = "mixed"
    RANDOM = "random"


@dataclass(frozen=True)
class Query:
    """A window that was asked about.

    Attributes:
        series: the series.
        start: first row of the window, within the training rows.
        end: row after the last.
        reason: "margin", "top" or "random".
        answer: 1 anomalous, 0 normal, −1 not answered or not known.
    """

    series: str
    start: int
    end: int
    reason: str
    answer: int = UNKNOWN


def choose_queries(
    advantage: Mapping[str, npt.NDArray[np.floating]],
    *,
    budget: int,
    window: int,
    asked: Collection[Interval] = (),
    strategy: Strategy = Strategy.MIXED,
    spacing: int = 1,
    seed: int,
) -> list[Query]:
    """Choose windows to ask about, the most wanted first.

    Windows lie side by side. One that overlaps a window asked before, now or in an earlier call, is never chosen, and
    neither is one with fewer than `spacing` windows between: neighbours mostly have the same answer.

    Args:
        advantage: Q(s, anomalous) − Q(s, normal), (time,) of the training rows, by series.
        budget: the largest number of windows.
        window: samples of a window.
        asked: what was asked before, in rows of the same arrays; rows before the first are given as negative.
        strategy: how to choose.
        spacing: windows left out on either side of one that is asked, at least 0.
        seed: for random choices.

    Returns:
        At most `budget` queries; fewer where the series have no more windows to ask about.

    Raises:
        BadInputError: budget or spacing is negative, or the window is empty.
    """
    if budget < 0 or spacing < 0 or window < 1:
        raise BadInputError(
            f"wanted budget and spacing of at least 0 and a window of at least 1 sample, "
            f"found {budget}, {spacing} and {window}"
        )
    names = list(advantage)
    count = np.array([len(advantage[name]) // window for name in names], np.int64)
    peaks = [
        np.asarray(advantage[name][: c * window]).reshape(c, window).max(axis=1)
        for name, c in zip(names, count, strict=True)
    ]
    peak = np.concatenate([np.empty(0), *peaks])  # (windows,)
    series = np.repeat(np.arange(len(names)), count)
    position = np.concatenate([np.empty(0, np.int64), *map(np.arange, count)])
    free = np.ones(len(peak), bool)
    for name, start, end in asked:
        if name in advantage:
            # Rows that come closer than `spacing` windows to the interval touch it or its surroundings.
            near = (position * window < end + spacing * window) & ((position + 1) * window > start - spacing * window)
            free &= ~(near & (series == names.index(name)))
    orders = {
        "margin": np.argsort(np.abs(peak), kind="stable"),
        "top": np.argsort(-peak, kind="stable"),
        "random": np.random.default_rng(seed).permutation(len(peak)),
    }
    turns = {Strategy.MARGIN: ("margin",), Strategy.RANDOM: ("random",), Strategy.MIXED: ("margin", "top", "random")}
    walks = [(reason, iter(orders[reason])) for reason in turns[strategy]]
    chosen: list[Query] = []
    while len(chosen) < budget and free.any():
        reason, walk = walks[len(chosen) % len(walks)]
        at = next(i for i in walk if free[i])  # what a walk passed over is not free and never will be again
        start = int(position[at]) * window
        chosen.append(Query(names[series[at]], start, start + window, reason))
        free[(series == series[at]) & (np.abs(position - position[at]) <= spacing)] = False
    return chosen
