"""Messages into readings: what topic and payload say of series, channel, time and value, and why one says nothing."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.inbox import AHEAD_US, Ints, Message
from tasks.sources.cells import NO_LABEL, NO_NUMBER, NOT_A_NUMBER, NUMBER
from tasks.sources.delimited import UNREADABLE
from tasks.sources.long_form import NO_CHANNEL
from tasks.sources.times import AWARE, MISSING, parse_times
from watchkeeper.clock import DAY_US, to_datetime, to_microseconds
from watchkeeper.databases import time_of
from watchkeeper.lake import digest_of
from watchkeeper.mqtt import MqttSource

NO_PAYLOAD = "payload is neither a number nor a JSON object"
NO_READING = "payload has no reading of a channel"
NO_TIME = "timestamp is missing"
FUTURE = "timestamp is in the future"
PAST = "timestamp lies before `since`"
WORDS = {"true": 1.0, "false": 0.0, "null": math.nan}
"""What JSON's words are as a reading."""
ABSENT = object()
"""Stands for what an object has not; null is a missing reading."""

Body = float | Mapping[str, Any] | None
"""What a payload holds: a number, an object, or nothing that can be read."""


@dataclass(frozen=True)
class Reading:
    """One reading of one message, or one message that cannot be read.

    Attributes:
        message: the place of its message.
        series: "" where it has none.
        channel: None where the message cannot be read.
        value: NaN where it is missing.
        label: of the message; NaN where it has none.
        reason: why the message cannot be read; "" where it can.
    """

    message: int
    series: str
    channel: str | None
    value: float = math.nan
    label: float = math.nan
    reason: str = ""


def body_of(payload: bytes) -> Body:
    """Read a payload."""
    try:
        text = payload.decode().strip()
        if not text.startswith("{"):
            if text in WORDS:
                return WORDS[text]
            return float(text) if NUMBER.fullmatch(text) or NOT_A_NUMBER.fullmatch(text) else None
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):  # no UTF-8, no JSON, or nested beyond all sense
        return None
    return found


def clock_of(source: MqttSource) -> str:
    """Return what tells one way of reading times from another, for the names of files."""
    return digest_of([source.time, source.format, None if source.time is None else source.since])[:8]


def times_of(messages: Sequence[Message], bodies: Sequence[Body], source: MqttSource) -> tuple[Ints, list[str]]:
    """Read the clocks of messages.

    Args:
        messages: as they came.
        bodies: of their payloads.
        source: says where the time stands.

    Returns:
        int64 (message,), µs since 1970 UTC, the time of arrival where the message tells none that can be used;
        and of each why not, "" where there is nothing to say.
    """
    arrival = np.array([message.arrival for message in messages], dtype=np.int64)
    if source.time is None:
        return arrival, [""] * len(messages)
    key = source.time
    texts = [_time(value_at(body, key)) if isinstance(body, Mapping) else None for body in bodies]
    us, state = parse_times(pa.array(texts, pa.string()), source.format)  # a time without a zone is UTC
    wrong = [state == MISSING, state > AWARE, us > arrival + AHEAD_US, us < _since(source, arrival)]
    reasons = np.select(wrong, [NO_TIME, UNREADABLE, FUTURE, PAST], "")
    return np.where(reasons == "", us, arrival), reasons.tolist()


def _since(source: MqttSource, arrival: Ints) -> Ints | int:
    """Return the source's first moment, as seen from each arrival."""
    days = to_datetime(0), to_datetime(DAY_US)
    first, second = (to_microseconds(time_of(source.since, day)) for day in days)
    return first if first == second else arrival + first


