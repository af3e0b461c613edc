"""Label propagation: known labels spread to similar windows, and only where that has proved right.

LabelSpreading's usual kernel is dense (6.5 GB at 28,000 windows) and its few positives are often wrong. Here the
kernel is a graph of nearest neighbours, over a bounded number of windows, and a gate decides whether it is used.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.parts import ANOMALOUS, NORMAL, UNKNOWN
from models.windows import Array
from watchkeeper.errors import DataError

Labels = npt.NDArray[np.int8]
NEIGHBOURS = 7
FOLDS = 4  # known labels are held out a quarter at a time
FEWEST = 4  # known labels of each class below which agreement cannot be judged: one for each fold
CERTAIN = 0.9  # share of the label mass above which a window takes a label
COMPONENTS = 16  # of the embedding: neighbours in 126 dimensions are all equally far


@dataclass(frozen=True, eq=False)
class Propagated:
    """What was spread.

    Attributes:
        label: int8 (n,), the known labels and, if the gate opened, the new ones; −1 elsewhere.
        agreement: share of the known labels, held out from the spreading, that it found again: (normal, anomalous);
            0 where that was not judged.
        used: whether the gate opened.
    """

    label: Labels
    agreement: tuple[float, float]
    used: bool


def propagate_labels(
    features: Array, label: Labels, *, wanted: float = 0.8, most_windows: int = 4000, seed: int
) -> Propagated:
    """Spread known labels to similar windows, if that finds held-out known labels again.

    Args:
        features: float32 (n, feature), one row for each window (models/warm_up.py, `embed_windows`).
        label: int8 (n,), 1, 0 or −1 unknown.
        wanted: agreement with held-out labels below which nothing is spread, asked of both classes.
        most_windows: all labelled windows and a random choice of the others, up to this number, take part; where
            that many are labelled, there is no need to spread anything.
        seed: for that choice and for the folds.

    Raises:
        DataError: features and label do not fit.

    Source: label spreading, Zhou et al. 2004, as used in DRTA (arXiv 2508.18474); graph, bound and gate are ours.
    """
    if features.ndim != 2 or label.shape != (len(features),):
        raise DataError(f"wanted one label for each of {len(features)} windows, found shape {label.shape}")
    known = np.flatnonzero(label != UNKNOWN)
    classes = [np.flatnonzero(label == value) for value in (NORMAL, ANOMALOUS)]
    if min(map(len, classes)) < FEWEST or len(known) >= min(len(label), most_windows):
        return Propagated(label.copy(), (0.0, 0.0), used=False)  # too few to judge, or nothing left to gain
    rng = np.random.default_rng(seed)
    others = np.flatnonzero(label == UNKNOWN)
    others = rng.choice(others, min(len(others), most_windows - len(known)), replace=False)
    taking_part = np.sort(np.concatenate([known, others]))
    graph_features = _reduce(features[taking_part], seed)
    seen = label[taking_part]
    agreement = _agreement(graph_features, seen, rng)
    if min(agreement) < wanted:
        return Propagated(label.copy(), agreement, used=False)
    spread = label.copy()
    spread[taking_part] = np.where(seen == UNKNOWN, _spread(graph_features, seen), seen)
    return Propagated(spread, agreement, used=True)


def _reduce(features: Array, seed: int) -> Array:
    """Scale each feature to unit deviation and keep the directions that vary most."""
    from sklearn.decomposition import PCA

    deviation = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    if min(scaled.shape) <= COMPONENTS:
        return np.asarray(scaled, np.float32)
    reduced = PCA(COMPONENTS, svd_solver="randomized", random_state=seed).fit_transform(scaled)
    return np.asarray(reduced, np.float32)


def _agreement(features: Array, label: Labels, rng: np.random.Generator) -> tuple[float, float]:
    """Hold out known labels, fold by fold, and count how many the others find again, by class."""
    fold = np.full(len(label), -1)
    for value in (NORMAL, ANOMALOUS):
        members = rng.permutation(np.flatnonzero(label == value))
        fold[members] = np.arange(len(members)) % FOLDS
    found = np.full(len(label), UNKNOWN, np.int8)
    for k in range(FOLDS):
        without = np.where(fold == k, UNKNOWN, label).astype(np.int8)
        found = np.where(fold == k, _spread(features, without), found)
    normal, anomalous = (float((found[label == value] == value).mean()) for value in (NORMAL, ANOMALOUS))
    return normal, anomalous


def _spread(features: Array, label: Labels) -> Labels:
    """Spread over the graph; −1 where no label reaches or none is certain."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.semi_supervised import LabelSpreading

    model = LabelSpreading(kernel="knn", n_neighbors=min(NEIGHBOURS, len(features) - 1), alpha=0.2, max_iter=50)
    with warnings.catch_warnings():
        # Fifty rounds bound the cost; what is still moving then is not certain, and the gate judges the rest.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, label)
    mass = model.label_distributions_  # (n, class)
    best = mass.argmax(axis=1)
    certain = mass[np.arange(len(mass)), best] >= CERTAIN
    return np.where(certain, model.classes_[best], UNKNOWN).astype(np.int8)
