"""From several members' scores to one: a common linear scale, weights, and causal smoothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from watchkeeper.errors import DataError

Scores = npt.NDArray[np.float64]

HIGH = 0.9
"""The quantile of the calibration scores that becomes 1. Not a higher one: anomalies there would rule the scale."""
TAIL = 100.0
"""Where a calibrated score stops being linear: one member's astronomic errors are not to drown the others."""
SHRINKAGE = 20.0
"""Positive labels at which the agent has half of the weight it can get."""
AGENT_SHARE = 0.5
"""The most weight the agent gets, with labels without end: agent and ensemble together beat either alone."""
BOUND = 5.0
"""The most an observed score can be: log(1 + 147)."""


@dataclass(frozen=True)
class Line:
    """One member's scale on one series: (score − zero) / unit, linear up to TAIL and logarithmic beyond."""

    zero: float
    unit: float

    def calibrate(self, scores: Scores) -> Scores:
        """Put scores on the common scale; their order is kept. float64 (time,) to float64 (time,)."""
        linear = (scores - self.zero) / self.unit
        beyond = np.maximum(linear / TAIL, 1.0)
        calibrated: Scores = np.minimum(linear, TAIL) + TAIL * np.log(beyond)
        return calibrated


def fit_line(scores: Scores) -> Line:
    """Put the median of the calibration scores at 0 and their 90 % quantile at 1.

    A linear scale keeps the distance between a bad anomaly and a worse one; docs/detector.md has the figures of this
    scale and of others. Where scores hardly vary, the unit is kept above a thousandth of their level.

    Raises:
        DataError: there are no scores, or one is not finite.
    """
    if len(scores) == 0 or not np.isfinite(scores).all():
        raise DataError(f"calibration needs finite scores, found {len(scores)} with {np.isfinite(scores).sum()} finite")
    zero, high = np.quantile(scores, [0.5, HIGH])
    return Line(float(zero), float(max(high - zero, 1e-3 * abs(zero), 1e-9)))


@dataclass(frozen=True)
class Weights:
    """The share of each member in the combination, and where it comes from.

    Attributes:
        shares: by member, not negative, summing to 1.
        provenance: why these, for people and for the manifest.
    """

    shares: Mapping[str, float]
    provenance: str

    @classmethod
    def equal(cls, members: tuple[str, ...]) -> Self:
        """Give each member the same weight: without labels there is no evidence for more."""
        return cls({name: 1 / len(members) for name in members}, "equal: no labels")

    def with_agent(self, name: str, positives: int) -> "Weights":
        """Give an agent its weight, AGENT_SHARE · n / (n + 20) at n positive labels, and the others what is left.

        Source: shrinkage of an estimate from few observations towards a prior, as in Bühlmann's credibility n/(n + k).
        """
        share = AGENT_SHARE * positives / (positives + SHRINKAGE)
        shares = {other: (1 - share) * old for other, old in self.shares.items() if other != name}
        return Weights(
            {**shares, name: share}, f"{self.provenance}; {name} {share:.3f} from {positives} positive labels"
        )

    def config(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"shares": dict(self.shares), "provenance": self.provenance}


def combine(calibrated: Mapping[str, Scores], weights: Weights) -> Scores:
    """Return the weighted mean of calibrated scores, float64 (time,)."""
    total = sum(share for name, share in weights.shares.items() if name in calibrated)
    parts = [weights.shares[name] / total * scores for name, scores in calibrated.items()]
    combined: Scores = np.sum(parts, axis=0)
    return combined


def compress(calibrated: Scores) -> npt.NDArray[np.float32]:
    """Bound a calibrated score for an agent's eyes: log(1 + score), 0 below 0, at most BOUND; float32."""
    return np.minimum(np.log1p(np.maximum(calibrated, 0.0)), BOUND).astype(np.float32)


def smooth(scores: Scores, alpha: float, last: float | None = None) -> Scores:
    """Exponential moving average, causal: y[t] = alpha · x[t] + (1 − alpha) · y[t − 1].

    Args:
        scores: float64 (time,).
        alpha: weight of the newest score, above 0, at most 1 (no smoothing).
        last: the last smoothed score before; None at the start, where the first score stands for the past.

    Source: Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1 (1959).
    """
    smoothed = []
    for score in scores.tolist():  # plain floats: 20 million a second are enough, and any chunking gives the same bits
        last = score if last is None else last + alpha * (score - last)
        smoothed.append(last)
    return np.array(smoothed, dtype=np.float64)


def smooth_fast_and_slow(scores: Scores, fast: float, slow: float, last: Scores | None = None) -> tuple[Scores, Scores]:
    """Return the larger of a fast and a slow moving average, and the last value of both for the call that follows.

    The fast one answers a sharp anomaly at once, the slow one gathers a weak one that lasts. Causal.

    Args:
        scores: float64 (time,), at least one.
        fast: weight of the newest score in the fast average, see `smooth`.
        slow: the same in the slow one.
        last: what the call on the scores just before returned second; None at the start.
    """
    quick = smooth(scores, fast, None if last is None else float(last[0]))
    steady = smooth(scores, slow, None if last is None else float(last[1]))
    return np.maximum(quick, steady), np.array([quick[-1], steady[-1]])
