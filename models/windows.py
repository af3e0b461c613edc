"""Windows: views of one contiguous array, never copies of it."""

import numpy as np
import numpy.typing as npt

from watchkeeper.errors import DataError

Array = npt.NDArray[np.float32]


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
