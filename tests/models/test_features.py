"""Features equal obvious loops, know no future, and do not depend on how rows come in."""

import math
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detector import Detector, DetectorConfig, build_detector
from models.features import Features, Recipe
from models.parts import CalibrationPart, TrainPart
from models.scaler import Scaler
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import VersionRefusedError
from watchkeeper.features import FeatureRule

CHANNELS = ("level", "flow", "speed")
MINUTE_US = 60_000_000
START = to_microseconds(datetime(2026, 3, 27, 22, tzinfo=UTC))  # two days before summer time begins in Europe
EVERYTHING: dict[str, Any] = {
    "rolling": ("mean", "std", "min", "max", "slope"),
    "spans": (5, 12),
    "difference": (1, 9),
    "channels": ("speed", "level"),
    "clock": ("hour", "weekday"),
    "zone": "Europe/Berlin",
    "correlate": (("level", "flow"), ("flow", "speed")),
    "ratio": (("level", "speed"),),
    "expressions": {"lift": "level / (flow - lag(flow, 20))", "calm": "mean(abs(speed), 3)"},
}


def rows(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = (20 + rng.normal(0, 2, (count, 3))).astype(np.float32)
    values[::17, 2] = 0.0  # a ratio has no value here
    return values


def times(count: int, step: int = 13 * MINUTE_US) -> np.ndarray:
    return START + np.arange(count, dtype=np.int64) * step


def by_loop(values: np.ndarray, stamps: np.ndarray) -> dict[str, list[float]]:
    """Each feature of EVERYTHING at each row, written down once more as plainly as can be."""
    wide = values.astype(np.float64)
    at = {name: wide[:, index] for index, name in enumerate(CHANNELS)}

    def past(name: str, row: int, count: int) -> np.ndarray:
        return np.array([at[name][max(0, row - age)] for age in reversed(range(count))])

    found: dict[str, list[float]] = {}
    for row in range(len(values)):
        made: dict[str, float] = {}
        for span in EVERYTHING["spans"]:
            for name in ("speed", "level"):
                window = past(name, row, span)
                made[f"{name}.mean.{span}"] = window.mean()
                made[f"{name}.std.{span}"] = window.std()
                made[f"{name}.min.{span}"] = window.min()
                made[f"{name}.max.{span}"] = window.max()
                made[f"{name}.slope.{span}"] = np.polyfit(np.arange(span), window, 1)[0]
            for one, two in EVERYTHING["correlate"]:
                x, y = past(one, row, span), past(two, row, span)
                moves = x.std() > 0 and y.std() > 0
                made[f"{one}~{two}.correlation.{span}"] = np.corrcoef(x, y)[0, 1] if moves else 0.0
        for lag in EVERYTHING["difference"]:
            for name in ("speed", "level"):
                made[f"{name}.difference.{lag}"] = at[name][row] - past(name, row, lag + 1)[0]
        local = datetime.fromtimestamp(stamps[row] / 1e6, ZoneInfo("Europe/Berlin"))
        hour = local.hour + local.minute / 60 + local.second / 3600
        for cycle, share in (("hour", hour / 24), ("weekday", local.weekday() / 7)):
            made[f"{cycle}.sin"], made[f"{cycle}.cos"] = math.sin(2 * math.pi * share), math.cos(2 * math.pi * share)
        with np.errstate(all="ignore"):
            made["level/speed"] = at["level"][row] / at["speed"][row]
            made["lift"] = at["level"][row] / (at["flow"][row] - past("flow", row, 21)[0])
        made["calm"] = np.abs(past("speed", row, 3)).mean()
        for name, value in made.items():
            found.setdefault(name, []).append(float(value))
    return found


def test_every_feature_equals_an_obvious_loop() -> None:
    """All kinds at once, over the hour that summer time skips; the past before the first row is that row."""
    values, stamps = rows(400), times(400)
    recipe = Recipe(FeatureRule(**EVERYTHING), CHANNELS)
    made, _ = recipe.compute(values, stamps)
    wanted = by_loop(values, stamps)
    assert set(recipe.names) == set(wanted)
    for index, name in enumerate(recipe.names):
        found, loop = made[:, index].astype(np.float64), np.array(wanted[name])
        finite = np.isfinite(loop)
        assert np.array_equal(np.isfinite(found), finite), name
        np.testing.assert_allclose(found[finite], loop[finite], rtol=2e-6, atol=2e-6, err_msg=name)
    assert not np.isfinite(made[:, recipe.names.index("level/speed")]).all()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 120), max_size=8), seed=st.integers(0, 9))
