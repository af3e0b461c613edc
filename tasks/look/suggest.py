"""What a watch file should say beyond its source: members, shares, budgets, by how much data there is."""

from dataclasses import dataclass

import numpy as np

from models.parts import split_by_shares
from tasks.look.rhythm import SHORTEST
from watchkeeper.errors import DataError
from watchkeeper.watch import AlarmRule, DriftRule, SplitRule, Watch

LEARNT = 2_000
"""Training rows, below which networks see too little to learn from."""
ALARMS_IN_ALL = 20.0
"""Alarms a day over all series that one person can look at."""
DRIFT_ROWS = 200
"""Rows that the comparison of a drift check should have at least."""
DAY_S = 86_400.0


@dataclass(frozen=True)
class Suggestion:
    """Values with their reasons.

    Attributes:
        window, window_why: samples that a member sees at once.
        members, members_why: what scores beside the agent.
        agent: whether there is one.
        alarms, alarms_why: a day and series.
        drift_days, drift_why: that a drift check compares.
        trainable: whether the longest series can be split.
    """

    window: int
    window_why: str
    members: tuple[str, ...]
    members_why: str
    agent: bool
    alarms: float
    alarms_why: str
    drift_days: float
    drift_why: str
    trainable: bool


def suggest(rows: int, series: int, longest: int, interval_s: float, window: tuple[int, str]) -> Suggestion:
    """Suggest what fits so much data.

    Args:
        rows: of all series.
        series: how many there are.
        longest: rows of the longest series.
        interval_s: the usual step from row to row.
        window: as the rhythm suggests it, with its reason.
    """
    split = SplitRule()
    samples, why = window
    while samples > SHORTEST and not splits(longest, samples, split):
        samples = max(SHORTEST, samples // 2)
        why = f"as long as {longest:,} rows allow: each part of the split needs a window at least"
    every = Watch.model_fields["members"].default
    training = round(rows * (1 - split.calibration - split.held_out))
    members, told = every, "all, of equal weight"
    if training < LEARNT:
        members = tuple(name for name in every if name not in ("vae", "lstm"))
        told = f"without vae and lstm: about {training:,} rows for training are too few for networks"
    usual = AlarmRule().budget_per_day
    alarms = usual if series * usual <= ALARMS_IN_ALL else round(max(0.1, ALARMS_IN_ALL / series), 1)
    drift = DriftRule().days
    days = max(drift, float(np.ceil(DRIFT_ROWS * interval_s / DAY_S)))
    return Suggestion(
        window=samples,
        window_why=why,
        members=members,
        members_why=told,
        agent=training >= LEARNT,
        alarms=alarms,
        alarms_why=f"a day and series that people are willing to look at: {alarms * series:,.3g} a day in all",
        drift_days=days,
        drift_why="the latest so many days are compared with the champion's reference"
        + (f"; {DRIFT_ROWS} rows need them" if days > drift else ""),
        trainable=splits(longest, samples, split),
    )


def splits(rows: int, window: int, split: SplitRule) -> bool:
    """Tell whether a series of so many rows can be split."""
    try:
        split_by_shares(rows, split.calibration, split.held_out, window, gap=window)
    except DataError:
        return False
    return True
