"""The physics of the fabricated facilities: conservation laws, ranges, cycles, and what people do."""

from datetime import UTC, datetime

import numpy as np
import pytest

from tasks.fabricate import water
from tasks.fabricate.facility import Facility, State, ranges
from tasks.fabricate.grid import FACTOR, LOSS, PHASES
from tasks.fabricate.nuclear import CORE_CHANNELS, KG_PER_L, KJ_PER_KG_K
from tasks.fabricate.run import FACILITIES, Run, pieces
from tasks.fabricate.shifts import KINDS, Shift, read_shift, weights
from tasks.fabricate.timeline import Timeline
from watchkeeper.errors import BadInputError

MONDAY = datetime(2025, 1, 6, tzinfo=UTC)
NAMES = tuple(FACILITIES)


def states(facility: Facility, blocks: int, shift: Shift | None = None) -> list[State]:
    timeline = Timeline(5, MONDAY, facility.interval_s, facility.block_days, shift)
    found = []
    for _ in range(blocks):
        timeline.advance()
        found.append(facility.simulate(timeline))
    return found


def readings(name: str, days: float, seed: int = 5, shift: Shift | None = None) -> dict[str, np.ndarray]:
    parts = list(pieces(Run(name, MONDAY, days, seed, (), shift)))
    columns = [channel.name for channel in FACILITIES[name].channels]
    return {c: np.concatenate([part.table[c].to_numpy() for part in parts]).astype(np.float64) for c in columns}


@pytest.mark.parametrize("name", NAMES)
def test_a_facility_has_twenty_channels_with_units_and_its_own_equipment(name: str) -> None:
    facility = FACILITIES[name]
    assert len(facility.channels) >= 20
    assert len({channel.name for channel in facility.channels}) == len(facility.channels)
    assert all(channel.name.startswith(channel.equipment + "_") and channel.range for channel in facility.channels)
    wanted = {
        "water": ("pump_1", "pump_2", "valve_a", "valve_b", "tank_main"),
        "nuclear": ("reactor_1", "coolant_a", "turbine_1", "generator_1"),
        "grid": ("transformer_a", "generator_1", "substation_1"),
    }
    assert facility.equipment == wanted[name]


@pytest.mark.parametrize(
    ("unit", "low", "high"), [("_c", 15, 350), ("_hz", 59.5, 60.5), ("_kv", 100, 120), ("_a", 0, 1000)]
)
def test_a_channel_takes_the_range_of_its_unit(unit: str, low: float, high: float) -> None:
    for facility in FACILITIES.values():
        assert all(one.range == (low, high) for one in facility.channels if one.name.endswith(unit))


def test_the_tank_holds_what_flowed_in_less_what_flowed_out() -> None:
    """Row by row, over the border of two blocks, and not with the flows swapped."""
    first, second = states(FACILITIES["water"], 2)
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    balance = both["flow_1"] + both["flow_2"] - both["out_a"] - both["out_b"]
    gained = np.diff(both["level"])
    np.testing.assert_allclose(gained, balance[:-1] / water.TANK_L * 100, atol=1e-9)
    assert np.abs(gained + balance[:-1] / water.TANK_L * 100).max() > 0.05


def test_the_tank_that_is_read_equals_the_flows_that_are_read() -> None:
    """From the Parquet columns alone, up to the sensors' noise: a slow leak of 1 % would show."""
    read = readings("water", 10)
    out = read["valve_a_flow_rate_l_min"] + read["valve_b_flow_rate_l_min"]
    kept = (read["tank_main_flow_rate_l_min"] - out) / water.TANK_L * 100
    expected = read["tank_main_level_pct"][0] + np.concatenate([[0.0], np.cumsum(kept)[:-1]])
    error = np.abs(read["tank_main_level_pct"] - expected)
    assert error.max() < 1.5
    leaked = np.abs(expected + np.cumsum(0.01 * out) / water.TANK_L * 100 - read["tank_main_level_pct"])
    assert leaked.max() > 20
    pumped = read["pump_1_flow_rate_l_min"] + read["pump_2_flow_rate_l_min"]
    assert np.abs(pumped - read["tank_main_flow_rate_l_min"]).mean() < 30


