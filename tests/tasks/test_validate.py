from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sources import Batch
from tasks.validate import Before, channels_of, day_of, validate
from watchkeeper.clock import DAY_US, to_microseconds
from watchkeeper.errors import DataError

NONE = Before()
TIME = pa.timestamp("us", "UTC")


def batch(times: list[int | None], label: Any = None, **channels: Any) -> Batch:
    """Rows of channels a and b unless others are given."""
    columns: dict[str, Any] = {"timestamp": pa.array(times, pa.int64()).cast(TIME)}
    columns |= channels or {"a": [float(i) for i in range(len(times))], "b": [float(-i) for i in range(len(times))]}
    if label is not None:
        columns["label"] = label
    return Batch("s", "s.parquet", pa.table(columns))


def reasons(valid: Any) -> list[tuple[int, str]]:
    """Row and reason of what went to quarantine."""
    return list(zip(valid.quarantine["row"].to_pylist(), valid.quarantine["reason"].to_pylist(), strict=True))


def test_good_rows_pass_as_they_are() -> None:
    """Values in the watch's order of channels, float32; labels unknown where the source has none."""
    valid = validate(batch([1, 2, 3]), ("b", "a"), extra_allowed=False, before=NONE)
    assert valid.timestamps.tolist() == [1, 2, 3]
    assert valid.values.tolist() == [[0, 0], [-1, 1], [-2, 2]]
    assert valid.values.dtype == np.float32
    assert valid.label.tolist() == [-1, -1, -1]
    assert (len(valid.quarantine), valid.known) == (0, 0)


def test_unsorted_rows_are_put_in_order() -> None:
    """Each row keeps its own readings and label."""
    valid = validate(batch([30, 10, 20, 5], label=[0, 1, 0, 1]), ("a",), extra_allowed=True, before=NONE)
    assert valid.timestamps.tolist() == [5, 10, 20, 30]
    assert valid.values.ravel().tolist() == [3, 1, 2, 0]
    assert valid.label.tolist() == [1, 1, 0, 0]


def test_of_rows_with_one_timestamp_the_first_stays() -> None:
    """The others are quarantined, wherever they stand."""
    valid = validate(batch([10, 20, 10, 10]), ("a", "b"), extra_allowed=False, before=NONE)
    assert valid.timestamps.tolist() == [10, 20]
    assert valid.values[:, 0].tolist() == [0, 1]
    assert reasons(valid) == [(2, "timestamp stands twice"), (3, "timestamp stands twice")]


def test_rows_without_a_timestamp_are_quarantined() -> None:
    """They are not taken for rows of the first of January 1970."""
    valid = validate(batch([None, 0, None, 10]), ("a", "b"), extra_allowed=False, before=NONE)
    assert valid.timestamps.tolist() == [0, 10]
    assert valid.values[:, 0].tolist() == [1, 3]
    assert reasons(valid) == [(0, "timestamp is missing"), (2, "timestamp is missing")]


def test_times_that_no_calendar_has_are_quarantined() -> None:
    """A broken clock must not stop the ingest of all series."""
    last = to_microseconds(datetime.max.replace(tzinfo=UTC))
    valid = validate(batch([10, last, last + 1, -(2**62)]), ("a", "b"), extra_allowed=False, before=NONE)
    assert valid.timestamps.tolist() == [10, last]
    assert [row for row, _ in reasons(valid)] == [2, 3]
    assert valid.reasons() == {"timestamp is outside the years 1 to 9999": 2}


def test_rows_before_the_newest_stored_are_late_and_stored_ones_are_known() -> None:
    """A row that is there already is counted and nothing more; one that slips in between is late."""
    before = Before(np.array([10, 20, 30], np.int64), newest=30)
    valid = validate(batch([5, 10, 15, 20, 30, 40]), ("a", "b"), extra_allowed=False, before=before)
    assert valid.timestamps.tolist() == [40]
    assert valid.known == 3
    assert reasons(valid) == [(0, "late: before the newest row stored"), (2, "late: before the newest row stored")]


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_an_infinite_reading_quarantines_its_row(value: float) -> None:
    """So does one that float32 cannot hold; the readings stand in quarantine as they came."""
    valid = validate(batch([1, 2], a=[1.0, value], b=[1.0, 5.0]), ("a", "b"), extra_allowed=False, before=NONE)
    assert valid.timestamps.tolist() == [1]
    assert reasons(valid) == [(1, "reading is infinite")]
    assert valid.quarantine.select(["origin", "a", "b"]).to_pylist() == [{"origin": "s.parquet", "a": value, "b": 5.0}]


