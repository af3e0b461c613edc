"""A nuclear plant: a pressurised reactor, its coolant, a turbine and a generator. A row every 30 s."""

import numpy as np

from tasks.fabricate.facility import HUNTING, Facility, Floats, State, channels
from tasks.fabricate.timeline import Timeline, bump

FULL_MW = 920.0  # thermal
CORE_CHANNELS = 90  # the flow meter sits on one of them
FLOW_L_MIN = 4000.0  # of one of them at full load
KG_PER_L, KJ_PER_KG_K = 0.72, 5.4  # water at 310 °C and 155 bar
EFFICIENCY = 0.335
GENERATOR = 0.985
STEAM_K_PER_BAR = 0.9  # along the saturation line at 60 bar


class Nuclear(Facility):
    """The grid asks for power; the reactor follows, the coolant carries the heat, the turbine turns it into work."""

    name = "nuclear"
    interval_s = 30
    block_days = 10
    channels = (
        *channels(
            "reactor_1",
            temperature_c=(2.4, 0.25),
            inlet_temperature_c=(0.54, 0.15),
            outlet_temperature_c=(1.8, 0.2),
            pressure_bar=(0.41, 0.12),
            power_output_mw=(42.0, 1.5),
            vibration_mm_s=(0.013, 0.01),
        ),
        *channels(
            "coolant_a",
            hot_leg_temperature_c=(1.8, 0.2),
            cold_leg_temperature_c=(0.54, 0.15),
            pressure_bar=(0.41, 0.12),
            flow_rate_l_min=(26.0, 8.0),
            vibration_mm_s=(0.021, 0.01),
        ),
        *channels(
            "turbine_1",
            inlet_temperature_c=(0.35, 0.12),
            outlet_temperature_c=(0.95, 0.12),
            inlet_pressure_bar=(0.38, 0.08),
            outlet_pressure_bar=(0.0028, 0.0006),
            power_output_mw=(14.0, 0.6),
            vibration_mm_s=(0.046, 0.012),
            bearing_vibration_mm_s=(0.036, 0.01),
        ),
        *channels(
            "generator_1",
            temperature_c=(2.7, 0.2),
            bearing_temperature_c=(0.68, 0.12),
            pressure_bar=(0.022, 0.005),
            power_output_mw=(13.0, 0.5),
            vibration_mm_s=(0.029, 0.01),
        ),
    )
    faults = ("coolant_loss", "fouled_condenser", "worn_bearing")

    def simulate(self, timeline: Timeline) -> State:
        """Run one block: the load asked for, the heat, and what nobody measures."""
        t = timeline
        asked = 0.80 + 0.07 * bump(t.hour, 9, 3.0) + 0.09 * bump(t.hour, 18.5, 3.0) - 0.04 * t.weekend
        asked += 0.03 * t.set_point("reactor_1", 60) + 0.008 * t.wander("grid", 20) + 0.01 * t.wander("trade", 600)
        asked += 0.07 * t.step - 0.06 * t.season
        asked *= 1 - 0.3 * t.pauses(("turbine_1",))["turbine_1"]  # at part load, so that one half can be looked after
        load = t.follow("load", asked, 15)
        sea = 0.6 * t.wander("sea", 3000) + 1.2 * np.cos(t.year - 3.8) + 3.0 * t.season
        sea -= 0.3 * np.cos((t.hour - 5.0) * (np.pi / 12))
        return {
            "load": load,
            "pumps": 1 + 0.004 * t.wander("pumps", 30) - 0.03 * t.regime,
            "cold": 288 + 0.8 * t.set_point("coolant_a", 90) + 0.3 * t.wander("cold", 60) + 2.5 * t.step,
            "squeeze": 0.3 * t.wander("squeeze", 45),
            "core": 0.4 * t.wander("core", 40),
            "sea": sea,
            "steam": 0.25 * t.wander("steam", 40),
            "fouling": 0.1 * t.regime,
            "expansion": t.follow("expansion", load, 2),  # the turbine behind the steam lines
            "winding": t.follow("winding", np.square(load), 30),
            "bearing": 1 + 0.04 * t.wander("bearing", 120) + 0.2 * t.regime,
            "shaft": 1 + 0.04 * t.wander("shaft", 60),
        }

    def read(self, state: State) -> list[Floats]:
        """Read the sensors."""
        s = state
        power = FULL_MW * s["load"]
        flow = FLOW_L_MIN * (0.9 + 0.1 * s["load"]) * s["pumps"]
        hot = s["cold"] + heating_k(power, flow)
        core = hot + 12 * s["load"] + s["core"]
        primary = 155 + 0.25 * ((hot + s["cold"]) / 2 - 305) + s["squeeze"]
        speed = np.square(flow / FLOW_L_MIN)
        inlet_bar = 62 - 5 * s["expansion"] + 0.3 * (s["cold"] - 288) + s["steam"]
        inlet_c = 276 + STEAM_K_PER_BAR * (inlet_bar - 58)
        outlet_c = 22 + 13 * s["expansion"] + s["sea"] + 30 * s["fouling"]
        # The vapour pressure of water, doubling every 11 K or so, and what the work loses by it.
        outlet_bar = 0.05 * np.exp((outlet_c - 33) * 0.06)
        work = FULL_MW * s["expansion"] * (EFFICIENCY - 0.4 * (outlet_bar - 0.05))
        swing = 0.25 + 0.55 * np.square(s["expansion"]) * s["shaft"]
        rub = s["bearing"] - 1
        winding = 38 + 38 * s["winding"] + 0.3 * s["sea"]
        return [
            *(core, s["cold"] + 0.2, hot + 0.3, primary, power, 0.15 + 0.35 * speed + 0.08 * s["load"]),
            *(hot, s["cold"], primary - 1.5, flow, 0.1 + 0.45 * speed * s["shaft"]),
            *(inlet_c, outlet_c, inlet_bar, outlet_bar, work, swing + 0.3 * rub, 0.1 + 0.3 * swing + 0.8 * rub),
            *(winding, 46 + 9 * s["expansion"] + 12 * rub + 0.2 * s["sea"], 4 + 0.008 * (winding - 60)),
            *(GENERATOR * work, 0.1 + 0.5 * swing + 0.4 * rub),
        ]

    def disturb(self, state: State, fault: str, course: Floats, size: float) -> None:
        """Weak coolant pumps, a fouled condenser, a worn bearing, or a hunting power controller."""
        if fault == "coolant_loss":
            state["pumps"] *= 1 - course * (0.04 + 0.08 * size)
        elif fault == "fouled_condenser":
            state["fouling"] += course * (0.12 + 0.2 * size)
        elif fault == "worn_bearing":
            state["bearing"] += course * (0.2 + 0.4 * size)
        elif fault == HUNTING:
            swing = course * (0.035 + 0.045 * size)
            state["load"] += swing
            state["expansion"] += swing


def heating_k(power_mw: Floats, flow_l_min: Floats) -> Floats:
    """Tell by how many kelvins the coolant is heated: power over mass flow and heat capacity."""
    kg_s = CORE_CHANNELS * KG_PER_L * flow_l_min / 60
    return power_mw * 1000 / (kg_s * KJ_PER_KG_K)