@pytest.mark.parametrize("equipment", list(FACTOR))
def test_power_is_voltage_times_current_times_factor(equipment: str) -> None:
    """Three phases, from the columns; the factor of another machine, or a phase left out, would not do."""
    read = readings("grid", 2)
    apparent = sum(read[f"{equipment}_voltage_{p}_kv"] * read[f"{equipment}_current_{p}_a"] for p in PHASES)
    factor = read[f"{equipment}_power_output_mw"] / (apparent / np.sqrt(3) / 1000)
    assert factor.mean() == pytest.approx(FACTOR[equipment], abs=0.006)
    assert factor.std() < 0.008


def test_the_state_gives_power_exactly() -> None:
    grid = FACILITIES["grid"]
    (state,) = states(grid, 1)
    read = dict(zip([channel.name for channel in grid.channels], grid.read(state), strict=True))
    fed = 0.0
    for equipment in ("transformer_a", "generator_1"):
        apparent = sum(read[f"{equipment}_voltage_{p}_kv"] * read[f"{equipment}_current_{p}_a"] for p in PHASES)
        power = apparent * state[f"factor {equipment}"] / np.sqrt(3) / 1000
        np.testing.assert_allclose(power, read[f"{equipment}_power_output_mw"], rtol=1e-12)
        fed = fed + power
    np.testing.assert_allclose(read["substation_1_power_output_mw"], fed * (1 - LOSS), rtol=1e-12)


def test_the_coolant_carries_the_reactors_power() -> None:
    """Mass flow × heat capacity × rise of temperature, from the columns."""
    read = readings("nuclear", 10)
    rise = read["coolant_a_hot_leg_temperature_c"] - read["coolant_a_cold_leg_temperature_c"]
    kg_s = CORE_CHANNELS * KG_PER_L * read["coolant_a_flow_rate_l_min"] / 60
    carried = kg_s * KJ_PER_KG_K * rise / 1000
    assert np.abs(carried / read["reactor_1_power_output_mw"] - 1).mean() < 0.01
    assert (read["turbine_1_power_output_mw"] < 0.4 * read["reactor_1_power_output_mw"]).all()
    assert (read["generator_1_power_output_mw"] < read["turbine_1_power_output_mw"] + 5).all()


def test_vibration_follows_speed() -> None:
    read = readings("water", 10)
    for pump in ("pump_1", "pump_2"):
        correlation = np.corrcoef(read[f"{pump}_vibration_mm_s"], read[f"{pump}_flow_rate_l_min"])[0, 1]
        assert correlation > 0.9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [None, *(Shift(kind, 1) for kind in KINDS)])
