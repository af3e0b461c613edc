"""Rows of a file, held back until no earlier row can follow: sorted in the end, whatever the file is cut into."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.times import Ints

FIRST = np.iinfo(np.int64).min
"""Stands for a time that is missing: such a row waits for nothing."""
HELD_READINGS = 40_000_000
"""So much of a file is held at most, 160 MB of float32 readings: of more, the older half is given on."""


@dataclass(frozen=True, eq=False)
class _Block:
    batch: Batch
    times: Ints  # µs since 1970 UTC, FIRST where there is none


class InOrder:
    """Takes in a file's rows block by block, and gives on those before which nothing can come any more."""

    def __init__(self, most_rows: int) -> None:
        """Begin without rows.

        Args:
            most_rows: held at most. Where a file is so far out of order that this does not do, the older half of what
                is held goes on, and an earlier row that follows will be late.
        """
        self._most = most_rows
        self._held: list[_Block] = []

    def add(self, batch: Batch) -> None:
        """Take in the next rows, with their places in the file."""
        stamps = batch.table["timestamp"].cast(pa.int64()).combine_chunks()
        self._held.append(_Block(batch, np.asarray(stamps.fill_null(FIRST)).astype(np.int64, copy=False)))

    def take(self, below: int | None) -> Batch | None:
        """Give on the rows that wait for nothing, in the order of the file.

        Args:
            below: the earliest time that still follows, µs since 1970 UTC; None: nothing follows.

        Returns:
            One batch, perhaps without a row; None where no rows were taken in since the last one.
        """
        held, self._held = self._held, []
        if below is not None and any((block.times >= below).any() for block in held):
            whole = _joined(held)
            go = whole.times < below
            if len(go) - np.count_nonzero(go) > self._most:
                go |= whole.times <= np.partition(whole.times, len(go) // 2)[len(go) // 2]
            self._held, held = [_taken(whole, np.flatnonzero(~go))], [_taken(whole, np.flatnonzero(go))]
        return _joined(held).batch if held else None

    def take_older(self, share: float) -> Batch | None:
        """Give on a share of the rows, the older ones, as if what follows reached back no further than the others do.

        For a file whose times nobody has looked at before.
        """
        times = np.concatenate([np.empty(0, np.int64), *(block.times for block in self._held)])
        if not len(times):
            return None
        at = int(share * len(times))
        return self.take(int(np.partition(times, at)[at]))


def _joined(blocks: list[_Block]) -> _Block:
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0].batch
    table = pa.concat_tables([block.batch.table for block in blocks])
    rows = np.concatenate([_rows(block.batch) for block in blocks])
    reasons = None
    if first.reasons is not None:
        reasons = np.concatenate([np.asarray(block.batch.reasons) for block in blocks])
    times = np.concatenate([block.times for block in blocks])
    whole = _Block(replace(first, table=table, rows=rows, reasons=reasons), times)
    if (np.diff(rows) > 0).all():
        return whole
    # Groups of rows come in the order of time: of equal times, the first of the file is to come first.
    return _taken(whole, np.argsort(rows, kind="stable"))


def _taken(block: _Block, at: Ints) -> _Block:
    batch = block.batch
    if len(at) and (np.diff(at) == 1).all():
        table = batch.table.slice(at[0], len(at))  # no copy, for files that are in order
    else:
        table = batch.table.take(pa.array(at, pa.int64()))
    reasons = None if batch.reasons is None else batch.reasons[at]
    return _Block(replace(batch, table=table, rows=_rows(batch)[at], reasons=reasons), block.times[at])


def _rows(batch: Batch) -> Ints:
    return np.arange(len(batch.table)) if batch.rows is None else batch.rows
