"""The fabricated plant. One long file: nearly every test reads the same few series, made once."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from models.metrics import vus_pr
from tasks.sources import plant
from tasks.sources.plant import (
    CHANNELS,
    FAULT_CHANNELS,
    HIGHEST,
    KINDS,
    NOISE,
    QUIET_DAYS,
    SPREAD,
    TANK_L,
    TANK_TAU_MIN,
    Fabricated,
    PlantConfig,
    PlantEvent,
    Shift,
    fabricate,
    tank_level,
)
from watchkeeper.errors import BadInputError

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
CONFIG = PlantConfig(MONDAY, seed=11)
CALM = replace(CONFIG, anomalies=False)
FAULTS = ("pump_loss", "leak")


def values(made: Fabricated) -> np.ndarray:
    return np.stack([made.table[name].to_numpy() for name in CHANNELS], axis=1)


@pytest.fixture(scope="module")
def four_weeks() -> Fabricated:
    return fabricate(CONFIG, 1, 28)


@pytest.fixture(scope="module")
def calm() -> Fabricated:
    return fabricate(CALM, 1, 28)


@pytest.fixture(scope="module")
def many() -> list[Fabricated]:
    """Enough series for every kind of event to happen often."""
    return [fabricate(replace(CONFIG, seed=seed), line, 28) for seed in range(6) for line in (1, 2)]


def test_the_table_is_typed_named_and_finite(four_weeks: Fabricated) -> None:
    expected = [("timestamp", pa.timestamp("us", "UTC")), *((name, pa.float32()) for name in CHANNELS)]
    assert list(zip(four_weeks.table.column_names, four_weeks.table.schema.types, strict=True)) == [
        *expected,
        ("label", pa.int8()),
    ]
    assert four_weeks.table.num_rows == 28 * 1440
    assert all(column.null_count == 0 for column in four_weeks.table.columns)
    assert np.isfinite(values(four_weeks)).all()


def test_timestamps_are_regular_and_begin_at_the_start() -> None:
    start = datetime(2026, 3, 2, 14, 25, 30, tzinfo=UTC)
    stamps = fabricate(PlantConfig(start, seed=1, interval_s=30), 1, 1.5).table["timestamp"]
    assert stamps[0].as_py() == start
    assert len(stamps) == 4320
    assert (np.diff(stamps.to_numpy()) == np.timedelta64(30, "s")).all()


def test_the_clock_sets_the_hour_of_the_cycle_and_not_the_row() -> None:
    """A plant that starts at noon has its quiet hours twelve hours, not twenty-four, of rows later."""
    noon = values(fabricate(PlantConfig(MONDAY.replace(hour=12), seed=11, anomalies=False), 1, 2))
    midnight = values(fabricate(CALM, 1, 2))
    flow = CHANNELS.index("flow_out_l_min")
    np.testing.assert_allclose(noon[: 36 * 60 : 30, flow], midnight[12 * 60 :: 30, flow], rtol=0.3)
    assert abs(int(noon[:1440, flow].argmin()) - int(midnight[:1440, flow].argmin())) > 300


def test_the_same_configuration_gives_the_same_bits(four_weeks: Fabricated) -> None:
    again = fabricate(PlantConfig(MONDAY, seed=11), 1, 28)
    assert again.table.equals(four_weeks.table)
    assert again.events == four_weeks.events


def test_seeds_and_lines_differ_but_share_the_weather(calm: Fabricated) -> None:
    other_line, other_seed = fabricate(CALM, 2, 28), fabricate(replace(CALM, seed=12), 1, 28)
    for name in CHANNELS:
        assert not calm.table[name].equals(other_line.table[name])
        assert not calm.table[name].equals(other_seed.table[name])

    def daily_temperature(made: Fabricated) -> np.ndarray:
        return made.table["temperature_c"].to_numpy().reshape(28, 1440).mean(axis=1)

    assert np.corrcoef(daily_temperature(calm), daily_temperature(other_line))[0, 1] > 0.99
    assert np.corrcoef(daily_temperature(calm), daily_temperature(other_seed))[0, 1] < 0.9


def cut(events: tuple[PlantEvent, ...], rows: int) -> tuple[PlantEvent, ...]:
    return tuple(replace(event, end=min(event.end, rows)) for event in events if event.start < rows)


def check_prefix(config: PlantConfig, line: int, short: float, long: float) -> None:
    first, whole = fabricate(config, line, short), fabricate(config, line, long)
    rows = first.table.num_rows
    assert first.table.equals(whole.table.slice(0, rows))
    assert first.events == cut(whole.events, rows)


def test_four_weeks_begin_with_three(four_weeks: Fabricated) -> None:
    three = fabricate(CONFIG, 1, 21)
    assert three.table.equals(four_weeks.table.slice(0, 21 * 1440))
    assert three.events == cut(four_weeks.events, 21 * 1440)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    interval_s=st.sampled_from([60, 90, 300, 600]),
    line=st.integers(1, 2),
    days=st.tuples(st.floats(0.01, 13), st.floats(0.01, 13)),
    shift=st.none() | st.builds(Shift, after_days=st.floats(0, 13), strength=st.floats(0, 2)),
)
def test_a_longer_series_begins_with_the_shorter_one(
    seed: int, interval_s: int, line: int, days: tuple[float, float], shift: Shift | None
) -> None:
    check_prefix(PlantConfig(MONDAY, seed, interval_s=interval_s, shift=shift), line, min(days), max(days))


def test_what_goes_wrong_does_not_depend_on_where_the_series_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes at the end of a block of days know the next block's long anomaly, in the series or not."""
    for name, often in {"SPIKES_PER_DAY": 30, "BLOCK_DAYS": 1, "QUIET_DAYS": 0}.items():
        monkeypatch.setattr(plant, name, often)
    for seed in range(300):
        config = replace(CONFIG, seed=seed, interval_s=600)
        assert fabricate(config, 1, 1).events == cut(fabricate(config, 1, 2).events, 144)


