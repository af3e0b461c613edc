from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.clock import DAY_US, EPOCH, to_datetime, to_microseconds


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_are_exact_both_ways(time: datetime) -> None:
    """A float of seconds would lose microseconds on the way."""
    assert to_datetime(to_microseconds(time)) == time


def test_hand_computed_times() -> None:
    """The second of January 1970 is a day, and a time before 1970 is negative."""
    assert to_microseconds(datetime(1970, 1, 2, tzinfo=UTC)) == DAY_US
    assert to_microseconds(EPOCH - timedelta(microseconds=3)) == -3
    assert to_datetime(-3) == EPOCH - timedelta(microseconds=3)


def test_zones_are_kept_apart() -> None:
    """Midnight in another zone is another moment."""
    east = timezone(timedelta(hours=2))
    assert to_microseconds(datetime(1970, 1, 1, tzinfo=east)) == -2 * 3_600_000_000


def test_numpy_integers_are_taken() -> None:
    """Timestamps come out of int64 arrays."""
    assert to_datetime(np.int64(DAY_US)) == datetime(1970, 1, 2, tzinfo=UTC)
