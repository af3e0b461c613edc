"""Principal components of short windows: what the usual patterns cannot rebuild is unusual."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.member import FLOOR, DiscountedErrorMember, State
from models.windows import Array, cut_windows, with_history
from watchkeeper.errors import DataError
from watchkeeper.progress import Progress

BLOCK = 2048
"""Windows projected at once: bounds the copies."""
MOST_VALUES = 1200
"""Values a window holds at most; with many channels the window is shorter. Bounds the eigenproblem to about 1 s."""


class Pca(DiscountedErrorMember):
    """Squared error of a window's newest samples after projection on the leading components.

    The components are those of the windows' covariance that hold `variance` of it. Errors are averaged over the
    window, per channel, and divided by their mean on the training windows. A window ends at the row it scores.

    Source: Jackson and Mudholkar, "Control Procedures for Residuals Associated with Principal Component Analysis",
    Technometrics 21 (1979): the squared prediction error Q. Windows and the division per channel are ours.
    """

    name: ClassVar[str] = "pca"

    def __init__(self, window: int = 30, variance: float = 0.9) -> None:
        """Set the longest window in samples, and the share of variance that the components hold."""
        self.window = window
        self.variance = variance
        self._mean: dict[str, Array] = {}  # (window * channel,)
        self._components: dict[str, Array] = {}  # (component, window * channel)
        self._usual: dict[str, Array] = {}  # (channel,)

    def fit(
        self,
        parts: Mapping[str, Array],
        seed: int,  # noqa: ARG002 - nothing here is random
        progress: Progress | None = None,  # noqa: ARG002 - nor long
    ) -> None:
        """Find mean and components of each series' windows.

        Raises:
            DataError: a series is shorter than one window.
        """
        self._mean, self._components, self._usual = {}, {}, {}
        for series, values in parts.items():
            windows = cut_windows(values, self._length(values.shape[1]))
            self._mean[series], self._components[series] = self._principal(windows)
            total = np.zeros(values.shape[1])
            for start in range(0, len(windows), BLOCK):
                total += self._squares(series, windows[start : start + BLOCK]).sum(axis=0, dtype=np.float64)
            self._usual[series] = np.maximum(total / len(windows), FLOOR).astype(np.float32)

    def errors(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Mean squared error of the window that ends at each row, by channel, divided by the usual one."""
        if series not in self._mean or self._usual[series].shape != values.shape[1:]:
            raise DataError(
                f"series {series} with {values.shape[1]} channels was not fitted; fitted are {sorted(self._mean)}"
            )
        before = self._length(values.shape[1]) - 1
        rows = with_history(values, None if state is None else state["rows"], before)
        windows = cut_windows(rows, before + 1)
        out = np.empty_like(values)
        for start in range(0, len(windows), BLOCK):
            out[start : start + BLOCK] = self._squares(series, windows[start : start + BLOCK])
        return out / self._usual[series], {"rows": rows[len(rows) - before :].copy()}

    def _length(self, channels: int) -> int:
        return max(1, min(self.window, MOST_VALUES // channels))

    def _principal(self, windows: Array) -> tuple[Array, Array]:
        width = windows.shape[1] * windows.shape[2]
        total, gram = np.zeros(width), np.zeros((width, width))
        for start in range(0, len(windows), BLOCK):
            flat = windows[start : start + BLOCK].reshape(-1, width).astype(np.float64)
            total += flat.sum(axis=0)
            gram += flat.T @ flat
        mean = total / len(windows)
        eigenvalues, eigenvectors = np.linalg.eigh(gram / len(windows) - np.outer(mean, mean))
        share = np.cumsum(np.maximum(eigenvalues[::-1], 0.0))
        count = int(np.searchsorted(share, self.variance * share[-1])) + 1 if share[-1] > 0 else 0
        kept = eigenvectors[:, ::-1][:, : min(count, width - 1)].T
        return mean.astype(np.float32), np.ascontiguousarray(kept, dtype=np.float32)

    def _squares(self, series: str, windows: Array) -> Array:
        """Mean squared error over each window, (n, channel)."""
        flat = windows.reshape(len(windows), -1) - self._mean[series]
        components = self._components[series]
        flat -= (flat @ components.T) @ components
        squares: Array = np.square(flat).reshape(windows.shape).mean(axis=1)
        return squares

    def config(self) -> dict[str, Any]:
        """Window, variance and the series."""
        return {"window": self.window, "variance": self.variance, "series": list(self._mean)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Mean, components and usual squared errors of each series."""
        learnt = {"mean": self._mean, "components": self._components, "usual": self._usual}
        return {f"{series}.{kind}": array for kind, by_series in learnt.items() for series, array in by_series.items()}

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the member again."""
        member = cls(int(config["window"]), float(config["variance"]))
        member._mean = {series: arrays[f"{series}.mean"] for series in config["series"]}
        member._components = {series: arrays[f"{series}.components"] for series in config["series"]}
        member._usual = {series: arrays[f"{series}.usual"] for series in config["series"]}
        return member