@given(after_days=st.floats(0, 3))
@settings(max_examples=15, deadline=None)
def test_rows_before_the_shift_are_the_old_world_bit_for_bit(after_days: float) -> None:
    config = replace(CONFIG, interval_s=300)
    before = int(np.ceil(after_days * config.rows_per_day))
    old, new = fabricate(config, 1, 3), fabricate(replace(config, shift=Shift(after_days)), 1, 3)
    assert new.table.slice(0, before).equals(old.table.slice(0, before))
    assert new.events == old.events
    if before < old.table.num_rows - 12:
        assert not new.table.slice(before).equals(old.table.slice(before))


def test_labels_are_the_events_and_nothing_else(many: list[Fabricated]) -> None:
    for made in many:
        expected = np.zeros(made.table.num_rows, np.int8)
        for event in made.events:
            assert event.kind in KINDS
            assert event.start < event.end
            assert set(event.channels) <= set(CHANNELS)
            expected[event.start : event.end] = 1
        np.testing.assert_array_equal(made.table["label"].to_numpy(), expected)
        assert all(earlier.end < later.start for earlier, later in pairwise(made.events))
        assert not expected[: QUIET_DAYS * 1440].any()


def test_about_one_row_in_fifty_is_anomalous_and_every_kind_happens(many: list[Fabricated]) -> None:
    shares = [float(made.table["label"].to_numpy().mean()) for made in many]
    assert 0.015 < np.mean(shares) < 0.03
    assert all(0.005 < share < 0.05 for share in shares)
    assert {event.kind for made in many for event in made.events} == set(KINDS)


def test_without_anomalies_nothing_is_labelled(calm: Fabricated) -> None:
    assert calm.events == ()
    assert not calm.table["label"].to_numpy().any()