def test_missing_readings_stay() -> None:
    """NaN and null are the same."""
    few, many = [1.0, np.nan] + [2.0] * 8, [1.0, None, np.nan] + [2.0] * 7
    valid = validate(batch(list(range(10)), a=few, b=many), ("a", "b"), extra_allowed=False, before=NONE)
    assert np.isnan(valid.values).sum(axis=0).tolist() == [1, 2]
    assert len(valid.timestamps) == 10


def test_a_time_of_an_earlier_batch_of_the_file_stands_twice() -> None:
    """It is not taken for one that was stored before; what lies between such times is late."""
    before = Before(np.array([10], np.int64), np.array([20, 40], np.int64), newest=40)
    valid = validate(batch([10, 20, 30, 40, 50]), ("a", "b"), extra_allowed=False, before=before)
    assert (valid.timestamps.tolist(), valid.known) == ([50], 1)
    assert reasons(valid) == [
        (1, "timestamp stands twice"),
        (2, "late: before the newest row stored"),
        (3, "timestamp stands twice"),
    ]


@pytest.mark.parametrize(
    "column",
    [pa.array([1, 2], pa.int8()), pa.array([1, 2], pa.uint64()), pa.array([1, 2], pa.float16()), [True, False]],
)
def test_any_number_is_a_reading(column: Any) -> None:
    """Integers of any width, half floats and booleans become float32."""
    valid = validate(batch([1, 2], a=column), ("a",), extra_allowed=False, before=NONE)
    assert valid.values.ravel().tolist() in ([1, 2], [1, 0])


def test_a_column_of_type_null_has_only_missing_readings() -> None:
    """Writers give an empty column that type; the file is not refused for it."""
    valid = validate(batch([1, 2], a=pa.nulls(2), b=[1.0, 2.0]), ("a", "b"), extra_allowed=False, before=NONE)
    assert np.isnan(valid.values[:, 0]).all()


@pytest.mark.parametrize(
    "column", [["x", "y"], pa.array([1, 2]).cast(TIME), [[1], [2]], pa.array(["x", "y"]).dictionary_encode()]
)
def test_a_channel_that_is_no_number_refuses_the_file(column: Any) -> None:
    """The message names the channel and its type."""
    with pytest.raises(DataError, match=r"channel a is .*, wanted a number"):
        validate(batch([1, 2], a=column), ("a",), extra_allowed=False, before=NONE)


def test_a_missing_channel_refuses_the_file() -> None:
    """Whether or not the watch names its channels."""
    for allowed in (False, True):
        with pytest.raises(DataError, match="missing channel c, d; the watch has 4 channels"):
            validate(batch([1]), ("a", "b", "c", "d"), extra_allowed=allowed, before=NONE)


def test_an_extra_channel_is_ignored_only_where_the_watch_names_its_channels() -> None:
    """Else the message says what to do."""
    with pytest.raises(DataError, match="extra channel b; to leave it out, list `channels` in the watch file"):
        validate(batch([1]), ("a",), extra_allowed=False, before=NONE)
    assert validate(batch([1]), ("a",), extra_allowed=True, before=NONE).values.shape == (1, 1)


@pytest.mark.parametrize(
    "label", [[0, 1, None], [0.0, 1.0, np.nan], [0, 1, -1], [False, True, None], pa.array([0, 1, None], pa.int64())]
)
def test_labels_of_any_spelling(label: Any) -> None:
    """Zero, one, and missing."""
    valid = validate(batch([1, 2, 3], label=label), ("a", "b"), extra_allowed=False, before=NONE)
    assert valid.label.tolist() == [0, 1, -1]
    assert valid.label.dtype == np.int8


