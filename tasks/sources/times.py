"""Clocks of source files: text into microseconds, local time into UTC, and what no clock can mean told apart."""

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from watchkeeper.clock import DAY_US
from watchkeeper.errors import DataError

Ints = npt.NDArray[np.int64]
States = npt.NDArray[np.int8]
NAIVE, AWARE, MISSING, BAD = range(4)
"""What a cell of a clock turned out to be: local time, a time with its zone, nothing, or no time at all."""

SKIPPED = "timestamp lies in the hour that summer time skips"
TWICE = "timestamp means two moments: its hour comes twice as summer time ends"

ISO = (
    r"^\s*(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})"
    r"(?:[T ](?P<H>\d{2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?\s*(?P<z>Z|[+-]\d{2}:?\d{2})?)?\s*$"
)
DIGITS = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "b": r"[A-Za-z]{3}",
    "f": r"\d{1,9}",
    "p": r"[AaPp][Mm]",
    "z": r"Z|[+-]\d{2}:?\d{2}",
}
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
# Of a clock that counts from 1970: how many microseconds its unit has, and the digits that fit 64 bits of them.
# Nanoseconds lose their last three digits.
WHOLE = r"(?P<n>\d{{1,{}}})(?:\.(?P<f>\d{{1,6}})\d*)?"
UNITS = {
    "unix_s": (10**6, WHOLE.format(12)),
    "unix_ms": (10**3, WHOLE.format(15)),
    "unix_us": (1, WHOLE.format(18)),
    "unix_ns": (1, r"(?:(?P<n>\d{1,16})\d{3}|\d{1,3})"),
}


def parse_times(text: pa.Array, format: str | None) -> tuple[Ints, States]:
    """Read the cells of a clock.

    Args:
        text: string (time,), null where there is nothing.
        format: directives of strptime, one of `UNIX_TIMES`, or None for ISO 8601.

    Returns:
        int64 (time,), µs since 1970, 0 where there is no time; int8 (time,), NAIVE, AWARE, MISSING or BAD. Digits
        beyond a microsecond are cut.
    """
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    text = pc.utf8_trim_whitespace(text)
    missing = np.asarray(pc.fill_null(pc.equal(text, ""), fill_value=True))
    if format is not None and format in UNITS:
        us, good = _unix(text, *UNITS[format])
        aware = np.ones(len(us), dtype=bool)
    else:
        us, good, aware = _calendar(text, ISO if format is None else _pattern(format))
    state = np.where(missing, MISSING, np.where(~good, BAD, np.where(aware, AWARE, NAIVE))).astype(np.int8)
    return np.where(state <= AWARE, us, 0), state


def _pattern(format: str) -> str:
    """Turn directives into an expression with a group each; a number may lack its leading zero."""
    parts = re.split(r"%(.)", format.strip())
    for index, part in enumerate(parts):
        digits = DIGITS.get(part, r"\d{1,2}")
        parts[index] = f"(?P<{part}>{digits})" if index % 2 else re.escape(part)
    return f"^{''.join(parts)}$"


def _unix(text: pa.Array, unit: int, digits: str) -> tuple[Ints, npt.NDArray[np.bool_]]:
    found = pc.extract_regex(text, f"^(?P<s>-?){digits}$")
    us = _number(found, "n", 0) * unit + _fraction(found, 6) * unit // 10**6
    sign = np.where(np.asarray(pc.fill_null(pc.equal(pc.struct_field(found, "s"), "-"), fill_value=False)), -1, 1)
    return us * sign, np.asarray(found.is_valid())