def test_events_name_all_that_changed(four_weeks: Fabricated, calm: Fabricated) -> None:
    """Against the plant with nothing wrong: sensors err in their rows and channels only, a fault leaves a trace."""
    changed = values(four_weeks) != values(calm)
    aftermath = np.zeros(len(changed), bool)  # the tank goes on recovering when a fault is over
    for event in four_weeks.events:
        if event.kind in FAULTS:
            aftermath[event.start :] = True
        for channel in event.channels:
            changed[event.start : event.end, CHANNELS.index(channel)] = False
    assert not changed[~aftermath].any()
    sensor_only = [CHANNELS.index(name) for name in ("temperature_c", "flow_out_l_min")]
    assert not changed[:, sensor_only].any()  # no fault reaches these
    moved = np.abs(values(four_weeks) - values(calm)) / SPREAD
    for event in four_weeks.events:
        if event.kind in FAULTS:
            assert moved[event.start : event.end].max() > 1
            assert np.where(changed, moved, 0)[event.end : event.end + 60].max() < 1.2


def sensor_events(many: list[Fabricated], kind: str) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Readings with and without the error, and the channel, for each whole event of one kind in one channel."""
    found = []
    for index, made in enumerate(many):
        twin = values(fabricate(replace(CALM, seed=index // 2), 1 + index % 2, 28))
        first_fault = min((e.start for e in made.events if e.kind in FAULTS), default=made.table.num_rows)
        for event in made.events:
            if event.kind == kind and event.end < first_fault:
                rows = slice(event.start, event.end)
                for name in event.channels:
                    channel = CHANNELS.index(name)
                    found.append((values(made)[rows, channel], twin[rows, channel], channel))
    assert len(found) >= 5
    return found


def test_a_stuck_sensor_reads_one_value_while_the_world_moves(many: list[Fabricated]) -> None:
    jumps = []
    for read, true, channel in sensor_events(many, "stuck"):
        assert 30 <= len(read) <= 240
        assert (read == read[0]).all()
        assert len(np.unique(true)) > 1
        jumps.append(abs(read[0] - true[0]) / SPREAD[channel])
    assert min(jumps) == 0 < max(jumps)


def test_a_drift_grows_from_nothing(many: list[Fabricated]) -> None:
    for read, true, channel in sensor_events(many, "drift"):
        assert 60 <= len(read) <= 360
        error = np.abs(read - true) / SPREAD[channel]
        assert error[0] < 0.2
        inside = (read > 0) & (read < HIGHEST[channel])  # what the instrument can still show
        assert (np.diff(error[inside]) > -1e-4).all()
        assert 2.9 < error[inside].max() < 10.1 or not inside.all()


def test_spikes_are_short_and_most_are_large(many: list[Fabricated]) -> None:
    sizes = []
    for read, true, channel in sensor_events(many, "spike"):
        assert 1 <= len(read) <= 5
        if ((read > 0) & (read < HIGHEST[channel])).all():
            sizes.append(float(np.abs(read - true).max() / SPREAD[channel]))
    large = [size for size in sizes if size > 3.5]
    assert 0 < len(sizes) - len(large) < len(large)
    assert min(sizes) > 1.49
    assert max(sizes) < 8.01


def test_faults_change_the_physics(many: list[Fabricated]) -> None:
    """A leak empties the tank; a worn pump turns faster and shakes more for less water."""
    pulls: dict[str, list[np.ndarray]] = {kind: [] for kind in FAULTS}
    for index, made in enumerate(many):
        twin = values(fabricate(replace(CALM, seed=index // 2), 1 + index % 2, 28))
        for event in made.events:
            if event.kind in FAULTS:
                assert event.channels == FAULT_CHANNELS
                middle = slice(event.start + 10, event.end - 85)
                pulls[event.kind].append((values(made)[middle] - twin[middle]).mean(axis=0))
    for kind, signs in (("leak", {"flow_in_l_min": 1}), ("pump_loss", {"flow_in_l_min": -1, "vibration_mm_s": 1})):
        for pull in pulls[kind]:
            for name, sign in {"level_pct": -1, "pump_speed_rpm": 1, "pressure_bar": -1, **signs}.items():
                assert pull[CHANNELS.index(name)] * sign > 0, (kind, name)


@given(
    balance=st.lists(st.floats(-500, 500), min_size=1, max_size=60),
    interval_s=st.sampled_from([1, 60, 600]),
)
def test_the_tank_is_the_obvious_loop(balance: list[float], interval_s: int) -> None:
    set_point = 65 + np.arange(len(balance)) % 3
    level, expected = float(set_point[0]), []
    for flow, wanted in zip(balance, set_point, strict=True):
        expected.append(level)
        into_tank_l_min = flow + (TANK_L / 100 / TANK_TAU_MIN) * (wanted - level)
        level += into_tank_l_min * (interval_s / 60) / TANK_L * 100
    np.testing.assert_allclose(tank_level(np.array(balance), set_point.astype(float), interval_s), expected, rtol=1e-9)


def test_the_tank_keeps_the_books_of_water(calm: Fabricated) -> None:
    """What flowed in and not out is in the tank: over any six hours the level moves by the metered difference."""
    read = {name: calm.table[name].to_numpy().astype(np.float64) for name in CHANNELS}
    net_l = np.cumsum(read["flow_in_l_min"] - read["flow_out_l_min"])
    expected = (net_l[360:] - net_l[:-360]) / TANK_L * 100
    actual = read["level_pct"][360:] - read["level_pct"][:-360]
    error = np.abs(actual - expected)
    assert error.mean() < 2 * NOISE[CHANNELS.index("level_pct")]
    assert np.abs(actual).mean() > 5 * error.mean()


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("flow_in_l_min", "pump_speed_rpm", 0.95, 1),
        ("flow_in_l_min", "flow_out_l_min", 0.8, 0.99),
        ("pressure_bar", "pump_speed_rpm", 0.8, 1),
        ("vibration_mm_s", "pump_speed_rpm", 0.8, 1),
        ("quality_pct", "flow_out_l_min", 0.5, 0.97),
        ("level_pct", "flow_out_l_min", -0.95, -0.5),
    ],
)
def test_channels_go_together(calm: Fabricated, one: str, other: str, low: float, high: float) -> None:
    correlation = float(np.corrcoef(calm.table[one].to_numpy(), calm.table[other].to_numpy())[0, 1])
    assert low < correlation < high


def test_warm_water_keeps_worse(calm: Fabricated) -> None:
    """Quality falls with temperature where the flow is the same."""
    read = [calm.table[name].to_numpy().astype(np.float64) for name in ("temperature_c", "flow_out_l_min", "level_pct")]
    design = np.column_stack([*read, np.ones(len(read[0]))])
    weights = np.linalg.lstsq(design, calm.table["quality_pct"].to_numpy(), rcond=None)[0]
    assert weights[0] < 0


def test_weekends_and_nights_are_quiet(calm: Fabricated) -> None:
    days = calm.table["flow_out_l_min"].to_numpy().reshape(28, 24, 60)
    is_weekend = np.arange(28) % 7 >= 5
    assert days[is_weekend].mean() < 0.93 * days[~is_weekend].mean()
    assert days[:, 2:4].mean() < 0.75 * days[:, 6:9].mean()


@pytest.mark.parametrize("shift", [None, Shift(10), Shift(10, 2.0)])
def test_readings_are_believable(shift: Shift | None) -> None:
    low = np.array([5, 1.5, 200, 200, 40, 700, 0.8, 90])
    high = np.array([22, 6, 1800, 1800, 90, 2800, 8, 100])
    for seed in range(3):
        made = values(fabricate(PlantConfig(MONDAY, seed, anomalies=False, shift=shift), 1, 28))
        assert (made > low).all()
        assert (made < high).all()
        wrong = values(fabricate(PlantConfig(MONDAY, seed, shift=shift), 1, 28))
        assert (wrong >= 0).all()
        assert (wrong <= HIGHEST).all()


def test_the_spread_that_anomalies_are_measured_in_is_the_spread_of_readings() -> None:
    seen = [
        values(fabricate(replace(CALM, seed=seed), line, 21)).std(axis=0, dtype=np.float64)
        for seed in range(4)
        for line in (1, 2)
    ]
    np.testing.assert_allclose(np.mean(seen, axis=0), SPREAD, rtol=0.15)


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The Kolmogorov-Smirnov statistic of each channel."""
    return np.array([ks_2samp(one[:, c], other[:, c], method="asymp").statistic for c in range(len(CHANNELS))])


