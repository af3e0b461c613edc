"""A run of a facility, block by block: tables of readings with labels, and what went wrong in them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from tasks.fabricate.anomalies import Event, clean_block, disturb
from tasks.fabricate.facility import Facility
from tasks.fabricate.grid import Grid
from tasks.fabricate.nuclear import Nuclear
from tasks.fabricate.plan import SHARES, plan
from tasks.fabricate.shifts import Shift
from tasks.fabricate.timeline import DAY_S, Operation, Timeline
from tasks.fabricate.water import Water
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import BadInputError

FACILITIES: dict[str, Facility] = {facility.name: facility for facility in (Water(), Nuclear(), Grid())}
LAST_YEAR = 2200


@dataclass(frozen=True)
class Run:
    """One run. The same run gives the same readings, bit for bit, and a longer one begins with the shorter one.

    Attributes:
        facility: one of `FACILITIES`.
        start: the first row, in UTC.
        days: length, above 0; a part of a day is rounded to rows.
        seed: not negative.
        anomalies: the kinds that happen (`plan.SHARES`). A kind left out leaves the others where they are.
        shift: how the world changes; None if it stays as it is.

    Raises:
        BadInputError: a value is outside these bounds.
    """

    facility: str
    start: datetime
    days: float
    seed: int = 0
    anomalies: tuple[str, ...] = tuple(SHARES)
    shift: Shift | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        if self.facility not in FACILITIES:
            raise BadInputError(f"facility {self.facility}: unknown; wanted one of {', '.join(FACILITIES)}")
        if self.start.utcoffset() != timedelta(0):
            raise BadInputError(f"the start must be in UTC, found {self.start.isoformat()}")
        if self.seed < 0:
            raise BadInputError(f"the seed must be 0 or more, found {self.seed}")
        if not (self.days > 0 and self.days < 366 * (LAST_YEAR - self.start.year)) or not self.rows:
            raise BadInputError(f"days must give a row at least, and end before {LAST_YEAR}, found {self.days:g}")
        if unknown := [kind for kind in self.anomalies if kind not in SHARES]:
            raise BadInputError(f"anomalies {unknown[0]}: unknown; wanted of {', '.join(SHARES)}")

    @property
    def rows(self) -> int:
        """Rows of the run."""
        return round(self.days * DAY_S / FACILITIES[self.facility].interval_s)

    @property
    def blocks(self) -> int:
        """Blocks of days, the last one perhaps not whole."""
        facility = FACILITIES[self.facility]
        return math.ceil(self.rows * facility.interval_s / (facility.block_days * DAY_S))


@dataclass(frozen=True, eq=False)
class Piece:
    """A block of a run: rows from `first` on, with `timestamp`, the channels (float32) and `label` (int8).

    Events and operations count rows from the start of the run; one that would outlast the run is cut at its end.
    """

    first: int
    table: pa.Table
    events: tuple[Event, ...]
    operations: tuple[Operation, ...]


def pieces(run: Run) -> Iterator[Piece]:
    """Make a run, one block of days at a time, in a memory that does not grow with it."""
    facility = FACILITIES[run.facility]
    timeline = Timeline(run.seed, run.start, facility.interval_s, facility.block_days, run.shift)
    names = [channel.name for channel in facility.channels]
    size = np.array([channel.noise for channel in facility.channels])
    start_us = to_microseconds(run.start)
    for number in range(run.blocks):
        timeline.advance()
        first = number * timeline.rows
        rows = min(timeline.rows, run.rows - first)
        noise = timeline.stream("sensors").standard_normal((timeline.rows, len(names))) * size
        block = clean_block(facility, facility.simulate(timeline), noise)
        values, label = block.clean.copy(), np.zeros(timeline.rows, np.int8)
        events = []
        for planned in plan(timeline.rows, timeline.stream("plan")):
            if planned.kind in run.anomalies and planned.start < rows:
                event = disturb(values, block, planned, timeline.stream(f"anomaly {planned.number}"))
                label[event.start : event.end] = 1
                end = first + min(event.end, rows)
                events.append(Event(first + event.start, end, event.kind, event.form, event.channels))
        columns = np.ascontiguousarray(values[:rows].T, dtype=np.float32)  # (channel, time)
        stamps = start_us + np.arange(first, first + rows, dtype=np.int64) * (facility.interval_s * 1_000_000)
        table = pa.table(
            {
                "timestamp": pa.array(stamps, pa.timestamp("us", "UTC")),
                **{name: pa.array(column) for name, column in zip(names, columns, strict=True)},
                "label": pa.array(label[:rows]),
            }
        )
        done = sorted(timeline.operations, key=lambda operation: operation.start)
        operations = [
            Operation(first + one.start, first + min(one.end, rows), one.kind, one.equipment)
            for one in done
            if one.start < rows
        ]
        yield Piece(first, table, tuple(events), tuple(operations))
