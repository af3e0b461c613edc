"""The linear forecaster: each sample from the few before it, by ridge regression. Fits in milliseconds."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.member import FLOOR, DiscountedErrorMember, State
from models.windows import Array, cut_windows, with_history
from watchkeeper.errors import DataError
from watchkeeper.progress import Progress

BLOCK = 4096
"""Rows regressed at once: bounds the copies of the lagged rows."""


class Ridge(DiscountedErrorMember):
    """Vector autoregression: every channel from the last `lags` samples of all channels.

    Squared errors are divided, per channel, by their mean on the training rows.

    Source: Hoerl and Kennard, "Ridge Regression", Technometrics 12 (1970), equation 2.3; vector autoregression as in
    Lütkepohl, "New Introduction to Multiple Time Series Analysis" (2005), equation 2.1.1.
    """

    name: ClassVar[str] = "ridge"

    def __init__(self, lags: int = 5, penalty: float = 1e-3) -> None:
        """Set the samples looked back on, and the penalty on squared weights, as a share of the row count."""
        self.lags = lags
        self.penalty = penalty
        self._weights: dict[str, Array] = {}  # (lags * channel + 1, channel)
        self._usual: dict[str, Array] = {}  # (channel,)

    def fit(
        self,
        parts: Mapping[str, Array],
        seed: int,  # noqa: ARG002 - nothing here is random
        progress: Progress | None = None,  # noqa: ARG002 - nor long
    ) -> None:
        """Solve the normal equations of each series.

        Raises:
            DataError: a series has no more than `lags` rows.
        """
        self._weights, self._usual = {}, {}
        for series, values in parts.items():
            if len(values) <= self.lags:
                raise DataError(f"series {series}: {len(values)} rows, ridge needs more than its {self.lags} lags")
            self._weights[series] = self._solve(values)
            total = np.zeros(values.shape[1])
            for start in range(self.lags, len(values), BLOCK):
                residuals = self._residuals(series, values[start : start + BLOCK], values[start - self.lags : start])
                total += np.square(residuals, dtype=np.float64).sum(axis=0)
            self._usual[series] = np.maximum(total / (len(values) - self.lags), FLOOR).astype(np.float32)

    def errors(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Squared forecast error of each row and channel, divided by the usual one."""
        if series not in self._weights or self._usual[series].shape != values.shape[1:]:
            raise DataError(
                f"series {series} with {values.shape[1]} channels was not fitted; fitted are {sorted(self._weights)}"
            )
        history = None if state is None else state["rows"]
        rows = with_history(values, history, self.lags)
        residuals = self._residuals(series, values, rows[: self.lags])
        relative: Array = residuals * residuals / self._usual[series]
        return relative, {"rows": rows[-self.lags :].copy()}

    def _solve(self, values: Array) -> Array:
        width = self.lags * values.shape[1] + 1
        gram = np.zeros((width, width))
        cross = np.zeros((width, values.shape[1]))
        for start in range(self.lags, len(values), BLOCK):
            stop = min(start + BLOCK, len(values))
            target = values[start:stop].astype(np.float64)
            lagged = self._lagged(values[start - self.lags : stop - 1]).astype(np.float64)
            gram += lagged.T @ lagged
            cross += lagged.T @ target
        penalty = np.full(width, self.penalty * (len(values) - self.lags))
        penalty[-1] = 0.0  # the intercept is free
        return np.linalg.solve(gram + np.diag(penalty + np.finfo(np.float32).eps), cross).astype(np.float32)

    def _lagged(self, rows: Array) -> Array:
        """The `lags` samples before each row, oldest first, and a one: (time, lags * channel + 1)."""
        windows = cut_windows(rows, self.lags)
        return np.concatenate([windows.reshape(len(windows), -1), np.ones((len(windows), 1), np.float32)], axis=1)

    def _residuals(self, series: str, values: Array, before: Array) -> Array:
        rows = np.concatenate([before, values])
        out = np.empty_like(values)
        for start in range(0, len(values), BLOCK):
            stop = min(start + BLOCK, len(values))
            out[start:stop] = (
                values[start:stop] - self._lagged(rows[start : stop + self.lags - 1]) @ self._weights[series]
            )
        return out

    def config(self) -> dict[str, Any]:
        """Lags, penalty and the series."""
        return {"lags": self.lags, "penalty": self.penalty, "series": list(self._weights)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Weights and usual squared errors of each series."""
        return {f"{series}.weights": weights for series, weights in self._weights.items()} | {
            f"{series}.usual": usual for series, usual in self._usual.items()
        }

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the member again."""
        member = cls(int(config["lags"]), float(config["penalty"]))
        member._weights = {series: arrays[f"{series}.weights"] for series in config["series"]}
        member._usual = {series: arrays[f"{series}.usual"] for series in config["series"]}
        return member