@pytest.mark.parametrize("odd", [2, -2, 0.5, 300])
def test_a_row_with_an_odd_label_is_quarantined(odd: float) -> None:
    """A label of 256 must not turn into a 0 by overflow."""
    valid = validate(batch([1, 2], label=[0, odd]), ("a", "b"), extra_allowed=False, before=NONE)
    assert valid.timestamps.tolist() == [1]
    assert reasons(valid) == [(1, "label is neither 0, 1 nor missing")]


def test_a_column_of_labels_in_words_refuses_the_file() -> None:
    """Guessing what `normal` means is not for us; a column with nothing in it is no label at all."""
    with pytest.raises(DataError, match="column label is string, wanted 0, 1 or nothing"):
        validate(batch([1], label=["normal"]), ("a", "b"), extra_allowed=False, before=NONE)
    assert validate(batch([1], label=pa.nulls(1)), ("a", "b"), extra_allowed=False, before=NONE).label.tolist() == [-1]


def test_a_batch_without_rows() -> None:
    """Nothing in, nothing out."""
    valid = validate(batch([], a=pa.array([], pa.float32())), ("a",), extra_allowed=False, before=NONE)
    assert (len(valid.timestamps), valid.values.shape, len(valid.quarantine)) == (0, (0, 1), 0)


def test_channels_are_what_is_neither_time_nor_label() -> None:
    """In the order of the file."""
    assert channels_of(batch([1], label=[0], z=[1], a=[2])) == ("z", "a")


def test_days_begin_at_midnight_utc() -> None:
    """Before 1970, too."""
    assert day_of(np.array([-1, 0, DAY_US - 1, DAY_US], np.int64)).tolist() == [-1, 0, 0, 1]


ROW = st.tuples(
    st.none() | st.integers(-5, 30) | st.just(2**61),
    st.sampled_from([0.0, 1.5, np.nan, np.inf, -np.inf, 1e300]),
    st.sampled_from([0, 1, -1, 2, None]),
)


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(ROW, max_size=40), known=st.lists(st.integers(0, 20), unique=True).map(sorted))
def test_no_row_is_lost(rows: list[tuple[Any, ...]], known: list[int]) -> None:
    """Whatever comes: kept, known and quarantined rows add up, and each is where an obvious loop puts it."""
    times, readings, labels = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    given_rows = batch(times, label=pa.array(labels, pa.int8()), a=pa.array(readings, pa.float64()))
    before = Before(np.array(known, np.int64), newest=known[-1] if known else None)
    valid = validate(given_rows, ("a",), extra_allowed=False, before=before)
    assert len(valid.timestamps) + valid.known + len(valid.quarantine) == len(rows)
    assert (np.diff(valid.timestamps) > 0).all()

    kept, stored, bad, seen = [], 0, [], set()
    for row, (time, reading, label) in enumerate(rows):
        repeated = time in seen
        unusable = reading in (np.inf, -np.inf, 1e300) or label == 2
        seen.add(time)
        if time is not None and time in known:
            stored += 1
        elif time is None or time == 2**61 or repeated or (known and time < known[-1]) or unusable:
            bad.append(row)
        else:
            kept.append(time)
    assert valid.timestamps.tolist() == sorted(kept)
    assert valid.known == stored
    assert valid.quarantine["row"].to_pylist() == bad


def test_a_row_in_the_future_goes_to_quarantine() -> None:
    """One clock that jumps ahead must not make every later row late."""
    valid = validate(batch([10, 20, 500]), ("a", "b"), extra_allowed=False, before=NONE, latest=100)
    assert valid.timestamps.tolist() == [10, 20]
    assert valid.reasons() == {"timestamp is in the future": 1}


@pytest.mark.parametrize("name", ["series", "score", "row", "reason", "origin"])
def test_a_channel_with_a_name_of_ours_is_refused(name: str) -> None:
    """A channel that would collide with a column of ours refuses its file and says which."""
    with pytest.raises(DataError, match=name):
        validate(batch([1, 2], **{name: [1.0, 2.0]}), (name,), extra_allowed=False, before=NONE)
