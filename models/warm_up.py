"""Warm-up: pseudo-labels from the extremes of an Isolation Forest, so that the first updates have something to say.

The forest sees a compact embedding of training windows, never the windows themselves: 50 × 42 numbers are mostly
repetition, and their copies would need O(rows × window) memory.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.parts import ANOMALOUS, NORMAL, UNKNOWN
from models.windows import Array
from watchkeeper.errors import BadInputError, DataError

Labels = npt.NDArray[np.int8]
BLOCK = 8192  # windows embedded at once: bounds the float64 copies
TREES, SAMPLES = 50, 256  # Isolation Forest: trees, and windows a tree (Liu et al. 2008 use 100 and 256)


def embed_windows(values: Array, window: int, stride: int) -> tuple[npt.NDArray[np.int64], Array]:
    """Describe each window by the mean, the standard deviation and the last sample of every feature.

    Args:
        values: float32 (time, feature), finite.
        window: samples.
        stride: samples from one window to the next.

    Returns:
        int64 (n,), first rows; float32 (n, 3 × feature). Memory is O(rows), whatever the window.

    Raises:
        DataError: the series is shorter than one window.
    """
    if len(values) < window:
        raise DataError(f"a series of {len(values)} rows is shorter than one window of {window} samples")
    start = np.arange(0, len(values) - window + 1, stride, dtype=np.int64)
    # Sums are taken around the mean: squares of a large offset would swallow a small deviation.
    centre = values.mean(axis=0, dtype=np.float64)
    out = np.empty((len(start), 3 * values.shape[1]), np.float32)
    for first in range(0, len(start), BLOCK):
        own = start[first : first + BLOCK]
        moved = values[own[0] : own[-1] + window].astype(np.float64) - centre
        mean = _window_sum(moved, own - own[0], window) / window
        square = _window_sum(np.square(moved), own - own[0], window) / window
        deviation = np.sqrt(np.maximum(square - np.square(mean), 0.0))
        out[first : first + BLOCK] = np.concatenate([mean + centre, deviation, values[own + window - 1]], axis=1)
    return start, out


def _window_sum(values: npt.NDArray[np.float64], start: npt.NDArray[np.int64], window: int) -> npt.NDArray[np.float64]:
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return np.asarray(total[start + window] - total[start])


def warm_up(
    observations: Mapping[str, Array], *, window: int, stride: int, anomalous: float, normal: float, seed: int
) -> dict[str, Labels]:
    """Pseudo-label the extreme windows of each series.

    One forest for each series: what is normal differs between series. A window speaks for its last `stride` samples,
    those that no earlier window speaks for.

    Args:
        observations: float32 (time, feature) of training rows only, by series.
        window: samples.
        stride: samples from one window to the next, at most `window`.
        anomalous: share of windows, the most isolated ones, called anomalous.
        normal: share of windows, the least isolated ones, called normal.
        seed: for the forests.

    Returns:
        int8 (time,) by series: 1, 0, or −1 for everything between the extremes.

    Raises:
        BadInputError: the shares or the stride are not usable.
        DataError: a series is shorter than one window.

    Source: DRTA (arXiv 2508.18474), replay warm-up; the embedding and the split by time are ours.
    """
    if not (0 < anomalous < 1 and 0 < normal < 1 and anomalous + normal < 1):
        raise BadInputError(f"warm-up shares are above 0 and sum below 1, found {anomalous} and {normal}")
    if not 1 <= stride <= window:
        raise BadInputError(f"the warm-up stride is 1 to {window} samples (one window), found {stride}")
    return {
        series: _extremes(values, window, stride, (anomalous, normal), seed) for series, values in observations.items()
    }


def _extremes(values: Array, window: int, stride: int, shares: tuple[float, float], seed: int) -> Labels:
    from sklearn.ensemble import IsolationForest

    start, features = embed_windows(values, window, stride)
    forest = IsolationForest(n_estimators=TREES, max_samples=min(SAMPLES, len(features)), random_state=seed)
    isolation = -forest.fit(features).score_samples(features)  # (n,), higher is more isolated
    order = np.argsort(isolation, kind="stable")
    label = np.full(len(values), UNKNOWN, np.int8)
    ends = start + window
    anomalous, normal = (int(np.ceil(len(order) * share)) for share in shares)
    for end in ends[order[:normal]]:
        label[end - stride : end] = NORMAL
    for end in ends[order[len(order) - anomalous :]]:
        label[end - stride : end] = ANOMALOUS
    return label
