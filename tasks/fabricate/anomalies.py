"""How things go wrong: faults of the process, of sensors, and attacks, on the rows of one event alone.

Every function changes `values[start:end]` in place, each of these rows in at least one channel, and no other row: what
is labelled is what was changed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.fabricate.facility import HUNTING, Facility, Floats, State, ranges
from tasks.fabricate.plan import Planned

DRIFT_SPREADS = (3.0, 8.0)  # at the end of the ramp
SPIKE_SPREADS, SUBTLE_SPREADS, SUBTLE_SHARE = (4.0, 10.0), (2.0, 3.5), 0.25
JOINT_SPREADS = (1.0, 2.5)  # of one sensor of several
JOINT_SENSORS = (3, 5)
DEAD = 0.025  # below the range, as a share of it: what a 4–20 mA line without current is read as (NAMUR NE 43)
DEAD_SHARE = 0.4  # of failures; the others are stuck
REPLAY_SHARE = 0.5  # of attacks; the others are shifted
TRIES = 6  # places in the past, or in another state of the facility, from which an attacker chooses the most useful
SEEN_SPREADS = 0.5  # from which on a channel counts as touched by a fault of the process
RAMP_ROWS = 12  # in which a fault of the process comes up, and goes
SWINGS = (3, 8)  # of a hunting controller


@dataclass(frozen=True, eq=False)
class Block:
    """A block of days with nothing wrong.

    Attributes:
        facility: whose.
        state: what goes on inside.
        noise: float64 (time, channel), of the sensors.
        clean: float64 (time, channel), the readings.
    """

    facility: Facility
    state: State
    noise: Floats
    clean: Floats

    @property
    def spread(self) -> Floats:
        """Float64 (channel,)."""
        return np.array([channel.spread for channel in self.facility.channels])


@dataclass(frozen=True)
class Event:
    """A labelled anomaly: rows [start, end) of the block, its kind, its form, and the channels it is seen in."""

    start: int
    end: int
    kind: str
    form: str
    channels: tuple[str, ...]


def clean_block(facility: Facility, state: State, noise: Floats) -> Block:
    """Let the sensors read a block, within their ranges."""
    return Block(facility, state, noise, _read(facility, state, noise))


def disturb(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Event:
    """Let one anomaly happen, in place.

    Args:
        values: float64 (time, channel), the readings so far.
        block: the same with nothing wrong.
        planned: when, and of which kind.
        rng: what decides on form, channels and size.
    """
    form, touched = _KINDS[planned.kind](values, block, planned, rng)
    names = tuple(block.facility.channels[i].name for i in sorted(touched))
    return Event(planned.start, planned.end, planned.kind, form, names)


Touched = tuple[str, list[int]]


def _drift(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Touched:
    """One sensor leaves the truth slowly; then somebody puts it right."""
    channel = int(rng.integers(values.shape[1]))
    length = planned.end - planned.start
    size = rng.choice([-1, 1]) * rng.uniform(*DRIFT_SPREADS) * block.spread[channel]
    values[planned.start : planned.end, channel] += size * np.arange(1, length + 1) / length
    return "ramp", [channel]


def _spike(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Touched:
    """One or two sensors jump for a few rows."""
    touched = rng.choice(values.shape[1], int(rng.integers(1, 3)), replace=False)
    subtle = rng.random() < SUBTLE_SHARE
    spreads = SUBTLE_SPREADS if subtle else SPIKE_SPREADS
    sizes = rng.choice([-1, 1], len(touched)) * rng.uniform(*spreads, len(touched))
    values[planned.start : planned.end, touched] += sizes * block.spread[touched]
    return "subtle" if subtle else "clear", [int(i) for i in touched]


def _failure(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Touched:
    """One sensor repeats its last reading, or falls below its range."""
    rows = slice(planned.start, planned.end)
    order = rng.permutation(values.shape[1])
    if rng.random() < DEAD_SHARE:
        low, high = ranges(block.facility)
        values[rows, order[0]] = low[order[0]] - DEAD * (high - low)[order[0]]
        return "dead", [int(order[0])]
    # A pump at rest reads nought all the time: nobody could tell that its sensor is stuck.
    held = block.clean[planned.start - 1].astype(np.float32)
    differs = (block.clean[rows].astype(np.float32) != held).all(axis=0)
    channel = int(next(i for i in order if differs[i]))
    values[rows, channel] = held[channel]
    return "stuck", [channel]


def _process(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Touched:
    """The process itself goes wrong, and every sensor that can see it shows it."""
    length = planned.end - planned.start
    since = np.arange(1, length + 1) / min(RAMP_ROWS, length // 3)
    course = np.minimum(1.0, np.minimum(since, since[::-1]))
    size = float(rng.random())
    for fault in rng.permutation(np.array(block.facility.faults)):
        read, moved = _run_fault(block, planned, str(fault), course, size)
        if moved.max() > SEEN_SPREADS:  # a pump at rest cannot show that it is worn: then it is something else
            break
    values[planned.start : planned.end] = read
    return str(fault), _seen(moved)


def _cyclic(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Touched:
    """A controller hunts: the process swings with a period of its own, and all its relations hold."""
    length = planned.end - planned.start
    # Whole periods, so that what is stored in between is given back; any phase, so that no row is left as it was.
    phase = 2 * np.pi * rng.integers(*SWINGS) * np.arange(length) / length + rng.uniform(0.2, 1.2)
    read, moved = _run_fault(block, planned, HUNTING, np.sin(phase), float(rng.random()))
    values[planned.start : planned.end] = read
    return HUNTING, _seen(moved)


def _attack(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Touched:
    """Somebody answers for all sensors of one machine: with its past, or as if it ran in another state."""
    rows, length = slice(planned.start, planned.end), planned.end - planned.start
    name = rng.choice(block.facility.equipment)
    touched = np.array([i for i, channel in enumerate(block.facility.channels) if channel.equipment == name])
    replay = rng.random() < REPLAY_SHARE and planned.start > length
    starts = rng.integers(0, planned.start - length if replay else len(values) - length, TRIES)
    means = np.stack([block.clean[start : start + length, touched].mean(axis=0) for start in starts])
    moves = means - block.clean[rows, touched].mean(axis=0)  # (try, channel)
    best = int(np.argmax(np.square(moves / block.spread[touched]).sum(axis=1)))
    if replay:
        values[rows, touched] = block.clean[starts[best] : starts[best] + length, touched]
        return "replayed", [int(i) for i in touched]
    low, high = ranges(block.facility)
    ramp = np.minimum(1.0, np.arange(1, length + 1) / RAMP_ROWS)[:, None]
    values[rows, touched] = np.clip(block.clean[rows, touched] + ramp * moves[best], low[touched], high[touched])
    return "shifted", [int(i) for i in touched]


def _multi_sensor(values: Floats, block: Block, planned: Planned, rng: np.random.Generator) -> Touched:
    """Several sensors are a little wrong together, none of them by much."""
    count = int(rng.integers(JOINT_SENSORS[0], JOINT_SENSORS[1] + 1))
    touched = rng.choice(values.shape[1], count, replace=False)
    sizes = rng.choice([-1, 1], count) * rng.uniform(*JOINT_SPREADS, count) * block.spread[touched]
    ramp = np.minimum(1.0, np.arange(1, planned.end - planned.start + 1) / 5)[:, None]
    values[planned.start : planned.end, touched] += ramp * sizes
    return "joint", [int(i) for i in touched]


def _run_fault(block: Block, planned: Planned, fault: str, course: Floats, size: float) -> tuple[Floats, Floats]:
    """Run a fault of the process.

    Returns:
        The readings of its rows, float64 (time, channel), and how many spreads each channel moved at most, (channel,).
    """
    rows = slice(planned.start, planned.end)
    state = {name: inside[rows].copy() for name, inside in block.state.items()}
    block.facility.disturb(state, fault, course, size)
    read = _read(block.facility, state, block.noise[rows])
    return read, np.abs(read - block.clean[rows]).max(axis=0) / block.spread


def _seen(moved: Floats) -> list[int]:
    """Choose the channels in which a fault is seen: those that moved visibly, or the one that moved most."""
    return [int(i) for i in np.flatnonzero(moved >= min(SEEN_SPREADS, moved.max()))]


def _read(facility: Facility, state: State, noise: Floats) -> Floats:
    low, high = ranges(facility)
    values = np.stack(facility.read(state), axis=1)  # (time, channel)
    values += noise
    np.clip(values, low, high, out=values)
    return values


_KINDS: dict[str, Callable[[Floats, Block, Planned, np.random.Generator], Touched]] = {
    "drift": _drift,
    "spike": _spike,
    "failure": _failure,
    "process": _process,
    "attack": _attack,
    "cyclic": _cyclic,
    "multi_sensor": _multi_sensor,
}
