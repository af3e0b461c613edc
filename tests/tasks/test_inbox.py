"""Files of messages: what their names tell, and that nothing that is asked for is overlooked."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.inbox import AHEAD_US, Inbox, InboxFile, Message, described
from tasks.sources.mqtt.decode import body_of, clock_of, times_of
from watchkeeper.clock import to_microseconds
from watchkeeper.lake import Lake
from watchkeeper.mqtt import MqttSource

NOW = 1_767_600_000_000_000
CLOCKS: list[dict[str, Any]] = [{}, {"time": "t", "format": "unix_s"}, {"time": "u", "since": "2025-01-01"}]


def source(**options: Any) -> MqttSource:
    """A source; nobody connects to it."""
    return MqttSource(**{"kind": "mqtt", "url": "mqtt://broker", "topics": "a/+", "series": 2, **options})


def test_messages_come_back_as_they_were(any_lake: Lake) -> None:
    """In the order of arrival, whatever their bytes, over several files; each file is written once."""
    inbox = Inbox(any_lake, "w")
    assert inbox.files() == []
    assert inbox.newest(10) == []
    files = [
        [Message(NOW + 2, "a/ü", b"\x00\xff", 7), Message(NOW + 3, "a/b", b"", 0)],
        [Message(NOW, "a/b", b'{"t": 1}', 65535)],
    ]
    for messages in files + files[:1]:
        inbox.write(messages, np.array([-5, 9])[: len(messages)], "0123abcd")
    found = inbox.files()
    assert list(inbox.read(found)) == [files[1], files[0]]
    assert [(file.first, file.last, file.low, file.high, file.clock) for file in found] == [
        (NOW, NOW, -5, -5, "0123abcd"),
        (NOW + 2, NOW + 3, -5, 9, "0123abcd"),
    ]
    assert inbox.newest(1) == [files[0][0]]
    assert inbox.newest(2) == [files[1][0], files[0][0]]


def test_what_is_no_file_of_an_inbox_is_refused() -> None:
    """Rather than passed over, and what it holds with it."""
    with pytest.raises(ValueError, match="is no file of an inbox"):
        described("inbox/w/notes.txt")


@given(
    clocks=st.tuples(st.sampled_from(CLOCKS), st.sampled_from(CLOCKS)),
    payloads=st.lists(
        st.sampled_from(
            ['{"t": %d}', '{"u": "%d"}', '{"t": "x"}', "5", "{", '{"t": null, "u": "2026-01-05T12:00:00"}']
        ),
        min_size=1,
        max_size=5,
    ),
    seconds=st.lists(st.integers(-90_000, 90_000), min_size=5, max_size=5),
    start=st.integers(-100_000, 100_000),
    length=st.integers(1, 100_000),
)
def test_a_file_is_opened_where_it_may_hold_what_is_asked_for(
    clocks: tuple[dict[str, Any], dict[str, Any]], payloads: list[str], seconds: list[int], start: int, length: int
) -> None:
    """Whichever clock it was written by and is read by: no message within the stretch is overlooked."""
    written, read = (source(**clock) for clock in clocks)
    messages = [
        Message(NOW + at, "a/b", payload.replace("%d", str(NOW // 10**6 + second)).encode(), 0)
        for at, (payload, second) in enumerate(zip(payloads, seconds, strict=False))
    ]
    bodies = [body_of(message.payload) for message in messages]
    times, _ = times_of(messages, bodies, written)
    file = InboxFile("", NOW, NOW + len(messages) - 1, int(times.min()), int(times.max()), clock_of(written))
    low, high = NOW + start * 10**6, NOW + (start + length) * 10**6
    now, _ = times_of(messages, bodies, read)
    assert now.max() <= file.latest(clock_of(read)) <= file.last + AHEAD_US
    if ((now >= low) & (now < high)).any():
        assert file.may_hold(low, high, clock_of(read))
    elif clock_of(written) == clock_of(read) and len(messages) == 1:
        assert not file.may_hold(low, high, clock_of(read))


def test_what_lies_before_since_is_no_time() -> None:
    """Since a date, or since so long before the message came; what arrives tells its own time otherwise."""
    day = 86_400 * 10**6
    message = [Message(NOW, "a/b", b"", 0)]
    for since, offset in (("-1d", -day), ("2026-01-04T12:00:00Z", None)):
        first = NOW + offset if offset else to_microseconds(datetime.fromisoformat(since))
        some = source(time="t", format="unix_us", since=since)
        for us, reason in ((first, ""), (first - 1, "timestamp lies before `since`")):
            times, reasons = times_of(message, [{"t": us}], some)
            assert (times.tolist(), reasons) == ([NOW if reason else us], [reason])
