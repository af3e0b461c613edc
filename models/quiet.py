"""What is too quiet: channels that vary less than they ever did in training, such as a stuck sensor or a calm machine.

Every other member answers to errors that grow. An anomaly that makes the series calmer makes their errors shrink, and
they score it below normal rows.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.member import ErrorMember, State
from models.windows import Array, moments
from watchkeeper.errors import DataError
from watchkeeper.progress import Progress

BLOCK = 8192
"""Windows worked on at once: bounds the copies."""
FLOOR_OF_VARIANCE = 0.01
"""Squared scaled units added to each variance: below a tenth of a channel's deviation, quiet and still are the same."""
FLOOR_OF_DEVIATION = 0.1
"""Natural-log units: the least that the log-variance of a channel is taken to deviate by."""


class Quiet(ErrorMember):
    """How far the log-variance of the window that ends at a row lies below the usual one, in squared deviations.

    One-sided: a louder channel scores 0. Rows before the first full window of a series score 0 too, for nothing is
    known of how much it varied.

    Source: a Shewhart chart on log-variance with a lower limit alone, as in Montgomery, "Introduction to Statistical
    Quality Control", chapter 6; windows and floors are ours.
    """

    name: ClassVar[str] = "quiet"

    def __init__(self, window: int = 30) -> None:
        """Set the window in samples, at least 2."""
        self.window = window
        self._mean: dict[str, Array] = {}  # (channel,), of the log-variance over the training windows
        self._deviation: dict[str, Array] = {}  # (channel,)

    def fit(
        self,
        parts: Mapping[str, Array],
        seed: int,  # noqa: ARG002 - nothing here is random
        progress: Progress | None = None,  # noqa: ARG002 - nor long
    ) -> None:
        """Note mean and deviation of each series' log-variances.

        Raises:
            DataError: a series is not longer than one window.
        """
        self._mean, self._deviation = {}, {}
        for series, values in parts.items():
            if len(values) <= self.window:
                raise DataError(
                    f"series {series}: {len(values)} rows, quiet needs more than its window of {self.window}"
                )
            count, total, squares = 0, 0.0, 0.0
            for logs in self._logs(values):
                count, total, squares = (
                    count + len(logs),
                    total + logs.sum(axis=0),
                    squares + np.square(logs).sum(axis=0),
                )
            mean = np.asarray(total / count)
            deviation = np.sqrt(np.maximum(squares / count - mean * mean, FLOOR_OF_DEVIATION**2))
            self._mean[series], self._deviation[series] = mean.astype(np.float32), deviation.astype(np.float32)

    def errors(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Squared deviations below the usual log-variance, by channel; 0 above it."""
        if series not in self._mean or self._mean[series].shape != values.shape[1:]:
            raise DataError(
                f"series {series} with {values.shape[1]} channels was not fitted; fitted are {sorted(self._mean)}"
            )
        rows = values if state is None else np.concatenate([state["rows"], values])
        out = np.zeros_like(values)
        at = len(values) - max(len(rows) - self.window + 1, 0)  # the first row whose window is full
        for logs in self._logs(rows):
            below = np.maximum((self._mean[series] - logs) / self._deviation[series], 0.0)
            out[at : at + len(logs)] = below * below
            at += len(logs)
        return out, {"rows": rows[max(len(rows) - self.window + 1, 0) :].copy()}

    def _logs(self, rows: Array) -> Iterator[npt.NDArray[np.float64]]:
        """Log-variances of the full windows, (n, channel) block by block."""
        for start in range(0, len(rows) - self.window + 1, BLOCK):
            _, variance = moments(rows[start : start + BLOCK + self.window - 1], self.window)
            yield np.log(variance + FLOOR_OF_VARIANCE)

    def config(self) -> dict[str, Any]:
        """Window and the series."""
        return {"window": self.window, "series": list(self._mean)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Mean and deviation of each series' log-variances."""
        learnt = {"mean": self._mean, "deviation": self._deviation}
        return {f"{series}.{kind}": array for kind, by_series in learnt.items() for series, array in by_series.items()}

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the member again."""
        member = cls(int(config["window"]))
        member._mean = {series: arrays[f"{series}.mean"] for series in config["series"]}
        member._deviation = {series: arrays[f"{series}.deviation"] for series in config["series"]}
        return member
