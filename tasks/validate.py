"""Validation of a batch: which rows may enter the raw store, which go to quarantine, and what a person should know."""

import difflib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources import Batch
from watchkeeper.clock import DAY_US, to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.watch import RangeRule

RESERVED = {"series", "score", "row", "reason", "origin"}
"""Columns that stand beside the channels in quarantine and in a version's reference."""
FIRST_US = to_microseconds(datetime.min.replace(tzinfo=UTC))
LAST_US = to_microseconds(datetime.max.replace(tzinfo=UTC))
"""Times that a calendar can say; Parquet holds others, and a broken clock gives them."""


Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Ranges = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""The lowest and the highest reading of each channel's range; −inf and inf where it has none."""


REASONS = (
    "",
    "label is neither 0, 1 nor missing",
    "reading is outside its range",
    "reading is infinite",
    "timestamp stands twice",
    "late: before the newest row stored",
    "timestamp is in the future",
    "timestamp is outside the years 1 to 9999",
    "timestamp is missing",
)
"""Why a row goes to quarantine. Of several reasons, the last one is told."""
LABEL, RANGE, INFINITE, TWICE, LATE, FUTURE, CALENDAR, MISSING = range(1, len(REASONS))

NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Before:
    """What came before a batch of a series.

    Attributes:
        stored: int64, times that are stored, ascending: all that lie between the batch's first and last.
        same_file: int64, times of rows of the same file that earlier batches brought, likewise.
        newest: of all rows before, µs since 1970 UTC; None: there is none.
    """

    stored: Ints = field(default_factory=lambda: NOTHING)
    same_file: Ints = field(default_factory=lambda: NOTHING)
    newest: int | None = None


@dataclass(frozen=True, eq=False)
class Valid:
    """A validated batch.

    Attributes:
        timestamps: int64 (time,), µs since 1970 UTC, strictly ascending.
        values: float32 (time, channel); NaN is a missing reading.
        label: int8 (time,), −1 where the source says nothing.
        quarantine: the rows left out: row, timestamp, reason, and the channels as they came.
        known: rows that the raw store, or for a database the quarantine, already has.
    """

    timestamps: Ints
    values: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]
    quarantine: pa.Table
    known: int

    def reasons(self) -> Counter[str]:
        """Count the quarantined rows by reason."""
        return Counter(self.quarantine["reason"].to_pylist())


def channels_of(batch: Batch) -> tuple[str, ...]:
    """Return the names of a batch's channels in the order of the file."""
    return tuple(name for name in batch.table.column_names if name not in ("timestamp", "label"))


