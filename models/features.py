"""Features: further columns beside the channels, made from filled raw rows, causal, the same in training and serving.

What there is: docs/features.md. Before the first row of a series the past is taken to have been constant, as windows
take it (models/windows.py). Where a feature has no value, its last one stays, as with a missing reading.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from models.expressions import evaluate
from models.member import State
from models.scaler import Scaler
from models.spans import Wide, rolling_correlations, rolling_extremes, rolling_moments
from models.windows import Array, with_history
from watchkeeper.features import FeatureRule, Pair

CELLS = 65_536
"""Cells worked on at once: what is in between stays in the processor's cache."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US, DAY_US = 1_000_000, 86_400_000_000
QUARTER_US = 900 * SECOND_US
"""Zones change their clocks on the quarter of an hour."""

Times = npt.NDArray[np.int64]


class Recipe:
    """Which features a watch has, and how they are made; nothing is learnt here."""

    def __init__(self, rule: FeatureRule, channels: tuple[str, ...]) -> None:
        """Take a rule for the channels of a watch.

        Raises:
            WatchError: the rule names a channel that is not there, or gives two columns one name.
        """
        self.rule, self.channels = rule, channels
        columns = rule.columns(channels)
        self.names = tuple(columns)
        self._at = {name: index for index, name in enumerate(channels)}
        self._rolled = [self._at[name] for name in rule.channels or channels]
        self._expressions = rule.parsed()
        self._reach = rule.reach()
        self._fold = np.zeros((len(channels) + len(columns), len(channels)), np.float32)
        np.fill_diagonal(self._fold, 1.0)
        for row, made_of in enumerate(columns.values(), len(channels)):
            for name in made_of:
                self._fold[row, self._at[name]] = 1.0 / len(made_of)

    def compute(self, values: Array, timestamps: Times, past: Array | None = None) -> tuple[Array, Array]:
        """Make the features of each row, from that row and earlier ones only.

        Args:
            values: raw float32 (time, channel), at least one row, filled forward.
            timestamps: int64 (time,), microseconds since 1970 UTC.
            past: what the call on the rows just before returned; None at the start of a series.

        Returns:
            float32 (time, feature), not finite where there is no value; and the rows that later ones look back on.
        """
        rows = with_history(values, past, self._reach)  # (reach + time, channel)
        made = np.empty((len(values), len(self.names)), np.float32)
        block = max(CELLS // max(1, values.shape[1]), 4 * self._reach, 1)
        with np.errstate(all="ignore"):
            for first in range(0, len(values), block):
                piece = slice(first, min(first + block, len(values)))
                wide = rows[first : piece.stop + self._reach].astype(np.float64)
                self._fill(made[piece], wide, timestamps[piece])
        return made, rows[len(rows) - self._reach :].copy()

    def fold(self, contributions: Array) -> Array:
        """Give what each column adds to a score to the channels it is made of, in equal parts; a clock has none.

        Args:
            contributions: float32 (time, channel + feature).

        Returns:
            float32 (time, channel).
        """
        folded: Array = contributions @ self._fold
        return folded

    def _fill(self, made: Array, wide: Wide, times: Times) -> None:
        """Write the features of a block, in the order of the names; `wide` begins with the rows looked back on."""
        rule, reach, place = self.rule, self._reach, 0

        def put(columns: Wide) -> None:
            nonlocal place
            made[:, place : place + columns.shape[1]] = columns[len(columns) - len(made) :]
            place += columns.shape[1]

        spanned = wide[reach - (max(rule.spans, default=1) - 1) :]
        if rule.rolling:
            rolled = _rolling(spanned[:, self._rolled], rule)
            for span in rule.spans:
                for kind in rule.rolling:
                    put(rolled[kind, span])
        if rule.correlate:
            first, second = self._pairs(rule.correlate)
            found = rolling_correlations(spanned[:, first], spanned[:, second], rule.spans)
            for span in rule.spans:
                put(found[span])
        for rows in rule.difference:
            put(wide[reach:, self._rolled] - wide[reach - rows : len(wide) - rows, self._rolled])
        for cycle in rule.clock:
            put(_clock(times, cycle, rule.zone))
        if rule.ratio:
            first, second = self._pairs(rule.ratio)
            put(wide[reach:, first] / wide[reach:, second])  # by zero: no value
        if self._expressions:
            columns = {name: np.ascontiguousarray(wide[:, index]) for name, index in self._at.items()}
            for expression in self._expressions.values():
                put(evaluate(expression, columns, len(made))[:, None])

    def _pairs(self, pairs: tuple[Pair, ...]) -> tuple[list[int], list[int]]:
        return [self._at[first] for first, _ in pairs], [self._at[second] for _, second in pairs]


class Features:
    """The features of a watch with their scale and their filling, both fixed by the training rows."""

    def __init__(self, recipe: Recipe, scaler: Scaler) -> None:
        self.recipe = recipe
        self._scaler = scaler

    @classmethod
    def fit(cls, recipe: Recipe, parts: Mapping[str, tuple[Array, Times]]) -> Self:
        """Learn the scale of each feature.

        Args:
            recipe: what to make.
            parts: filled raw rows to train on and their times, by series, each from the series' first row on.
        """
        return cls(recipe, Scaler.fit({series: recipe.compute(*part)[0] for series, part in parts.items()}))

    @classmethod
    def fit_blocks(cls, recipe: Recipe, series: str, blocks: Callable[[], Iterator[tuple[Array, Times]]]) -> Self:
        """Learn the scale of each feature of a series that is not held as a whole.

        Args:
            recipe: what to make.
            series: its name.
            blocks: when called, gives the filled raw rows to train on and their times from the first row on, in blocks
                of `models.scaler.BLOCK` rows. Then the scale is that of `fit` to the last bit. It is called twice.
        """

        def made() -> Iterator[Array]:
            past = None
            for values, timestamps in blocks():
                features, past = recipe.compute(values, timestamps, past)
                yield features

        return cls(recipe, Scaler.fit_blocks(series, made))

    def append(
        self, series: str, filled: Array, scaled: Array, timestamps: Times, state: State | None = None
    ) -> tuple[Array, State]:
        """Put the scaled features beside the scaled channels.

        Args:
            series: one that was fitted.
            filled: raw float32 (time, channel), filled forward.
            scaled: the same, scaled.
            timestamps: int64 (time,), microseconds since 1970 UTC.
            state: what the call on the rows just before returned; None at the start of a series.

        Returns:
            float32 (time, channel + feature), finite, and the state to go on with.
        """
        state = state or {}
        made, past = self.recipe.compute(filled, timestamps, state.get("past"))
        full, last = self._scaler.fill_forward(series, made, state.get("last"))
        rows = np.concatenate([scaled, self._scaler.transform(series, full)], axis=1)
        return rows, {"past": past, "last": last}

    def config(self) -> dict[str, Any]:
        """What is needed besides the arrays to build the features again, as JSON-able values."""
        return {
            "rule": self.recipe.rule.model_dump(mode="json"),
            "channels": list(self.recipe.channels),
            "scaler": self._scaler.config(),
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what was learnt, as named arrays."""
        return self._scaler.arrays()

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build fitted features from what `config` and `arrays` returned.

        Raises:
            ValueError, WatchError: the rule holds what this release does not know.
        """
        recipe = Recipe(FeatureRule.model_validate(config["rule"]), tuple(config["channels"]))
        return cls(recipe, Scaler.from_arrays(config["scaler"], arrays))


def _rolling(x: Wide, rule: FeatureRule) -> dict[tuple[str, int], Wide]:
    """Return the statistics that the rule asks for, by kind and span."""
    kinds, spans = rule.rolling, rule.spans
    found: dict[tuple[str, int], Wide] = {}
    if {"mean", "std", "slope"} & set(kinds):
        for span, moments in rolling_moments(x, spans, std="std" in kinds, slope="slope" in kinds).items():
            found |= {(kind, span): array for kind, array in zip(("mean", "std", "slope"), moments, strict=False)}
    for kind in {"min", "max"} & set(kinds):
        found |= {(kind, n): array for n, array in rolling_extremes(x, spans, largest=kind == "max").items()}
    return found


def _clock(times: Times, cycle: str, zone: str) -> Wide:
    """Sine and cosine of the hour of the day, or of the day of the week (a whole day has one value)."""
    local = times + _offsets(times, zone)
    weekday = (local // DAY_US + 3) % 7  # 1970 began on a Thursday; Monday is 0
    turn = 2 * np.pi * (local % DAY_US / DAY_US if cycle == "hour" else weekday / 7)
    return np.stack([np.sin(turn), np.cos(turn)], axis=1)


def _offsets(times: Times, zone: str) -> Times:
    """Return what to add to UTC for the zone's time, µs. A day on which it does not change is asked for once."""
    if zone == "UTC":
        return np.zeros_like(times)
    where = ZoneInfo(zone)
    days, day_of = np.unique(times // DAY_US, return_inverse=True)
    begins = np.array([_offset(int(day) * DAY_US, where) for day in days], np.int64)
    ends = np.array([_offset((int(day) + 1) * DAY_US, where) for day in days], np.int64)
    offsets = begins[day_of]
    changing = (begins != ends)[day_of]
    if changing.any():
        quarters, quarter_of = np.unique(times[changing] // QUARTER_US, return_inverse=True)
        offsets[changing] = np.array([_offset(int(q) * QUARTER_US, where) for q in quarters], np.int64)[quarter_of]
    return offsets


def _offset(at_us: int, where: ZoneInfo) -> int:
    offset = (EPOCH + timedelta(microseconds=at_us)).astimezone(where).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) * SECOND_US
