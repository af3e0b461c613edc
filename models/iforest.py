"""Isolation Forest on a causal embedding of each row, kept as plain arrays and scored by our own traversal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from models.member import Member, State
from models.windows import Array, moments, with_history
from watchkeeper.errors import DataError
from watchkeeper.progress import Progress

BLOCK = 2048
"""Rows embedded and scored at once: bounds the memory besides input and output."""
EULER = 0.577215664901532860606512090082402431
"""The Euler-Mascheroni constant."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees of one depth, each a full binary tree in rows: the children of node i are 2 i + 1 (left) and 2 i + 2.

    Where a tree stops early, it goes left to the lowest level, so that every descent takes `depth` steps.

    Attributes:
        feature: int32 (tree, 2^depth − 1), compared at each inner node.
        threshold: float32 (tree, 2^depth − 1); left where the feature's value is at most this.
        length: float64 (tree, 2^depth), path length at each leaf.
        samples: rows that each tree was grown on.
    """

    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    length: npt.NDArray[np.float64]
    samples: int

    @classmethod
    def of(cls, fitted: IsolationForest) -> Self:
        """Take over the trees of a fitted scikit-learn forest, whose trees see all features."""
        trees = [estimator.tree_ for estimator in fitted.estimators_]
        depth = max(tree.max_depth for tree in trees)
        feature = np.zeros((len(trees), 2**depth - 1), np.int32)
        threshold = np.full((len(trees), 2**depth - 1), np.inf, np.float32)
        length = np.zeros((len(trees), 2**depth))
        for index, tree in enumerate(trees):
            todo = [(0, 0, 0)]  # node of theirs, node of ours, level
            while todo:
                node, at, level = todo.pop()
                if tree.children_left[node] < 0:
                    bottom = (at + 1) * 2 ** (depth - level) - 2**depth  # the leftmost leaf below
                    length[index, bottom] = level + mean_path_length(np.array([tree.n_node_samples[node]]))[0]
                    continue
                feature[index, at] = tree.feature[node]
                threshold[index, at] = _float32_below(tree.threshold[node])
                todo += [
                    (tree.children_left[node], 2 * at + 1, level + 1),
                    (tree.children_right[node], 2 * at + 2, level + 1),
                ]
        return cls(feature, threshold, length, int(fitted.max_samples_))

    def score(self, rows: Array) -> npt.NDArray[np.float64]:
        """Score rows float32 (n, feature): float64 (n,), 2^(−mean path length / usual path length), near 1 is odd.

        Source: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008, equation 2.
        """
        trees, inner = self.feature.shape
        first = np.arange(trees) * inner  # of each tree, among all inner nodes
        flat, start = np.ascontiguousarray(rows).ravel(), np.arange(len(rows))[:, None] * rows.shape[1]
        node = np.zeros((len(rows), trees), np.int64)
        for _ in range(inner.bit_length()):
            at = node + first
            right = flat[start + self.feature.ravel()[at]] > self.threshold.ravel()[at]  # (n, tree)
            node = 2 * node + 1 + right
        lengths = self.length.ravel()[node - inner + np.arange(trees) * (inner + 1)]
        usual = mean_path_length(np.array([self.samples]))[0]
        scores: npt.NDArray[np.float64] = 2.0 ** (-lengths.mean(axis=1) / usual)
        return scores


def mean_path_length(samples: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """Mean depth of an unsuccessful search in a binary tree of so many samples, float64 of the same shape.

    Source: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008, equation 1, with c(2) = 1 and c(1) = 0.
    """
    above = np.maximum(samples, 3).astype(np.float64)
    full = 2.0 * (np.log(above - 1.0) + EULER) - 2.0 * (above - 1.0) / above
    return np.where(samples > 2, full, np.where(samples == 2, 1.0, 0.0))


def _float32_below(value: float) -> np.float32:
    """Return the largest float32 at most `value`: float32 rows then go the way they go with the float64 threshold."""
    near = np.float32(value)
    return near if float(near) <= value else np.nextafter(near, np.float32(-np.inf))


def embed(rows: Array, window: int) -> Array:
    """Each row, and mean and deviation over the window that ends there.

    Args:
        rows: scaled float32 (window − 1 + time, channel), within ± 100.
        window: samples, at least 1.

    Returns:
        float32 (time, 3 · channel).
    """
    mean, variance = moments(rows, window)
    return np.concatenate([rows[window - 1 :], mean, np.sqrt(variance)], axis=1, dtype=np.float32)


class IForest(Member):
    """How few random cuts set a row and the mean and deviation of its window apart. One forest for each series.

    Source: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008. The embedding is ours.
    """

    name: ClassVar[str] = "iforest"

    def __init__(self, window: int = 50, trees: int = 100, samples: int = 256) -> None:
        """Set the window in samples, the number of trees and the rows that each is grown on."""
        self.window = window
        self.trees = trees
        self.samples = samples
        self._forests: dict[str, Forest] = {}
        self._channels: dict[str, int] = {}

    def fit(self, parts: Mapping[str, Array], seed: int, progress: Progress | None = None) -> None:
        """Grow a forest for each series, on no more rows than its trees can use.

        Raises:
            DataError: a series is not longer than one window.
        """
        self._forests, self._channels = {}, {}
        for index, (series, values) in enumerate(parts.items()):
            if len(values) <= self.window:
                raise DataError(
                    f"series {series}: {len(values)} rows, iforest needs more than its window of {self.window}"
                )
            kept = np.random.default_rng(seed).permutation(len(values) - self.window + 1)[: self.trees * self.samples]
            rows = np.concatenate(
                [
                    embedded[kept[(kept >= start) & (kept < start + len(embedded))] - start]
                    for start, embedded in self._blocks(values)
                ]
            )
            forest = IsolationForest(
                n_estimators=self.trees, max_samples=min(self.samples, len(rows)), random_state=seed
            )
            self._forests[series] = Forest.of(forest.fit(rows))
            self._channels[series] = values.shape[1]
            if progress:
                progress((index + 1) / len(parts), f"forest {index + 1} of {len(parts)}")

    def score(self, series: str, values: Array, state: State | None = None) -> tuple[npt.NDArray[np.float64], State]:
        """Score each row by its forest."""
        if self._channels.get(series) != values.shape[1]:
            raise DataError(
                f"series {series} with {values.shape[1]} channels was not fitted; fitted are {self._channels}"
            )
        before = self.window - 1
        rows = with_history(values, None if state is None else state["rows"], before)
        score = np.empty(len(values))
        for start, embedded in self._blocks(rows):
            score[start : start + len(embedded)] = self._forests[series].score(embedded)
        return score, {"rows": rows[len(rows) - before :].copy()}

    def _blocks(self, rows: Array) -> Iterator[tuple[int, Array]]:
        """Embed window − 1 rows of history and the rows after them, block by block, with each block's first row."""
        count = len(rows) - self.window + 1
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            yield start, embed(rows[start : stop + self.window - 1], self.window)

    def config(self) -> dict[str, Any]:
        """Settings, and the series with their numbers of channels and of rows a tree was grown on."""
        return {
            "window": self.window,
            "trees": self.trees,
            "samples": self.samples,
            "channels": dict(self._channels),
            "grown_on": {series: forest.samples for series, forest in self._forests.items()},
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Features, thresholds and path lengths of each series' trees."""
        return {
            f"{series}.{kind}": getattr(forest, kind)
            for series, forest in self._forests.items()
            for kind in ("feature", "threshold", "length")
        }

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the member again."""
        member = cls(int(config["window"]), int(config["trees"]), int(config["samples"]))
        member._channels = {series: int(count) for series, count in config["channels"].items()}
        member._forests = {
            series: Forest(
                arrays[f"{series}.feature"], arrays[f"{series}.threshold"], arrays[f"{series}.length"], int(samples)
            )
            for series, samples in config["grown_on"].items()
        }
        return member
