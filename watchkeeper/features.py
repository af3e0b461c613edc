"""The features that a watch file may ask for: further columns beside the channels. What each is: docs/features.md."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from watchkeeper.errors import WatchError
from watchkeeper.expressions import MAX_SPAN, Expression, parse
from watchkeeper.table import Table, require_zone

NAME = re.compile(r"[^\W\d]\w*")
"""What an expression may be called."""
MOST_COLUMNS = 4_096
"""Features at most: each is a float32 a row."""
MOST_EXPRESSIONS = 64
"""Expressions at most."""

Statistic = Literal["mean", "std", "min", "max", "slope"]
Cycle = Literal["hour", "weekday"]
Pair = tuple[str, str]
Span = Annotated[int, Field(ge=2, le=MAX_SPAN)]
Lag = Annotated[int, Field(ge=1, le=MAX_SPAN)]


class FeatureRule(Table):
    """Which features there are; none by default. Spans are rows, the present one among them."""

    rolling: tuple[Statistic, ...] = ()
    spans: tuple[Span, ...] = Field(default=(), description="of rolling and correlate")
    difference: tuple[Lag, ...] = ()
    channels: tuple[str, ...] = Field(default=(), description="those that rolling and difference take; none: all")
    clock: tuple[Cycle, ...] = ()
    zone: str = Field(default="UTC", description="of the clock")
    correlate: tuple[Pair, ...] = ()
    ratio: tuple[Pair, ...] = ()
    expressions: dict[str, str] = Field(default_factory=dict)

    _known_zone = field_validator("zone")(require_zone)

    @field_validator("rolling", "spans", "difference", "channels", "clock", "correlate", "ratio")
    @classmethod
    def _each_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            raise ValueError(f"{twice[0]} stands twice")
        return values

    @field_validator("correlate", "ratio")
    @classmethod
    def _two_channels(cls, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        if same := [first for first, second in pairs if first == second]:
            raise ValueError(f"a pair is of two channels, found {same[0]} twice")
        return pairs

    @field_validator("expressions")
    @classmethod
    def _parsed(cls, expressions: dict[str, str]) -> dict[str, str]:
        if len(expressions) > MOST_EXPRESSIONS:
            raise ValueError(f"at most {MOST_EXPRESSIONS} expressions, found {len(expressions)}")
        for name, text in expressions.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a name holds letters, digits and '_', and begins with no digit")
            try:
                parse(text)
            except WatchError as error:
                raise ValueError(f"{name}: {error}") from error
        return expressions

    @model_validator(mode="after")
    def _all_of_use(self) -> Self:
        if bool(self.spans) != bool(self.rolling or self.correlate):
            raise ValueError("spans go with rolling or correlate, found one without the other")
        if self.channels and not (self.rolling or self.difference):
            raise ValueError("channels are those of rolling and difference, found neither")
        if self.zone != "UTC" and not self.clock:
            raise ValueError("zone is that of clock, found no clock")
        return self

    def parsed(self) -> dict[str, Expression]:
        """Return the expressions by name."""
        return {name: parse(text) for name, text in self.expressions.items()}

    def any(self) -> bool:
        """Tell whether there are features at all."""
        return bool(self.rolling or self.difference or self.clock or self.correlate or self.ratio or self.expressions)

    def columns(self, channels: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Return the features by name, in order, each with the channels that it is made of.

        Args:
            channels: those of the watch.

        Raises:
            WatchError: a channel is not known, two columns have one name, or there are too many. It names the key.
        """
        chosen = self.channels or channels
        _require("channels", chosen, channels)
        _require("correlate", (name for pair in self.correlate for name in pair), channels)
        _require("ratio", (name for pair in self.ratio for name in pair), channels)
        columns: list[tuple[str, tuple[str, ...]]] = []
        columns += [(f"{c}.{kind}.{n}", (c,)) for n in self.spans for kind in self.rolling for c in chosen]
        columns += [(f"{a}~{b}.correlation.{n}", (a, b)) for n in self.spans for a, b in self.correlate]
        columns += [(f"{c}.difference.{n}", (c,)) for n in self.difference for c in chosen]
        columns += [(f"{cycle}.{wave}", ()) for cycle in self.clock for wave in ("sin", "cos")]
        columns += [(f"{a}/{b}", (a, b)) for a, b in self.ratio]
        for name, expression in self.parsed().items():
            _require(f"expressions.{name}", expression.channels, channels)
            columns.append((name, expression.channels))
        names = Counter([*channels, "timestamp", *(name for name, _ in columns)])
        if twice := [name for name, _ in columns if names[name] > 1]:
            raise WatchError(f"features: {twice[0]} would be the name of two columns; rename the one or the other")
        if len(columns) > MOST_COLUMNS:
            raise WatchError(f"features: {len(columns)} columns, at most {MOST_COLUMNS}; name fewer channels or spans")
        return dict(columns)

    def reach(self) -> int:
        """Return how many rows before the present one they look back on."""
        spans = [span - 1 for span in self.spans]
        return max([0, *spans, *self.difference, *(one.reach for one in self.parsed().values())])


def _require(key: str, wanted: Iterable[str], channels: tuple[str, ...]) -> None:
    if unknown := [name for name in wanted if name not in channels]:
        known = ", ".join(channels[:8]) + (", …" if len(channels) > 8 else "")
        raise WatchError(f"features.{key}: channel {unknown[0]} is not known; known are {known}")