def test_the_shift_stands_out_from_what_weeks_differ_by_anyway(calm: Fabricated) -> None:
    weeks = values(calm).reshape(4, 7 * 1440, len(CHANNELS))
    usual = np.max([distance(weeks[a], weeks[b]) for a in range(3) for b in range(a)], axis=0)
    unshifted = distance(weeks[3], weeks[1])
    shifted = distance(values(fabricate(replace(CALM, shift=Shift(20)), 1, 28))[-7 * 1440 :], weeks[1])
    assert (unshifted < np.maximum(1.5 * usual, 0.15)).all()
    assert (shifted > 2 * np.maximum(usual, 0.1)).all()
    half = distance(values(fabricate(replace(CALM, shift=Shift(20, 0.5)), 1, 28))[-7 * 1440 :], weeks[1])
    assert (half < shifted).all()


def test_the_shift_moves_means_by_about_one_to_one_and_a_half_spreads(calm: Fabricated) -> None:
    shifted = values(fabricate(replace(CALM, shift=Shift(20)), 1, 28))[-7 * 1440 :]
    moved = (shifted.mean(axis=0) - values(calm)[-7 * 1440 :].mean(axis=0)) / SPREAD
    for name in ("temperature_c", "flow_in_l_min", "flow_out_l_min", "level_pct"):
        assert 0.9 < moved[CHANNELS.index(name)] < 1.7, name


