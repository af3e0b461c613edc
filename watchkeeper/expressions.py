"""Expressions over channels, as a watch file writes them: parsed here, never run as code.

    efficiency = "power / (flow * (temp_out - temp_in) + 1e-6)"

An expression becomes a program for a stack machine (models/expressions.py), so that whoever evaluates it needs no
recursion. What it may hold: numbers, channels (in backticks where they are no plain names), + - * / **, parentheses,
and the functions of FUNCTIONS and SPANNING. Length and depth are bounded: the text may be careless or hostile.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from watchkeeper.errors import WatchError

LONGEST = 500
"""Characters of an expression at most."""
DEEPEST = 32
"""Parentheses, signs and powers within one another at most."""
MAX_SPAN = 10_000
"""Rows that a feature may look back on, all its parts together, as a watch's window may."""
FUNCTIONS = {"abs": 1, "sqrt": 1, "log": 1, "exp": 1, "min": 2, "max": 2, "clip": 3}
"""Functions of one row, and how many values each takes."""
SPANNING = {"lag": 1, "difference": 1, "mean": 2, "std": 2, "lowest": 2, "highest": 2, "slope": 2}
"""Functions of a value and a whole number of rows, and the smallest such number: `mean(flow, 60)`."""
LARGEST = 3e38
"""The largest number that float32 holds, about."""

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|`(?P<quoted>[^`]+)`|(?P<name>[^\W\d]\w*)|(?P<sign>\*\*|[-+*/(),]))"
)


@dataclass(frozen=True)
class Step:
    """One instruction of a program.

    Attributes:
        kind: put a number or a channel on the stack, or apply a function to what lies there.
        name: of the channel or function; operators are functions called + - * / ** and neg.
        number: the number, or a spanning function's rows.
    """

    kind: Literal["number", "channel", "apply"]
    name: str = ""
    number: float = 0.0


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Attributes:
        steps: the program, in postfix order.
        channels: what it names, each once, in the order of appearance.
        reach: how many rows before the present one it looks back on.
    """

    steps: tuple[Step, ...]
    channels: tuple[str, ...]
    reach: int


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises:
        WatchError: it is not understood, names no channel, or is too long, too deep or looks back too far. The message
            says what and at which character.
    """
    if len(text) > LONGEST:
        raise WatchError(f"an expression has at most {LONGEST} characters, found {len(text)}")
    parser = _Parser(text)
    reach = parser.sum(0)
    parser.expect_end()
    channels = tuple(dict.fromkeys(step.name for step in parser.steps if step.kind == "channel"))
    if not channels:
        raise WatchError("an expression names at least one channel")
    return Expression(tuple(parser.steps), channels, reach)


class _Parser:
    """Recursive descent; each method reads one kind of phrase, adds its steps, and returns how far it looks back."""

    def __init__(self, text: str) -> None:
        self.steps: list[Step] = []
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []  # kind, text, place
        place, end = 0, len(text.rstrip())
        while place < end:
            match = TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                at = place + len(text[place:]) - len(text[place:].lstrip())
                raise WatchError(f"character {at + 1}: {text[at]!r} is not understood")
            self._tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            place = match.end()
        self._next = 0

    def sum(self, depth: int) -> int:
        """Terms, added and subtracted from left to right."""
        return self._chain(("+", "-"), self._product, depth)

    def _product(self, depth: int) -> int:
        return self._chain(("*", "/"), self._signed, depth)

    def _chain(self, signs: tuple[str, str], part: Callable[[int], int], depth: int) -> int:
        reach = part(depth)
        while sign := self._take(*signs):
            reach = max(reach, part(depth))
            self.steps.append(Step("apply", sign))
        return reach

    def _signed(self, depth: int) -> int:
        """A minus binds less than a power: -a ** 2 is -(a ** 2)."""
        if depth > DEEPEST:
            raise WatchError(f"an expression is at most {DEEPEST} deep, found more at character {self._place() + 1}")
        if self._take("-"):
            reach = self._signed(depth + 1)
            self.steps.append(Step("apply", "neg"))
            return reach
        reach = self._atom(depth)
        if self._take("**"):
            reach = max(reach, self._signed(depth + 1))
            self.steps.append(Step("apply", "**"))
        return reach

    def _atom(self, depth: int) -> int:
        kind, text, place = self._token("a channel, a number or (")
        self._next += 1
        if kind == "number":
            self.steps.append(Step("number", number=_number(text, place)))
            return 0
        if kind == "name" and self._take("("):
            return self._call(text, place, depth)
        if kind in ("name", "quoted"):
            self.steps.append(Step("channel", text))
            return 0
        if text == "(":
            reach = self.sum(depth + 1)
            self._expect(")")
            return reach
        raise WatchError(f"character {place + 1}: found {text!r}, wanted a channel, a number or (")

    def _call(self, name: str, place: int, depth: int) -> int:
        if name not in FUNCTIONS and name not in SPANNING:
            known = ", ".join([*FUNCTIONS, *SPANNING])
            raise WatchError(f"character {place + 1}: there is no function {name}; known are {known}")
        reach = self.sum(depth + 1)
        if name in SPANNING:
            self._expect(",")
            rows = self._rows(name)
            reach += rows if name in ("lag", "difference") else rows - 1
            if reach > MAX_SPAN:
                raise WatchError(f"character {place + 1}: looks back {reach} rows, at most {MAX_SPAN} are kept")
            self.steps.append(Step("apply", name, rows))
        else:
            for _ in range(FUNCTIONS[name] - 1):
                self._expect(",")
                reach = max(reach, self.sum(depth + 1))
            self.steps.append(Step("apply", name))
        self._expect(")")
        return reach

    def _rows(self, name: str) -> int:
        kind, text, place = self._token("a number of rows")
        self._next += 1
        least = SPANNING[name]
        if kind != "number" or not text.isdecimal() or not least <= int(text) <= MAX_SPAN:
            raise WatchError(
                f"character {place + 1}: {name} takes a whole number of rows from {least} to {MAX_SPAN}, found {text}"
            )
        return int(text)

    def expect_end(self) -> None:
        """Refuse what is left over."""
        if self._next < len(self._tokens):
            _, text, place = self._tokens[self._next]
            raise WatchError(f"character {place + 1}: found {text!r}, wanted an operator or the end")

    def _expect(self, sign: str) -> None:
        _, text, place = self._token(sign)
        if not self._take(sign):
            raise WatchError(f"character {place + 1}: found {text!r}, wanted {sign}")

    def _take(self, *signs: str) -> str:
        """Pass over the next token, if it is one of these signs, and return it."""
        if self._next < len(self._tokens):
            kind, text, _ = self._tokens[self._next]
            if kind == "sign" and text in signs:
                self._next += 1
                return text
        return ""

    def _token(self, wanted: str) -> tuple[str, str, int]:
        if self._next == len(self._tokens):
            raise WatchError(f"ends where {wanted} was wanted")
        return self._tokens[self._next]

    def _place(self) -> int:
        return self._tokens[self._next][2] if self._next < len(self._tokens) else len(self._text)


def _number(text: str, place: int) -> float:
    value = float(text)
    if not math.isfinite(value) or value > LARGEST:
        raise WatchError(f"character {place + 1}: the number {text} is too large")
    return value
