"""What topics and payloads say: by examples, and for any payload at all."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.inbox import Message
from tasks.sources.mqtt.decode import body_of, numeric_keys, readings_of, times_of
from watchkeeper.mqtt import MqttSource

NOW = 1_767_600_000_000_000  # 2026-01-05 08:00 UTC
CHANNELS = ("temperature", "air.humidity", "value")


def source(**options: Any) -> MqttSource:
    """A source; nobody connects to it."""
    return MqttSource(**{"kind": "mqtt", "url": "mqtt://broker", "topics": "#", "series": 2, **options})


def read(
    topic: str, payload: str | bytes, channels: tuple[str, ...] = CHANNELS, **options: Any
) -> list[tuple[Any, ...]]:
    """Series, and channel with value, or the reason, of each reading of a message."""
    some = source(**options)
    messages = [Message(NOW, topic, payload if isinstance(payload, bytes) else payload.encode(), 0)]
    bodies = [body_of(messages[0].payload)]
    _, reasons = times_of(messages, bodies, some)
    found = readings_of(messages, bodies, reasons, some, channels)
    return [(one.series, one.reason) if one.reason else (one.series, one.channel, one.value) for one in found]


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ("21.5", 21.5), (" -3 \n", -3.0), ("1e3", 1000.0), (".5", 0.5), ("true", 1.0), ("false", 0.0),
        ("inf", math.inf), ('{"a": [1]}', {"a": [1]}), ("{}", {}),
        ("", None), ("on", None), ("1_000", None), ("21,5", None), ("0x10", None), ("٣", None), ('"21.5"', None),
        ("[21.5]", None), ("{", None), ("{'a': 1}", None), ('{"a": 1} x', None), (b"\xff\xfe1\x00", None),
        ('{"a":' * 100_000, None),
    ],
)  # fmt: skip
def test_payloads(payload: str | bytes, body: object) -> None:
    """A number as text, or a JSON object, in UTF-8; all else is nothing."""
    assert body_of(payload if isinstance(payload, bytes) else payload.encode()) == body


@pytest.mark.parametrize("payload", ["nan", "-NaN", "null"])
def test_a_sensor_that_says_it_has_nothing_says_so(payload: str) -> None:
    """A missing reading is one."""
    ((series, channel, value),) = read("a/pump", payload)
    assert (series, channel) == ("pump", "value")
    assert math.isnan(value)


def test_an_object_holds_channels() -> None:
    """Those of the watch, led to by dots; one that is absent or null is missing; others are passed over."""
    found = read("house/kitchen", '{"temperature": 21, "air": {"humidity": true, "co2": 1}, "value": null, "x": "y"}')
    assert found[:2] == [("kitchen", "temperature", 21.0), ("kitchen", "air.humidity", 1.0)]
    assert found[2][:2] == ("kitchen", "value")
    assert math.isnan(found[2][2])
    assert read("h/k", '{"air.humidity": 5}')[1] == ("k", "air.humidity", 5.0)
    assert read("h/k", '{"air": 5}') == read("h/k", "{}") == [("k", "payload has no reading of a channel")]


@pytest.mark.parametrize("cell", ['"21"', "[1]", "{}", '""'])
def test_a_word_in_a_channel_is_no_reading(cell: str) -> None:
    """Of the whole message: what else it says may be as wrong."""
    assert read("a/p", f'{{"temperature": {cell}, "value": 1}}') == [("p", "reading is no number")]


def test_numbers_beyond_all_bounds_are_infinite() -> None:
    """Validation sets them aside."""
    assert read("a/p", f'{{"value": 1{"0" * 400}}}')[2] == ("p", "value", math.inf)
    assert read("a/p", f'{{"value": -1{"0" * 400}}}')[2] == ("p", "value", -math.inf)


@pytest.mark.parametrize(
    ("topic", "payload", "options", "found"),
    [
        ("plant/p7/temperature", "21", {"channel": 3}, [("p7", "temperature", 21.0)]),
        ("plant/p7/temperature", '{"v": 21}', {"channel": 3, "value": "v"}, [("p7", "temperature", 21.0)]),
        ("plant/p7/temperature", '{"w": 21}', {"channel": 3}, [("p7", "payload has no reading of a channel")]),
        ("plant/p7/other", "21", {"channel": 3}, []),
        ("plant/p7", "21", {"channel": 3}, [("p7", "channel is missing")]),
        ("a", '{"id": "x", "what": "value", "value": 1}', {"series": "id", "channel": "what"}, [("x", "value", 1.0)]),
        ("a", '{"who": {"id": 7}, "value": 1}', {"series": "who.id"}, [("7", "value", 1.0)]),
        ("a", '{"value": 1}', {"series": "id"}, [("", "value", 1.0)]),
        ("a", "1", {"series": "id"}, [("", "value", 1.0)]),
        ("a/b/c", "1", {"series": [3, 1]}, [("c.a", "value", 1.0)]),
        ("a//c", "1", {"series": [2, 3]}, [("", "value", 1.0)]),
        ("a", "1", {"series": 2}, [("", "value", 1.0)]),
        ("a/b", "1", {"time": "t"}, [("b", "timestamp is missing")]),
        ("a/b", '{"value": 1, "label": "x"}', {}, [("b", "label is neither 0, 1 nor missing")]),
    ],
)  # fmt: skip
def test_names(topic: str, payload: str, options: dict[str, Any], found: list[tuple[Any, ...]]) -> None:
    """Of series and channel, out of levels and keys; without a name, a series is empty."""
    some = [one for one in read(topic, payload, **options) if len(one) < 3 or not math.isnan(one[2])]
    assert some == found


@pytest.mark.parametrize(
    ("cell", "format", "us"),
    [
        ('"2026-01-05T07:00:00Z"', None, NOW - 3_600_000_000),
        ('"2026-01-05T07:00:00"', None, NOW - 3_600_000_000),
        ('"2026-01-05T07:00:00+02:00"', None, NOW - 3 * 3_600_000_000),
        ("1767600000", "unix_s", NOW),
        ("1767600000.25", "unix_s", NOW + 250_000),
        ('"1767600000"', "unix_s", NOW),
        ("1767600000000", "unix_ms", NOW),
        ("1767600000000001999", "unix_ns", NOW + 1),
        ("1767600000", None, None),
        ("true", "unix_s", None),
        ("null", "unix_s", None),
        ("1767700000", "unix_s", None),
        ("1", "unix_s", None),
    ],
)
def test_clocks(cell: str, format: str | None, us: int | None) -> None:
    """As other sources read them; without one that can be used, it is the time of arrival, and there is a reason."""
    body = body_of(f'{{"t": {cell}}}'.encode())
    times, (reason,) = times_of([Message(NOW, "a", b"", 0)], [body], source(time="t", format=format))
    assert times.tolist() == [NOW if us is None else us]
    assert bool(reason) is (us is None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["t", "value", "air", "x"]), inner),
    max_leaves=8,
)


@given(body=st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()), topic=st.text(max_size=6))
def test_any_message_is_read_or_has_a_reason(body: bytes, topic: str) -> None:
    """Never neither; and a value is what an object holds there for a plain parser."""
    (found,) = read(topic, body, ("value",))
    if len(found) == 3 and body.lstrip()[:1] == b"{":
        cell = json.loads(body)["value"]
        assert isinstance(cell, int | float | None)
        assert str(found[2]) == str(math.nan if cell is None else float(cell))
    elif body.lstrip()[:1] == b"{":
        assert found[1] in {"payload is neither a number nor a JSON object", "reading is no number",
                            "payload has no reading of a channel"}  # fmt: skip


def test_the_keys_that_are_told() -> None:
    """Of inner objects with dots; words, lists and nothing are no channels."""
    body = {"a": 1, "b": {"c": 2.5, "d": {"e": True}}, "f": "x", "g": [1], "h": None}
    assert list(numeric_keys(body)) == ["a", "b.c", "b.d.e"]
