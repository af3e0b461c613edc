"""The label store: append-only events that say what a stretch of a series was.

One file a batch, under `labels/watch=<w>/<digest>.parquet`. Where events overlap, a person's word stands over an
imported one, that over an answered one, that over a propagated one, and of equals the later.

The answers to a run's questions lie under `labels/watch=<w>/answered-<run>.parquet` and count once the run's questions
lie in the queue (`counted`). So the two come to be at once, with the second write, wherever a kill strikes.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from watchkeeper.clock import to_microseconds
from watchkeeper.lake import Lake, digest_of

Origin = Literal["propagated", "answered", "imported", "human"]
"""`imported` came with the data, `answered` is imported truth that the agent asked for (of a whole window,
so it stands below the exact one), `human` is a person's word."""
ANSWERED = "answered-"
"""Prefix of the batches that wait for the questions that they answer."""
RANK: dict[str, int] = {"propagated": 0, "answered": 1, "imported": 2, "human": 3}

SCHEMA = pa.schema(
    [
        ("series", pa.string()),
        ("start", pa.timestamp("us", tz="UTC")),
        ("end", pa.timestamp("us", tz="UTC")),
        ("label", pa.int8()),
        ("who", pa.string()),
        ("when", pa.timestamp("us", tz="UTC")),
        ("origin", pa.string()),
    ]
)

Event = tuple[str, int, int, int]
"""Series, start, end, label; times in µs since 1970 UTC."""
Timestamps = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]


def runs_of(label: Labels) -> npt.NDArray[np.int64]:
    """Return the half-open runs [start, end) of equal labels, int64 (n, 2)."""
    if not len(label):
        return np.empty((0, 2), dtype=np.int64)
    edges = np.flatnonzero(np.diff(label)) + 1
    return np.stack([np.r_[0, edges], np.r_[edges, len(label)]], axis=1)


def events_of(series: str, timestamps: Timestamps, label: Labels) -> list[Event]:
    """Turn per-sample labels into events (series, start, end, label), times in µs; unknown samples give none."""
    return [
        (series, int(timestamps[start]), int(timestamps[end - 1]) + 1, int(label[start]))
        for start, end in runs_of(label)
        if label[start] >= 0
    ]


def write_labels(
    lake: Lake,
    watch: str,
    events: Iterable[Event],
    who: str,
    origin: Origin,
    when: datetime,
    run: str | None = None,
) -> str:
    """Append a batch of events and return its key: the same for the same events by the same hand at the same time.

    Args:
        lake: where to.
        watch: the watch's name.
        events: (series, start, end, label), times in µs since 1970 UTC.
        who: said so.
        origin: how they know.
        when: they said it.
        run: the run whose questions these answer; such a batch counts once that run's questions lie in the queue.
    """
    rows = sorted(events)
    name = f"{ANSWERED}{run}" if run else digest_of([rows, who, origin, to_microseconds(when)])[:32]
    key = f"labels/watch={watch}/{name}.parquet"
    if not lake.exists(key):
        series, start, end, label = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
        at = to_microseconds(when)
        columns = [series, start, end, label, [who] * len(rows), [at] * len(rows), [origin] * len(rows)]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        lake.put_table(key, pa.table(arrays, schema=SCHEMA))
    return key


def counted(labels: Iterable[str], queue: Iterable[str]) -> tuple[str, ...]:
    """Leave out the answers of runs whose questions do not lie in the queue: those runs were killed in their last step.

    Args:
        labels: keys of batches.
        queue: keys of the runs' questions, named by their runs.
    """
    asked = {PurePosixPath(key).stem for key in queue}
    names = ((key, PurePosixPath(key).stem) for key in labels)
    return tuple(key for key, name in names if not name.startswith(ANSWERED) or name.removeprefix(ANSWERED) in asked)


def read_labels(lake: Lake, keys: Iterable[str]) -> pa.Table:
    """Read batches of events in the order in which they are to be applied: weakest first."""
    tables = list(lake.get_tables(keys))
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    rank = np.array([RANK[origin] for origin in table["origin"].to_pylist()], dtype=np.int64)
    when = table["when"].cast(pa.int64()).to_numpy()
    start = table["start"].cast(pa.int64()).to_numpy()
    return table.take(np.lexsort((start, when, rank)))


def asked_for(events: pa.Table) -> pa.Table:
    """Leave out what came with the data and was never asked for."""
    return events.filter(pc.not_equal(events["origin"], "imported"))


def label_samples(events: pa.Table, series: str, timestamps: Timestamps) -> Labels:
    """Give each sample of a series its label.

    Args:
        events: as from `read_labels`.
        series: the series' name.
        timestamps: int64 (time,), µs since 1970 UTC, ascending.

    Returns:
        int8 (time,): 1 anomalous, 0 normal, −1 unknown.
    """
    label = np.full(len(timestamps), -1, dtype=np.int8)
    chosen = events.filter(pc.equal(events["series"], series))
    starts = np.searchsorted(timestamps, chosen["start"].cast(pa.int64()).to_numpy())
    ends = np.searchsorted(timestamps, chosen["end"].cast(pa.int64()).to_numpy())
    for start, end, value in zip(starts, ends, chosen["label"].to_numpy(), strict=True):
        label[start:end] = value
    return label
