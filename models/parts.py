"""The parts of a series, split by time, as types: training code never receives held-out rows.

Every `fit` and `train` takes `TrainPart`s, every calibration `CalibrationPart`s, and every figure comes from
`HeldOutPart`s. Between two parts lies a gap of at least one window, so that no window sees two parts. Where the parts
lie is said by shares of the rows or by two times; `Bounds` are the rows that come of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.windows import Array
from watchkeeper.clock import to_datetime
from watchkeeper.errors import DataError, LeakageError

UNKNOWN, NORMAL, ANOMALOUS = -1, 0, 1  # labels, per sample


@dataclass(frozen=True, eq=False)
class Part:
    """Consecutive rows of one series.

    Attributes:
        values: float32 (time, channel), finite, scaled (models/scaler.py).
        timestamps: int64 (time,), microseconds since 1970 UTC, ascending.
        label: int8 (time,), 1 anomalous, 0 normal, −1 unknown.
    """

    values: Array
    timestamps: npt.NDArray[np.int64]
    label: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        """Hold the arrays to one length and make them read-only."""
        if not len(self.values) == len(self.timestamps) == len(self.label):
            raise DataError(
                f"values, timestamps and label differ in length: "
                f"{len(self.values)}, {len(self.timestamps)}, {len(self.label)}"
            )
        for name in ("values", "timestamps", "label"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.values)


class TrainPart(Part):
    """Rows that members and agents may learn from."""


class CalibrationPart(Part):
    """Rows after the training part: common scale, weights and threshold come from here."""


class HeldOutPart(Part):
    """The latest rows: figures come from here and nothing else does."""


@dataclass(frozen=True)
class Bounds:
    """Where the parts of a series lie, in rows: training [0, train), calibration and held out [start, end)."""

    train: int
    calibration: tuple[int, int]
    held_out: tuple[int, int]


def split_by_shares(rows: int, calibration: float, held_out: float, window: int, gap: int) -> Bounds:
    """Split a series by time: the latest share of its rows is held out, the share before it is for calibration.

    Args:
        rows: of the series.
        calibration: share of the rows for calibration, above 0.
        held_out: share of the rows held out, above 0; together with `calibration` below 1.
        window: rows that each part has at least.
        gap: rows between two parts that belong to none, at least one window; they are taken from the earlier part.

    Raises:
        DataError: the shares are not usable, or a part would be shorter than one window.
    """
    if calibration <= 0 or held_out <= 0 or calibration + held_out >= 1:
        raise DataError(f"split shares must be above 0 and sum below 1, found {calibration} and {held_out}")
    held_from = rows - int(rows * held_out)
    bounds = _bounds(rows, held_from - int(rows * calibration), held_from, gap)
    if min(_lengths(bounds)) < window:
        apart = f" beside gaps of {gap} rows" if gap != window else ""
        raise DataError(
            f"a series of {rows} rows is too short to split: each part needs at least {window} rows (one window)"
            f"{apart}; ingest more rows or set a shorter window"
        )
    return bounds


def split_by_times(
    timestamps: npt.NDArray[np.int64], calibration_from: int, held_out_from: int, window: int, gap: int
) -> Bounds:
    """Split a series at two times: what is earlier than the first one is for training.

    Args:
        timestamps: int64 (time,), µs since 1970 UTC, ascending.
        calibration_from: µs since 1970 UTC; rows from here on are for calibration.
        held_out_from: later than that; rows from here on are held out.
        window: rows that each part has at least.
        gap: rows between two parts that belong to none, at least one window; they are taken from the earlier part.

    Raises:
        DataError: a part would be shorter than one window.
    """
    first, second = np.searchsorted(timestamps, [calibration_from, held_out_from], side="left")
    bounds = _bounds(len(timestamps), int(first), int(second), gap)
    stretches = (
        f"for training before {_said(calibration_from)}",
        f"for calibration from {_said(calibration_from)} on",
        f"held out from {_said(held_out_from)} on",
    )
    for found, stretch in zip(_lengths(bounds), stretches, strict=True):
        if found < window:
            raise DataError(
                f"{max(found, 0)} rows {stretch}, gaps of {gap} rows taken off, wanted at least {window} "
                f"(one window); set other dates in [split] or ingest more rows"
            )
    return bounds


def _bounds(rows: int, calibration_from: int, held_from: int, gap: int) -> Bounds:
    return Bounds(calibration_from - gap, (calibration_from, held_from - gap), (held_from, rows))


def _lengths(bounds: Bounds) -> tuple[int, int, int]:
    (start, stop), (held_from, end) = bounds.calibration, bounds.held_out
    return bounds.train, stop - start, end - held_from


def _said(time: int) -> str:
    return f"{to_datetime(time):%Y-%m-%d %H:%M}"


def require_train(parts: Mapping[str, Part]) -> None:
    """Refuse anything but training rows, whatever the type checker was told.

    Raises:
        LeakageError: a part is not a `TrainPart`.
    """
    for series, part in parts.items():
        if not isinstance(part, TrainPart):
            raise LeakageError(f"series {series}: {type(part).__name__} reached training code, wanted TrainPart")
