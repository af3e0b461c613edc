"""How far two samples of the same columns lie apart, in standard deviations of the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

VALUES_NEEDED = 20  # per side and column: fewer present values are not compared
DIFFERENT = 0.05  # share of values off a constant, above which the other side is no longer taken for constant


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of each column: arrays (column,)."""

    distance: Floats
    spread: Floats
    mean: tuple[Floats, Floats]
    deviation: tuple[Floats, Floats]
    missing: tuple[Floats, Floats]
    present: npt.NDArray[np.bool_]  # enough values on both sides
    stuck: npt.NDArray[np.bool_]  # the current side is constant, the reference is not
    unstuck: npt.NDArray[np.bool_]  # the reference is constant, the current side is not or is so at another value


def distance(reference: Floats, current: Floats) -> float:
    """First Wasserstein distance of two samples in standard deviations of the reference; 0 where that has none.

    Args:
        reference: (n,), finite, at least one value.
        current: (m,), the same.

    Source: Ramdas, Garcia, Cuturi, "On Wasserstein two-sample testing" (arXiv 1509.02237), the one-dimensional case.
    """
    scale = deviation(reference)
    if scale == 0:
        return 0.0
    both = np.concatenate([reference, current])
    both.sort()
    below_reference = np.searchsorted(np.sort(reference), both[:-1], side="right") / len(reference)
    below_current = np.searchsorted(np.sort(current), both[:-1], side="right") / len(current)
    return float(np.sum(np.abs(below_reference - below_current) * np.diff(both)) / scale)


def deviation(values: Floats) -> float:
    """Return the standard deviation; exactly 0 for a constant, where rounding would leave a little."""
    return 0.0 if np.ptp(values) == 0 else float(np.std(values))


def spread(reference: Floats, current: Floats) -> float:
    """Return the distance that is left when both samples are moved to mean 0."""
    return distance(reference - reference.mean(), current - current.mean())


def measure(reference: Floats, current: Floats) -> Measured:
    """Measure every column of two matched samples, (rows, column) each, NaN missing."""
    width = reference.shape[1]
    here, there = ([side[:, i][~np.isnan(side[:, i])] for i in range(width)] for side in (reference, current))
    present = np.array([min(len(a), len(b)) >= VALUES_NEEDED for a, b in zip(here, there, strict=True)])

    def each(value: Callable[[Floats, Floats], float | bool]) -> Floats:
        pairs = zip(here, there, present, strict=True)
        return np.array([value(a, b) if enough else 0.0 for a, b, enough in pairs], dtype=np.float64)

    return Measured(
        distance=each(distance),
        spread=each(spread),
        mean=_both(here, there, np.mean),
        deviation=_both(here, there, deviation),
        missing=(np.isnan(reference).mean(axis=0), np.isnan(current).mean(axis=0)),
        present=present,
        stuck=each(_stuck) > 0,
        unstuck=each(_unstuck) > 0,
    )


def _both(here: Sequence[Floats], there: Sequence[Floats], of: Callable[[Floats], Any]) -> tuple[Floats, Floats]:
    """Apply to each column of each side; NaN where a column has no values."""
    reference, current = (
        np.array([of(values) if len(values) else np.nan for values in side]) for side in (here, there)
    )
    return reference, current


def _stuck(reference: Floats, current: Floats) -> bool:
    return bool(np.ptp(current) == 0 < np.ptp(reference) and np.mean(reference != current[0]) > DIFFERENT)


def _unstuck(reference: Floats, current: Floats) -> bool:
    return bool(np.ptp(reference) == 0 and np.mean(current != reference[0]) > DIFFERENT)
