import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sources.times import AWARE, BAD, MISSING, NAIVE, parse_times, to_utc
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import DataError

MINUTE = 60_000_000


def read(text: str | None, format: str | None = None) -> tuple[datetime | None, int]:
    """One cell: its time, as if local time were UTC, and what it turned out to be."""
    us, state = parse_times(pa.array([text], pa.string()), format)
    return (datetime(1970, 1, 1) + timedelta(microseconds=int(us[0])) if state[0] <= AWARE else None), int(state[0])


@pytest.mark.parametrize(
    ("text", "format", "wanted"),
    [
        ("2026-01-05", None, datetime(2026, 1, 5)),
        ("2026-01-05 10:11", None, datetime(2026, 1, 5, 10, 11)),
        ("2026-01-05T10:11:12,5", None, datetime(2026, 1, 5, 10, 11, 12, 500_000)),
        (" 2026-01-05 10:11:12.123456789 ", None, datetime(2026, 1, 5, 10, 11, 12, 123_456)),
        ("5.1.2026 7:08", "%d.%m.%Y %H:%M", datetime(2026, 1, 5, 7, 8)),
        ("28/12/2015 12:00:01 AM", "%d/%m/%Y %I:%M:%S %p", datetime(2015, 12, 28, 0, 0, 1)),
        ("28/12/2015 12:00:01 pm", "%d/%m/%Y %I:%M:%S %p", datetime(2015, 12, 28, 12, 0, 1)),
        ("9/25/17 6:00:00.250 PM", "%m/%d/%y %I:%M:%S.%f %p", datetime(2017, 9, 25, 18, 0, 0, 250_000)),
        ("05-Mar-2026", "%d-%b-%Y", datetime(2026, 3, 5)),
        ("29.02.2024", "%d.%m.%Y", datetime(2024, 2, 29)),
    ],
)
def test_local_times(text: str, format: str | None, wanted: datetime) -> None:
    """Each way to write one gives the moment that it says."""
    assert read(text, format) == (wanted, NAIVE)


@pytest.mark.parametrize(
    ("text", "format", "wanted"),
    [
        ("2026-01-05T10:11:12Z", None, datetime(2026, 1, 5, 10, 11, 12)),
        ("2026-01-05 10:11:12+05:30", None, datetime(2026, 1, 5, 4, 41, 12)),
        ("05.01.2026 10:00 -0100", "%d.%m.%Y %H:%M %z", datetime(2026, 1, 5, 11)),
        ("1767571200", "unix_s", datetime(2026, 1, 5)),
        ("1767571200.5", "unix_s", datetime(2026, 1, 5, 0, 0, 0, 500_000)),
        ("-1.5", "unix_s", datetime(1969, 12, 31, 23, 59, 58, 500_000)),
        ("1767571200123", "unix_ms", datetime(2026, 1, 5, 0, 0, 0, 123_000)),
        ("1767571200123456", "unix_us", datetime(2026, 1, 5, 0, 0, 0, 123_456)),
        ("1767571200123456789", "unix_ns", datetime(2026, 1, 5, 0, 0, 0, 123_456)),
    ],
)
def test_times_that_name_their_zone(text: str, format: str | None, wanted: datetime) -> None:
    """Offsets are taken off, and seconds since 1970 are UTC by nature."""
    assert read(text, format) == (wanted, AWARE)


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("2026-02-29", None),
        ("2026-13-01", None),
        ("2026-01-05 24:00", None),
        ("2026-01-05 10:60", None),
        ("2026-01-05 10:00:60", None),
        ("2026-01-05 10:00 Mars", None),
        ("31.02.2026", "%d.%m.%Y"),
        ("01.01.2026 later", "%d.%m.%Y"),
        ("28/12/2015 13:00:01 AM", "%d/%m/%Y %I:%M:%S %p"),
        ("05-Foo-2026", "%d-%b-%Y"),
        ("17675712000000000000", "unix_s"),
        ("soon", "unix_ms"),
    ],
)
def test_what_is_no_time(text: str, format: str | None) -> None:
    """No day is made up out of the 31st of February."""
    assert read(text, format) == (None, BAD)


