"""Warm-up: pseudo-labels from training rows alone (correction 4), in memory that does not grow with the window."""

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.warm_up import embed_windows, warm_up
from models.windows import Array, cut_windows
from watchkeeper.errors import BadInputError, DataError


def noise(rows: int, features: int = 3, seed: int = 0) -> Array:
    """White noise with a burst in the middle."""
    values = np.random.default_rng(seed).standard_normal((rows, features)).astype(np.float32)
    values[rows // 2 : rows // 2 + 40] += 8
    return values


def labels_of(values: Array, seed: int = 0) -> npt.NDArray[np.int8]:
    return warm_up({"a": values}, window=20, stride=5, anomalous=0.02, normal=0.1, seed=seed)["a"]


@given(st.integers(5, 60), st.integers(1, 5), st.integers(1, 9))
def test_embedding_equals_the_loop(rows: int, window: int, stride: int) -> None:
    """Oracle: mean, deviation and last sample of each window, one by one, far from zero."""
    values = (np.random.default_rng(rows).standard_normal((rows, 2)) + 500).astype(np.float32)
    start, features = embed_windows(values, window, stride)
    for i, w in enumerate(cut_windows(values, window, stride)):
        wanted = np.concatenate([w.mean(0, dtype=np.float64), w.std(0, dtype=np.float64), w[-1]])
        assert features[i] == pytest.approx(wanted, rel=1e-6, abs=1e-4)
    assert start.tolist() == list(range(0, rows - window + 1, stride))


def test_extremes_are_labelled_and_the_middle_is_not() -> None:
    """The burst is called anomalous, quiet windows normal, and most rows are left alone."""
    label = labels_of(noise(2000))
    assert (label[1000:1040] == 1).sum() > 20
    assert (label[:1000] == 1).sum() == 0
    assert 0.05 < (label == 0).mean() < 0.15
    assert (label == -1).mean() > 0.8


def test_seed_decides_everything() -> None:
    values = noise(2000)
    assert (labels_of(values, 1) == labels_of(values, 1)).all()
    assert (labels_of(values, 1) != labels_of(values, 2)).any()


def unmoved_by_held_out_rows(label: npt.NDArray[np.int8], changed: npt.NDArray[np.int8]) -> bool:
    return bool((label == changed).all())


def test_held_out_rows_have_no_say() -> None:
    """Correction 4: what comes after the training rows must not move their pseudo-labels.

    Decoy: the public code fits on all rows and then splits; there, a change after the split is felt before it.
    """
    train, held_out, worse = noise(2000), noise(500, seed=1), noise(500, seed=1) * 20
    ours = [labels_of(train.copy()) for _ in (held_out, worse)]
    leaking = [labels_of(np.concatenate([train, after]))[:2000] for after in (held_out, worse)]
    assert unmoved_by_held_out_rows(*ours)
    assert not unmoved_by_held_out_rows(*leaking)


def test_memory_does_not_grow_with_the_window() -> None:
    """Windows of 200 rows take no more than windows of 10; copies of them would take 20 times as much."""
    values = noise(4000, features=8)

    def peak(window: int) -> int:
        tracemalloc.start()
        embed_windows(values, window, 1)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    copies = np.ascontiguousarray(cut_windows(values, 200)).nbytes
    assert peak(200) < 1.2 * peak(10)
    assert peak(200) < copies / 5


def test_unusable_settings_are_refused() -> None:
    values = noise(100)
    with pytest.raises(DataError, match="shorter than one window"):
        warm_up({"a": values[:10]}, window=20, stride=5, anomalous=0.02, normal=0.1, seed=0)
    with pytest.raises(BadInputError, match="shares"):
        warm_up({"a": values}, window=20, stride=5, anomalous=0.6, normal=0.6, seed=0)
    with pytest.raises(BadInputError, match="stride"):
        warm_up({"a": values}, window=20, stride=21, anomalous=0.02, normal=0.1, seed=0)
