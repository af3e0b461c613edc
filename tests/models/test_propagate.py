"""Label propagation: a sparse graph (correction 6), and a gate that held-out labels open."""

import tracemalloc

import numpy as np
import pytest
from sklearn.semi_supervised import LabelSpreading

from models.propagate import propagate_labels
from watchkeeper.errors import DataError


def two_clouds(n: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Windows in two clouds, one in five of them in the anomalous one; which cloud is the second value."""
    rng = np.random.default_rng(seed)
    cloud = (np.arange(n) % 5 == 0).astype(np.int8)
    return (rng.standard_normal((n, 6)) + apart * cloud[:, None]).astype(np.float32), cloud


def some_known(truth: np.ndarray, every: int) -> np.ndarray:
    label = np.full(len(truth), -1, np.int8)
    label[::every] = truth[::every]
    return label


def test_labels_spread_where_likeness_means_something() -> None:
    """Two clouds far apart: the gate opens, and what is spread is right."""
    features, truth = two_clouds(600, apart=8)
    label = some_known(truth, 12)
    found = propagate_labels(features, label, seed=0)
    assert found.used
    assert min(found.agreement) > 0.9
    spread = (label == -1) & (found.label != -1)
    assert spread.sum() > 400
    assert (found.label[spread] == truth[spread]).mean() > 0.98


def test_gate_stays_shut_where_likeness_means_nothing() -> None:
    """One cloud: labels are known but not to be told from the features, and nothing is spread.

    Decoy: spreading without the gate gives labels to most windows, anomalous ones mostly wrong.
    """
    features, truth = two_clouds(600, apart=0)
    label = some_known(truth, 12)
    found = propagate_labels(features, label, seed=0)
    assert not found.used
    assert found.agreement[1] < 0.5
    assert (found.label == label).all()
    ungated = LabelSpreading(kernel="knn", alpha=0.2).fit(features, label).transduction_
    claimed = (ungated == 1) & (label == -1)
    assert claimed.sum() > 20
    assert truth[claimed].mean() < 0.5


def test_gate_asks_both_classes() -> None:
    """Nearly all labels are normal and are found again; that alone does not open the gate."""
    features, truth = two_clouds(600, apart=0)
    label = some_known(truth, 2)
    label[(label == 1).nonzero()[0][5:]] = -1
    found = propagate_labels(features, label, seed=0)
    assert found.agreement[0] > 0.9
    assert not found.used


def test_too_few_labels_to_judge_spread_nothing() -> None:
    features, truth = two_clouds(200, apart=8)
    label = np.full(200, -1, np.int8)
    label[:15] = truth[:15]  # three anomalous ones
    found = propagate_labels(features, label, seed=0)
    assert (found.used, found.agreement) == (False, (0.0, 0.0))


def test_known_labels_stay_and_input_is_not_changed() -> None:
    """Even a label that all its neighbours contradict is left as a person gave it."""
    features, truth = two_clouds(600, apart=8)
    label = some_known(truth, 12)
    label[12] = 1 - label[12]
    before = label.copy()
    found = propagate_labels(features, label, seed=0)
    assert found.used
    assert (found.label[before != -1] == before[before != -1]).all()
    assert (label == before).all()


def test_no_dense_kernel_is_built() -> None:
    """Correction 6: at 4,000 windows a dense kernel takes 128 MB; the graph stays far below.

    Decoy: LabelSpreading's default kernel fails the same bound.
    """
    features, truth = two_clouds(4000, apart=8)
    label = some_known(truth, 40)
    bound = 4000 * 4000 * 8 // 4

    def peak(work: object) -> int:
        tracemalloc.start()
        work()  # type: ignore[operator]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(lambda: propagate_labels(features, label, seed=0)) < bound
    assert peak(lambda: LabelSpreading(max_iter=1, tol=1e9).fit(features, label)) > bound


def test_windows_beyond_the_bound_take_no_part() -> None:
    features, truth = two_clouds(1000, apart=8)
    found = propagate_labels(features, some_known(truth, 12), most_windows=300, seed=0)
    assert found.used
    assert (found.label != -1).sum() <= 300


def test_seed_decides_everything() -> None:
    features, truth = two_clouds(1000, apart=3)
    one, other = (propagate_labels(features, some_known(truth, 12), most_windows=300, seed=4) for _ in range(2))
    assert (one.label == other.label).all()
    assert one.agreement == other.agreement


def test_input_that_does_not_fit_is_refused() -> None:
    features, truth = two_clouds(100, apart=8)
    with pytest.raises(DataError, match="one label for each"):
        propagate_labels(features, truth[:50], seed=0)


def test_plenty_of_labels_need_no_spreading() -> None:
    """Imported labels may cover everything, or more windows than may take part: nothing is spread, nothing fails."""
    features, truth = two_clouds(100, apart=8)
    assert not propagate_labels(features, some_known(truth, 2), most_windows=40, seed=0).used
    assert not propagate_labels(features, truth, seed=0).used