@pytest.mark.parametrize("text", [None, "", "   "])
def test_nothing_is_missing(text: str | None) -> None:
    """It is told apart from nonsense."""
    assert read(text) == (None, MISSING)


@settings(max_examples=100, deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)))
def test_any_time_is_read_as_python_reads_it(time: datetime) -> None:
    """The oracle is `datetime` itself, in three formats."""
    assert read(time.isoformat(" ")) == (time, NAIVE)
    short = time.replace(second=0, microsecond=0)
    for format in ("%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p"):
        text = short.strftime(format).replace(str(short.year), f"{short.year:04d}")
        assert read(text, format) == (short, NAIVE)


def local(first: datetime, minutes: int, count: int, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """A regular clock in UTC, and what a clock on the wall of a zone showed."""
    moments = [first + timedelta(minutes=minutes * row) for row in range(count)]
    shown = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=UTC) for moment in moments]
    return np.array([to_microseconds(one) for one in moments]), np.array([to_microseconds(one) for one in shown])


@pytest.mark.parametrize("minutes", [1, 10, 30, 60])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_a_regular_clock_survives_both_changes_of_the_clock(minutes: int, zone: str) -> None:
    """Every moment of a year comes back, also those of the hour that comes twice (half an hour on Lord Howe)."""
    if minutes == 60 and zone == "Australia/Lord_Howe":
        pytest.skip("half an hour back is not seen by a clock of whole hours")
    utc, shown = local(datetime(2026, 1, 1, tzinfo=UTC), minutes, 365 * 24 * 60 // minutes, zone)
    found, state = to_utc(shown, zone, np.zeros(len(shown), np.int64))
    assert not state.any()
    assert np.array_equal(found, utc)


def test_an_hour_that_could_be_either_is_not_guessed() -> None:
    """One pass of the double hour alone, or one with two rows exchanged, is no evidence; other rows stay clear."""
    utc, shown = local(datetime(2026, 10, 24, 22, tzinfo=UTC), 1, 300, "Europe/Berlin")
    one_pass = np.r_[0:120, 180:300]
    swapped = one_pass.copy()
    swapped[[130, 131]] = swapped[[131, 130]]
    for rows in (one_pass, swapped):
        found, state = to_utc(shown[rows], "Europe/Berlin", np.zeros(len(rows), np.int64))
        double = (utc[rows] >= utc[120]) & (utc[rows] < utc[240])
        assert (state == 2 * double).all()
        assert np.array_equal(found[~double], utc[rows][~double])


def test_clocks_of_several_series_are_told_apart() -> None:
    """Interleaved rows of two machines both pass through the double hour."""
    utc, shown = local(datetime(2026, 10, 24, 22, tzinfo=UTC), 10, 40, "Europe/Berlin")
    found, state = to_utc(np.repeat(shown, 2), "Europe/Berlin", np.tile([0, 1], 40))
    assert not state.any()
    assert np.array_equal(found, np.repeat(utc, 2))


def test_the_hour_that_is_skipped_is_no_time() -> None:
    """At 2:30 of that night no clock in Berlin showed 2:30."""
    shown = np.array([to_microseconds(datetime(2026, 3, 29, hour, 30, tzinfo=UTC)) for hour in (1, 2, 3)])
    found, state = to_utc(shown, "Europe/Berlin", np.zeros(3, np.int64))
    assert state.tolist() == [0, 1, 0]
    assert found[2] - found[0] == 60 * MINUTE


def test_an_unknown_zone_is_one_line() -> None:
    """A system without the table of zones gives no traceback either."""
    with pytest.raises(DataError, match=re.escape("time zone No/Where cannot be used")):
        to_utc(np.zeros(1, np.int64), "No/Where", np.zeros(1, np.int64))