def test_pieces_equal_the_whole_to_the_last_bit(cuts: list[int], seed: int) -> None:
    """However a series is cut, with the carried state; scaled and filled."""
    values, stamps = rows(150, seed), times(150)
    recipe = Recipe(FeatureRule(**EVERYTHING), CHANNELS)
    features = Features.fit(recipe, {"a": (values, stamps)})
    whole, _ = features.append("a", values, values, stamps)
    edges = sorted({0, *cuts, 150})
    pieces, state = [], None
    for first, stop in pairwise(edges):
        piece, state = features.append("a", values[first:stop], values[first:stop], stamps[first:stop], state)
        pieces.append(piece)
    assert np.isfinite(whole).all()
    assert np.array_equal(np.concatenate(pieces), whole)


def test_row_by_row_equals_many_blocks_to_the_last_bit() -> None:
    """A reading at a time says what blocks of a long series say."""
    values, stamps = rows(30_000), times(30_000)
    recipe = Recipe(FeatureRule(**EVERYTHING), CHANNELS)
    whole, _ = recipe.compute(values, stamps)
    last, past = recipe.compute(values[:21_700], stamps[:21_700])
    assert np.array_equal(last, whole[:21_700], equal_nan=True)
    for row in range(21_700, 21_900):
        made, past = recipe.compute(values[row : row + 1], stamps[row : row + 1], past)
        assert np.array_equal(made[0], whole[row], equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(at=st.integers(1, 99), height=st.floats(-1e6, 1e6, width=32))
def test_the_future_never_changes_the_past(at: int, height: float) -> None:
    """Whatever comes from a row on, the features before it are the same."""
    values, stamps = rows(100), times(100)
    recipe = Recipe(FeatureRule(**EVERYTHING), CHANNELS)
    before, _ = recipe.compute(values, stamps)
    values[at:] += np.float32(height)
    after, _ = recipe.compute(values, stamps)
    assert np.array_equal(before[:at], after[:at], equal_nan=True)


def test_without_a_past_nothing_moves() -> None:
    """At the first row spread, slope, difference and correlation are 0, and extremes are the reading."""
    values = rows(1)
    recipe = Recipe(FeatureRule(**EVERYTHING), CHANNELS)
    first = dict(zip(recipe.names, recipe.compute(values, times(1))[0][0].tolist(), strict=True))
    for name in ("speed.std.12", "level.slope.5", "speed.difference.9", "level~flow.correlation.12"):
        assert first[name] == 0.0
    assert first["level.max.12"] == first["level.min.5"] == first["level.mean.12"] == values[0, 0]


def test_a_feature_without_a_value_keeps_its_last_one() -> None:
    """As a missing reading does; before the first value it is the training mean, which scales to 0."""
    recipe = Recipe(FeatureRule(ratio=(("level", "flow"),)), ("level", "flow"))
    train = np.array([[1, 1], [3, 1], [2, 0]], np.float32)
    features = Features.fit(recipe, {"a": (train, times(3))})
    filled, state = features.append("a", train[[2, 1, 2]], train[[2, 1, 2]], times(3))
    assert filled[:, 2].tolist() == [0.0, 1.0, 1.0]  # mean 2, deviation 1 of the two that there are
    again, _ = features.append("a", train[[2]], train[[2]], times(1), state)
    assert again[0, 2] == 1.0


def test_weekdays_and_hours_follow_the_zone() -> None:
    """Midnight in Berlin is the evening before in UTC; when summer time ends, an hour comes twice."""
    stamps = [datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 0, tzinfo=UTC),
              datetime(2026, 10, 25, 1, tzinfo=UTC)]  # fmt: skip
    clock = Recipe(FeatureRule(clock=("hour", "weekday"), zone="Europe/Berlin"), ("x",))
    micro = np.array([to_microseconds(stamp) for stamp in stamps], np.int64)
    made, _ = clock.compute(np.zeros((3, 1), np.float32), micro)
    np.testing.assert_allclose(made[0, :2], [0, 1], atol=1e-7)  # Sunday, 0:00
    np.testing.assert_allclose(made[0, 2:], [np.sin(12 * np.pi / 7), np.cos(12 * np.pi / 7)], rtol=1e-6)
    assert np.array_equal(made[1], made[2])  # 2:00 twice
    utc, _ = Recipe(FeatureRule(clock=("hour",)), ("x",)).compute(np.zeros((3, 1), np.float32), micro)
    np.testing.assert_allclose(utc[0], [np.sin(11 * np.pi / 6), np.cos(11 * np.pi / 6)], rtol=1e-6)


