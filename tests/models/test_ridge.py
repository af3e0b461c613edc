import numpy as np
import pytest
from sklearn.linear_model import Ridge as Oracle

from models import ridge as module
from models.ridge import FLOOR, Ridge


def noisy_waves(rows: int = 500, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(rows)[:, None]
    return np.asarray(np.sin(time / np.array([5, 9, 14])) + 0.3 * rng.normal(size=(rows, 3)), np.float32)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)


@pytest.mark.usefixtures("small_blocks")
def test_errors_equal_an_independent_ridge_row_by_row() -> None:
    """scikit-learn on lagged rows made by an obvious loop; its penalty is not divided by the row count."""
    values, lags = noisy_waves(), 4
    member = Ridge(lags, penalty=0.01)
    member.fit({"a": values}, seed=0)
    lagged = np.array([values[t - lags : t].ravel() for t in range(lags, len(values))])
    oracle = Oracle(alpha=0.01 * len(lagged)).fit(lagged, values[lags:])
    squares = (values[lags:] - oracle.predict(lagged)) ** 2
    errors, _ = member.errors("a", values, None)
    np.testing.assert_allclose(errors[lags:], squares / squares.mean(axis=0), rtol=2e-2, atol=1e-3)


def test_training_errors_are_one_on_average() -> None:
    values = noisy_waves()
    member = Ridge()
    member.fit({"a": values}, seed=0)
    score, _ = member.score("a", values)
    assert score[5:].mean() == pytest.approx(1.0, rel=1e-3)


def test_what_is_forecast_exactly_still_has_a_finite_score() -> None:
    constant = np.zeros((100, 2), np.float32)
    member = Ridge()
    member.fit({"a": constant}, seed=0)
    moved = constant.copy()
    moved[50, 1] = 1
    assert member.errors("a", moved, None)[0][50].tolist() == pytest.approx([0.0, 1 / FLOOR], rel=1e-4)


def test_a_broken_correlation_scores_though_each_channel_looks_usual() -> None:
    """The norm of the sample cannot see it: a decoy for a member that looks at levels alone."""
    rng = np.random.default_rng(0)
    drive = np.sin(np.arange(2000) / 8) + 0.05 * rng.normal(size=2000)
    values = np.stack([drive, np.roll(drive, 1)], axis=1).astype(np.float32)
    member = Ridge()
    member.fit({"a": values[:1500]}, seed=0)
    broken = values[1500:].copy()
    broken[200:230, 1] = broken[170:200, 1]
    score = member.score("a", broken)[0]
    assert score[200:230].max() > 5 * np.delete(score, np.s_[190:260]).max()
