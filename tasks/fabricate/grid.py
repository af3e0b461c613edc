"""A piece of the electrical grid: a generator and a transformer feed a substation. A row every 5 s."""

import numpy as np

from tasks.fabricate.facility import HUNTING, Facility, Floats, State, channels
from tasks.fabricate.timeline import Timeline, bump

PHASES = ("l1", "l2", "l3")
EQUIPMENT = ("transformer_a", "generator_1", "substation_1")
NOMINAL_MW = 140.0  # that the substation delivers
LOSS = 0.015  # between those who feed it and the substation
FACTOR = {"transformer_a": 0.96, "generator_1": 0.93, "substation_1": 0.95}  # power factor
_SENSORS = {
    "transformer_a": ((0.5, 0.03), (46.0, 1.2), (8.3, 0.15)),
    "generator_1": ((0.5, 0.03), (62.0, 1.2), (11.0, 0.15)),
    "substation_1": ((0.54, 0.03), (88.0, 1.5), (16.0, 0.25)),
}  # spread and noise of voltage, current and power


class Grid(Facility):
    """The town's load is met by the generator and, through the transformer, by the network behind."""

    name = "grid"
    interval_s = 5
    block_days = 2
    channels = tuple(
        channel
        for equipment, (voltage, current, power) in _SENSORS.items()
        for channel in channels(
            equipment,
            **{f"voltage_{phase}_kv": voltage for phase in PHASES},
            **{f"current_{phase}_a": current for phase in PHASES},
            frequency_hz=(0.032, 0.003),
            power_output_mw=power,
        )
    )
    faults = ("voltage_sag", "generation_loss", "unbalanced_phase")

    def simulate(self, timeline: Timeline) -> State:
        """Run one block: load, who meets it, frequency and voltages."""
        t = timeline
        load = NOMINAL_MW * load_shape(t.hour, t.weekend)
        load *= 1 + 0.01 * t.wander("unrest", 5) + 0.02 * t.wander("weather", 900)
        load *= 1 + 0.08 * t.season + 0.1 * t.step
        part = 0.6 + 0.03 * t.set_point("generator_1", 20) + 0.01 * t.wander("part", 30) - 0.08 * t.regime
        part = part * (1 - 0.6 * t.pauses(("generator_1",))["generator_1"])
        # The generator follows the load with a lag; frequency falls while it lacks behind.
        lacking = load - t.follow("governor", load, 2)
        state = {
            "load": load,
            "part": part,
            "frequency": 60 + 0.02 * t.wander("swing", 1) + 0.025 * t.wander("network", 30) - 0.004 * lacking,
        }
        tap = 0.6 * t.set_point("transformer_a", 5) + 0.25 * t.wander("voltage", 40) + 1.5 * t.step
        for equipment in EQUIPMENT:
            state[f"voltage {equipment}"] = 111.5 + tap + 0.15 * t.wander(f"voltage {equipment}", 20)
            state[f"factor {equipment}"] = (
                FACTOR[equipment] + 0.003 * t.wander(f"factor {equipment}", 120) - 0.02 * t.regime
            )
            lean = 0.008 * t.wander(f"lean {equipment}", 90)  # of the second phase against the first
            state[f"lean {equipment}"] = lean + 0.01 * t.regime
            state[f"skew {equipment}"] = 0.12 * t.wander(f"skew {equipment}", 200)  # kV between phases
        return state

    def read(self, state: State) -> list[Floats]:
        """Read the sensors: three-phase power is `(V1·I1 + V2·I2 + V3·I3) · factor / √3`."""
        fed = state["load"] / (1 - LOSS)
        power = {
            "transformer_a": fed * (1 - state["part"]),
            "generator_1": fed * state["part"],
            "substation_1": state["load"],
        }
        read = []
        for equipment, megawatts in power.items():
            droop = 2.0 * megawatts / NOMINAL_MW
            middle, skew = state[f"voltage {equipment}"] - droop, state[f"skew {equipment}"]
            volts = (middle + 0.15, middle + skew, middle - skew)
            amperes = megawatts * 1000 / (np.sqrt(3) * state[f"factor {equipment}"])  # were V 1 kV
            lean = state[f"lean {equipment}"]
            currents = (amperes / volts[0] * (1 - lean), amperes / volts[1] * (1 + lean), amperes / volts[2])
            read += [*volts, *currents, state["frequency"], megawatts]
        return read

    def disturb(self, state: State, fault: str, course: Floats, size: float) -> None:
        """Sag of the voltage, loss of generation, one phase taking another's load, or power that swings."""
        if fault == "voltage_sag":
            for equipment in EQUIPMENT:
                state[f"voltage {equipment}"] -= course * (2.0 + 4.0 * size)
        elif fault == "generation_loss":
            state["part"] *= 1 - course * (0.15 + 0.3 * size)
            state["frequency"] -= course * (0.08 + 0.15 * size)
        elif fault == "unbalanced_phase":
            state["lean substation_1"] += course * (0.1 + 0.2 * size)
        elif fault == HUNTING:
            state["load"] *= 1 + course * (0.04 + 0.08 * size)
            state["frequency"] -= course * (0.05 + 0.05 * size)


def load_shape(hour: Floats, weekend: Floats) -> Floats:
    """Share of the nominal load: morning and evening, less at night and on weekends."""
    weekday = 0.62 + 0.22 * bump(hour, 9 + weekend, 2.5) + 0.16 * bump(hour, 14, 3.0) + 0.28 * bump(hour, 19, 2.3)
    return weekday * (1 - 0.1 * weekend)
