import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.mqtt.decode import Reading
from tasks.sources.mqtt.readings import Readings, Words

SENT = st.tuples(
    st.sampled_from(["a/x", "a/y"]),
    st.integers(0, 3),
    st.sampled_from(["x", "y", None]),
    st.sampled_from([0.0, 1.0, -1.0, math.nan]),
)


@given(sent=st.lists(SENT, max_size=30))
def test_what_is_sent_twice_counts_once(sent: list[tuple[Any, ...]]) -> None:
    """Of equal readings of a topic at a moment the first stays; each other second one of a channel is set aside."""
    readings, other = Readings(words := Words()), Readings(words)
    kept: dict[tuple[Any, ...], None] = {}
    for topic, time, channel, value in sent:
        reading = Reading(0, "s", channel, value, reason="" if channel else "no number")
        readings.add(topic, time, reading)
        other.add("another", time, reading)  # words are shared, readings are not
        kept[topic, time, channel, str(value)] = None
    first: dict[tuple[int, str], float] = {}
    twice = unreadable = 0
    for _, time, channel, value in kept:
        if channel is None:
            unreadable += 1
        elif (time, channel) in first:
            twice += 1
        else:
            first[time, channel] = float(value)
    batch = readings.batch("s", ("x", "y", "z"))
    assert batch.reasons is not None
    reasons = batch.reasons.tolist()
    assert reasons.count("channel has two readings at this time") == twice
    assert reasons.count("no number") == unreadable
    times = batch.table["timestamp"].cast("int64").to_pylist()
    for name in "xyz":
        found = {
            time: value
            for time, value, why in zip(times, batch.table[name].to_pylist(), reasons, strict=True)
            if not why
        }
        wanted = {time: value for (time, channel), value in first.items() if channel == name}
        shown = {time: value for time, value in found.items() if value is not None and not math.isnan(value)}
        assert shown == {time: value for time, value in wanted.items() if not math.isnan(value)}
