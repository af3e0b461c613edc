"""Quarantine: writing it, reading it, and what a database gives again: rows that changed, or were set aside before."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.rows import read_rows
from tasks.sources import Batch
from tasks.validate import quarantine_of, values_of
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.lake import Lake, digest, parquet_bytes
from watchkeeper.records import Snapshot

CHANGED = "late: differs from what is stored for its time"

SLACK = timedelta(days=1)
"""How far the clock of the lake's store may be behind the rows' own."""

SET_ASIDE = pa.schema(
    [
        ("series", pa.string()),
        ("origin", pa.string()),
        ("row", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("reason", pa.string()),
    ]
)


ASIDE_READINGS = 20_000_000
"""What is bound for quarantine is held until its file ends, or until it is so much."""


class Aside:
    """Rows of one file on their way to quarantine: one object for each series, unless there are very many."""

    def __init__(self, lake: Lake, watch: str) -> None:
        """Begin without rows."""
        self._lake, self._folder = lake, f"quarantine/{watch}"
        self._held: dict[str, list[pa.Table]] = {}
        self._new: list[str] = []

    def add(self, series: str, rows: pa.Table) -> None:
        """Take in rows that `validate` left out."""
        if not len(rows):
            return
        held = self._held.setdefault(series, [])
        held.append(rows)
        if sum(len(table) for table in held) * rows.num_columns >= ASIDE_READINGS:
            self._write(series)

    def close(self) -> None:
        """Write what is held."""
        for series in list(self._held):
            self._write(series)

    def undo(self) -> None:
        """Take back what was written: the file as a whole cannot be used."""
        for key in self._new:
            self._lake.delete(key)

    def _write(self, series: str) -> None:
        rows = pa.concat_tables(self._held.pop(series))
        data = parquet_bytes(rows.take(np.argsort(rows["row"].to_numpy(), kind="stable")))
        key = f"{self._folder}/series={series}/{digest(data)[:32]}.parquet"
        if not self._lake.exists(key):
            self._new.append(key)
        self._lake.put(key, data)


def not_set_aside_before(lake: Lake, watch: str, series: str, rows: pa.Table) -> pa.Table:
    """Return those of the rows, bound for quarantine, of whose time nothing lies there yet.

    A database is asked again for the stretch in which rows may come late: each bad row is kept and counted once.

    Args:
        lake: where the quarantine is.
        watch: its name.
        series: whose rows they are.
        rows: with a column `timestamp`, none missing.
    """
    times = rows["timestamp"].cast(pa.int64()).combine_chunks()
    if not len(times):
        return rows
    # A row is written later than its own time: older files cannot hold any of these.
    since = to_datetime(pc.min(times).as_py()) - SLACK
    entries = lake.entries(f"quarantine/{watch}/series={series}")
    keys = [entry.key for entry in entries if entry.modified >= since]
    held = [table["timestamp"].cast(pa.int64()).to_numpy() for table in lake.get_tables(keys, ["timestamp"])]
    if not held:
        return rows
    return rows.filter(pa.array(~np.isin(times.to_numpy(), np.concatenate(held))))


def read_quarantine(lake: Lake, watch: str) -> pa.Table:
    """Return all rows that were set aside, those that were set aside last first.

    A file that grows is read again, and with it its bad rows: each place in a file counts once for a reason.

    Returns:
        series, origin, row (from 0), timestamp (µs, UTC; null where it is missing or no time), reason.
    """
    entries = sorted(lake.entries(f"quarantine/{watch}"), key=lambda one: (one.modified, one.key), reverse=True)
    names = SET_ASIDE.names[1:]
    parts = [SET_ASIDE.empty_table()]
    for entry, table in zip(entries, lake.get_tables((one.key for one in entries), names), strict=True):
        series = entry.key.split("/series=", 1)[1].partition("/")[0]
        named = table.select(names).add_column(0, "series", pa.array([series] * len(table), pa.string()))
        parts.append(named.cast(SET_ASIDE))
    whole = pa.concat_tables(parts)
    numbered = whole.append_column("at", pa.array(np.arange(len(whole))))
    first = numbered.group_by(["series", "origin", "row", "reason"]).aggregate([("at", "min")])["at_min"]
    return whole.take(first.take(pc.sort_indices(first)))


def changed_since_stored(lake: Lake, before: Snapshot | None, batch: Batch, channels: tuple[str, ...]) -> pa.Table:
    """Return, as they go to quarantine, the rows of a batch whose readings are others than those stored for their time.

    A late reading changes its bin, and somebody may correct a table: what is stored stays, and people are told.

    Args:
        lake: where rows are stored.
        before: which ones.
        batch: validated.
        channels: of the watch.
    """
    times = np.asarray(batch.table["timestamp"].cast(pa.int64()).fill_null(0))
    _, newest = before.times.get(batch.series, (None, None)) if before else (None, None)
    rows = np.flatnonzero(times <= (to_microseconds(newest) if newest else -1))
    if batch.reasons is not None:
        rows = rows[batch.reasons[rows] == ""]
    if before is None or not len(rows):
        return quarantine_of(batch, rows[:0], np.empty(0, dtype=object))
    stored = read_rows(lake, before, batch.series, channels, after=int(times[rows].min()) - 1)
    rows = rows[np.isin(times[rows], stored.timestamps)]
    old = stored.values[np.searchsorted(stored.timestamps, times[rows])]
    new = values_of(batch.table.take(pa.array(rows)), channels)
    rows = rows[~((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=1)]
    return quarantine_of(batch, rows, np.full(len(rows), CHANGED, dtype=object))
