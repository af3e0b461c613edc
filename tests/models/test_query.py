"""Active learning: a hard budget, no window twice, no neighbours, and three ways to choose."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.query import Query, Strategy, choose_queries
from watchkeeper.errors import BadInputError

WINDOW = 10


def advantage_of(*peaks: float) -> np.ndarray:
    """One window for each peak: low everywhere, with the peak at one sample."""
    values = np.full(len(peaks) * WINDOW, -9.0)
    values[3::WINDOW] = peaks
    return values


def starts(queries: list[Query]) -> list[int]:
    return [query.start // WINDOW for query in queries]


def test_margin_asks_where_the_advantage_is_nearest_to_zero() -> None:
    """By hand: peaks 0.1 and −0.2 come first, however large the others are."""
    found = choose_queries(
        {"a": advantage_of(5, -3, 0.1, 4, -0.2)}, budget=2, window=WINDOW, strategy=Strategy.MARGIN, spacing=0, seed=0
    )
    assert starts(found) == [2, 4]


def test_mixed_takes_turns() -> None:
    """Margin, then the highest score, then random, then margin again."""
    peaks = np.random.default_rng(0).normal(size=60)
    found = choose_queries({"a": advantage_of(*peaks)}, budget=6, window=WINDOW, spacing=0, seed=0)
    assert [query.reason for query in found] == ["margin", "top", "random"] * 2
    assert starts(found)[0] == np.abs(peaks).argmin()
    assert starts(found)[1] == peaks.argmax()


@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=3),
    st.integers(0, 30),
    st.integers(0, 3),
    st.sampled_from(Strategy),
    st.integers(0, 5),
)
def test_budget_spacing_and_no_repeats_over_calls(
    windows: list[int], budget: int, spacing: int, strategy: Strategy, seed: int
) -> None:
    """Three calls in a row, each told what was asked before: never over budget, never twice, never side by side."""
    rng = np.random.default_rng(seed)
    advantage = {f"s{i}": advantage_of(*rng.normal(size=n)) for i, n in enumerate(windows)}
    asked = list[Query]()
    for call in range(3):
        found = choose_queries(
            advantage, budget=budget, window=WINDOW, strategy=strategy, spacing=spacing, seed=seed + call,
            asked=[(q.series, q.start, q.end) for q in asked],
        )  # fmt: skip
        assert len(found) <= budget
        asked += found
    for name in advantage:
        mine = sorted(q.start // WINDOW for q in asked if q.series == name)
        assert all(b - a > spacing for a, b in pairwise(mine))


def test_budget_is_used_up_where_windows_are_left() -> None:
    found = choose_queries({"a": advantage_of(*range(50))}, budget=20, window=WINDOW, spacing=0, seed=0)
    assert len(found) == 20


def test_windows_asked_at_another_offset_are_not_asked_again() -> None:
    """The training rows began elsewhere last night: overlap counts, not the number of the window."""
    asked = [("a", -5, 5), ("a", 15, 25)]
    found = choose_queries({"a": advantage_of(1, 2, 3, 4)}, budget=9, window=WINDOW, asked=asked, spacing=0, seed=0)
    assert starts(found) == [3]


def test_unknown_strategy_and_negative_budget_are_refused() -> None:
    with pytest.raises(ValueError, match="surest"):
        Strategy("surest")
    with pytest.raises(BadInputError, match="budget"):
        choose_queries({}, budget=-1, window=1, seed=0)


def test_nothing_to_ask_about_is_no_error() -> None:
    assert choose_queries({"a": np.zeros(WINDOW - 1)}, budget=3, window=WINDOW, seed=0) == []
    assert choose_queries({}, budget=3, window=WINDOW, seed=0) == []
