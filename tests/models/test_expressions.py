"""The value of an expression is that of an obvious loop over rows."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.expressions import evaluate
from watchkeeper.expressions import parse

ROWS = 6
Value = Callable[[int], float]
"""The value at a row, counted from the first row of all."""
Both = tuple[str, Value]
"""An expression as text, and what it comes to."""

COLUMNS = {name: np.random.default_rng(seed).integers(-16, 24, 60) / 4 for seed, name in enumerate("ab")}
COLUMNS["b"][::7] = 0.0


def binary(sign: str, left: Both, right: Both) -> Both:
    def value(row: int) -> float:
        x, y = np.float64(left[1](row)), np.float64(right[1](row))
        return float({"+": x + y, "-": x - y, "*": x * y, "/": x / y, "**": x**y}[sign])

    return f"({left[0]}) {sign} ({right[0]})", value


def spanning(name: str, of: Both, rows: int) -> Both:
    def value(row: int) -> float:
        if name == "lag":
            return of[1](row - rows)
        if name == "difference":
            return of[1](row) - of[1](row - rows)
        window = np.array([of[1](row - age) for age in reversed(range(rows))])
        if not np.isfinite(window).all():
            return math.nan
        if name in ("lowest", "highest"):
            return float(window.min() if name == "lowest" else window.max())
        moved = window - window[0]  # so that a constant has exactly its mean, no deviation and no slope
        steps = np.arange(rows) - (rows - 1) / 2
        found = {"mean": window[0] + moved.mean(), "std": moved.std(), "slope": steps @ moved / (steps @ steps)}
        return float(found[name])

    return f"{name}({of[0]}, {rows})", value


def one_row(name: str, parts: list[Both]) -> Both:
    def value(row: int) -> float:
        x = [np.float64(part[1](row)) for part in parts]
        if name == "neg":
            return float(-x[0])
        if name == "clip":
            return math.nan if any(np.isnan(x)) else float(min(max(x[0], x[1]), x[2]))
        if name in ("min", "max"):
            return math.nan if any(np.isnan(x)) else float({"min": min, "max": max}[name](x))
        return float(getattr(np, name)(x[0]))

    arguments = ", ".join(part[0] for part in parts)
    return (f"-({arguments})" if name == "neg" else f"{name}({arguments})"), value


def channel(name: str) -> Both:
    return name, lambda row: float(COLUMNS[name][row])


LEAVES = st.one_of(
    st.sampled_from("ab").map(channel),
    st.floats(0, 9, allow_nan=False).map(lambda x: round(4 * x) / 4).map(lambda x: (str(x), lambda _: x)),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(binary, st.sampled_from(["+", "-", "*", "/", "**"]), inner, inner),
        st.builds(spanning, st.sampled_from(["lag", "difference"]), inner, st.integers(1, 3)),
        st.builds(spanning, st.sampled_from(["mean", "std", "lowest", "highest", "slope"]), inner, st.integers(2, 4)),
        st.builds(
            one_row, st.sampled_from(["neg", "abs", "sqrt", "log", "exp"]), st.lists(inner, min_size=1, max_size=1)
        ),
        st.builds(one_row, st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=2)),
        st.builds(one_row, st.just("clip"), st.lists(inner, min_size=3, max_size=3)),
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, derandomize=True)  # ill-conditioned ones differ by more than rounding
@given(EXPRESSIONS)
def test_values_equal_an_obvious_evaluation(both: Both) -> None:
    """Row by row, whatever is put together; where the loop has no finite value, neither has the expression."""
    text, value = both
    expression = parse(f"{text} + 0 * a")
    if expression.reach + ROWS > len(COLUMNS["a"]) or len(text) > 400:
        return
    found = evaluate(expression, COLUMNS, ROWS)
    with np.errstate(all="ignore"):
        wanted = np.array([value(row) for row in range(len(COLUMNS["a"]) - ROWS, len(COLUMNS["a"]))])
    finite = np.isfinite(wanted) & (np.abs(wanted) < 1e6)
    none = found[~np.isfinite(wanted)]
    assert not (np.isfinite(none) & (np.abs(none) < 1e6)).any()
    np.testing.assert_allclose(found[finite], wanted[finite], rtol=1e-6, atol=1e-6)


def test_domain_features_by_hand() -> None:
    """A temperature difference and an efficiency, as an engineer writes them down."""
    columns = {
        "temp_in": np.array([20.0, 20.0, 21.0]),
        "temp_out": np.array([30.0, 20.0, 41.0]),
        "flow": np.array([2.0, 2.0, 0.5]),
        "power": np.array([40.0, 0.0, 30.0]),
    }
    delta = evaluate(parse("temp_out - temp_in"), columns, 3)
    assert delta.tolist() == [10.0, 0.0, 20.0]
    efficiency = evaluate(parse("power / (flow * (temp_out - temp_in))"), columns, 3)
    assert efficiency[[0, 2]].tolist() == [2.0, 3.0]
    assert np.isnan(efficiency[1])  # nothing by nothing


@pytest.mark.parametrize("text", ["a / 0", "log(-abs(a))", "sqrt(-1 - abs(a))", "exp(exp(exp(9 + abs(a))))"])
def test_what_has_no_value_is_not_finite(text: str) -> None:
    """No warning, no error: a missing value, which is filled like any other."""
    assert not np.isfinite(evaluate(parse(text), {"a": np.array([1.0, 2.0])}, 2)).any()
