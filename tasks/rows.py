"""Raw rows and snapshots: reading what ingest wrote."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.scaler import BLOCK
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.lake import READERS, Lake
from watchkeeper.records import RawFile, Snapshot

READINGS = 20_000_000
"""Readings of files read ahead at most, 80 MB, where rows are read block by block."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one series.

    Attributes:
        timestamps: int64 (time,), µs since 1970 UTC, strictly ascending.
        values: float32 (time, channel), in the series' own units; NaN is a missing reading.
    """

    timestamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.timestamps)


def to_table(timestamps: npt.NDArray[np.int64], values: npt.NDArray[np.float32], channels: tuple[str, ...]) -> pa.Table:
    """Build the table of rows: timestamp and float32 channels, NaN where a reading is missing."""
    columns = [pa.array(timestamps, pa.int64()).cast(pa.timestamp("us", tz="UTC"))]
    columns += [pa.array(np.ascontiguousarray(values[:, index]), pa.float32()) for index in range(len(channels))]
    return pa.table(columns, names=["timestamp", *channels])


def schema_of(channels: Iterable[str]) -> pa.Schema:
    """Return the schema of such a table."""
    return pa.schema([("timestamp", pa.timestamp("us", tz="UTC")), *((name, pa.float32()) for name in channels)])


def from_table(table: pa.Table, channels: Iterable[str]) -> Rows:
    """Read such a table back."""
    names = list(channels)
    values = np.empty((len(table), len(names)), dtype=np.float32)
    for index, name in enumerate(names):
        values[:, index] = table[name].to_numpy()
    return Rows(table["timestamp"].cast(pa.int64()).to_numpy(), values)


def latest_snapshot(lake: Lake, watch: str) -> Snapshot | None:
    """Return the newest snapshot of a watch, or None before the first ingest."""
    keys = lake.list(f"snapshots/{watch}")
    return Snapshot(**lake.get_json(keys[-1])) if keys else None


def read_snapshot(lake: Lake, watch: str, snapshot: str) -> Snapshot:
    """Return a snapshot by its id."""
    return Snapshot(**lake.get_json(f"snapshots/{watch}/{snapshot}.json"))


def require_snapshot(lake: Lake, watch: str) -> Snapshot:
    """Return the newest snapshot of a watch.

    Raises:
        DataError: nothing was ingested yet.
    """
    snapshot = latest_snapshot(lake, watch)
    if snapshot is None:
        raise DataError(f"watch {watch} has no data yet; run `watchkeeper ingest --watch {watch}`")
    return snapshot


def read_rows(
    lake: Lake, snapshot: Snapshot, series: str, channels: tuple[str, ...], after: int | None = None, context: int = 0
) -> Rows:
    """Read rows of one series in the order of time.

    Args:
        lake: where the snapshot's files are.
        snapshot: which files.
        series: whose.
        channels: which columns, in this order.
        after: only rows later than this (µs since 1970 UTC); None reads all.
        context: how many rows before `after` come along, as far as there are as many.
    """
    files = sorted((file for file in snapshot.files if file.series == series), key=lambda file: file.start)
    if after is not None:
        files = _tail(files, after, context)
    columns = ["timestamp", *channels]
    parts = [from_table(table, channels) for table in lake.get_tables((file.key for file in files), columns)]
    if not parts:
        return Rows(np.empty(0, np.int64), np.empty((0, len(channels)), np.float32))
    rows = Rows(np.concatenate([part.timestamps for part in parts]), np.concatenate([part.values for part in parts]))
    if after is None:
        return rows
    first = max(0, int(np.searchsorted(rows.timestamps, after, side="right")) - context)
    return Rows(rows.timestamps[first:], rows.values[first:])


def iter_rows(
    lake: Lake, snapshot: Snapshot, series: str, channels: tuple[str, ...], after: int | None = None
) -> Iterator[Rows]:
    """Read what `read_rows` reads in blocks of BLOCK rows, the last one fewer; few files are in memory at a time."""
    files = sorted((file for file in snapshot.files if file.series == series), key=lambda file: file.start)
    if after is not None:
        files = _tail(files, after, 0)
    ahead = max(1, min(READERS, READINGS // (max((file.rows for file in files), default=1) * max(1, len(channels)))))
    held: list[pa.Table] = []
    rows = 0
    for table in lake.get_tables((file.key for file in files), ["timestamp", *channels], ahead):
        if after is not None:
            times = table["timestamp"].cast(pa.int64()).to_numpy()
            table = table.slice(int(np.searchsorted(times, after, side="right")))  # noqa: PLW2901 - the same, cut
        held.append(table)
        rows += len(table)
        while rows >= BLOCK:
            together = pa.concat_tables(held)
            yield from_table(together.slice(0, BLOCK), channels)
            held, rows = [together.slice(BLOCK)], rows - BLOCK
    if rows:
        yield from_table(pa.concat_tables(held), channels)


def read_timestamps(lake: Lake, snapshot: Snapshot, series: str) -> npt.NDArray[np.int64]:
    """Read the timestamps of one series alone, ascending."""
    return read_rows(lake, snapshot, series, channels=()).timestamps


def _tail(files: list[RawFile], after: int, context: int) -> list[RawFile]:
    """Return the files that hold the rows after a time and the context before it."""
    chosen: list[RawFile] = []
    older = 0
    for file in reversed(files):
        if to_microseconds(file.end) <= after:
            if older >= context:
                break
            older += file.rows
        chosen.append(file)
    return chosen[::-1]
