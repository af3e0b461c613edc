"""Which rows are compared with which: the same number from each hour of the day, on both sides."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from watchkeeper.errors import DataError

Indices = npt.NDArray[np.int64]
Times: TypeAlias = "pd.Series[pd.Timestamp]"

TIME = "timestamp"
HOURS = 24
ROWS_NEEDED = 200  # per side, in matching hours: below that there is nothing to judge


def sample_by_hour(frame: pd.DataFrame, hours: Iterable[int], rows: int, seed: int) -> pd.DataFrame:
    """Draw equally many rows from each hour of the day, spread evenly over the days.

    Args:
        frame: a `timestamp` column (UTC) and any others.
        hours: hours of the day (UTC) to draw from; one that the frame lacks gives no rows.
        rows: at most so many in all.
        seed: for the draw.

    Returns:
        The drawn rows in the order of time, each at most once.

    Raises:
        DataError: `timestamp` is missing or not in UTC.
    """
    frame = in_order(frame, "given")
    hour_of_row = np.asarray(frame[TIME].dt.hour, dtype=np.int64)
    wanted = sorted(set(hours))
    counts = np.bincount(hour_of_row, minlength=HOURS)
    quota = {hour: min(int(counts[hour]), rows // max(1, len(wanted))) for hour in wanted}
    return frame.iloc[draw(hour_of_row, quota, np.random.default_rng(seed))]


def in_order(frame: pd.DataFrame, side: str) -> pd.DataFrame:
    """Return the frame in the order of time, or refuse it."""
    if TIME not in frame.columns:
        raise DataError(f"the {side} rows have no column {TIME!r}")
    if str(getattr(frame[TIME].dtype, "tz", None)) != "UTC":
        raise DataError(f"the {side} rows' {TIME!r} is {frame[TIME].dtype}, wanted datetime64[us, UTC]")
    return frame if frame[TIME].is_monotonic_increasing else frame.sort_values(TIME, kind="stable")


def slots(reference: Times, current: Times) -> tuple[Indices, Indices, bool]:
    """Name the slot of each row: its hour of the day (UTC), plus 24 on Saturdays and Sundays.

    Where the reference has an hour of the kind of day that the current rows have on fewer than two days, weekends are
    not told apart.

    Returns:
        The slots of both sides, and whether weekends are told apart.
    """
    plain = [np.asarray(times.dt.hour, dtype=np.int64) for times in (reference, current)]
    weekend = [np.asarray(times.dt.dayofweek >= 5, dtype=np.int64) for times in (reference, current)]
    apart = [hour + HOURS * late for hour, late in zip(plain, weekend, strict=True)]
    if days_of(reference, apart[0])[np.unique(apart[1])].min(initial=2) >= 2:
        return apart[0], apart[1], True
    return plain[0], plain[1], False


def days_of(times: Times, slots: Indices) -> Indices:
    """Count on how many days each slot has rows: (48,)."""
    day = times.dt.tz_localize(None).to_numpy().astype("datetime64[D]").astype(np.int64)
    seen = np.unique(np.stack([day, slots]), axis=1)
    return np.bincount(seen[1], minlength=2 * HOURS)


def match(
    slots_reference: Indices, slots_current: Indices, rows: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Draw from both sides the same number of rows of each slot that both have: at most `rows` a side."""
    counts = [np.bincount(slots, minlength=2 * HOURS) for slots in (slots_reference, slots_current)]
    common = np.minimum(*counts)
    shared = np.flatnonzero(common)
    quota = {int(slot): min(int(common[slot]), rows // len(shared)) for slot in shared}
    return draw(slots_reference, quota, rng), draw(slots_current, quota, rng)


def draw(slots: Indices, quota: Mapping[int, int], rng: np.random.Generator) -> Indices:
    """Draw `quota[slot]` rows of each slot, one at random from each of as many equal stretches, in the order of time.

    Even stretches give every day its part; the random place inside each keeps clear of anything that happens every
    tenth minute.
    """
    drawn = []
    for slot, count in quota.items():
        rows = np.flatnonzero(slots == slot)
        edges = np.arange(count + 1) * len(rows) // max(1, count)
        drawn.append(rows[edges[:-1] + (rng.random(count) * np.diff(edges)).astype(np.int64)])
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, dtype=np.int64)
