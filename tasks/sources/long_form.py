"""Rows of one reading each, put together into rows of one moment each."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources import Batch
from tasks.sources.cells import Layout
from tasks.sources.folder import TIME
from watchkeeper.errors import DataError

NO_CHANNEL = "channel is missing"
TWICE = "channel has two readings at this time"


def pivot(batch: Batch, channel: pa.Array, value: str, layout: Layout) -> Batch:
    """Put the readings of one series side by side.

    Args:
        batch: a row for each reading, with its `rows` and `reasons`.
        channel: string (time,), whose reading each is.
        value: the column with the readings.
        layout: says how channels are renamed and which are left out.

    Returns:
        A row for each moment, in the order of time, with the first of its readings' rows as its place; then a row for
        each reading that cannot be used, with its reason. A moment's label is the highest of its readings' labels.
    """
    rows = np.arange(len(batch.table)) if batch.rows is None else batch.rows
    reasons = np.full(len(rows), "", dtype=object) if batch.reasons is None else batch.reasons.copy()
    stamps = batch.table["timestamp"].cast(pa.int64()).combine_chunks()
    timeless = np.asarray(stamps.is_null())
    us = np.asarray(stamps.fill_null(0)).astype(np.int64)
    readings = np.asarray(batch.table[value].combine_chunks().cast(pa.float32()).fill_null(np.nan))
    coded = channel.dictionary_encode()
    words = [layout.rename.get(word, word) for word in coded.dictionary.to_pylist()]
    ignored = [word in layout.ignore for word in coded.dictionary.to_pylist()]
    names = sorted({word for word, out in zip(words, ignored, strict=True) if not out})
    if taken := {"timestamp", "label"} & set(names):
        raise DataError(f"has a channel called {taken.pop()}; rename it or add it to `ignore`")
    # Per row its column; the last two stand for a channel that is left out and for one that is missing.
    column = np.array(
        [len(names) if out else names.index(word) for word, out in zip(words, ignored, strict=True)] + [-1]
    )
    codes = column[np.asarray(coded.indices.fill_null(len(words))).astype(np.int64)]
    left_out = codes == len(names)
    reasons[(codes < 0) & (reasons == "")] = NO_CHANNEL
    reasons[timeless & (reasons == "")] = "timestamp is missing"

    good = np.flatnonzero((reasons == "") & ~left_out)
    order = good[np.lexsort((good, codes[good], us[good]))]
    again = (np.diff(us[order]) == 0) & (np.diff(codes[order]) == 0)
    reasons[order[1:][again]] = TWICE
    good = good[reasons[good] == ""]
    bad = np.flatnonzero((reasons != "") & ~left_out)

    moments, first, at = np.unique(us[good], return_index=True, return_inverse=True)
    values = np.full((len(moments) + len(bad), len(names)), np.nan, dtype=np.float32)
    values[at, codes[good]] = readings[good]
    times = pa.array(np.r_[moments, us[bad]], pa.int64(), mask=np.r_[np.zeros(len(moments), bool), timeless[bad]]).cast(
        TIME
    )
    table = pa.table({"timestamp": times} | {name: pa.array(values[:, one]) for one, name in enumerate(names)})
    if "label" in batch.table.column_names:
        known = np.asarray(batch.table["label"].combine_chunks().cast(pa.float32()).fill_null(np.nan))
        label = np.full(len(values), -1, dtype=np.float32)
        np.fmax.at(label, at, known[good])
        table = table.append_column("label", pa.array(label))
    return Batch(
        batch.series,
        batch.origin,
        table,
        batch.content,
        np.r_[rows[good][first], rows[bad]],
        np.r_[np.full(len(moments), "", dtype=object), reasons[bad]],
    )


def side_by_side(batch: Batch, channel: pa.Array, value: str, channels: tuple[str, ...]) -> Batch:
    """Do the same for a watch whose channels are known: each has its column, also where it has no reading."""
    others = tuple(set(pc.unique(channel).to_pylist()) - {*channels, None})
    wide = pivot(batch, channel, value, Layout(ignore=others))
    table = wide.table
    for name in channels:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), pa.float32()))
    return Batch(batch.series, batch.origin, table, None, None, wide.reasons)
