"""MQTT as a watch file names it: which topics, what names series and channels, and how the broker is spoken to."""

import itertools
import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from watchkeeper.databases import DatabaseSource, Secret
from watchkeeper.table import fill

PORTS = {"mqtt": 1883, "mqtts": 8883}
"""Of a broker without TLS, and with it."""


class MqttSource(DatabaseSource):
    """Topics of an MQTT broker, which `watchkeeper listen` writes down and ingest reads. docs/data.md has each key."""

    kind: Literal["mqtt"]
    url: str = Field(description="mqtt://host:1883, or mqtts://host:8883 with TLS")
    topics: tuple[str, ...] = Field(min_length=1, description="filters, with + for a level and # for all that follow")
    series: tuple[int, ...] | str = Field(description="levels of the topic that name the series, from 1; or a JSON key")
    channel: int | str | None = Field(default=None, description="the same of the channel; None: JSON keys are channels")
    value: str = Field(
        default="value", description="channel of a plain number; with `channel`, JSON key of the reading"
    )
    time: str | None = Field(default=None, description="JSON key of the timestamp; None: the time of arrival")
    format: Literal["unix_s", "unix_ms", "unix_us", "unix_ns"] | None = Field(
        default=None, description="of the timestamp; None: ISO 8601"
    )
    label: str = Field(default="label", description="JSON key of the label")
    user: str | None = None
    password: Secret | None = None
    ca: str | None = Field(default=None, description="file with the certificates that are trusted; None: the system's")
    client_id: str | None = Field(default=None, description="None: made of the watch and its lake")
    late_s: float = Field(default=60.0, ge=0, description="longer than flush_s: what the listener holds comes late")
    timeout_s: float = Field(default=10.0, ge=1, description="of a connection")
    flush_s: float = Field(default=20.0, ge=0.1, description="messages are written and acknowledged so often")
    in_flight: int = Field(default=10_000, ge=2, le=65_535, description="messages that the broker sends ahead")
    keep_s: int = Field(default=604_800, ge=0, le=2**32 - 2, description="the broker keeps the session for so long")

    @field_validator("topics", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("series", mode="before")
    @classmethod
    def _levels(cls, value: object) -> object:
        levels = value if isinstance(value, list | tuple) else [value]
        if not (isinstance(value, str) and value) and not (levels and all(_is_level(one) for one in levels)):
            raise ValueError("wanted a level of the topic, from 1, or several as [2, 3], or the key of a JSON object")
        return value if isinstance(value, str) else tuple(levels)

    @field_validator("channel", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        if value is not None and not _is_level(value) and not (isinstance(value, str) and value):
            raise ValueError("wanted a level of the topic, from 1, or the key of a JSON object")
        return value

    @field_validator("topics")
    @classmethod
    def _filters(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        for topic in topics:
            *before, last = topic.split("/")
            levels = [*before, "+" if last == "#" else last]
            if not topic or "\0" in topic or any(one != "+" and re.search(r"[+#]", one) for one in levels):
                raise ValueError(f"{topic!r} is no topic filter; wanted one like plant/+/temperature or plant/#")
            if topic.startswith("$share/"):
                raise ValueError("a shared subscription gives each listener a part; wanted the filter alone")
        for one, other in itertools.combinations(topics, 2):
            if overlap(one, other):
                raise ValueError(f"{one} and {other} have topics in common, whose messages would come twice")
        return topics

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("no user belongs here; write user and password = $NAME")
        if not re.fullmatch(r"mqtts?://([^/?#\[\]:\s]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?", url):
            raise ValueError("no address of a broker; wanted one like mqtt://broker:1883 or mqtts://broker:8883")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password come together")
        if self.ca is not None and not self.has_tls:
            raise ValueError("ca is for mqtts://, which has TLS")
        if self.format is not None and self.time is None:
            raise ValueError("format is that of `time`, the JSON key of the timestamp")
        if self.late_s <= self.flush_s:
            raise ValueError(f"late_s must be longer than flush_s, found {self.late_s:g} and {self.flush_s:g}")
        return self

    @property
    def has_tls(self) -> bool:
        """Whether the broker is spoken to over TLS."""
        return self.url.startswith("mqtts:")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or PORTS[parts.scheme]

    def login(self) -> tuple[str, str] | None:
        """Return user and password; None where the broker asks for none.

        Raises:
            WatchError: the variable that holds the password is not set.
        """
        if self.user is None or self.password is None:
            return None
        return self.user, fill(self.password, "source password", "set it to the user's password")


def _is_level(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def overlap(one: str, other: str) -> bool:
    """Tell whether there is a topic that two filters both match."""
    first, second = one.split("/"), other.split("/")
    if "$" in {one[:1], other[:1]} and first[0] != second[0]:
        return False  # a topic that begins with $ is matched by its name alone
    for mine, theirs in zip(first, second, strict=False):
        if "#" in (mine, theirs):
            return True
        if "+" not in (mine, theirs) and mine != theirs:
            return False
    rest = first[len(second) :] + second[len(first) :]
    return not rest or rest == ["#"]  # `a/#` matches `a`, too
