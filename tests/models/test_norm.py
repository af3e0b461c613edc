import numpy as np
import pytest

from models.norm import Norm
from watchkeeper.errors import DataError


def fitted() -> Norm:
    norm = Norm()
    norm.fit({"a": np.zeros((1, 2), np.float32)}, seed=0)
    return norm


def test_hand_computed_score_and_contributions() -> None:
    """(3, 4): the mean square is 12.5; the channels add 9 / 2 and 16 / 2."""
    norm = fitted()
    row = np.array([[3, 4]], np.float32)
    score = norm.score("a", row)[0]
    assert score.tolist() == [12.5]
    assert norm.contributions("a", row).tolist() == [[4.5, 8.0]]


def test_a_sample_at_the_mean_scores_zero() -> None:
    norm = fitted()
    assert norm.score("a", np.zeros((2, 2), np.float32))[0].tolist() == [0, 0]
    assert norm.contributions("a", np.zeros((2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


def test_a_series_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        Norm().fit({"a": np.zeros((0, 2), np.float32)}, seed=0)
