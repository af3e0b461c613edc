"""Shifts of the distribution, for work on drift: nothing breaks, and yet the world is another one."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watchkeeper.errors import BadInputError

Floats = npt.NDArray[np.float64]

KINDS = ("seasonal", "step", "regime")
SEASON_DAYS = 20.0  # from one season to the next
STEP_H, REGIME_H = 2.0, 6.0  # the world takes some hours to change, or the shift would be one large spike


@dataclass(frozen=True)
class Shift:
    """The world changes after `day` days, for good: one of `KINDS`.

    seasonal: warmth and demand move slowly, over weeks. step: people choose other set points. regime: other machines,
    so that relations between channels change as well.

    Raises:
        BadInputError: there is no such kind, or the day is before the start.
    """

    kind: str
    day: float

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.kind not in KINDS:
            raise BadInputError(f"shift {self.kind}: unknown; wanted one of {', '.join(KINDS)}")
        if not 0 <= self.day < math.inf:
            raise BadInputError(f"shift {self.kind}@{self.day:g}: the day must be 0 or later")


def read_shift(text: str) -> Shift:
    """Read `KIND@DAY`, as `step@14`.

    Raises:
        BadInputError: it is none.
    """
    kind, at, day = text.partition("@")
    try:
        after = float(day)
    except ValueError as error:
        found = f"{day} is no number of days" if at else "no day is named"
        raise BadInputError(f"shift {text}: {found}; wanted KIND@DAY, such as step@14") from error
    return Shift(kind, after)


def weights(shift: Shift | None, days: Floats) -> tuple[Floats, Floats, Floats]:
    """Tell how far the world has shifted in each way: float64 (time,) each, 0 to 1 (0 exactly before the shift).

    Args:
        shift: None leaves the world as it is.
        days: float64 (time,), days since the start of the run.
    """
    none = np.zeros(len(days))
    if shift is None:
        return none, none, none
    since = np.maximum(days - shift.day, 0.0)
    season = 0.5 - 0.5 * np.cos(np.pi * np.minimum(since / SEASON_DAYS, 1.0))
    step, regime = 1 - np.exp(-since * (24 / STEP_H)), 1 - np.exp(-since * (24 / REGIME_H))
    courses = {"seasonal": season, "step": step, "regime": regime}
    season, step, regime = (courses[kind] if kind == shift.kind else none for kind in KINDS)
    return season, step, regime