def readings_of(
    messages: Sequence[Message],
    bodies: Sequence[Body],
    reasons: Sequence[str],
    source: MqttSource,
    channels: Sequence[str],
) -> Iterator[Reading]:
    """Read series, channels and values of messages.

    Args:
        messages: as they came.
        bodies: of their payloads.
        reasons: why the clock of each cannot be read.
        source: says what names what.
        channels: of the watch; other readings are passed over.

    Yields:
        The readings of each message, or the message itself with its reason; nothing of one that holds other channels.
    """
    for at, (message, body, reason) in enumerate(zip(messages, bodies, reasons, strict=True)):
        levels = message.topic.split("/")
        series = _series(levels, body, source.series)
        if body is None:
            yield Reading(at, series, None, reason=NO_PAYLOAD)
        elif reason:
            yield Reading(at, series, None, reason=reason)
        else:
            yield from _of_message(at, series, levels, body, source, channels)


def _of_message(
    at: int, series: str, levels: Sequence[str], body: Body, source: MqttSource, channels: Sequence[str]
) -> Iterator[Reading]:
    label = math.nan
    if isinstance(body, Mapping):
        found = number(value_at(body, source.label))
        if found is None:
            yield Reading(at, series, None, reason=NO_LABEL)
            return
        label = found
    if source.channel is not None or not isinstance(body, Mapping):
        channel = _channel(levels, body, source)
        cells = {channel: value_at(body, source.value) if isinstance(body, Mapping) else body}
        if channel == "":
            yield Reading(at, series, None, reason=NO_CHANNEL)
            return
        if channel not in channels:
            return
    else:
        cells = {channel: value_at(body, channel) for channel in channels}
    if all(cell is ABSENT for cell in cells.values()):
        yield Reading(at, series, None, reason=NO_READING)
        return
    values = {channel: number(cell) for channel, cell in cells.items()}
    if None in values.values():
        yield Reading(at, series, None, reason=NO_NUMBER)
        return
    yield from (Reading(at, series, channel, value, label) for channel, value in values.items() if value is not None)


def value_at(body: Mapping[str, Any], key: str) -> Any:
    """Return what stands under a key, which may hold dots itself or lead by them into objects; else ABSENT."""
    if key in body:
        return body[key]
    first, dot, rest = key.partition(".")
    inner = body.get(first) if dot else None
    return value_at(inner, rest) if isinstance(inner, Mapping) else ABSENT


def number(cell: object) -> float | None:
    """Return a cell of JSON as a reading, NaN where there is none; None where it is no number."""
    if cell is None or cell is ABSENT:
        return math.nan
    if not isinstance(cell, int | float):
        return None
    try:
        return float(cell)
    except OverflowError:
        return math.inf if cell > 0 else -math.inf


def numeric_keys(body: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Give the keys of an object that hold numbers, those of inner objects with dots."""
    for key, cell in body.items():
        if isinstance(cell, Mapping):
            yield from numeric_keys(cell, f"{before}{key}.")
        elif isinstance(cell, int | float):
            yield f"{before}{key}"


def _series(levels: Sequence[str], body: Body, series: tuple[int, ...] | str) -> str:
    if isinstance(series, str):
        return (_text(value_at(body, series)) or "") if isinstance(body, Mapping) else ""
    parts = [levels[level - 1] if level <= len(levels) else "" for level in series]
    return ".".join(parts) if all(parts) else ""


def _channel(levels: Sequence[str], body: Body, source: MqttSource) -> str:
    if source.channel is None:
        return source.value
    if isinstance(source.channel, int):
        return levels[source.channel - 1] if source.channel <= len(levels) else ""
    return (_text(value_at(body, source.channel)) or "") if isinstance(body, Mapping) else ""


def _time(cell: object) -> str | None:
    """Return a time of JSON as text; None where there is none."""
    text = _text(cell)
    return "no time" if text is None and cell is not None and cell is not ABSENT else text


def _text(cell: object) -> str | None:
    """Return a name or a time of JSON as text; None where it is neither text nor a number."""
    if isinstance(cell, str):
        return cell
    return None if isinstance(cell, bool) or not isinstance(cell, int | float) else repr(cell)
