"""The threshold: as low as an alarm budget allows on recent, unlabelled scores, and following slow shifts.

Scores are read in buckets of `merge` samples, of which only the maximum is kept: two alarms closer than that are
about one, and a day of readings becomes a few hundred numbers. The threshold of a block of samples is set from the
buckets before the block, so it is causal, and scoring in chunks gives what scoring in one piece does.

Three rules together won over a frozen quantile, a trailing one and the first rule alone (figures in docs/detector.md):
the lowest threshold that would have kept the budget over the last days; a feedback that lowers what the next block may
use up while the alarms really raised are above the budget; and a deadband: an alarm that is on goes off at a lower
threshold than the one that raised it, so that an event is one alarm from its start to its end.

Source of the deadband: ANSI/ISA-18.2, "Management of Alarm Systems for the Process Industries", which wants one
against alarms that come and go; its size and its bound are ours.
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
MOST_BUCKETS = 100_000
"""Buckets remembered at most: bounds an update to about 13 MB and 20 ms where readings come many times a second."""
MOST_PER_BLOCK = 36
"""Buckets between two updates at most: where readings come fast, a shift is not left in alarm for hours."""
GAIN = 4.0
"""How hard an overdrawn budget is answered: at a quarter above it, the least is left."""
LEAST = 0.1
"""The share of the budget that is left at least."""
DEADBAND = 1 / 3
"""The share of the threshold below which an alarm that is on goes off; score 0 is the calibration part's median."""
FLOOR = 0.95
"""Quantile of the calibration part's bucket maxima below which the threshold never falls: quiet days stay quiet."""


@dataclass(frozen=True)
class ThresholdConfig:
    """The rule of the adaptive threshold.

    Attributes:
        budget_per_day: alarms per day that people are willing to look at, above 0.
        interval_s: seconds between two samples.
        merge: samples; alarms closer than this are one.
        memory_days: how much of the past the threshold rests on.
        block_days: how often it is set anew.
        share: at most this share of the time may be in alarm, or one endless alarm would keep any budget.
    """

    budget_per_day: float
    interval_s: float
    merge: int = 10
    memory_days: float = 7.0
    block_days: float = 0.125
    share: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        if min(self.budget_per_day, self.interval_s, self.merge, self.memory_days, self.block_days, self.share) <= 0:
            raise DataError(f"a threshold's settings are above 0, found {self}")

    @property
    def bucket_days(self) -> float:
        """How long a bucket lasts."""
        return self.interval_s * self.merge / DAY_S

    @property
    def buckets_per_block(self) -> int:
        """How many buckets pass between two updates, at least 1, at most MOST_PER_BLOCK."""
        return min(MOST_PER_BLOCK, max(1, round(self.block_days / self.bucket_days)))

    @property
    def buckets_kept(self) -> int:
        """How many buckets the threshold remembers, at least one block, at most MOST_BUCKETS."""
        return min(MOST_BUCKETS, max(self.buckets_per_block, round(self.memory_days / self.bucket_days)))


def budget_threshold(maxima: Scores, config: ThresholdConfig, spend: float = 1.0) -> float:
    """Find the lowest threshold at which, and above which, the buckets keep the alarm budget.

    Args:
        maxima: float64 (bucket,), the largest score of each bucket, oldest first.
        config: budget, and the largest share of buckets in alarm.
        spend: the share of the budget that may be used, 0 to 1.

    Returns:
        A threshold; a score at or above it is an alarm. Just above the largest score where no alarm is allowed.
    """
    allowed = spend * config.budget_per_day * len(maxima) * config.bucket_days
    most = max(1, int(config.share * len(maxima)))
    ordered = np.sort(maxima)[::-1]
    ranks = np.unique(np.linspace(0, most - 1, CANDIDATES).astype(int))
    candidates = ordered[ranks]  # falling
    over = maxima[None, :] >= candidates[:, None]  # (candidate, bucket)
    runs = over[:, 0] + (over[:, 1:] & ~over[:, :-1]).sum(axis=1)
    broken = np.flatnonzero((runs > allowed) | (over.sum(axis=1) > most))
    kept = broken[0] if len(broken) else len(candidates)
    return float(candidates[kept - 1] if kept else np.nextafter(ordered[0], np.inf))


