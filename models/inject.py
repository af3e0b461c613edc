"""Anomalies put into rows that nobody labelled, so that a candidate can be judged all the same.

They stand in for truth and the record says so. Kinds: spike, drift, stuck, swap of two channels, and a break of
correlation (a channel goes on with what it did at another time).
"""

import numpy as np
import numpy.typing as npt

from models.windows import Array
from watchkeeper.errors import DataError

KINDS = ("spike", "drift", "stuck", "swap", "break")
LENGTHS = {"spike": (1, 5), "drift": (60, 240), "stuck": (30, 180), "swap": (20, 120), "break": (30, 180)}
"""Samples: shortest and longest of each kind; also capped at a twentieth of the series."""
SPIKE_SCALES, DRIFT_SCALES = (4.0, 8.0), (2.0, 5.0)
"""Size in standard deviations of the channel."""
SHARE = 0.03
"""Share of the rows that an injected series gets as anomalous, about."""


def inject(values: Array, seed: int) -> tuple[Array, npt.NDArray[np.int8]]:
    """Put anomalies into a copy of a series.

    Args:
        values: float32 (time, channel), at least 100 rows; NaN is a missing reading.
        seed: for places, kinds, channels and sizes.

    Returns:
        The changed copy, and int8 (time,): 1 where it was changed, else 0.

    Raises:
        DataError: the series is shorter than 100 rows.
    """
    time, channels = values.shape
    if time < 100:
        raise DataError(f"a series of {time} rows is too short to put anomalies in; wanted 100 or more")
    rng = np.random.default_rng(seed)
    changed, label = values.copy(), np.zeros(time, dtype=np.int8)
    # In float64, where equal float32 readings have no deviation at all; missing ones do not count.
    scale = np.ma.masked_invalid(values.astype(np.float64)).std(axis=0).filled(0.0)
    moving = np.flatnonzero(scale > 0)
    kinds = [kind for kind in KINDS if kind != "swap" or len(moving) > 1]
    if not len(moving):  # nothing moves: a spike is the one anomaly that a constant channel can have
        moving, scale, kinds = np.arange(channels), np.ones(channels), ["spike"]
    turn = misses = 0
    while label.sum() < SHARE * time:
        kind = kinds[turn % len(kinds)]
        low, high = LENGTHS[kind]
        length = int(min(rng.integers(low, high + 1), max(1, time // 20)))
        start = int(rng.integers(0, time - length))
        turn += 1
        if label[max(0, start - 10) : start + length + 10].any():
            misses += 1
            if misses > 50 * len(KINDS):  # a short series is full before its share is reached
                break
            continue
        count = int(rng.integers(1, max(2, len(moving) // 4) + 1))
        chosen = rng.permutation(moving)[:count]
        _change(changed, values, kind, slice(start, start + length), chosen, scale, rng)
        label[start : start + length] = 1
    return changed, label


def _change(
    changed: Array,
    values: Array,
    kind: str,
    rows: slice,
    chosen: npt.NDArray[np.int64],
    scale: npt.NDArray[np.floating],
    rng: np.random.Generator,
) -> None:
    """Change `rows` of the chosen channels in place."""
    length = rows.stop - rows.start
    sign = rng.choice([-1.0, 1.0], len(chosen))
    if kind == "spike":
        changed[rows, chosen] += (sign * rng.uniform(*SPIKE_SCALES, len(chosen)) * scale[chosen]).astype(np.float32)
    elif kind == "drift":
        ramp = np.linspace(0, 1, length)[:, None]
        reach = sign * rng.uniform(*DRIFT_SCALES, len(chosen)) * scale[chosen]
        changed[rows, chosen] += (ramp * reach).astype(np.float32)
    elif kind == "stuck":
        changed[rows, chosen] = values[rows.start, chosen]
    elif kind == "swap":
        first, second = rng.permutation(np.flatnonzero(scale > 0))[:2]
        # In units of their own spread, so that a swap does not show by its level alone.
        middle = np.nanmean(values[:, [first, second]], axis=0)
        a = (values[rows, first] - middle[0]) / scale[first]
        b = (values[rows, second] - middle[1]) / scale[second]
        changed[rows, first] = (middle[0] + b * scale[first]).astype(np.float32)
        changed[rows, second] = (middle[1] + a * scale[second]).astype(np.float32)
    else:
        other = int(rng.integers(0, len(values) - length))
        changed[rows, chosen] = values[other : other + length, chosen]
