"""Windows: views of one contiguous array, never copies of it."""

import numpy as np
import numpy.typing as npt

from watchkeeper.errors import DataError

Array = npt.NDArray[np.float32]
STEP = 2.0**-16
"""Scaled units between two values of the integer sums of `moments`."""


def cut_windows(values: Array, window: int, stride: int = 1) -> Array:
    """View a series as overlapping windows, without copying it.

    Args:
        values: float32 (time, channel), time ascending, finite.
        window: length in samples, at least 1.
        stride: hop in samples, at least 1.

    Returns:
        A read-only view (n, window, channel), n = (time - window) // stride + 1.

    Raises:
        DataError: the series is shorter than one window, or window or stride is below 1.

    Source: sliding windows as in DRTA (arXiv 2508.18474), section 3; the view is ours.
    """
    if values.ndim != 2:
        raise DataError(f"a series is (time, channel), found {values.ndim} dimensions")
    if window < 1 or stride < 1:
        raise DataError(f"window and stride are at least 1 sample, found window {window} and stride {stride}")
    if len(values) < window:
        raise DataError(f"a series of {len(values)} rows is shorter than one window of {window} samples")
    view = np.lib.stride_tricks.sliding_window_view(values, window, axis=0)  # (time - window + 1, channel, window)
    return view.transpose(0, 2, 1)[::stride]  # (n, window, channel)


def with_history(values: Array, history: Array | None, rows: int) -> Array:
    """Put the rows that came before in front of a chunk, so that its first sample has a full window.

    Where fewer than `rows` came before, the earliest known row is repeated: the past is taken to have been constant.

    Args:
        values: float32 (time, channel), at least one row.
        history: float32 (at most rows, channel), the rows just before `values`; None at the start of a series.
        rows: how many rows to put in front: window - 1.

    Returns:
        float32 (rows + time, channel), contiguous.
    """
    if rows == 0:
        return np.ascontiguousarray(values)
    past = values[:0] if history is None else history[-rows:]
    first = past[:1] if len(past) else values[:1]
    pad = np.repeat(first, rows - len(past), axis=0)
    return np.ascontiguousarray(np.concatenate([pad, past, values]))


def moments(rows: Array, window: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and variance of every window, by channel.

    The running sums are of integers, which are exact: the result does not depend on where a series was cut.

    Args:
        rows: scaled float32 (window − 1 + time, channel), within ± 100.
        window: samples, at least 1; up to a million keep the sums within 64 bits.

    Returns:
        Two float64 (time, channel).
    """
    steps = np.rint(rows.astype(np.float64) / STEP).astype(np.int64)
    mean = np.asarray(_sums(steps, window) * (STEP / window), np.float64)
    square = _sums(steps * steps, window) * (STEP * STEP / window)
    variance = np.asarray(np.maximum(square - mean * mean, 0.0), np.float64)
    return mean, variance


def _sums(steps: npt.NDArray[np.int64], window: int) -> npt.NDArray[np.int64]:
    total = np.cumsum(steps, axis=0)
    sums = total[window - 1 :].copy()
    sums[1:] -= total[:-window]
    return sums
