"""Expressions are understood or refused in one line; nothing of them is ever run as code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.errors import WatchError
from watchkeeper.expressions import DEEPEST, LONGEST, MAX_SPAN, parse


def program(text: str) -> str:
    """The steps in postfix order, in words."""
    return " ".join(step.name or f"{step.number:g}" for step in parse(text).steps)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a - b - c", "a b - c -"),
        ("a - b * c / d", "a b c * d / -"),
        ("(a - b) * c", "a b - c *"),
        ("-a ** 2", "a 2 ** neg"),
        ("a ** -b ** 2", "a b 2 ** neg **"),
        ("2.5e-1 * `pump 1 (bar)`", "0.25 pump 1 (bar) *"),
        ("min(a, clip(b, 0, 1))", "a b 0 1 clip min"),
        ("max + mean(max, 5)", "max max mean +"),
    ],
)
def test_operators_bind_as_in_arithmetic(text: str, wanted: str) -> None:
    """From the left, powers from the right and before signs; a function's name without parentheses is a channel."""
    assert program(text) == wanted


@pytest.mark.parametrize(
    ("text", "reach"),
    [("a", 0), ("lag(a, 3)", 3), ("mean(a, 3)", 2), ("mean(lag(a, 3), 10) - std(b, 40)", 39), ("difference(a, 7)", 7)],
)
def test_how_far_an_expression_looks_back(text: str, reach: int) -> None:
    """Functions within one another look back together, those beside one another as far as the farthest."""
    assert parse(text).reach == reach


def test_channels_are_named_once() -> None:
    """In the order of appearance, however they are written."""
    assert parse("b + `a` * b - a").channels == ("b", "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends where a channel"),
        ("a b", "character 3: found 'b', wanted an operator"),
        ("a +", "ends where a channel"),
        ("a + * b", r"character 5: found '\*'"),
        ("(a", r"ends where \) was wanted"),
        ("a)", r"character 2: found '\)'"),
        ("a $ b", "character 3: '\\$' is not understood"),
        ("`a", "character 1: '`' is not understood"),
        ("a.real", "character 2: '\\.' is not understood"),
        ("a[0]", "'\\[' is not understood"),
        ("'a'", "is not understood"),
        ("1 + 2", "names at least one channel"),
        ("a * 1e999", "1e999 is too large"),
        ("__import__(os)", "there is no function __import__; known are abs"),
        ("min(a)", "character 6: found '\\)', wanted ,"),
        ("lag(a)", "wanted ,"),
        ("lag(a, b)", "lag takes a whole number of rows from 1"),
        ("lag(a, 1.5)", "found 1.5"),
        ("lag(a, -1)", "found -"),
        ("slope(a, 1)", "slope takes a whole number of rows from 2"),
        (f"lag(a, {MAX_SPAN + 1})", "lag takes a whole number"),
        (f"lag(lag(a, {MAX_SPAN}), 1)", f"looks back {MAX_SPAN + 1} rows, at most {MAX_SPAN}"),
        ("(" * (DEEPEST + 2) + "a", f"at most {DEEPEST} deep"),
        ("-" * (DEEPEST + 2) + "a", f"at most {DEEPEST} deep"),
        ("a ** " * (DEEPEST + 2) + "a", f"at most {DEEPEST} deep"),
        ("a + " * LONGEST + "a", f"at most {LONGEST} characters"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(text: str, said: str) -> None:
    """One line, which says at which character and what was wanted."""
    with pytest.raises(WatchError, match=said) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@given(st.one_of(st.text(max_size=80), st.text(alphabet="ab1.e+-*/(), `_mean", max_size=60)))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Nothing but a WatchError ever comes out of it."""
    try:
        found = parse(text)
    except WatchError:
        return
    assert found.channels
    assert found.steps


def test_the_longest_chain_is_no_deep_one() -> None:
    """A sum of as many terms as fit is a flat program."""
    text = "+".join("a" * (LONGEST // 2))
    assert len(parse(text).steps) == LONGEST - 1
