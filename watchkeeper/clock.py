"""Times: int64 microseconds since 1970 UTC in arrays, aware datetimes in records. Exact both ways."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
"""Microseconds in a day."""


def to_datetime(microseconds: int) -> datetime:
    """Return the time of so many microseconds since 1970 UTC."""
    return EPOCH + timedelta(microseconds=int(microseconds))


def to_microseconds(time: datetime) -> int:
    """Return the microseconds since 1970 UTC of an aware time."""
    return (time - EPOCH) // timedelta(microseconds=1)
