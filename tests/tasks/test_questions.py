import numpy as np

from models.query import Query
from tasks.train_agent import count_positives, told, unanswerable


def test_an_oracle_is_not_asked_what_it_cannot_know() -> None:
    """Stretches without truth are given as asked already; known ones are not."""
    truth = {"a": np.array([-1, -1, 0, 1, -1], np.int8), "b": np.array([0, 0], np.int8)}
    assert unanswerable(truth) == [("a", 0, 2), ("a", 4, 5)]
    assert unanswerable({}) == []


def test_what_is_known_need_not_be_asked() -> None:
    """Normal and anomalous stretches alike; unknown rows between them stay open."""
    known = {"a": np.array([-1, 0, 0, 1, -1, 1], np.int8), "b": np.full(3, -1, np.int8)}
    assert told(known) == [("a", 1, 3), ("a", 3, 4), ("a", 5, 6)]


def test_positives_are_counted_in_windows() -> None:
    """A known stretch counts as the windows that it would fill, an answer as one."""
    known = {"a": np.array([0] * 5 + [1] * 26 + [0, 1, 0], np.int8)}
    queries = (Query("a", 0, 25, "top", 1), Query("a", 25, 50, "top", 0), Query("a", 50, 75, "random", -1))
    assert count_positives(known, queries, window=25) == 2 + 1 + 1