def test_the_shift_changes_a_relation_and_not_only_levels(calm: Fabricated) -> None:
    """The new pump has to turn faster for the same flow."""
    shifted = values(fabricate(replace(CALM, shift=Shift(20)), 1, 28))[-7 * 1440 :].astype(np.float64)
    flow, speed = CHANNELS.index("flow_in_l_min"), CHANNELS.index("pump_speed_rpm")
    slope, offset = np.polyfit(values(calm)[:, flow].astype(np.float64), values(calm)[:, speed], 1)
    excess = shifted[:, speed] - (slope * shifted[:, flow] + offset)
    assert excess.mean() > 4 * NOISE[speed]


def test_some_anomalies_are_easy_and_some_hard() -> None:
    """Random scores lose to the z-norm, the z-norm to a model that knows the correlations, and nothing is perfect."""
    figures = []
    for seed in range(2):
        made = fabricate(PlantConfig(MONDAY, seed), 1, 21)
        train = 10 * 1440
        z = values(made).astype(np.float64)
        z = (z - z[:train].mean(axis=0)) / z[:train].std(axis=0)
        axes = np.linalg.svd(z[:train], full_matrices=False)[2][:4]  # four components
        residual = np.square(z - z @ axes.T @ axes)
        label = made.table["label"].to_numpy()[train:]
        scores = (
            np.random.default_rng(seed).random(len(z)),
            np.linalg.norm(z, axis=1),
            (residual / residual[:train].mean(axis=0)).mean(axis=1),
        )
        figures.append([vus_pr(label, score[train:]) for score in scores])
    random, norm, pca = np.mean(figures, axis=0)
    assert 2 * random < norm < 0.65
    assert norm + 0.1 < pca < 0.97


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": datetime(2026, 3, 2)},
        {"start": datetime.fromisoformat("2026-03-02T00:00:00+02:00")},
        {"seed": -1},
        {"lines": 0},
        {"interval_s": 0},
        {"interval_s": 7},
        {"interval_s": 3600},
        {"shift": Shift(-1)},
        {"shift": Shift(float("inf"))},
        {"shift": Shift(1, float("nan"))},
        {"shift": Shift(1, 3)},
    ],
)
def test_a_plant_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="found"):
        PlantConfig(**{"start": MONDAY, "seed": 1, **wrong})


@pytest.mark.parametrize(("line", "days"), [(0, 1), (3, 1), (1, 0), (1, -1), (1, 1e-6), (1, float("nan"))])
def test_a_series_that_cannot_be_is_refused(line: int, days: float) -> None:
    with pytest.raises(BadInputError, match="found"):
        fabricate(CONFIG, line, days)
