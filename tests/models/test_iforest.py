import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from models import iforest as module
from models.iforest import Forest, IForest, embed, mean_path_length
from models.windows import Array
from watchkeeper.errors import DataError


def rows_of(rows: int, channels: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, channels)).astype(np.float32)


@pytest.mark.parametrize(("rows", "samples"), [(1000, 256), (40, 40), (300, 7)])
def test_scores_equal_those_of_scikit_learn(rows: int, samples: int) -> None:
    fitted = IsolationForest(n_estimators=30, max_samples=samples, random_state=3).fit(rows_of(rows, 5))
    probe = np.concatenate([rows_of(500, 5, seed=1), 5 * rows_of(100, 5, seed=2), rows_of(rows, 5)])
    np.testing.assert_allclose(Forest.of(fitted).score(probe), -fitted.score_samples(probe), rtol=0, atol=1e-9)


def test_rows_on_a_threshold_go_left_as_with_scikit_learn() -> None:
    """Values lie exactly on float32 thresholds: with the nearest float32 above it, a row would change sides."""
    fitted = IsolationForest(n_estimators=20, max_samples=64, random_state=0).fit(rows_of(64, 2))
    forest = Forest.of(fitted)
    inner = np.isfinite(forest.threshold)
    edges = np.unique(forest.threshold[inner])
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(np.inf))])
    probe = np.stack([edges, edges[::-1]], axis=1)
    np.testing.assert_allclose(forest.score(probe), -fitted.score_samples(probe), rtol=0, atol=1e-9)


def test_a_forest_that_found_nothing_to_cut_scores_as_scikit_learn() -> None:
    constant = np.ones((50, 3), np.float32)
    fitted = IsolationForest(n_estimators=5, random_state=0).fit(constant)
    np.testing.assert_allclose(Forest.of(fitted).score(constant), -fitted.score_samples(constant), rtol=0, atol=1e-9)


def test_hand_computed_path_lengths() -> None:
    """c(1) = 0, c(2) = 1, c(3) = 2 (ln 2 + 0.5772157) − 4/3, from the paper's equation 1."""
    np.testing.assert_allclose(mean_path_length(np.array([1, 2, 3])), [0.0, 1.0, 1.2073923], atol=1e-6)


@given(window=st.integers(1, 9), rows=st.integers(1, 30), level=st.sampled_from([0.0, 1.0, 99.0]))
def test_the_embedding_equals_an_obvious_loop(window: int, rows: int, level: float) -> None:
    values = np.clip(rows_of(rows + window - 1, 3) + np.float32(level), -100, 100)
    got = embed(values, window)
    for row in range(rows):
        own = values[row : row + window].astype(np.float64)
        expected = np.concatenate([own[-1], own.mean(axis=0), own.std(axis=0)])
        np.testing.assert_allclose(got[row], expected, rtol=1e-4, atol=2e-3)


@given(cut=st.integers(1, 79))
def test_the_embedding_does_not_depend_on_the_cut(cut: int) -> None:
    """Running sums of floats would leave different rounding behind, and a row near a threshold would change sides."""
    window, values = 8, 30 * rows_of(80 + 7, 4)
    joined = np.concatenate([embed(values[: cut + 7], window), embed(values[cut:], window)])
    assert np.array_equal(joined, embed(values, window))


def test_scores_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    member = IForest(window=6, trees=20)
    values = rows_of(500, 3)
    member.fit({"a": values}, seed=0)
    whole, _ = member.score("a", values)
    monkeypatch.setattr(module, "BLOCK", 37)
    assert np.array_equal(member.score("a", values)[0], whole)


def test_a_forest_is_grown_on_rows_of_the_whole_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that kept the first rows only would find the second half of the series strange."""
    monkeypatch.setattr(module, "BLOCK", 64)
    values = rows_of(4000, 2)
    values[2000:] += 10
    member = IForest(window=5, trees=10, samples=32)
    member.fit({"a": values}, seed=0)
    score, _ = member.score("a", values)
    assert abs(score[100:1900].mean() - score[2100:].mean()) < 0.05


def test_a_stuck_channel_is_seen_by_its_deviation() -> None:
    """Every value is an ordinary one: a forest of single rows (window 1) sees nothing."""
    values = rows_of(3000, 2)
    stuck = values.copy()
    stuck[1000:1060] = 0.3

    def scores(window: int) -> tuple[float, float]:
        member = IForest(window=window)
        member.fit({"a": values}, seed=0)
        return member.score("a", stuck)[0][1030:1060].min(), np.quantile(member.score("a", values)[0], 0.95)

    seen, ordinary = scores(20)
    assert seen > ordinary
    seen, ordinary = scores(1)
    assert seen < ordinary


def test_a_series_no_longer_than_its_window_is_refused() -> None:
    with pytest.raises(DataError, match="more than its window of 10"):
        IForest(window=10).fit({"a": rows_of(10, 2)}, seed=0)
