"""The clock of a Parquet file, read before the rest: how its rows lie in time, and what a local clock means."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.sources.pace import Pace
from tasks.sources.times import Ints, to_utc
from watchkeeper.clock import to_microseconds

LAST = np.iinfo(np.int64).max
"""Stands for the earliest time of rows that have none: nothing waits for them."""


@dataclass(frozen=True, eq=False)
class Local:
    """A clock that names no zone, in UTC.

    Attributes:
        utc: int64 (time,), µs since 1970 UTC.
        state: int64 (time,), 0 where that is known, 1 and 2 as `to_utc` has it.
    """

    utc: Ints
    state: Ints


@dataclass(frozen=True, eq=False)
class Survey:
    """How the rows of a file lie in time.

    Attributes:
        groups: in which order its groups of rows are read: of their earliest times.
        first: the earliest time, µs since 1970 UTC; None where there is none.
        pace: of the clock, in the order of the file, of the rows that are taken in now.
        local: of a clock without a zone, where the source knows one.
        ends: of each group, after how many of its rows its blocks end.
        earliest: of each group, the earliest time from each of its blocks on, and at last of all groups that follow.
    """

    groups: tuple[int, ...]
    first: int | None
    pace: Pace
    local: Local | None
    ends: dict[int, Ints]
    earliest: dict[int, Ints]

    def rest(self, group: int, end: int) -> int:
        """Return the earliest time that is still to be read: after so many rows of a group, and of all groups after."""
        return int(self.earliest[group][np.searchsorted(self.ends[group], end, side="right")])


def survey(
    file: pq.ParquetFile, column: str, zone: str | None, until: datetime | None, block_rows: int = 131_072
) -> Survey:
    """Read the clock of a file.

    Args:
        file: to be read.
        column: the clock's.
        zone: what a clock without a zone means; None: UTC. Only such a clock is held in memory as a whole.
        until: rows from this time on are left for a later ingest.
        block_rows: the file is read in blocks of so many rows.
    """
    end = LAST if until is None else to_microseconds(until)
    local = None
    if zone is not None and file.schema_arrow.field(column).type.tz is None:
        local = _to_utc(file, column, zone, block_rows)
    ends: dict[int, list[int]] = {group: [] for group in range(file.num_row_groups)}
    found: dict[int, list[int]] = {group: [] for group in range(file.num_row_groups)}
    pace, row, first_of = Pace(), 0, 0
    for group, times, known in _clock(file, column, block_rows):
        if not ends[group]:
            first_of = row
        if local is not None:
            times, known = local.utc[row : row + len(times)], known & (local.state[row : row + len(times)] == 0)  # noqa: PLW2901 - the same rows
        row += len(times)
        told = times[known]
        ends[group].append(row - first_of)
        found[group].append(int(told.min(initial=LAST)))
        pace = pace.then(Pace.of(told[told < end]))
    order = sorted(ends, key=lambda group: (min(found[group], default=LAST), group))
    earliest: dict[int, Ints] = {}
    following = LAST
    for group in reversed(order):
        whole = np.array([*found[group], following], np.int64)
        earliest[group] = np.minimum.accumulate(whole[::-1])[::-1]
        following = int(earliest[group][0])
    return Survey(
        groups=tuple(order),
        first=None if following == LAST else following,
        pace=pace,
        local=local,
        ends={group: np.array(one, np.int64) for group, one in ends.items()},
        earliest=earliest,
    )


def us(column: pa.Array) -> pa.Array:
    """Cast to microseconds; what a clock without a zone means is said by the source, or it is UTC."""
    # Nanoseconds may be cut; a coarser time that microseconds cannot say would turn into another one.
    return column.cast(pa.timestamp("us", tz=column.type.tz), safe=column.type.unit != "ns")


def _clock(file: pq.ParquetFile, column: str, block_rows: int) -> Iterator[tuple[int, Ints, npt.NDArray[np.bool_]]]:
    """Give group, times as they stand, and where there is one, block by block."""
    for group in range(file.num_row_groups):  # asked for all, Arrow holds the groups it has read
        for batch in file.iter_batches(block_rows, [group], [column], use_threads=False):
            times = us(batch.column(batch.schema.get_field_index(column)))
            known = np.asarray(times.is_valid())
            yield group, np.asarray(times.cast(pa.int64()).fill_null(0)).astype(np.int64, copy=False), known


def _to_utc(file: pq.ParquetFile, column: str, zone: str, block_rows: int) -> Local:
    """Turn local times into UTC. Their order tells the two hours apart that summer time makes equal at its end."""
    blocks = [(times, known) for _, times, known in _clock(file, column, block_rows)]
    if not blocks:
        return Local(np.empty(0, np.int64), np.empty(0, np.int64))
    utc = np.concatenate([times for times, _ in blocks])
    known = np.flatnonzero(np.concatenate([known for _, known in blocks]))
    state = np.zeros(len(utc), np.int64)
    utc[known], state[known] = to_utc(utc[known], zone, np.zeros(len(known), np.int64))
    return Local(utc, state)
