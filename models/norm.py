"""The trivial member: how far the z-scored sample is from the training mean. Cheap, and hard to beat."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.member import Member, State
from models.windows import Array
from watchkeeper.errors import DataError
from watchkeeper.progress import Progress


class Norm(Member):
    """Mean square over the channels of the scaled sample: its squared norm, in the units of the other members.

    Source: the norm of the sample as a baseline, Sarfraz et al., "Position: Quo Vadis, Unsupervised Time Series
    Anomaly Detection?" (arXiv 2405.02678), section 4.
    """

    name: ClassVar[str] = "norm"

    def __init__(self) -> None:
        self._channels: dict[str, int] = {}

    def fit(
        self,
        parts: Mapping[str, Array],
        seed: int,  # noqa: ARG002 - nothing here is random
        progress: Progress | None = None,  # noqa: ARG002 - nor long
    ) -> None:
        """Note which series there are: the scaler has learnt all the rest."""
        for series, values in parts.items():
            if len(values) == 0:
                raise DataError(f"series {series}: norm needs at least one row")
        self._channels = {series: values.shape[1] for series, values in parts.items()}

    def score(self, series: str, values: Array, state: State | None = None) -> tuple[npt.NDArray[np.float64], State]:
        """Score each row by the mean square of its channels."""
        score, _, after = self.explain(series, values, state)
        return score, after

    def contributions(self, series: str, values: Array, state: State | None = None) -> Array:
        """What each channel adds to the score: its square, divided by the number of channels."""
        return self.explain(series, values, state)[1]

    def explain(
        self,
        series: str,
        values: Array,
        state: State | None = None,  # noqa: ARG002 - a row is scored by itself
    ) -> tuple[npt.NDArray[np.float64], Array, State]:
        """Return score, contributions and the empty state."""
        if self._channels.get(series) != values.shape[1]:
            raise DataError(
                f"series {series} with {values.shape[1]} channels was not fitted; fitted are {self._channels}"
            )
        squares = np.square(values, dtype=np.float64)
        return squares.mean(axis=1), (squares / values.shape[1]).astype(np.float32), {}

    def config(self) -> dict[str, Any]:
        """Series and their numbers of channels."""
        return {"channels": dict(self._channels)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing was learnt."""
        return {}

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:  # noqa: ARG003 - it has none
        """Build the member again."""
        member = cls()
        member._channels = {series: int(count) for series, count in config["channels"].items()}
        return member
