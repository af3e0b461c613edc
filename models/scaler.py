"""The scale of each channel of each series, and how missing readings are filled, both fixed by the training rows."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.windows import Array
from watchkeeper.errors import DataError

FLOOR_OF_RANGE = 0.01
"""A scale is at least this share of the channel's training range: one blip in a constant channel is not its noise."""
FLOOR_OF_LEVEL = 0.001
"""A scale is at least this share of the largest absolute training value: rounding is not noise either."""
FLOOR = 1e-6
"""The scale of a channel that was zero throughout training."""
BLOCK = 65_536
"""Rows worked on at once."""
LIMIT = 100.0
"""Scaled values are clipped to ± this many scales, so a channel that was constant and moves gives at most this."""


Blocks = Callable[[], Iterator[Array]]
"""Gives the rows of a series block by block, as often as it is called."""


class Scaler:
    """Per series and channel: subtract the training mean, divide by the floored training deviation, clip.

    The scale is max(deviation, 0.01 · range, 0.001 · largest absolute value, 1e-6), all of the training rows. A channel
    that was constant in training and moves later so gives a large value, but never more than ± LIMIT: a finite one
    that leaves room for the other channels.
    """

    def __init__(self, mean: Mapping[str, Array], scale: Mapping[str, Array]) -> None:
        self._mean = dict(mean)
        self._scale = dict(scale)

    @classmethod
    def fit(cls, parts: Mapping[str, Array]) -> Self:
        """Learn mean and scale.

        Args:
            parts: raw float32 (time, channel) of the rows to train on, by series; missing readings are NaN.

        Raises:
            DataError: there is no series, or one has no rows or is not (time, channel).
        """
        if not parts:
            raise DataError("a scaler needs at least one series")
        mean: dict[str, Array] = {}
        scale: dict[str, Array] = {}
        for series, values in parts.items():
            if values.ndim != 2 or len(values) == 0:
                raise DataError(f"series {series}: a scaler needs rows of (time, channel), found shape {values.shape}")
            mean[series], scale[series] = _mean_and_scale(functools.partial(_cut, values))
        return cls(mean, scale)

    @classmethod
    def fit_blocks(cls, series: str, blocks: Blocks) -> Self:
        """Learn mean and scale of one series that is not held as a whole.

        Args:
            series: its name.
            blocks: when called, gives the rows to train on from the first one: raw float32 (time, channel), BLOCK rows
                each and the last one fewer. Then the scale is that of `fit` to the last bit. It is called twice.
        """
        mean, scale = _mean_and_scale(blocks)
        return cls({series: mean}, {series: scale})

    @property
    def series(self) -> tuple[str, ...]:
        """The series that were fitted, sorted."""
        return tuple(sorted(self._mean))

    def channels(self, series: str) -> int:
        """How many channels a series has."""
        return len(self._known(series))

    def transform(self, series: str, values: Array) -> Array:
        """Scale rows.

        Args:
            series: one that was fitted.
            values: raw float32 (time, channel); NaN stays NaN.

        Returns:
            float32 (time, channel), within ± LIMIT.

        Raises:
            DataError: the series is not known, or the channels differ.
        """
        self._check(series, values)
        scaled = np.empty(values.shape, np.float32)
        for rows in _blocks(len(values)):
            block = (values[rows].astype(np.float64) - self._mean[series]) / self._scale[series]
            scaled[rows] = np.clip(block, -LIMIT, LIMIT)
        return scaled

    def fill_forward(self, series: str, values: Array, last: Array | None = None) -> tuple[Array, Array]:
        """Fill readings that are missing with the last finite one, or the training mean where there was none.

        Args:
            series: one that was fitted.
            values: raw float32 (time, channel); what is not finite is missing.
            last: float32 (channel,), what the call on the rows before returned; None at the start.

        Returns:
            The filled values, float32 (time, channel), a new array; and the last reading of each channel.

        Raises:
            DataError: the series is not known, or the channels differ.
        """
        self._check(series, values)
        before = self._mean[series] if last is None else last
        out = np.empty(values.shape, np.float32)
        for block in _blocks(len(values)):
            rows = np.concatenate([before[None], values[block]]).astype(np.float32)  # (1 + time, channel)
            source = np.where(np.isfinite(rows), np.arange(len(rows))[:, None], 0)
            filled = np.take_along_axis(rows, np.maximum.accumulate(source, axis=0), axis=0)
            out[block], before = filled[1:], filled[-1]
        return out, before

    def config(self) -> dict[str, Any]:
        """What is needed besides the arrays to build the scaler again."""
        return {"series": list(self._mean)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return mean and scale of each series by name."""
        return {f"{series}.mean": mean for series, mean in self._mean.items()} | {
            f"{series}.scale": scale for series, scale in self._scale.items()
        }

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build a fitted scaler from what `config` and `arrays` returned."""
        names = config["series"]
        return cls(
            {series: arrays[f"{series}.mean"] for series in names},
            {series: arrays[f"{series}.scale"] for series in names},
        )

    def _known(self, series: str) -> Array:
        if series not in self._mean:
            raise DataError(f"series {series} is not known to this scaler; known are {', '.join(self.series)}")
        return self._mean[series]

    def _check(self, series: str, values: Array) -> None:
        wanted = len(self._known(series))
        if values.ndim != 2 or values.shape[1] != wanted:
            raise DataError(f"series {series}: found values of shape {values.shape}, wanted (time, {wanted})")


def _blocks(rows: int) -> Iterator[slice]:
    """Cut rows into blocks: float64 copies of a block are small beside the rows."""
    return (slice(first, first + BLOCK) for first in range(0, rows, BLOCK))


def _cut(values: Array) -> Iterator[Array]:
    return (values[rows] for rows in _blocks(len(values)))


def _mean_and_scale(blocks: Blocks) -> tuple[Array, Array]:
    """Mean and floored deviation of each channel over its finite readings; 0 and 1 where there is none."""
    count, total, squares, level = (np.zeros(1) for _ in range(4))  # of each channel, as soon as a block comes
    low, high = np.full(1, np.inf), np.full(1, -np.inf)
    for block in blocks():
        wide = block.astype(np.float64)
        known = np.isfinite(wide)
        count = count + known.sum(axis=0)
        total = total + np.where(known, wide, 0.0).sum(axis=0)
        low = np.minimum(low, np.where(known, wide, np.inf).min(axis=0))
        high = np.maximum(high, np.where(known, wide, -np.inf).max(axis=0))
        level = np.maximum(level, np.where(known, np.abs(wide), 0.0).max(axis=0))
    mean = total / np.maximum(count, 1)
    for block in blocks():  # around the mean: squares of a large offset would swallow a small deviation
        wide = block.astype(np.float64)
        squares = squares + np.square(np.where(np.isfinite(wide), wide - mean, 0.0)).sum(axis=0)
    deviation = np.sqrt(squares / np.maximum(count, 1))
    floors = [FLOOR_OF_RANGE * (high - low), FLOOR_OF_LEVEL * level, np.full(len(mean), FLOOR)]
    scale = np.maximum.reduce([deviation, *floors])
    return mean.astype(np.float32), np.where(count == 0, 1.0, scale).astype(np.float32)
