"""A water works: two pumps fill a tank, two valves let the town have it. A row a minute."""

import numpy as np

from tasks.fabricate.facility import HUNTING, Facility, Floats, State, channels
from tasks.fabricate.timeline import Timeline, bump

TANK_L = 400_000.0
TANK_TAU_MIN = 45.0  # of the level controller
GAIN = TANK_L / 100 / TANK_TAU_MIN  # of the level controller, L/min for each percent
NOMINAL_L_MIN = 2600.0  # that the town takes
PUMP_L_MIN = 2500.0  # of one pump at full speed
TANK_M = 8.0  # high
BAR_PER_M = 0.0981  # of water


class Water(Facility):
    """Demand drives everything: valves, tank, level controller, pumps."""

    name = "water"
    interval_s = 60
    block_days = 10
    channels = (
        *channels(
            "pump_1",
            flow_rate_l_min=(210.0, 12.0),
            pressure_bar=(0.34, 0.03),
            temperature_c=(1.4, 0.1),
            vibration_mm_s=(0.06, 0.012),
            quality_pct=(0.46, 0.05),
        ),
        *channels(
            "pump_2",
            flow_rate_l_min=(210.0, 12.0),
            pressure_bar=(0.36, 0.03),
            temperature_c=(1.4, 0.1),
            vibration_mm_s=(0.066, 0.012),
            quality_pct=(0.46, 0.05),
        ),
        *channels(
            "valve_a",
            flow_rate_l_min=(160.0, 9.0),
            pressure_bar=(0.17, 0.02),
            temperature_c=(0.56, 0.06),
            quality_pct=(0.17, 0.04),
        ),
        *channels(
            "valve_b",
            flow_rate_l_min=(140.0, 9.0),
            pressure_bar=(0.16, 0.02),
            temperature_c=(0.56, 0.06),
            quality_pct=(0.17, 0.04),
        ),
        *channels(
            "tank_main",
            level_pct=(3.4, 0.15),
            flow_rate_l_min=(310.0, 14.0),
            pressure_bar=(0.027, 0.002),
            temperature_c=(0.55, 0.05),
            quality_pct=(0.17, 0.04),
        ),
    )
    faults = ("leak", "worn_pump", "blocked_valve")

    def simulate(self, timeline: Timeline) -> State:
        """Run one block: demand, tank, pumps, and what nobody measures."""
        t = timeline
        weather = t.wander("weather", 2000)
        demand = NOMINAL_L_MIN * demand_shape(t.hour, t.weekend)
        demand *= 1 + 0.015 * t.wander("unrest", 15) + 0.02 * t.wander("mood", 600) + 0.01 * weather
        demand *= 1 + 0.1 * t.season + 0.1 * t.step
        # The controller runs ahead with the smoothed demand; what is left fills or drains the tank.
        ahead = t.follow("ahead", demand, 150)
        set_point = 60 + 5 * t.set_point("tank_main", 120) + 12 * t.step
        level = t.integrate("level", set_point + (ahead - demand) / GAIN, TANK_TAU_MIN)
        flow_in = ahead + GAIN * (set_point - level)

        rest = t.pauses(("pump_1", "pump_2"))
        lead = 0.52 + 0.02 * t.wander("lead", 600) - 0.06 * t.regime
        pull_1, pull_2 = lead * (1 - rest["pump_1"]), (1 - lead) * (1 - rest["pump_2"])
        share = pull_1 / (pull_1 + pull_2)
        part_a = 0.54 + 0.015 * t.wander("part_a", 300) + 0.03 * t.regime
        state = {"level": level, "flow_1": flow_in * share, "flow_2": flow_in * (1 - share)}
        state |= {"out_a": demand * part_a, "out_b": demand * (1 - part_a), "leak": np.zeros(t.rows)}
        warmth = 20.5 + 1.6 * np.cos(t.year - 3.6) + 0.5 * weather + 2.5 * t.season
        warmth -= 0.4 * np.cos((t.hour - 4.0) * (np.pi / 12))
        state["warmth"] = warmth
        for pump, age in (("1", 0.0), ("2", 0.04)):
            state[f"running_{pump}"] = 1 - rest[f"pump_{pump}"]
            state[f"strength_{pump}"] = 1 - age - 0.1 * t.regime  # of the pump; the new ones are weaker
            state[f"bearings_{pump}"] = 1 + 0.03 * t.wander(f"bearings_{pump}", 90)
            turned = turns(state[f"flow_{pump}"], state[f"running_{pump}"], state[f"strength_{pump}"])
            state[f"heat_{pump}"] = t.follow(f"heat_{pump}", 16 * np.square(turned), 40)
        state["raw"] = 94.5 + 0.4 * t.wander("raw_water", 400) + 0.2 * t.wander("rain", 3000) - 0.5 * t.season
        state["aged"] = t.follow("aged", level * (TANK_L / 100) / demand / 60, 45)  # hours in the tank
        state["dosing"] = 0.1 * t.wander("dosing", 200) - 0.4 * t.regime
        state["network"] = 0.03 * t.wander("network", 60)
        return state

    def read(self, state: State) -> list[Floats]:
        """Read the sensors."""
        s = state
        column = TANK_M * BAR_PER_M * (s["level"] - 60) / 100
        pumps = []
        for pump in ("1", "2"):
            turned = turns(s[f"flow_{pump}"], s[f"running_{pump}"], s[f"strength_{pump}"])
            pumps += [
                s[f"flow_{pump}"],
                1.5 + 4.5 * np.square(turned * s[f"strength_{pump}"]) + column - s["leak"] / 1500,
                s["warmth"] + 3.0 + s[f"heat_{pump}"],
                0.12 + 0.75 * np.square(turned) * s[f"bearings_{pump}"],
                s["raw"],
            ]
        quality = 99.4 - 0.42 * s["aged"] * np.exp(0.06 * (s["warmth"] - 20)) + s["dosing"]
        head = 4.2 + column + s["network"] - s["leak"] / 1200
        valves = []
        for out, nominal in ((s["out_a"], 1500.0), (s["out_b"], 1300.0)):
            valves += [out, head - 0.9 * np.square(out / nominal), s["warmth"] + 0.3, quality - 0.15]
        bottom = 0.1 + TANK_M * BAR_PER_M * s["level"] / 100
        return [*pumps, *valves, s["level"], s["flow_1"] + s["flow_2"], bottom, s["warmth"], quality]

    def disturb(self, state: State, fault: str, course: Floats, size: float) -> None:
        """Leak between tank and valves, a worn first pump, a blocked first valve, or a hunting level controller."""
        if fault == "leak":
            # It is repaired at half time, and the pumps bring back what was lost: the event ends with the level.
            leak = np.where(np.arange(len(course)) < len(course) // 2, course, 0.0) * (250 + 550 * size)
            extra = np.where(leak > 0, 0.0, course)
            extra *= leak.sum() / extra.sum()
            state["leak"] += leak
            fill(state, extra, leak)
        elif fault == "worn_pump":
            loss = course * (0.12 + 0.2 * size)
            moved = loss * state["flow_1"]  # the second pump takes over what the first no longer brings
            state["flow_1"] -= moved
            state["flow_2"] += moved
            state["strength_1"] *= 1 - loss
            state["bearings_1"] *= 1 + 2.0 * loss
            state["heat_1"] *= 1 + 1.5 * loss
        elif fault == "blocked_valve":
            moved = course * (0.15 + 0.3 * size) * state["out_a"]
            state["out_a"] -= moved
            state["out_b"] += moved
        elif fault == HUNTING:
            fill(state, course * (200 + 400 * size), np.zeros(len(course)))


def fill(state: State, more_l_min: Floats, lost_l_min: Floats) -> None:
    """Let the pumps bring more, and lose some, in place: each pump by its share, and the tank integrates the rest."""
    flow_in = state["flow_1"] + state["flow_2"]
    grown = 1 + more_l_min / flow_in
    state["flow_1"] *= grown
    state["flow_2"] *= grown
    gained = np.cumsum(more_l_min - lost_l_min) * (Water.interval_s / 60 / TANK_L * 100)
    state["level"][1:] += gained[:-1]  # what flows in this row is seen in the next


def turns(flow_l_min: Floats, running: Floats, strength: Floats) -> Floats:
    """Tell how fast a pump turns, as a share of its full speed: head at rest, and flow."""
    speed: Floats = np.sqrt(np.square(flow_l_min / (PUMP_L_MIN * strength)) + 0.12 * running)
    return speed


def demand_shape(hour: Floats, weekend: Floats) -> Floats:
    """Share of the nominal flow that the town takes: two peaks a day, lower and later on a weekend."""
    weekday = (
        0.68 + 0.3 * bump(hour, 7.5 + 1.5 * weekend, 1.8) + 0.14 * bump(hour, 12.5, 3.0) + 0.27 * bump(hour, 19, 2.2)
    )
    return weekday * (1 - 0.12 * weekend)
