"""The parts of a series, split by time, as types: training code never receives held-out rows.

Every `fit` and `train` takes `TrainPart`s, every calibration `CalibrationPart`s, and every figure comes from
`HeldOutPart`s. Between two parts lies a gap of at least one window, so that no window sees two parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.windows import Array
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


@dataclass(frozen=True, eq=False)
class Split:
    """One series in its three parts, in the order of time."""

    train: TrainPart
    calibration: CalibrationPart
    held_out: HeldOutPart


def split_by_time(part: Part, calibration: float, held_out: float, gap: int) -> Split:
    """Split a series by time: training first, then calibration, then held-out rows.

    Args:
        part: the whole series.
        calibration: share of the rows for calibration, above 0.
        held_out: share of the rows held out, above 0; together with `calibration` below 1.
        gap: samples dropped between two parts, at least one window.

    Raises:
        DataError: the shares are not usable, or a part would be shorter than `gap` rows.
    """
    if calibration <= 0 or held_out <= 0 or calibration + held_out >= 1:
        raise DataError(f"split shares must be above 0 and sum below 1, found {calibration} and {held_out}")
    n = len(part)
    held_from = n - int(n * held_out)
    calibration_from = held_from - int(n * calibration)
    train_to, calibration_to = calibration_from - gap, held_from - gap
    if min(train_to, calibration_to - calibration_from, n - held_from) < gap:
        raise DataError(
            f"a series of {n} rows is too short to split: each part needs at least {gap} rows (one window); "
            f"ingest more rows or set a shorter window"
        )

    def rows(start: int, stop: int) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        return part.values[start:stop], part.timestamps[start:stop], part.label[start:stop]

    return Split(
        TrainPart(*rows(0, train_to)),
        CalibrationPart(*rows(calibration_from, calibration_to)),
        HeldOutPart(*rows(held_from, n)),
    )


def require_train(parts: Mapping[str, Part]) -> None:
    """Refuse anything but training rows, whatever the type checker was told.

    Raises:
        LeakageError: a part is not a `TrainPart`.
    """
    for series, part in parts.items():
        if not isinstance(part, TrainPart):
            raise LeakageError(f"series {series}: {type(part).__name__} reached training code, wanted TrainPart")
