"""The contract of a member: something that scores every sample of a series. Higher is more anomalous.

A member is fitted on the training parts of all series of a watch. It may keep one set of parameters for each series
(norm, pca, ridge) or share one network over all of them (vae, lstm, agent). Its input is scaled: see models/scaler.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from models.windows import Array
from watchkeeper.progress import Progress

FLOOR = 1e-3
"""Squared scaled units that a channel's usual squared error is at least: what is forecast exactly may err by 3 %."""

MEMORY = 300_000
"""Rows over which earlier errors are averaged. So long that an error of a hundred times the usual one, lasting an hour
of minutes, changes next to nothing, and one that lasts for days does."""

BLOCK = 65_536
"""Rows discounted at once: bounds the float64 copies."""

State = dict[str, npt.NDArray[Any]]
"""What a member carries from one chunk of a series to the next: the last rows, a hidden state."""


class Member(ABC):
    """One scorer. Every member runs through tests/contracts/test_members.py.

    Contract: scores are float64 (time,), finite, one for each row; input is never changed; the same input, seed and
    machine give the same scores; a change in the future never changes a past score; a series scored in chunks with the
    carried state scores as it does in one piece; `from_arrays(config(), arrays())` scores as the original does.
    """

    name: ClassVar[str]
    history: Sequence[Mapping[str, float]] = ()
    """Training metrics, one record per epoch, of members that train in epochs; not saved."""

    @abstractmethod
    def fit(self, parts: Mapping[str, Array], seed: int, progress: Progress | None = None) -> None:
        """Learn what is normal.

        Args:
            parts: scaled float32 (time, channel) of the training part, by series. Nothing here is held out: the
                detector, which alone calls this, takes `TrainPart`s.
            seed: for every random choice made.
            progress: told the share done, by members that take long.

        Raises:
            DataError: a series is shorter than the member's window.
        """

    @abstractmethod
    def score(self, series: str, values: Array, state: State | None = None) -> tuple[npt.NDArray[np.float64], State]:
        """Score each row, from that row and earlier ones only.

        Args:
            series: a name that was in `fit`.
            values: scaled float32 (time, channel), at least one row.
            state: what the call on the rows just before returned; None at the start of a series.

        Returns:
            float64 (time,), higher is more anomalous, and the state to go on with.
        """

    def contributions(self, series: str, values: Array, state: State | None = None) -> Array | None:  # noqa: ARG002 - the default has none
        """What each channel adds to the score, float32 (time, channel), not negative; None where a member has none."""
        return None

    def explain(
        self, series: str, values: Array, state: State | None = None
    ) -> tuple[npt.NDArray[np.float64], Array | None, State]:
        """Return score, contributions and state of one pass over the rows, for members that get both at one price."""
        score, after = self.score(series, values, state)
        return score, self.contributions(series, values, state), after

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What is needed besides the arrays to build the member again, as JSON-able values."""

    @abstractmethod
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what was learnt, as named arrays (`safetensors` writes them)."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build a fitted member from what `config` and `arrays` returned."""


class ErrorMember(Member):
    """A member whose score is the mean over channels of an error relative to the usual one."""

    @abstractmethod
    def errors(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Relative error of each row and channel, float32 (time, channel), about 1 in training; and the state."""

    def score(self, series: str, values: Array, state: State | None = None) -> tuple[npt.NDArray[np.float64], State]:
        """Score each row by the mean error over its channels."""
        errors, after = self.judged(series, values, state)
        return errors.mean(axis=1, dtype=np.float64), after

    def contributions(self, series: str, values: Array, state: State | None = None) -> Array:
        """What each channel adds to the score: its error divided by the number of channels."""
        return self.explain(series, values, state)[1]

    def explain(
        self, series: str, values: Array, state: State | None = None
    ) -> tuple[npt.NDArray[np.float64], Array, State]:
        """Return score, contributions and state of one pass over the rows."""
        errors, after = self.judged(series, values, state)
        return errors.mean(axis=1, dtype=np.float64), errors / np.float32(errors.shape[1]), after

    def judged(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Return the errors as they count in the score: here, as they are."""
        return self.errors(series, values, state)


class DiscountedErrorMember(ErrorMember):
    """An error member that discounts channels which have been wrong for long.

    An error counts in units of max(1, moving average of the channel's earlier errors), with a memory of MEMORY rows: a
    channel that works differently since a rollout makes large errors for ever, and would drown all others. Where a
    channel errs as it did in training, nothing changes. docs/detector.md has what it brings, and where it costs.
    """

    def judged(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Return the errors in units of what has become usual."""
        errors, after = self.errors(series, values, state)
        average = np.ones(errors.shape[1]) if state is None else state["average"]
        errors, average = discount(errors, average)
        return errors, {**after, "average": average}


def discount(errors: Array, average: npt.NDArray[np.float64]) -> tuple[Array, npt.NDArray[np.float64]]:
    """Divide errors by the moving average of those before, where that is above 1.

    Args:
        errors: float32 (time, channel), about 1 in training, at least one row.
        average: float64 (channel,), of the rows before; 1 at the start.

    Returns:
        float32 (time, channel), and the average after the last row.
    """
    weight = 1.0 / MEMORY
    discounted = np.empty_like(errors)
    for start in range(0, len(errors), BLOCK):
        block = errors[start : start + BLOCK]
        carried = (1.0 - weight) * average[None]
        averages, _ = lfilter([weight], [1.0, weight - 1.0], block, axis=0, zi=carried)  # (time, channel)
        before = np.concatenate([average[None], averages[:-1]])
        np.divide(block, np.maximum(before, 1.0).astype(np.float32), out=discounted[start : start + BLOCK])
        average = averages[-1]
    return discounted, average
