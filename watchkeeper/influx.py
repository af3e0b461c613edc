"""InfluxDB as a watch file names it: versions 1, 2 and 3, which ask for different keys."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from watchkeeper.databases import DatabaseSource, Secret
from watchkeeper.table import Words

NEEDED = {1: ("database",), 2: ("org", "bucket", "token"), 3: ("database", "token")}
ALLOWED = {1: ("database", "retention", "user", "password"), 2: NEEDED[2], 3: NEEDED[3]}
"""Keys that one version asks for, and another does not know."""


class InfluxSource(DatabaseSource):
    """Measurements of an InfluxDB: fields are channels, tags name the series. docs/data.md explains each key."""

    kind: Literal["influxdb"]
    version: Literal[1, 2, 3]
    url: str = Field(description="http://host:8086")
    database: str | None = None
    retention: str | None = Field(default=None, description="version 1: the retention policy; None: the default one")
    user: str | None = None
    password: Secret | None = None
    org: str | None = None
    bucket: str | None = None
    token: Secret | None = None
    measurement: Words = Field(min_length=1, description="one, or several that share their series")
    series: Words = Field(default=(), description="tags that name the series")
    where: dict[str, str] = Field(default={}, description="what a tag must hold, where a point has it")
    label: str = "label"

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", url):
            raise ValueError("no address of a server; wanted one like http://influxdb:8086, user and password apart")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _of_the_version(self) -> Self:
        given = {name for name in {*ALLOWED[1], *ALLOWED[2]} if getattr(self, name) is not None}
        if absent := [name for name in NEEDED[self.version] if name not in given]:
            raise ValueError(f"InfluxDB {self.version} needs {', '.join(absent)}")
        if other := sorted(given - set(ALLOWED[self.version])):
            raise ValueError(f"InfluxDB {self.version} has no {', '.join(other)}; it takes {ALLOWED[self.version]}")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password come together")
        if len(self.measurement) > 1 and not self.series:
            raise ValueError("several measurements share the series that their tags name; give `series`")
        return self

    def wanted(self, measurement: str, channels: tuple[str, ...]) -> dict[str, str]:
        """Return the fields of a measurement that the watch's channels are, by their channels."""
        if len(self.measurement) == 1:
            return {channel: channel for channel in channels}
        return {one: one.removeprefix(f"{measurement}.") for one in channels if one.startswith(f"{measurement}.")}

    def channel(self, measurement: str, field: str) -> str:
        """Return what a field is called as a channel."""
        return field if len(self.measurement) == 1 else f"{measurement}.{field}"
