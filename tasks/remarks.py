"""What a person should know at once of a file that came in: rows out of order, channels that lack or never change."""

import numpy as np
import numpy.typing as npt

from tasks.sources.pace import Pace

MISSING_WARNING = 0.2
"""Share of missing readings in a channel from which on a person is told."""


class Remarks:
    """Counts what is remarkable of one series of a file, batch by batch."""

    def __init__(self, channels: tuple[str, ...]) -> None:
        """Begin without rows."""
        self._channels = channels
        self._pace = Pace()
        self._rows = 0
        self._missed = np.zeros(len(channels), np.int64)
        self._least, self._most = (np.full(len(channels), np.nan, np.float32) for _ in range(2))

    def add(self, pace: Pace, values: npt.NDArray[np.float32]) -> None:
        """Take in a batch.

        Args:
            pace: of its clock, as the source had it.
            values: float32 (time, channel), the readings that come in.
        """
        self._pace = self._pace.then(pace)
        self._rows += len(values)
        self._missed += np.count_nonzero(np.isnan(values), axis=0)
        self._least = np.fmin(self._least, np.fmin.reduce(values, axis=0, initial=np.nan))
        self._most = np.fmax(self._most, np.fmax.reduce(values, axis=0, initial=np.nan))

    def told(self, origin: str) -> list[str]:
        """Return one line each."""
        lines = []
        if self._pace.backward:
            lines.append(f"{origin}: {self._pace.backward} backward timestamps, put in order")
        if not self._rows:
            return lines
        for name, share in zip(self._channels, self._missed / self._rows, strict=True):
            if share >= MISSING_WARNING:
                lines.append(f"{origin}: channel {name} lacks {share:.0%} of its readings")
        constant = [name for name, same in zip(self._channels, self._least == self._most, strict=True) if same]
        if constant and self._rows > 1:  # a database that is asked often gives one row at a time
            tail = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
            lines.append(f"{origin}: constant channel {', '.join(constant[:5])}{tail}")
        return lines