def test_a_world_in_order_needs_no_cutting(name: str, shift: Shift | None) -> None:
    """The process stays inside the physical ranges by itself; cutting is for a sensor's noise alone."""
    facility = FACILITIES[name]
    low, high = ranges(facility)
    for state in states(facility, max(3, 10 // facility.block_days), shift):
        for column, least, most in zip(facility.read(state), low, high, strict=True):
            assert least <= column.min()
            assert column.max() <= most


@pytest.mark.parametrize("name", NAMES)
def test_the_spread_that_anomalies_are_measured_in_is_the_spread_of_readings(name: str) -> None:
    days = 30 if name != "grid" else 14
    seen = [[column.std() for column in readings(name, days, seed).values()] for seed in range(3)]
    np.testing.assert_allclose(np.mean(seen, axis=0), [c.spread for c in FACILITIES[name].channels], rtol=0.35)


def test_days_and_weeks_have_their_cycles() -> None:
    flow = readings("water", 28)["valve_a_flow_rate_l_min"].reshape(28, 24, 60)
    is_weekend = np.arange(28) % 7 >= 5
    assert flow[is_weekend].mean() < 0.95 * flow[~is_weekend].mean()
    assert flow[:, 2:4].mean() < 0.8 * flow[:, 7:9].mean()


def test_people_pause_pumps_and_choose_set_points_and_it_is_told() -> None:
    """While one pump rests it brings nothing, and the other brings it all."""
    seen = set()
    for piece in pieces(Run("water", MONDAY, 40, 2, ())):
        assert not piece.table["label"].to_numpy().any()
        for one in piece.operations:
            seen.add(one.kind)
            middle = (one.start + one.end) // 2 - piece.first
            if one.kind == "maintenance":
                other = {"pump_1": "pump_2", "pump_2": "pump_1"}[one.equipment]
                assert piece.table[f"{one.equipment}_flow_rate_l_min"][middle].as_py() < 60
                assert piece.table[f"{other}_flow_rate_l_min"][middle].as_py() > 1200
    assert seen == {"maintenance", "set_point"}


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_shift_the_world_is_the_old_one_bit_for_bit(kind: str) -> None:
    before = round(11.5 * 1440)
    old, new = readings("water", 30), readings("water", 30, shift=Shift(kind, 11.5))
    moved = []
    for name in old:
        np.testing.assert_array_equal(old[name][:before], new[name][:before])
        moved.append(np.abs(new[name][-1440:] - old[name][-1440:]).mean())
    spreads = np.array([channel.spread for channel in FACILITIES["water"].channels])
    assert (np.array(moved) / spreads).max() > 1


def test_the_regime_changes_a_relation_and_the_step_does_not() -> None:
    """Pressure of the first pump against its flow and the tank's level: only new pumps leave the old relation."""

    def terms(read: dict[str, np.ndarray]) -> np.ndarray:
        flow, level = read["pump_1_flow_rate_l_min"] / 1000, read["tank_main_level_pct"] / 100
        return np.column_stack([np.ones(len(flow)), flow, flow**2, level])

    old = readings("water", 10)
    pressure = "pump_1_pressure_bar"
    relation = np.linalg.lstsq(terms(old), old[pressure])[0]
    off = {}
    for kind in ("step", "regime"):
        new = readings("water", 10, shift=Shift(kind, 0))
        off[kind] = np.abs(np.median(new[pressure][-4000:] - (terms(new) @ relation)[-4000:]))
    assert off["regime"] > 0.07
    assert off["step"] < 0.03


def test_a_season_comes_in_weeks_and_a_step_in_hours() -> None:
    days = np.arange(0, 40, 0.25)
    season, step, regime = weights(Shift("seasonal", 10), days)
    assert season[days <= 10].max() == 0
    assert season[days == 20][0] == pytest.approx(0.5)
    assert season[days >= 30].min() == 1
    assert not step.any()
    assert not regime.any()
    assert weights(Shift("step", 10), days)[1][days == 10.25][0] == pytest.approx(1 - np.exp(-3))
    assert not np.any(weights(None, days))


def test_a_shift_is_read_from_its_words() -> None:
    assert read_shift("step@14") == Shift("step", 14.0)
    assert read_shift("seasonal@0.5") == Shift("seasonal", 0.5)


@pytest.mark.parametrize("text", ["step", "wave@3", "step@", "step@soon", "step@-1", "step@nan", "step@inf", ""])
def test_a_shift_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"^shift "):
        read_shift(text)


def test_filters_do_not_care_where_a_block_ends() -> None:
    """Ten blocks of a day and one of ten days filter the same input to the same bits."""
    values = np.random.default_rng(0).standard_normal(14400)
    whole, parts = Timeline(0, MONDAY, 60, 10, None), Timeline(0, MONDAY, 60, 1, None)
    for act in ("follow", "integrate"):
        expected = getattr(whole, act)(act, values, 45.0)
        cut = np.concatenate([getattr(parts, act)(act, part, 45.0) for part in np.split(values, 10)])
        np.testing.assert_array_equal(cut, expected)
        slow = [values[0]]
        for t in range(1, 2000):  # the obvious loop
            drive = values[t] if act == "follow" else values[t - 1]
            phi = np.exp(-1 / 45) if act == "follow" else 1 - 1 / 45
            slow.append(phi * slow[-1] + (1 - phi) * drive)
        np.testing.assert_allclose(expected[:2000], slow, atol=1e-12)


def test_a_set_point_holds_until_people_choose_another_one() -> None:
    """Over the borders of blocks too: each change of level is one that the operations tell."""
    timeline = Timeline(3, MONDAY, 60, 10, None)
    levels, told = [], []
    for block in range(4):
        timeline.advance()
        levels.append(timeline.set_point("tank_main", 1e-3))  # followed at once
        told += [block * timeline.rows + one.start for one in timeline.operations if one.kind == "set_point"]
    changed = np.flatnonzero(np.abs(np.diff(np.concatenate(levels))) > 1e-9) + 1
    assert changed.tolist() == told
