"""The threshold: as low as an alarm budget allows on recent, unlabelled scores, and following slow shifts.

Scores are read in buckets of `merge` samples, of which only the maximum is kept: two alarms closer than that are one,
and a day of readings becomes a few hundred numbers. The threshold of a block of samples is set from the buckets before
the block, so it is causal, and scoring in chunks gives what scoring in one piece does.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibration import Scores
from models.member import State
from watchkeeper.errors import DataError

DAY_S = 86_400.0
CANDIDATES = 128
"""Thresholds tried at each update: the highest bucket maxima, thinned evenly in rank."""


@dataclass(frozen=True)
class ThresholdConfig:
    """The rule of the adaptive threshold.

    Attributes:
        budget_per_day: alarms per day that people are willing to look at, above 0.
        interval_s: seconds between two samples.
        merge: samples; runs of alarm closer than this are one alarm.
        memory_days: how much of the past the threshold rests on.
        block_days: how often it is set anew.
        share: at most this share of the time may be in alarm, or one endless alarm would keep any budget.
    """

    budget_per_day: float
    interval_s: float
    merge: int = 10
    memory_days: float = 3.0
    block_days: float = 0.25
    share: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        if min(self.budget_per_day, self.interval_s, self.merge, self.memory_days, self.block_days) <= 0:
            raise DataError(f"a threshold's settings are above 0, found {self}")

    @property
    def buckets_per_block(self) -> int:
        """How many buckets pass between two updates, at least 1."""
        return max(1, round(self.block_days * DAY_S / (self.interval_s * self.merge)))

    @property
    def buckets_kept(self) -> int:
        """How many buckets the threshold remembers, at least one block."""
        return max(self.buckets_per_block, round(self.memory_days * DAY_S / (self.interval_s * self.merge)))


def count_alarms(alarm: npt.NDArray[np.bool_], merge: int) -> int:
    """Count runs of alarm samples, runs with fewer than `merge` quiet samples between them being one."""
    hits = np.flatnonzero(alarm)
    if len(hits) == 0:
        return 0
    return 1 + int((np.diff(hits) > merge).sum())


def budget_threshold(maxima: Scores, config: ThresholdConfig) -> float:
    """Find the lowest threshold at which, and above which, the buckets keep the alarm budget.

    Args:
        maxima: float64 (bucket,), the largest score of each bucket, oldest first.
        config: budget, and the largest share of buckets in alarm.

    Returns:
        A threshold; a score at or above it is an alarm. Above the largest score where the budget allows no alarm.
    """
    days = len(maxima) * config.merge * config.interval_s / DAY_S
    allowed = config.budget_per_day * days
    ordered = np.sort(maxima)[::-1]
    most = max(1, int(config.share * len(maxima)))
    ranks = np.unique(np.linspace(0, min(most, len(maxima)) - 1, CANDIDATES).astype(int))
    candidates = ordered[ranks]  # falling
    over = maxima[None, :] >= candidates[:, None]  # (candidate, bucket)
    runs = over[:, 0] + (over[:, 1:] & ~over[:, :-1]).sum(axis=1)
    broken = np.flatnonzero((runs > allowed) | (over.sum(axis=1) > most))
    kept = broken[0] if len(broken) else len(candidates)
    if kept == 0:
        return float(np.nextafter(ordered[0], np.inf))
    return float(candidates[kept - 1])


def start_state(scores: Scores, config: ThresholdConfig) -> State:
    """Return the state of a threshold that has seen these scores of the calibration part, and set its floor."""
    whole = len(scores) // config.merge * config.merge
    maxima = scores[len(scores) - whole :].reshape(-1, config.merge).max(axis=1) if whole else scores.max(keepdims=True)
    kept = maxima[-config.buckets_kept :]
    level = budget_threshold(kept, config)
    floor = float(np.quantile(maxima, 0.95))
    return {
        "maxima": kept.copy(),
        "open": np.empty(0),  # scores of the bucket that is not full yet
        "level": np.array([level]),
        "floor": np.array([floor]),
        "since": np.array([0]),  # buckets since the last update
    }


def adapt(scores: Scores, state: State, config: ThresholdConfig) -> tuple[Scores, State]:
    """Return the threshold of each sample, and the state to go on with.

    Args:
        scores: float64 (time,), smoothed.
        state: of `start_state` or of the call on the samples just before.
        config: the rule.

    Returns:
        float64 (time,); each value rests on earlier scores only.
    """
    pending = np.concatenate([state["open"], scores])
    maxima, level, since = state["maxima"], float(state["level"][0]), int(state["since"][0])
    floor = float(state["floor"][0])
    out = np.empty(len(pending))
    at = 0
    while True:
        take = (config.buckets_per_block - since) * config.merge
        if at + take > len(pending):
            break
        out[at : at + take] = level
        maxima = np.concatenate([maxima, _bucket(pending[at : at + take], config)])[-config.buckets_kept :]
        level, since, at = max(floor, budget_threshold(maxima, config)), 0, at + take
    out[at:] = level
    full = (len(pending) - at) // config.merge
    maxima = np.concatenate([maxima, _bucket(pending[at : at + full * config.merge], config)])[-config.buckets_kept :]
    after: State = {
        "maxima": maxima,
        "open": pending[at + full * config.merge :].copy(),
        "level": np.array([level]),
        "floor": state["floor"],
        "since": np.array([since + full]),
    }
    return out[len(state["open"]) :], after


def _bucket(scores: Scores, config: ThresholdConfig) -> Scores:
    maxima: Scores = scores.reshape(-1, config.merge).max(axis=1)
    return maxima
