"""A water-treatment plant out of a seed: believable readings with known anomalies, the source of the demo watch.

Every line is a tank between a pump and the town. What the channels are, and pictures: docs/plant.md. Randomness comes
from streams for one day or one block of days each, and every filter looks backwards only, so that a longer series
starts with the shorter one, bit for bit. Physics, anomalies and their plan stay in one file, though a long one: they
share their constants, and one is not understood without the others.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.signal import lfilter

from watchkeeper.errors import BadInputError

Floats = npt.NDArray[np.float64]

CHANNELS: tuple[str, ...] = (
    "temperature_c",
    "pressure_bar",
    "flow_in_l_min",
    "flow_out_l_min",
    "level_pct",
    "pump_speed_rpm",
    "vibration_mm_s",
    "quality_pct",
)
# Per channel, in its unit: how far readings spread over a normal week (one standard deviation, measured on the
# simulation itself), the sensor's noise, and the most that the instrument can show; the least is 0.
SPREAD = np.array([0.86, 0.22, 124.0, 115.0, 2.7, 135.0, 0.35, 0.41])
NOISE = np.array([0.06, 0.025, 10.0, 10.0, 0.25, 8.0, 0.06, 0.06])
HIGHEST = np.array([40.0, 10.0, 3000.0, 3000.0, 100.0, 3000.0, 20.0, 100.0])

KINDS = ("spike", "drift", "stuck", "pump_loss", "leak")
# The channels in which physics shows a fault.
FAULT_CHANNELS = ("pressure_bar", "flow_in_l_min", "level_pct", "pump_speed_rpm", "vibration_mm_s")

# How often, how long and how large. Together these label a little over 2 % of the rows, some easy and some hard: the
# norm of the z-scored sample reaches a VUS-PR of about 0.4, models that know the correlations about 0.8.
QUIET_DAYS = 2  # no anomaly before
BLOCK_DAYS = 4  # one long anomaly in each
SPIKES_PER_DAY = 1.2
SPIKE_SPREADS, SUBTLE_SPREADS, SUBTLE_SHARE = (4.0, 8.0), (1.5, 3.0), 0.25
DURATION_H = {"drift": (1.0, 6.0), "stuck": (0.5, 4.0), "pump_loss": (1.75, 3.0), "leak": (1.75, 3.0)}
# Spreads of the channel (a drift at its end, a stuck sensor's jump), share of the pump's effect, share of nominal flow.
SIZES = {"drift": (3.0, 10.0), "stuck": (2.0, 8.0), "pump_loss": (0.12, 0.4), "leak": (0.12, 0.5)}
STUCK_IN_PLACE = 0.4  # share of the stuck sensors that freeze without a jump
ONSET_MIN = 5.0  # of a fault
RECOVERY_MIN = 80.0  # after a repair: twice the tank's time constant, and a part of the event

DAY_S = 86_400
TANK_L = 120_000.0
TANK_TAU_MIN = 40.0  # of the level controller
NOMINAL_L_MIN = 900.0
NOMINAL_RPM = 1450.0
SHIFT_TAU_H = 4.0  # the world takes some hours to change, or the shift would be one large spike
IDLE_RPM = 500.0  # below this speed the pump does not beat the static head


@dataclass(frozen=True)
class Shift:
    """The world changes after some days and stays changed.

    Attributes:
        after_days: days from the start of the series, not negative.
        strength: 1.0 moves demand, temperature and set points by 1 to 1.5 standard deviations of the old regime, and
            puts in a weaker, smoother pump, so that relations between channels change too.
    """

    after_days: float
    strength: float = 1.0


@dataclass(frozen=True)
class PlantConfig:
    """One plant. The same configuration gives the same readings, bit for bit.

    Attributes:
        start: the first row, in UTC.
        seed: not negative.
        lines: how many lines the plant has; the series are `line_1`, `line_2`, … They share the weather.
        interval_s: seconds between rows, 1 to 600, a divisor of the day.
        anomalies: whether things go wrong.
        shift: how the world changes; None if it stays as it is.

    Raises:
        BadInputError: a value is outside these bounds.
    """

    start: datetime
    seed: int
    lines: int = 2
    interval_s: int = 60
    anomalies: bool = True
    shift: Shift | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        if self.start.utcoffset() != timedelta(0):
            raise BadInputError(f"the plant's start must be in UTC, found {self.start.isoformat()}")
        if self.seed < 0 or self.lines < 1:
            raise BadInputError(f"a plant needs seed >= 0 and lines >= 1, found {self.seed} and {self.lines}")
        if not 1 <= self.interval_s <= 600 or DAY_S % self.interval_s:
            raise BadInputError(f"interval_s must divide the day and be 1 to 600, found {self.interval_s}")
        if self.shift is not None and not (0 <= self.shift.after_days < math.inf and 0 <= self.shift.strength <= 2):
            raise BadInputError(f"a shift needs after_days >= 0 and strength 0 to 2, found {self.shift}")

    @property
    def rows_per_day(self) -> int:
        """Rows in one day."""
        return DAY_S // self.interval_s


@dataclass(frozen=True)
class PlantEvent:
    """One labelled anomaly: rows [start, end) of a series, its kind (one of `KINDS`) and the channels it is seen in."""

    series: str
    start: int
    end: int
    kind: str
    channels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Fabricated:
    """A series and the truth about it: `timestamp`, the channels (float32), `label` (int8); events by start."""

    table: pa.Table
    events: tuple[PlantEvent, ...]


@dataclass(frozen=True)
class _Planned:
    """An event before it happens, with its sizes: spreads for each channel, or a share of the flow."""

    start: int
    end: int
    kind: str
    channels: tuple[int, ...]
    sizes: tuple[float, ...]


class _Purpose(IntEnum):
    """What a random stream is for: the last word of its seed."""

    LINE = 0
    WEATHER = 1
    DEMAND = 2
    SENSORS = 3
    KINDS = 4
    LONG = 5
    SPIKES = 6
    HIDDEN = 7


_PLANT = 0  # stands where a line's number stands, in streams that all lines share


def fabricate(config: PlantConfig, line: int, days: float) -> Fabricated:
    """Make up the readings of one line from the start of the plant.

    Args:
        config: the plant.
        line: 1 to `config.lines`.
        days: length of the series, above 0; a part of a day is rounded to rows.

    Returns:
        `table`: timestamp[us, UTC], the float32 `CHANNELS`, and label (int8, 1 inside an event). `events`: an event
        that would outlast the series is cut at its end. A longer series begins with the shorter one.

    Raises:
        BadInputError: there is no such line, or the series would have no row.
    """
    if not 1 <= line <= config.lines:
        raise BadInputError(f"the plant has lines 1 to {config.lines}, found line {line}")
    n = round(days * config.rows_per_day) if math.isfinite(days) else 0
    if n < 1:
        raise BadInputError(f"a series needs at least one row of {config.interval_s} s, found {days} days")
    whole_days = -(-n // config.rows_per_day)
    planned = [p for p in _plan(config, line, whole_days) if p.start < n] if config.anomalies else []
    readings = _simulate(config, line, whole_days, planned)[:n]
    _disturb(readings, planned)
    np.clip(readings, 0.0, HIGHEST, out=readings)
    label = np.zeros(n, np.int8)
    for event in planned:
        label[event.start : event.end] = 1
    columns = np.ascontiguousarray(readings.T, dtype=np.float32)  # (channel, time)
    first_us = (config.start - datetime.fromtimestamp(0, config.start.tzinfo)) // timedelta(microseconds=1)
    timestamps = first_us + np.arange(n, dtype=np.int64) * (config.interval_s * 1_000_000)
    table = pa.table(
        {
            "timestamp": pa.array(timestamps, pa.timestamp("us", "UTC")),
            **{name: pa.array(column) for name, column in zip(CHANNELS, columns, strict=True)},
            "label": pa.array(label),
        }
    )
    return Fabricated(
        table,
        tuple(
            PlantEvent(f"line_{line}", p.start, min(p.end, n), p.kind, tuple(CHANNELS[c] for c in p.channels))
            for p in planned
        ),
    )


def tank_level(balance_l_min: Floats, set_point_pct: Floats, interval_s: int) -> Floats:
    """Integrate a tank whose controller asks the pump for more as the level falls.

    `level[t+1] = level[t] + (gain · (set_point[t] − level[t]) + balance[t]) · dt / TANK_L · 100`, written as a linear
    filter, with the gain that gives the closed loop a time constant of `TANK_TAU_MIN`.

    Args:
        balance_l_min: float64 (time,), what flows in before the controller's correction less what flows out.
        set_point_pct: float64 (time,), the level wanted.
        interval_s: seconds between rows.

    Returns:
        float64 (time,), percent. It starts at the set point.
    """
    gain = TANK_L / 100 / TANK_TAU_MIN  # L/min for each percent
    step = interval_s / 60 / TANK_TAU_MIN
    drive = set_point_pct + balance_l_min / gain
    level: Floats = lfilter([0.0, step], [1.0, step - 1.0], drive, zi=set_point_pct[:1])[0]
    return level


def _stream(config: PlantConfig, line: int, index: int, purpose: _Purpose) -> np.random.Generator:
    """Start the random stream for one day, or one block of days, of one line."""
    return np.random.default_rng(np.random.SeedSequence([config.seed, line, index, purpose]))


def _innovations(config: PlantConfig, line: int, days: int, purpose: _Purpose, columns: int) -> Floats:
    """Draw standard normal numbers (time, column), each day from its own stream."""
    shape = (config.rows_per_day, columns)
    return np.concatenate([_stream(config, line, day, purpose).standard_normal(shape) for day in range(days)])


def _autocorrelated(innovations: Floats, tau_min: float, interval_s: int) -> Floats:
    """Colour white noise with a memory of `tau_min`, down the first axis; the standard deviation stays 1."""
    phi = math.exp(-interval_s / 60 / tau_min)
    driven = innovations * math.sqrt(1 - phi * phi)
    driven[0] = innovations[0]  # the past has the same spread as the future
    coloured: Floats = lfilter([1.0], [1.0, -phi], driven, axis=0)
    return coloured


def _smooth(values: Floats, tau_min: float, interval_s: int) -> Floats:
    """Follow `values` (time,) with a lag of `tau_min`, from the first value on."""
    phi = math.exp(-interval_s / 60 / tau_min)
    followed: Floats = lfilter([1 - phi], [1.0, -phi], values, zi=phi * values[:1])[0]
    return followed


def _demand_shape(hour: Floats, weekend: Floats) -> Floats:
    """Share of the nominal flow that the town takes: two peaks a day, lower and later on a weekend (weight 0 to 1)."""

    def peak(at: float | Floats, width_h: float) -> Floats:
        away: Floats = (hour - at + 12) % 24 - 12
        bump: Floats = np.exp(-0.5 * np.square(away / width_h))
        return bump

    weekday = 0.62 + 0.38 * peak(7.5 + 1.5 * weekend, 1.8) + 0.15 * peak(12.5, 3.0) + 0.34 * peak(19.0, 2.2)
    return weekday * (1 - 0.14 * weekend)


def _shift_weight(config: PlantConfig, n: int) -> Floats:
    """How far the world has shifted, (time,): 0 before, then rising to the strength within a day."""
    if config.shift is None:
        return np.zeros(n)
    first = math.ceil(config.shift.after_days * config.rows_per_day)
    hours = np.maximum(np.arange(1 - first, n - first + 1), 0) * (config.interval_s / 3600)
    weight: Floats = config.shift.strength * (1 - np.exp(-hours / SHIFT_TAU_H))
    return weight


def _fault_course(planned: list[_Planned], kind: str, n: int, interval_s: int) -> Floats:
    """Size of one kind of process fault over time, (time,): it comes up in minutes, holds, and is repaired."""
    course = np.zeros(n)
    for event in planned:
        if event.kind == kind:
            rows = np.arange(event.start, min(event.end, n))
            to_repair_min = (event.end - rows) * (interval_s / 60) - RECOVERY_MIN
            since_min = (rows - event.start + 1) * (interval_s / 60)
            ramps = np.minimum(since_min, to_repair_min) / ONSET_MIN
            course[rows] = event.sizes[0] * np.clip(ramps, 0.0, 1.0)
    return course


def _simulate(config: PlantConfig, line: int, days: int, planned: list[_Planned]) -> Floats:
    """Run the physics of one line and read its sensors: (time, channel), before any sensor goes wrong."""
    n, dt = days * config.rows_per_day, config.interval_s
    size, warmth, pump, rough, phase = _stream(config, line, 0, _Purpose.LINE).uniform(-1, 1, 5)
    shift = _shift_weight(config, n)
    loss = _fault_course(planned, "pump_loss", n, dt)  # share of the pump's effect
    leak = _fault_course(planned, "leak", n, dt) * NOMINAL_L_MIN

    midnight = config.start.replace(hour=0, minute=0, second=0, microsecond=0)
    seconds = (config.start - midnight).total_seconds() + np.arange(n, dtype=np.float64) * dt
    hour = seconds / 3600 % 24
    weekday = (seconds // DAY_S + midnight.weekday()) % 7
    weekend = _smooth((weekday >= 5).astype(np.float64), 120, dt)
    year = (seconds / DAY_S + midnight.timetuple().tm_yday) * (2 * math.pi / 365.25)

    weather = _autocorrelated(_innovations(config, _PLANT, days, _Purpose.WEATHER, 1)[:, 0], 2000, dt)
    wish = _innovations(config, line, days, _Purpose.DEMAND, 2)
    unrest = 0.02 * _autocorrelated(wish[:, 0], 15, dt) + 0.02 * _autocorrelated(wish[:, 1], 600, dt) + 0.01 * weather

    temperature = 14 + 0.5 * warmth - np.cos(year - 0.5) + 0.4 * weather - 1.1 * np.cos((hour - 4.0) * (math.pi / 12))
    temperature += 1.3 * shift
    flow_out = NOMINAL_L_MIN * (1 + 0.08 * size) * _demand_shape(hour + 0.4 * phase, weekend)
    flow_out *= (1 + unrest) * (1 + 0.2 * shift)

    # The controller runs ahead with the smoothed demand; what is left fills or drains the tank.
    ahead = _smooth(flow_out, 150, dt)
    lost = loss * ahead
    set_point = 65 + 3.5 * shift
    level = tank_level(ahead - lost - leak - flow_out, set_point, dt)
    asked = ahead + (TANK_L / 100 / TANK_TAU_MIN) * (set_point - level)
    flow_in = asked - lost
    strength = (1 + 0.05 * pump) * (1 - 0.07 * shift)  # of the pump
    speed = IDLE_RPM + (NOMINAL_RPM - IDLE_RPM) * asked / (NOMINAL_L_MIN * strength)
    turns = speed / NOMINAL_RPM
    head = np.square(turns * strength * (1 - loss))
    pressure = 1.2 + 3.6 * head - 1.4 * np.square(flow_in / NOMINAL_L_MIN) + 0.012 * (level - 65)
    pressure -= 1.5 * leak / NOMINAL_L_MIN
    vibration = 0.8 + 2.2 * (1 + 0.1 * rough) * (1 - 0.1 * shift) * np.square(turns) * (1 + 1.5 * loss)
    residence_h = _smooth(level * (TANK_L / 100) / flow_out / 60, 45, dt)
    quality = 99.2 - 1.1 * residence_h * np.exp(0.06 * (temperature - 14)) - 0.7 * shift

    # What moves and is not measured: the network behind the plant, the bearings, the raw water.
    network, bearings, raw_water = _autocorrelated(_innovations(config, line, days, _Purpose.HIDDEN, 3), 90, dt).T
    pressure += 0.04 * network
    vibration *= 1 + 0.04 * bearings
    quality += 0.12 * raw_water

    readings = np.stack([temperature, pressure, flow_in, flow_out, level, speed, vibration, quality], axis=1)
    sensors = _innovations(config, line, days, _Purpose.SENSORS, len(CHANNELS))
    readings += NOISE * (0.8 * _autocorrelated(sensors, 2.0, dt) + 0.2 * sensors)
    return readings


def _disturb(readings: Floats, planned: list[_Planned]) -> None:
    """Let sensors go wrong, in place: spikes, drifts and stuck values; process faults have happened already."""
    for event in planned:
        rows = slice(event.start, event.end)
        for channel, size in zip(event.channels, event.sizes, strict=False):
            if event.kind == "spike":
                readings[rows, channel] += size * SPREAD[channel]
            elif event.kind == "drift":
                ramp = np.arange(1, event.end - event.start + 1) / (event.end - event.start)
                readings[rows, channel] += (size * SPREAD[channel]) * ramp[: len(readings) - event.start]
            elif event.kind == "stuck":
                readings[rows, channel] = readings[event.start, channel] + size * SPREAD[channel]


def _plan(config: PlantConfig, line: int, days: int) -> list[_Planned]:
    """Decide what goes wrong and when, by start, without overlap; what a block holds does not depend on `days`."""
    # One block more than needed: spikes keep away from the long anomaly that comes next, inside the series or not.
    long = [_plan_long(config, line, block) for block in range(days // BLOCK_DAYS + 2)]
    spikes = [s for day in range(QUIET_DAYS, days) for s in _plan_spikes(config, line, day)]
    hour = 3600 // config.interval_s
    apart = [s for s in spikes if all(s.end + hour <= e.start or e.end + hour <= s.start for e in long)]
    ordered = sorted([*long, *apart], key=lambda event: event.start)
    return ordered[:1] + [later for earlier, later in pairwise(ordered) if earlier.end < later.start]


def _plan_long(config: PlantConfig, line: int, block: int) -> _Planned:
    """Plan the one long anomaly of a block of days; three blocks in a row hold a drift, a stuck sensor and a fault."""
    rng = _stream(config, line, block, _Purpose.LONG)
    turn = _stream(config, line, block // 3, _Purpose.KINDS).permutation(3)[block % 3]
    fault = ("pump_loss", "leak")[rng.integers(2)]
    kind = ("drift", "stuck", fault)[turn]
    shortest, longest = DURATION_H[kind]
    length = round(shortest * (longest / shortest) ** rng.random() * 3600 / config.interval_s)
    first = max(block * BLOCK_DAYS, QUIET_DAYS) * config.rows_per_day
    last = (block + 1) * BLOCK_DAYS * config.rows_per_day - length - 1
    start = int(rng.integers(first, last))
    if kind == fault:
        return _Planned(
            start, start + length, kind, tuple(map(CHANNELS.index, FAULT_CHANNELS)), (rng.uniform(*SIZES[kind]),)
        )
    size = rng.choice([-1, 1]) * rng.uniform(*SIZES[kind])
    if kind == "stuck" and rng.random() < STUCK_IN_PLACE:
        size = 0.0
    return _Planned(start, start + length, kind, (int(rng.integers(len(CHANNELS))),), (size,))


def _plan_spikes(config: PlantConfig, line: int, day: int) -> list[_Planned]:
    """Plan the spikes of one day: 1 to 5 samples in one or two channels."""
    rng = _stream(config, line, day, _Purpose.SPIKES)
    spikes = []
    for _ in range(rng.poisson(SPIKES_PER_DAY)):
        length, touched = int(rng.integers(1, 6)), int(rng.integers(1, 3))
        start = day * config.rows_per_day + int(rng.integers(config.rows_per_day - length))
        channels = rng.choice(len(CHANNELS), touched, replace=False)
        spreads = SUBTLE_SPREADS if rng.random() < SUBTLE_SHARE else SPIKE_SPREADS
        sizes = rng.choice([-1, 1], touched) * rng.uniform(*spreads, touched)
        spikes.append(_Planned(start, start + length, "spike", tuple(map(int, channels)), tuple(map(float, sizes))))
    return spikes