def test_contributions_are_given_back_to_the_channels() -> None:
    """Whole to a channel's own features, in halves to those of two, and a clock's to none."""
    rule = FeatureRule(difference=(1,), channels=("flow",), clock=("hour",), ratio=(("level", "speed"),))
    recipe = Recipe(rule, CHANNELS)
    assert recipe.names == ("flow.difference.1", "hour.sin", "hour.cos", "level/speed")
    added = np.array([[1, 2, 4, 8, 16, 32, 64]], np.float32)
    assert recipe.fold(added).tolist() == [[1 + 32, 2 + 8, 4 + 32]]


def fitted(rule: FeatureRule | None) -> Detector:
    """A detector with or without features, on a level and a flow that follow one another."""
    raw, stamps = world(3000), times(3000, MINUTE_US)
    scaler = Scaler.fit({"a": raw[:2000]})
    scaled, features = scaler.transform("a", raw), None
    if rule:
        features = Features.fit(Recipe(rule, CHANNELS), {"a": (raw[:2000], stamps[:2000])})
        scaled, _ = features.append("a", raw, scaled, stamps)
    label = np.full(3000, -1, np.int8)
    config = DetectorConfig(window=20, members=("norm", "ridge"), alarm_budget_per_day=2.0, interval_s=60.0)
    train = {"a": TrainPart(scaled[:2000], stamps[:2000], label[:2000])}
    calibration = {"a": CalibrationPart(scaled[2000:], stamps[2000:], label[2000:])}
    return Detector.fit(scaler, train, calibration, config, 0, features=features)


def world(count: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    level = np.sin(np.arange(count) / 200)[:, None] * [1.0, 2.0, 0.0]
    return (level + rng.normal(0, 0.1, (count, 3))).astype(np.float32)


RULE = FeatureRule(rolling=("std", "slope"), spans=(30,), clock=("hour",), correlate=(("level", "flow"),))


def test_a_detector_scores_raw_rows_as_prepared_ones() -> None:
    """Raw rows get the features that training rows got; scores and contributions are of the raw channels."""
    detector, raw, stamps = fitted(RULE), world(3000), times(3000, MINUTE_US)
    scored, _ = detector.score("a", raw, stamps)
    features = Features.fit(Recipe(RULE, CHANNELS), {"a": (raw[:2000], stamps[:2000])})
    prepared, _ = features.append("a", raw, detector.scaler.transform("a", raw), stamps)
    same, _ = detector.score_scaled("a", prepared)
    assert np.array_equal(scored.score, same.score)
    assert scored.contributions.shape == same.contributions.shape == (3000, 3)


def test_an_alarm_of_a_feature_names_the_sensor() -> None:
    """A sensor that gets restless within its range alarms by its rolling deviation, and its channel stands first."""
    raw = world(3400)
    raw[3200:3300, 2] += 0.25 * (-1.0) ** np.arange(100)
    stamps = times(3400, MINUTE_US)
    scored, _ = fitted(RULE).score("a", raw, stamps)
    plain, _ = fitted(None).score("a", raw, stamps)
    assert scored.alarm[3230:3300].all()
    assert (scored.contributions[3230:3300].argmax(axis=1) == 2).mean() > 0.9
    over, without = ((one.score / one.threshold)[3230:3300].mean() for one in (scored, plain))
    assert over > without


def test_a_saved_detector_makes_its_features_again() -> None:
    """The rule and the scales are in what it saves, and its state goes through named arrays."""
    detector, raw, stamps = fitted(RULE), world(200), times(200, MINUTE_US)
    again = build_detector(detector.config(), detector.arrays())
    whole, _ = detector.score("a", raw, stamps)
    first, state = again.score("a", raw[:77], stamps[:77])
    assert {"features/past", "features/last"} <= state.keys()
    rest, _ = again.score("a", raw[77:], stamps[77:], {name: array.copy() for name, array in state.items()})
    np.testing.assert_allclose(np.concatenate([first.score, rest.score]), whole.score, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "change",
    [
        {"rolling": ["median"]},
        {"entropy": [60]},
        {"expressions": {"x": "median(flow, 3)"}},
        {"ratio": [["level", "depth"]]},
        {"zone": "Mars/Olympus"},
    ],
)
def test_features_that_are_not_known_refuse_the_version(change: dict[str, Any]) -> None:
    """Another release may know more; this one says so and scores nothing."""
    detector = fitted(RULE)
    config = detector.config()
    config["features"] = {**config["features"], "rule": {**config["features"]["rule"], **change}}
    with pytest.raises(VersionRefusedError, match="cannot build"):
        build_detector(config, detector.arrays())


def test_a_detector_without_features_says_nothing_of_them() -> None:
    """Neither what it saves nor its state grows."""
    detector = fitted(None)
    assert "features" not in detector.config()
    _, state = detector.score("a", world(50), times(50, MINUTE_US))
    assert not [name for name in (*detector.arrays(), *state) if name.startswith("features")]
