"""A walk through a run, block of days by block of days: the clock, random streams, and filters that remember.

A block is simulated whole and draws from streams of its own, so that a longer run begins with the shorter one, bit for
bit, and memory does not grow with the run.
"""

import math
import zlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from tasks.fabricate.shifts import Shift, weights

Floats = npt.NDArray[np.float64]

DAY_S = 86_400
PAUSE_EVERY_DAYS = 5
PAUSE_H = (1.0, 3.0)
RAMP_MIN = 15.0  # a machine is run down and up again
SET_POINT_EVERY_DAYS = 2


@dataclass(frozen=True)
class Operation:
    """What people did, and no anomaly: rows [start, end) of the block, `maintenance` or `set_point`, and of what."""

    start: int
    end: int
    kind: str
    equipment: str


class Timeline:
    """One block at a time; `advance` goes to the next. What the filters hold is carried from block to block.

    Attributes:
        block: number of the block, from 0.
        rows: rows of a block.
        interval_s: seconds between rows.
        hour: float64 (time,), hour of the day in UTC.
        weekend: float64 (time,), 0 on weekdays to 1 on weekends, changing over two hours.
        year: float64 (time,), phase of the year in radians, 0 at its start.
        season, step, regime: float64 (time,), how far the world has shifted in each way, 0 to 1.
        operations: what people did in this block.
    """

    def __init__(self, seed: int, start: datetime, interval_s: int, block_days: int, shift: Shift | None) -> None:
        self.rows, self.interval_s, self.block = block_days * DAY_S // interval_s, interval_s, -1
        self._seed, self._start, self._days, self._shift = seed, start, block_days, shift
        self._held: dict[str, Floats] = {}

    def advance(self) -> None:
        """Go to the next block."""
        self.block += 1
        self.operations: list[Operation] = []
        midnight = self._start.replace(hour=0, minute=0, second=0, microsecond=0)
        elapsed = (self.block * self.rows + np.arange(self.rows, dtype=np.float64)) * self.interval_s
        seconds = (self._start - midnight).total_seconds() + elapsed
        self.hour = seconds / 3600 % 24
        weekday = (seconds // DAY_S + midnight.weekday()) % 7
        self.weekend = self.follow("weekend", (weekday >= 5).astype(np.float64), 120)
        self.year = (seconds / DAY_S + midnight.timetuple().tm_yday) * (2 * math.pi / 365.25)
        self.season, self.step, self.regime = weights(self._shift, elapsed / DAY_S)

    def stream(self, purpose: str, block: int | None = None) -> np.random.Generator:
        """Start the random stream of one purpose in a block, by default this one; −1 stands before the first."""
        words = [self._seed, (self.block if block is None else block) + 1, zlib.crc32(purpose.encode())]
        return np.random.default_rng(np.random.SeedSequence(words))

    def wander(self, name: str, tau_min: float) -> Floats:
        """Draw noise (time,) with a memory of `tau_min`; mean 0, standard deviation 1."""
        phi = math.exp(-self.interval_s / 60 / tau_min)
        if name not in self._held:
            self._held[name] = phi * self.stream(name, -1).standard_normal(1)
        driven = self.stream(name).standard_normal(self.rows) * math.sqrt(1 - phi * phi)
        return self._filter(name, [1.0], [1.0, -phi], driven)

    def follow(self, name: str, values: Floats, tau_min: float) -> Floats:
        """Follow `values` (time,) with a lag of `tau_min`, from the very first value on."""
        phi = math.exp(-self.interval_s / 60 / tau_min)
        if name not in self._held:
            self._held[name] = phi * values[:1]
        return self._filter(name, [1 - phi], [1.0, -phi], values)

    def integrate(self, name: str, target: Floats, tau_min: float) -> Floats:
        """Integrate `level[t+1] = level[t] + (target[t] − level[t]) · dt / tau`, from the very first target on."""
        step = self.interval_s / 60 / tau_min
        if name not in self._held:
            self._held[name] = target[:1].copy()
        return self._filter(name, [0.0, step], [1.0, step - 1.0], target)

    def set_point(self, equipment: str, tau_min: float) -> Floats:
        """Let people choose a level of −1 to 1 anew every two days or so; the plant follows within `tau_min`."""
        name, count = f"set point of {equipment}", max(1, self._days // SET_POINT_EVERY_DAYS)
        rng = self.stream(name)
        at, chosen = np.sort(rng.integers(1, self.rows, count)), rng.uniform(-1, 1, count)
        before = self.stream(name, self.block - 1)
        before.integers(1, self.rows, count)  # the draws of the block before, in their order
        levels = np.concatenate([before.uniform(-1, 1, count)[-1:], chosen])
        self.operations += [Operation(int(row), int(row) + 1, "set_point", equipment) for row in at]
        return self.follow(name, levels[np.searchsorted(at, np.arange(self.rows), side="right")], tau_min)

    def pauses(self, equipment: tuple[str, ...]) -> dict[str, Floats]:
        """Let people pause machines for maintenance, one at a time, about every five days.

        Returns:
            For each of them float64 (time,), 0 in service to 1 at rest.
        """
        rng, per_hour = self.stream("pauses"), 3600 / self.interval_s
        rest = {name: np.zeros(self.rows) for name in equipment}
        count = math.floor(self._days / PAUSE_EVERY_DAYS + rng.random())
        for slot in range(count):
            length = round(rng.uniform(*PAUSE_H) * per_hour)
            room = self.rows // count - length
            start = slot * (self.rows // count) + int(rng.integers(room))
            name = equipment[int(rng.integers(len(equipment)))]
            since = np.arange(1, length + 1) * (self.interval_s / 60 / RAMP_MIN)
            rest[name][start : start + length] = np.minimum(1.0, np.minimum(since, since[::-1]))
            self.operations.append(Operation(start, start + length, "maintenance", name))
        return rest

    def _filter(self, name: str, b: list[float], a: list[float], values: Floats) -> Floats:
        filtered: Floats
        filtered, self._held[name] = lfilter(b, a, values, zi=self._held[name])
        return filtered


def bump(hour: Floats, at: float | Floats, width_h: float) -> Floats:
    """Shape a daily peak around an hour of the day, 0 to 1."""
    away = (hour - at + 12) % 24 - 12
    peak: Floats = np.exp(-0.5 * np.square(away / width_h))
    return peak
