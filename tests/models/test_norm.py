import numpy as np
import pytest

from models.norm import Norm
from watchkeeper.errors import DataError


def fitted() -> Norm:
    norm = Norm()
    norm.fit({"a": np.zeros((1, 2), np.float32)}, seed=0)
    return norm


def test_hand_computed_score_and_contributions() -> None:
    """(3, 4): root mean square √12.5; the channels share it as 9 to 16."""
    norm = fitted()
    row = np.array([[3, 4]], np.float32)
    score = norm.score("a", row)[0]
    np.testing.assert_allclose(score, np.sqrt(12.5))
    np.testing.assert_allclose(norm.contributions("a", row), [[np.sqrt(12.5) * 9 / 25, np.sqrt(12.5) * 16 / 25]])


def test_a_sample_at_the_mean_scores_zero() -> None:
    norm = fitted()
    assert norm.score("a", np.zeros((2, 2), np.float32))[0].tolist() == [0, 0]
    assert norm.contributions("a", np.zeros((2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


def test_a_series_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        Norm().fit({"a": np.zeros((0, 2), np.float32)}, seed=0)
