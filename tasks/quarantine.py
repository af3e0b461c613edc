"""Quarantine: reading what was set aside, and telling rows that were set aside before from new ones."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from watchkeeper.clock import to_datetime
from watchkeeper.lake import Lake

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