def _calendar(text: pa.Array, pattern: str) -> tuple[Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    found = pc.extract_regex(text, pattern)
    names = {field.name for field in found.type}
    good = np.asarray(found.is_valid()).copy()
    year = _number(found, "Y", 1970)
    if "y" in names:
        short = _number(found, "y", 0)
        year = short + np.where(short < 69, 2000, 1900)  # as strptime has it
    month = _number(found, "m", 1)
    if "b" in names:
        word = pc.utf8_lower(pc.struct_field(found, "b"))
        month = np.asarray(pc.fill_null(pc.index_in(word, pa.array(MONTHS)), -1)).astype(np.int64) + 1
    hour = _number(found, "H", 0)
    if "I" in names:
        half = _number(found, "I", 12)
        good &= (half >= 1) & (half <= 12)
        after_noon = pc.equal(pc.utf8_lower(pc.struct_field(found, "p")), "pm") if "p" in names else pa.scalar(False)
        hour = half % 12 + 12 * np.asarray(pc.fill_null(after_noon, fill_value=False)).astype(np.int64)
    minute, second, day = _number(found, "M", 0), _number(found, "S", 0), _number(found, "d", 1)
    good &= (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    good &= (hour < 24) & (minute < 60) & (second < 60)
    months = (np.where(good, year, 1970) - 1970) * 12 + np.where(good, month, 1) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + np.where(good, day, 1) - 1
    good &= days.astype("datetime64[M]").astype(np.int64) == months  # the 31st of February is no day
    us = days.astype(np.int64) * DAY_US + ((hour * 60 + minute) * 60 + second) * 1_000_000 + _fraction(found, 6)
    aware = np.zeros(len(text), dtype=bool)
    if "z" in names:
        zone = pc.fill_null(pc.struct_field(found, "z"), "")
        aware = np.asarray(pc.not_equal(zone, ""))
        offset = pc.extract_regex(zone, r"^(?P<s>[+-])(?P<h>\d{2}):?(?P<m>\d{2})$")
        sign = np.where(np.asarray(pc.fill_null(pc.equal(pc.struct_field(offset, "s"), "-"), fill_value=False)), -1, 1)
        hours, minutes = _number(offset, "h", 0), _number(offset, "m", 0)
        good &= (hours < 24) & (minutes < 60)
        us -= sign * (hours * 60 + minutes) * 60_000_000
    return us, good, aware


def _number(found: pa.StructArray, name: str, default: int) -> Ints:
    """Return a group as numbers, the default where it is not there."""
    if name not in {field.name for field in found.type}:
        return np.full(len(found), default, dtype=np.int64)
    text = pc.fill_null(pc.struct_field(found, name), "")
    return np.asarray(pc.cast(pc.if_else(pc.equal(text, ""), str(default), text), pa.int64())).copy()


def _fraction(found: pa.StructArray, digits: int) -> Ints:
    """Return the digits after the point as a whole number of 10^-digits."""
    if "f" not in {field.name for field in found.type}:
        return np.zeros(len(found), dtype=np.int64)
    text = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(pc.struct_field(found, "f"), ""), digits, "0"), 0, digits)
    return np.asarray(pc.cast(text, pa.int64()))


def to_utc(us: Ints, zone: str, groups: Ints) -> tuple[Ints, Ints]:
    """Turn local times into UTC.

    The hour that comes twice is told apart by the order of the rows: in each group's run of such times, what follows
    the one step back is the second hour, when that step and the usual interval are more than half of the hour. Without
    such a step nobody can tell.

    Args:
        us: int64 (time,), local µs since 1970, in the order of the file.
        zone: name of the zone.
        groups: int64 (time,), whose clock it is.

    Returns:
        int64 (time,), µs since 1970 UTC; int64 (time,): 0 clear, 1 SKIPPED, 2 TWICE.

    Raises:
        DataError: the zone is unknown to pyarrow, which reads the system's own table.
    """
    local = pa.array(us).cast(pa.timestamp("us"))
    try:
        first, second = (
            pc.assume_timezone(local, zone, ambiguous=which, nonexistent=which) for which in ("earliest", "latest")
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"time zone {zone} cannot be used: {str(error).splitlines()[0]}; install tzdata") from error
    early, late = (np.asarray(one.cast(pa.int64())) for one in (first, second))
    skipped = np.asarray(pc.local_timestamp(first).cast(pa.int64())) != us
    state = skipped.astype(np.int64)
    utc = early.copy()
    double = np.flatnonzero((early != late) & ~skipped)
    if not len(double):
        return utc, state
    order = np.lexsort((np.arange(len(us)), groups))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    double = double[np.argsort(place[double], kind="stable")]
    width = late[double] - early[double]
    steps = np.diff(us[order])
    interval = int(np.median(steps[steps > 0])) if (steps > 0).any() else 0
    new = (np.diff(place[double]) != 1) | (np.diff(groups[double]) != 0) | (np.diff(us[double]) > width[1:])
    for run in np.split(double, np.flatnonzero(new) + 1):
        step, half = np.diff(us[run]), (late[run[0]] - early[run[0]]) // 2
        back = np.flatnonzero(step < 0 if interval <= half else step <= 0)  # hourly rows: the same time again
        if len(back) == 1 and interval - step[back[0]] > half:
            after = run[back[0] + 1 :]
            utc[after] = late[after]
        else:
            state[run] = 2
    return utc, state
