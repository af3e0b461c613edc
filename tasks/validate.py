"""Validation of a batch: which rows may enter the raw store, which go to quarantine, and what a person should know."""

import difflib
from collections import Counter
from dataclasses import dataclass
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
MISSING_WARNING = 0.2
"""Share of missing readings in a channel from which on a person is told."""
FIRST_US = to_microseconds(datetime.min.replace(tzinfo=UTC))
LAST_US = to_microseconds(datetime.max.replace(tzinfo=UTC))
"""Times that a calendar can say; Parquet holds others, and a broken clock gives them."""


Ranges = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""The lowest and the highest reading of each channel's range; −inf and inf where it has none."""


@dataclass(frozen=True, eq=False)
class Valid:
    """A validated batch.

    Attributes:
        timestamps: int64 (time,), µs since 1970 UTC, strictly ascending.
        values: float32 (time, channel); NaN is a missing reading.
        label: int8 (time,), −1 where the source says nothing.
        quarantine: the rows left out: row, timestamp, reason, and the channels as they came.
        known: rows that the raw store, or for a database the quarantine, already has.
        warnings: one line each.
    """

    timestamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]
    quarantine: pa.Table
    known: int
    warnings: tuple[str, ...]

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
    known: npt.NDArray[np.int64],
    latest: int = LAST_US,
    ranges: Ranges | None = None,
) -> Valid:
    """Validate one batch.

    Rows that are out of order are put in order. A row goes to quarantine when its timestamp is missing, on no calendar,
    in the future, stands twice, or lies before the newest row already stored (late), when a reading is infinite or
    outside of its channel's range, when its label is none, or when the source could not read it.

    Args:
        batch: as the source gave it.
        channels: what the watch knows, in order.
        extra_allowed: whether channels besides these are ignored (the watch file names its channels) or refused.
        known: int64, the timestamps already stored for the series, ascending.
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

    reason = np.full(len(times), "", dtype=object)
    reason[no_label] = "label is neither 0, 1 nor missing"
    if ranges is not None:
        reason[((values < ranges[0]) | (values > ranges[1])).any(axis=1)] = "reading is outside its range"
    reason[np.isinf(values).any(axis=1)] = "reading is infinite"
    order = np.lexsort((np.arange(len(times)), times))
    order = order[~missing[order]]
    duplicate = np.zeros(len(times), dtype=bool)
    duplicate[order[1:]] = times[order[1:]] == times[order[:-1]]
    reason[duplicate] = "timestamp stands twice"
    seen = np.zeros(len(times), dtype=bool)
    if len(known):
        at = np.searchsorted(known, times).clip(max=len(known) - 1)
        seen = known[at] == times
        reason[(times < known[-1]) & ~seen] = "late: before the newest row stored"
    reason[times > latest] = "timestamp is in the future"
    reason[(times < FIRST_US) | (times > LAST_US)] = "timestamp is outside the years 1 to 9999"
    reason[missing] = "timestamp is missing"
    if batch.reasons is not None:  # the source knows better why it could not read a row
        reason = np.where(batch.reasons == "", reason, batch.reasons)
    seen &= ~missing

    keep = order[(reason[order] == "") & ~seen[order]]
    bad = np.flatnonzero((reason != "") & ~seen)
    out_of_order = int((np.diff(times[~missing]) < 0).sum())
    return Valid(
        timestamps=times[keep],
        values=np.ascontiguousarray(values[keep]),
        label=label[keep],
        quarantine=quarantine_of(batch, bad, reason[bad]),
        known=int(seen.sum()),
        warnings=tuple(_warnings(batch, channels, values[keep], out_of_order)),
    )


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


def _labels(batch: Batch) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
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


def quarantine_of(batch: Batch, rows: npt.NDArray[np.int64], reasons: npt.NDArray[np.object_]) -> pa.Table:
    """Return rows of a batch as they lie in quarantine: where they came from, why they are there, and as they came."""
    part = batch.table.take(pa.array(rows))
    part = part.add_column(0, "reason", pa.array(list(reasons), pa.string()))
    part = part.add_column(0, "row", pa.array(rows if batch.rows is None else batch.rows[rows], pa.int64()))
    return part.add_column(0, "origin", pa.array([batch.origin] * len(rows), pa.string()))


def _warnings(batch: Batch, channels: tuple[str, ...], values: npt.NDArray[np.float32], out_of_order: int) -> list[str]:
    warnings = []
    if out_of_order:
        warnings.append(f"{batch.origin}: {out_of_order} backward timestamps, put in order")
    if not len(values):
        return warnings
    missing = np.isnan(values).mean(axis=0)
    for name, share in zip(channels, missing, strict=True):
        if share >= MISSING_WARNING:
            warnings.append(f"{batch.origin}: channel {name} lacks {share:.0%} of its readings")
    lowest, highest = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)  # NaN where all are missing
    constant = [name for name, low, high in zip(channels, lowest, highest, strict=True) if low == high]
    if constant and len(values) > 1:  # a database that is asked often gives one row at a time
        tail = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
        warnings.append(f"{batch.origin}: constant channel {', '.join(constant[:5])}{tail}")
    return warnings


def day_of(timestamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the day (UTC) of each timestamp, in days since 1970."""
    return timestamps // DAY_US
