"""The pace of a source's clock: how often, and how far, it goes back from one row to the next."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Pace:
    """The clock of some rows in the order in which a source has them; missing times are left out.

    Attributes:
        first, last: the times of the first and the last row, µs since 1970 UTC; None where there is none.
        backward: how often a row is older than the one before it.
        furthest_back: the longest of these steps, µs.
    """

    first: int | None = None
    last: int | None = None
    backward: int = 0
    furthest_back: int = 0

    @classmethod
    def of(cls, times: npt.NDArray[np.int64]) -> "Pace":
        """Return the pace of times in µs since 1970 UTC."""
        if not len(times):
            return cls()
        back = np.flatnonzero(times[1:] < times[:-1])
        before, after = (one.view(np.uint64)[back] for one in (times[:-1], times[1:]))  # a broken clock's steps fit
        return cls(int(times[0]), int(times[-1]), len(back), int((before - after).max(initial=0)))

    def then(self, later: "Pace") -> "Pace":
        """Return the pace of these rows and of those that follow them."""
        if self.last is None or later.first is None:
            return self if later.first is None else later
        back = max(0, self.last - later.first)
        return Pace(
            self.first,
            later.last,
            self.backward + later.backward + (back > 0),
            max(self.furthest_back, later.furthest_back, back),
        )
