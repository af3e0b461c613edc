"""Live scoring: a version's folder in the lake, readings in, scores and alarms out. No MLflow, no Prefect.

The state of each series is kept in memory, so a reading costs the same however long the series has run.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from models.detector import build_detector
from models.member import State
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.lake import Lake
from watchkeeper.version import Version, read_version

TOP = 5
"""Channels named with an alarm."""


@dataclass(frozen=True)
class Answer:
    """What the version says of one reading.

    Attributes:
        timestamp: of the reading.
        score: higher is more anomalous.
        threshold: an alarm is raised at `score >= threshold`.
        alarm: whether it is.
        channels: for an alarm, the channels that made it, largest first, with what each added to the score.
    """

    timestamp: datetime
    score: float
    threshold: float
    alarm: bool
    channels: tuple[tuple[str, float], ...]


class LiveScorer:
    """Scores the series of one version as their readings come in."""

    def __init__(self, lake: Lake, folder: str, sha256: str) -> None:
        """Load a version.

        Args:
            lake: where it lies.
            folder: the version's folder in the lake, and
            sha256: its manifest's digest, both from the registry.

        Raises:
            VersionRefusedError: the folder is damaged, was tampered with, or holds what this release does not know.
        """
        self._version: Version = read_version(lake, folder, sha256)
        self._detector = build_detector(self._version.manifest.detector, self._version.arrays)
        self._states: dict[str, State] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of a reading, in order."""
        return self._version.manifest.channels

    @property
    def series(self) -> tuple[str, ...]:
        """The series it can score."""
        return self._version.manifest.series

    def score(self, series: str, timestamps: list[datetime], values: npt.NDArray[np.float32]) -> tuple[Answer, ...]:
        """Score readings that follow those of earlier calls.

        Args:
            series: one of `series`.
            timestamps: aware times, ascending, after those of earlier calls.
            values: float32 (time, channel) in the channels' own units; NaN is a missing reading.

        Raises:
            DataError: the series or the number of channels is not the version's, or time runs backwards.
        """
        if series not in self.series:
            raise DataError(f"series {series} is not known to this version; known are {', '.join(self.series)}")
        if values.ndim != 2 or values.shape[1] != len(self.channels):
            raise DataError(f"a reading has {len(self.channels)} channels, found an array of shape {values.shape}")
        times = np.array([to_microseconds(time) for time in timestamps], dtype=np.int64)
        scored, self._states[series] = self._detector.score(series, values, times, self._states.get(series))
        answers = []
        for row, time in enumerate(timestamps):
            alarm = bool(scored.alarm[row])
            named = self._named(scored.contributions[row]) if alarm else ()
            answers.append(Answer(time, float(scored.score[row]), float(scored.threshold[row]), alarm, named))
        return tuple(answers)

    def _named(self, contributions: npt.NDArray[np.float32]) -> tuple[tuple[str, float], ...]:
        """Name the channels that made an alarm, the largest first."""
        order = np.argsort(-contributions, kind="stable")[:TOP]
        return tuple((self.channels[index], float(contributions[index])) for index in order)
