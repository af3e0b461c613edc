"""What the agent learns from: all rows of all series in one array, and a replay buffer of indices into it.

A transition is a pair (series, row). Its successor is the next row of the same series, always: nothing is stored that
could go stale, not the observation, not the reward (λ and labels change), not the successor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.parts import ANOMALOUS, NORMAL, UNKNOWN
from models.windows import Array
from watchkeeper.errors import BadInputError, DataError

Indices = npt.NDArray[np.int64]
Strata = tuple[Indices, Indices]
"""Replay entries around anomalous labels, and around normal labels only."""


@dataclass(eq=False)
class Rows:
    """Rows of all series, one after the other, with what is known about each.

    Attributes:
        series: names, in the order of the rows.
        offset: int64 (series + 1,), series i holds the rows offset[i] to offset[i + 1].
        observation: float32 (row, feature).
        error: float32 (row,), calibrated reconstruction error.
        label: int8 (row,), 1, 0 or −1 unknown; learning changes it as answers come.
        weight: float32 (row,), how much a row counts in the loss.
        terminal: bool (row,), the last row of its series: nothing follows.
    """

    series: Sequence[str]
    offset: Indices
    observation: torch.Tensor
    error: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor
    terminal: torch.Tensor

    @classmethod
    def of(
        cls,
        observations: Mapping[str, Array],
        errors: Mapping[str, npt.NDArray[np.floating]],
        labels: Mapping[str, npt.NDArray[np.int8]],
        device: str = "cpu",
    ) -> "Rows":
        """Join the series; weights start at zero.

        The arrays are copied once, but for the observations of a single series: they may fill half of the memory, and
        nobody writes to them.

        Args:
            observations: float32 (time, feature) of training rows, by series, the same features for all.
            errors: (time,) by series, finite.
            labels: int8 (time,) by series; a series without labels may be absent.
            device: where the rows lie.

        Raises:
            DataError: there is no series, shapes do not fit, or something is not finite.
        """
        if not observations:
            raise DataError("the agent needs at least one series to learn from, found none")
        if strangers := sorted(set(labels) - set(observations)):
            raise DataError(f"there are labels but no observations for series {', '.join(strangers)}")
        features = {values.shape[1:] for values in observations.values()}
        if len(features) != 1 or len(next(iter(features))) != 1:
            raise DataError(f"observations are (time, feature) with the same features for all series, found {features}")
        for name, values in observations.items():
            _check(name, values, errors.get(name), labels.get(name))
        lengths = [len(values) for values in observations.values()]
        offset = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        known = [labels.get(name, np.full(len(v), UNKNOWN, np.int8)) for name, v in observations.items()]
        terminal = np.zeros(offset[-1], bool)
        terminal[offset[1:] - 1] = True

        seen = list(observations.values())
        joined = np.concatenate(seen) if len(seen) > 1 else seen[0]

        def on_device(array: npt.NDArray[np.generic]) -> torch.Tensor:
            # PyTorch warns of arrays that are read-only: those are copied
            return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)

        return cls(
            series=tuple(observations),
            offset=offset,
            observation=on_device(joined.astype(np.float32, copy=False)),
            error=on_device(np.concatenate([errors[name] for name in observations]).astype(np.float32)),
            label=on_device(np.concatenate(known).astype(np.int8)),
            weight=torch.zeros(int(offset[-1]), device=device),
            terminal=on_device(terminal),
        )

    def __len__(self) -> int:
        return int(self.offset[-1])

    def span(self, series: str) -> slice:
        """Rows of one series."""
        i = self.series.index(series)
        return slice(int(self.offset[i]), int(self.offset[i + 1]))


def _check(
    name: str, values: Array, error: npt.NDArray[np.floating] | None, label: npt.NDArray[np.int8] | None
) -> None:
    if error is None or error.shape != (len(values),):
        found = "none" if error is None else f"shape {error.shape}"
        raise DataError(f"series {name}: wanted one error for each of {len(values)} rows, found {found}")
    if label is not None and (label.shape != (len(values),) or not np.isin(label, (UNKNOWN, NORMAL, ANOMALOUS)).all()):
        raise DataError(f"series {name}: labels are 1, 0 or −1, one for each of {len(values)} rows")
    if not (np.isfinite(values).all() and np.isfinite(error).all()):
        raise DataError(f"series {name}: observations or errors are not finite")


class Replay:
    """A ring of chunk starts (series, row), 8 bytes each; the oldest is overwritten when it is full."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise BadInputError(f"the replay buffer holds at least one entry, found capacity {capacity}")
        self._series = np.zeros(capacity, np.int32)
        self._start = np.zeros(capacity, np.int32)
        self._size = self._next = 0

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Memory of the entries."""
        return self._series.nbytes + self._start.nbytes

    def add(self, series: Indices, start: Indices) -> None:
        """Put in entries: series numbers and first rows, counted within the series, int64 (n,) each."""
        capacity = len(self._series)
        series, start = series[-capacity:], start[-capacity:]
        at = (self._next + np.arange(len(series))) % capacity
        self._series[at], self._start[at] = series, start
        self._next = int((self._next + len(series)) % capacity)
        self._size = min(self._size + len(series), capacity)

    def entries(self) -> tuple[Indices, Indices]:
        """All entries: series numbers and first rows, int64 (size,) each."""
        return self._series[: self._size].astype(np.int64), self._start[: self._size].astype(np.int64)

    def strata(self, rows: Rows, length: int) -> Strata:
        """Find the entries around labelled rows, with the labels as they are now.

        Args:
            rows: the rows that the entries point into.
            length: rows of a chunk: an entry covers [start, start + length) of its series.

        Returns:
            Numbers of the entries with anomalous labels, and of those with normal labels only, int64.
        """
        series, start = self.entries()
        first = rows.offset[series] + start
        last = np.minimum(first + length, rows.offset[series + 1])
        label = rows.label.cpu().numpy()
        anomalous = _count(label == ANOMALOUS, first, last) > 0
        normal = (_count(label == NORMAL, first, last) > 0) & ~anomalous
        return np.flatnonzero(anomalous), np.flatnonzero(normal)

    def sample(
        self, n: int, strata: Strata, shares: tuple[float, float], rng: np.random.Generator
    ) -> tuple[Indices, Indices]:
        """Draw chunk starts with replacement, a share of them around labelled rows.

        This is where the classes are balanced: rare anomalous rows are seen more often, and no reward is changed.

        Args:
            n: how many to draw.
            strata: what `strata` found; none has been added since.
            shares: of each stratum; the rest, and the share of an empty stratum, is drawn from all entries.
            rng: for the choice.

        Returns:
            Series numbers and first rows, int64 (n,) each.

        Raises:
            BadInputError: the buffer is empty.
        """
        if not self._size:
            raise BadInputError("nothing to draw from an empty replay buffer; add chunk starts first")
        drawn = [
            rng.choice(members, int(n * share)) for members, share in zip(strata, shares, strict=True) if len(members)
        ]
        chosen = np.concatenate([*drawn, rng.integers(0, self._size, n - sum(map(len, drawn)))])
        return self._series[chosen].astype(np.int64), self._start[chosen].astype(np.int64)


def _count(mask: npt.NDArray[np.bool_], first: Indices, last: Indices) -> Indices:
    """Count the true rows of each half-open interval in O(rows + intervals)."""
    before = np.concatenate([[0], np.cumsum(mask)])
    return np.asarray(before[last] - before[first], np.int64)


def chunk_index(rows: Rows, series: Indices, start: Indices, burn_in: int, length: int) -> Indices:
    """Row numbers of chunks, with the rows before them that warm the hidden state.

    A chunk begins `burn_in` rows before its start, moved where needed so that it stays inside its series. All chunks
    of a batch have the same number of rows, so they are one tensor.

    Args:
        rows: the rows pointed into.
        series: int64 (n,), series numbers.
        start: int64 (n,), first rows, counted within the series.
        burn_in: rows before the start.
        length: rows from the start on.

    Returns:
        int64 (burn_in + length, n), row numbers, consecutive along time.

    Raises:
        DataError: a series is shorter than burn_in + length.
    """
    size = rows.offset[series + 1] - rows.offset[series]
    if (size < burn_in + length).any():
        raise DataError(f"a chunk of {burn_in + length} rows does not fit a series of {size.min()} rows")
    begin = rows.offset[series] + np.clip(start - burn_in, 0, size - burn_in - length)
    return np.asarray(begin + np.arange(burn_in + length)[:, None], np.int64)
