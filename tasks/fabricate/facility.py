"""What a facility is: its channels, its physics, and the ways in which the process itself goes wrong."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.fabricate.timeline import Timeline

Floats = npt.NDArray[np.float64]
State = dict[str, Floats]
"""What goes on inside, a float64 (time,) for each name."""

RANGES = {
    "c": (15.0, 350.0),
    "bar": (0.0, 200.0),
    "l_min": (0.0, 5000.0),
    "mm_s": (0.0, 2.0),
    "mw": (0.0, 1000.0),
    "kv": (100.0, 120.0),
    "a": (0.0, 1000.0),
    "hz": (59.5, 60.5),
    "level_pct": (0.0, 100.0),
    "quality_pct": (90.0, 100.0),
}
"""Per unit, what a sensor in order reads at least and at most."""


@dataclass(frozen=True)
class Channel:
    """One sensor, called `<equipment>_<quantity>_<unit>`.

    Attributes:
        name: of the column.
        equipment: which it is fixed to.
        spread: standard deviation of its readings over normal weeks, in its unit; anomalies are measured in it.
        noise: standard deviation of the sensor's own noise, in its unit.
    """

    name: str
    equipment: str
    spread: float
    noise: float

    @property
    def range(self) -> tuple[float, float]:
        """The range of its unit."""
        return next(bounds for unit, bounds in RANGES.items() if self.name.endswith(f"_{unit}"))


def channels(equipment: str, **sensors: tuple[float, float]) -> tuple[Channel, ...]:
    """List the sensors of one piece of equipment: `quantity_unit=(spread, noise)`."""
    return tuple(Channel(f"{equipment}_{name}", equipment, *sizes) for name, sizes in sensors.items())


class Facility(ABC):
    """One kind of facility. `simulate` holds all that has a memory; `read` is row by row, so that a fault has an end.

    Attributes:
        name: as the user calls it.
        interval_s: seconds between rows.
        block_days: days that are simulated at once; they hold the shares of the anomalies.
        channels: in the order of the columns.
        faults: the process faults that `disturb` knows, `HUNTING` aside.
    """

    name: str
    interval_s: int
    block_days: int
    channels: tuple[Channel, ...]
    faults: tuple[str, ...]

    @abstractmethod
    def simulate(self, timeline: Timeline) -> State:
        """Run one block of the process with nothing wrong."""

    @abstractmethod
    def read(self, state: State) -> list[Floats]:
        """Tell what perfect sensors read: float64 (time,) for each channel, each row from its own state alone."""

    @abstractmethod
    def disturb(self, state: State, fault: str, course: Floats, size: float) -> None:
        """Let the process go wrong, in place; `state` holds the rows of the event alone.

        Args:
            state: of these rows.
            fault: one of `faults`, or `HUNTING`: a controller that swings.
            course: float64 (time,), how much of it is felt: above 0 to 1, or, when hunting, −1 to 1 with mean 0.
            size: 0 (weak) to 1 (strong).
        """

    @property
    def equipment(self) -> tuple[str, ...]:
        """Its equipment, in order."""
        return tuple(dict.fromkeys(channel.equipment for channel in self.channels))


HUNTING = "hunting"


def ranges(facility: Facility) -> tuple[Floats, Floats]:
    """Return the least and the most of each channel: float64 (channel,) each."""
    low, high = zip(*(channel.range for channel in facility.channels), strict=True)
    return np.array(low), np.array(high)