def ranges_of(rule: RangeRule, channels: tuple[str, ...]) -> Ranges:
    """Return the ranges of the channels.

    Raises:
        DataError: the rule names a channel that there is not.
    """
    for name in rule.limits:
        if name not in channels:
            close = difflib.get_close_matches(name, channels, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the first of its {len(channels)} is {channels[0]}"
            raise DataError(f"ranges.limits names channel {name}, which the watch does not have; {hint}")
    limits = [rule.limits.get(name, (-np.inf, np.inf)) for name in channels]
    low, high = np.array(limits, dtype=np.float32).T
    return low, high


def validate(
    batch: Batch,
    channels: tuple[str, ...],
    extra_allowed: bool,
    before: Before,
    latest: int = LAST_US,
    ranges: Ranges | None = None,
) -> Valid:
    """Validate one batch.

    Rows that are out of order are put in order. A row goes to quarantine when its timestamp is missing, on no calendar,
    in the future, stands twice, or lies before the newest row already there (late), when a reading is infinite or
    outside of its channel's range, when its label is none, or when the source could not read it.

    Args:
        batch: as the source gave it.
        channels: what the watch knows, in order.
        extra_allowed: whether channels besides these are ignored (the watch file names its channels) or refused.
        before: what is there of the series.
        latest: µs since 1970 UTC; a later row is in the future. One such row, stored, would make all others late.
        ranges: a row with a reading outside goes to quarantine; None lets it in.

    Raises:
        DataError: a channel is missing, extra or no number: the file as a whole cannot be used.
    """
    _check_channels(batch, channels, extra_allowed)
    table = batch.table
    stamps = table["timestamp"].cast(pa.int64()).combine_chunks()
    missing = np.asarray(stamps.is_null())
    times = np.asarray(stamps.fill_null(0)).astype(np.int64)
    values = values_of(table, channels)
    label, no_label = _labels(batch)

    reason = np.zeros(len(times), np.int8)
    reason[no_label] = LABEL
    # Most batches have nothing of the kind: extremes of channels take a fraction of the time that rows take.
    least, most = (function.reduce(values, axis=0, initial=np.nan) for function in (np.fmin, np.fmax))
    if ranges is not None and ((least < ranges[0]) | (most > ranges[1])).any():
        reason[((values < ranges[0]) | (values > ranges[1])).any(axis=1)] = RANGE
    if np.isinf(least).any() or np.isinf(most).any():
        reason[np.isinf(values).any(axis=1)] = INFINITE
    order = _in_order(times, missing)
    if order is None:
        order = np.arange(len(times))
    else:
        twice = order[1:][times[order[1:]] == times[order[:-1]]]
        reason[twice] = TWICE
    seen = _among(times, before.stored)
    same = _among(times, before.same_file)
    if before.newest is not None:
        reason[(times < before.newest) & ~seen] = LATE
    reason[same] = TWICE
    reason[times > latest] = FUTURE
    reason[(times < FIRST_US) | (times > LAST_US)] = CALENDAR
    reason[missing] = MISSING
    seen &= ~missing
    good = reason == 0
    if batch.reasons is not None:
        good &= batch.reasons == ""
    good &= ~seen
    keep = order[good[order]]
    bad = np.flatnonzero(~good & ~seen)
    told = np.array(REASONS, dtype=object)[reason[bad]]
    if batch.reasons is not None:  # the source knows better why it could not read a row
        told = np.where(batch.reasons[bad] == "", told, batch.reasons[bad])
    whole = len(keep) == len(times) and (keep[:-1] < keep[1:]).all()
    return Valid(
        timestamps=times if whole else times[keep],
        values=values if whole else values[keep],
        label=label if whole else label[keep],
        quarantine=quarantine_of(batch, bad, told),
        known=int(seen.sum()),
    )


def _in_order(times: Ints, missing: Mask) -> Ints | None:
    """Return the rows that have a time in the order of time, of equals the first one first; None: as they stand."""
    if not missing.any() and (times[1:] > times[:-1]).all():
        return None
    order = np.argsort(times, kind="stable")
    return order[~missing[order]]


def _among(times: Ints, ascending: Ints) -> Mask:
    """Tell which times are among others."""
    if not len(ascending):
        return np.zeros(len(times), dtype=bool)
    at = np.searchsorted(ascending, times).clip(max=len(ascending) - 1)
    return np.asarray(ascending[at] == times)


def _check_channels(batch: Batch, channels: tuple[str, ...], extra_allowed: bool) -> None:
    found = channels_of(batch)
    if taken := sorted(RESERVED & set(found)):
        raise DataError(f"channel {', '.join(taken)} has a name that Watchkeeper uses itself; rename the column")
    if absent := [name for name in channels if name not in found]:
        raise DataError(f"missing channel {', '.join(absent[:5])}; the watch has {len(channels)} channels")
    extra = [name for name in found if name not in channels]
    if extra and not extra_allowed:
        raise DataError(
            f"extra channel {', '.join(extra[:5])}; to leave it out, list `channels` in the watch file, "
            f"to take it in, start a new watch"
        )
    for name in channels:
        kind = batch.table.schema.field(name).type
        if not _is_number(kind):
            raise DataError(f"channel {name} is {kind}, wanted a number")


def _is_number(kind: pa.DataType) -> bool:
    """Tell whether a column can hold readings; one of type null holds nothing but missing ones."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind))


def values_of(table: pa.Table, channels: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Return readings as they are stored, float32 (time, channel), NaN where one is missing."""
    values = np.empty((len(table), len(channels)), dtype=np.float32)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and so goes to quarantine
        for at, name in enumerate(channels):
            column = table[name]
            if column.type != pa.float32():
                column = column.cast(pa.float64(), safe=False)
            values[:, at] = column.fill_null(np.nan).to_numpy()
    return values


def _labels(batch: Batch) -> tuple[npt.NDArray[np.int8], Mask]:
    """Return labels (time,) and where they are no labels at all."""
    if "label" not in batch.table.column_names:
        rows = len(batch.table)
        return np.full(rows, -1, dtype=np.int8), np.zeros(rows, dtype=bool)
    kind = batch.table.schema.field("label").type
    if not _is_number(kind):
        raise DataError(f"column label is {kind}, wanted 0, 1 or nothing")
    column = batch.table["label"].cast(pa.float64(), safe=False).fill_null(-1).to_numpy()
    column = np.where(np.isnan(column), -1, column)
    known = np.isin(column, (-1, 0, 1))
    return np.where(known, column, -1).astype(np.int8), ~known


def quarantine_of(batch: Batch, rows: Ints, reasons: npt.NDArray[np.object_]) -> pa.Table:
    """Return rows of a batch as they lie in quarantine: where they came from, why they are there, and as they came."""
    part = batch.table.take(pa.array(rows))
    part = part.add_column(0, "reason", pa.array(list(reasons), pa.string()))
    part = part.add_column(0, "row", pa.array(rows if batch.rows is None else batch.rows[rows], pa.int64()))
    return part.add_column(0, "origin", pa.array([batch.origin] * len(rows), pa.string()))


def day_of(timestamps: Ints) -> Ints:
    """Return the day (UTC) of each timestamp, in days since 1970."""
    return timestamps // DAY_US
