"""Quarantine: rows that were set aside before are told from those that are set aside for the first time."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from watchkeeper.clock import to_datetime
from watchkeeper.lake import Lake

SLACK = timedelta(days=1)
"""How far the clock of the lake's store may be behind the rows' own."""


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