def start_state(scores: Scores, config: ThresholdConfig) -> State:
    """Return the state of a threshold that has seen the calibration part.

    Args:
        scores: float64 (time,), smoothed, of the calibration part, at least one.
        config: the rule.
    """
    whole = len(scores) // config.merge * config.merge
    maxima = _bucket(scores[len(scores) - whole :], config) if whole else scores.max(keepdims=True)
    floor = float(np.quantile(maxima, FLOOR))
    recent = maxima[-config.buckets_kept :].copy()
    level = max(floor, budget_threshold(recent, config))
    return {
        "maxima": recent,
        "raised": np.zeros(len(recent), bool),  # buckets that did raise an alarm
        "open": np.empty(0),  # scores of the bucket that is not full yet
        "level": np.array([level]),
        "low": np.array([_low(recent, level, floor, config)]),  # stands in for the level while an alarm is on
        "on": np.array([False]),  # whether one was on before the open bucket
        "floor": np.array([floor]),
        "since": np.array([0]),  # buckets since the last update
    }


def adapt(scores: Scores, state: State, config: ThresholdConfig) -> tuple[Scores, State]:
    """Return the threshold of each sample, and the state to go on with.

    Args:
        scores: float64 (time,), smoothed.
        state: of `start_state`, or of the call on the samples just before.
        config: the rule.

    Returns:
        float64 (time,); each value rests on earlier scores only.
    """
    pending = np.concatenate([state["open"], scores])
    maxima, raised = state["maxima"], state["raised"]
    level, floor, since = float(state["level"][0]), float(state["floor"][0]), int(state["since"][0])
    low = float(state.get("low", state["level"])[0])  # a version made before there was a deadband has none
    on = bool(state.get("on", np.array([False]))[0])
    out = np.empty(len(pending))
    at = 0
    while at < len(pending):
        block = pending[at : at + (config.buckets_per_block - since) * config.merge]
        alarm = _in_alarm(block, level, low, on=on)
        out[at : at + len(block)] = np.where(np.concatenate([[on], alarm[:-1]]), low, level)
        full = len(block) // config.merge
        if full == 0:
            break
        new = _bucket(block[: full * config.merge], config)
        maxima = np.concatenate([maxima, new])[-config.buckets_kept :]
        rows = alarm[: full * config.merge].reshape(full, -1)
        raised = np.concatenate([raised, rows.any(axis=1)])[-config.buckets_kept :]
        at, since, on = at + full * config.merge, since + full, bool(rows[-1, -1])
        if since == config.buckets_per_block:
            level, since = max(floor, budget_threshold(maxima, config, _spend(raised, config))), 0
            low = _low(maxima, level, floor, config)
    after: State = {
        "maxima": maxima,
        "raised": raised,
        "open": pending[at:].copy(),
        "level": np.array([level]),
        "low": np.array([low]),
        "on": np.array([on]),
        "floor": state["floor"],
        "since": np.array([since]),
    }
    return out[len(state["open"]) :], after


def _in_alarm(scores: Scores, level: float, low: float, *, on: bool) -> npt.NDArray[np.bool_]:
    """Tell which samples are in alarm: on at `level`, off below `low`, and between them as the sample before."""
    decided = np.concatenate([[True], (scores >= level) | (scores < low)])
    says = np.concatenate([[on], scores >= level])
    latest = np.maximum.accumulate(np.where(decided, np.arange(len(says)), 0))
    return says[latest][1:]


def _low(maxima: Scores, level: float, floor: float, config: ThresholdConfig) -> float:
    """Where an alarm goes off: not where more than the allowed share of the time would be in alarm."""
    return min(level, max(floor, DEADBAND * level, float(np.quantile(maxima, 1.0 - config.share))))


def _spend(raised: npt.NDArray[np.bool_], config: ThresholdConfig) -> float:
    """The share of the budget that is left after the alarms that were raised."""
    runs = int(raised[0]) + int((raised[1:] & ~raised[:-1]).sum())
    allowed = config.budget_per_day * len(raised) * config.bucket_days
    return float(np.clip(1.0 - GAIN * (runs - allowed) / allowed, LEAST, 1.0))


def _bucket(scores: Scores, config: ThresholdConfig) -> Scores:
    maxima: Scores = scores.reshape(-1, config.merge).max(axis=1)
    return maxima
