import numpy as np
import pytest
from sklearn.decomposition import PCA

from models import pca as module
from models.pca import MOST_VALUES, Pca


def waves(rows: int = 400, channels: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(rows)[:, None]
    return np.asarray(np.sin(time / 6 + np.arange(channels)) + 0.1 * rng.normal(size=(rows, channels)), np.float32)


def test_errors_equal_an_independent_pca_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 50)
    values, window = waves(), 8
    member = Pca(window, variance=0.7)
    member.fit({"a": values}, seed=0)
    windows = np.array([values[t - window + 1 : t + 1].ravel() for t in range(window - 1, len(values))])
    oracle = PCA(n_components=0.7, svd_solver="full").fit(windows)
    rebuilt = oracle.inverse_transform(oracle.transform(windows))
    squares = ((windows - rebuilt) ** 2).reshape(-1, window, 3).mean(axis=1)
    errors, _ = member.errors("a", values, None)
    np.testing.assert_allclose(errors[window - 1 :], squares / squares.mean(axis=0), rtol=1e-2, atol=1e-3)


def test_many_channels_shorten_the_window() -> None:
    values = waves(200, MOST_VALUES // 4)
    member = Pca(window=30)
    member.fit({"a": values}, seed=0)
    assert member.arrays()["a.mean"].shape == (MOST_VALUES // 4 * 4,)
    assert np.isfinite(member.score("a", values)[0]).all()


def test_a_constant_series_has_no_components_and_finite_scores() -> None:
    constant = np.ones((50, 2), np.float32)
    member = Pca(window=5)
    member.fit({"a": constant}, seed=0)
    assert member.arrays()["a.components"].shape == (0, 10)
    assert member.score("a", constant)[0].max() == pytest.approx(0.0, abs=1e-6)
