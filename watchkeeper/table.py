"""What the tables of a watch file have in common: frozen, unknown keys refused, times in UTC, variables filled in."""

import os
import re
import zoneinfo
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from watchkeeper.errors import WatchError

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
"""An environment variable that a watch file names: `$NAME` or `${NAME}`."""


class Table(BaseModel):
    """A table of a watch file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A list of words, or one word for a list of one."""


def as_utc(time: datetime) -> datetime:
    """Return the time in UTC; one without a zone is taken as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def require_zone(zone: str | None) -> str | None:
    """Refuse what is no time zone; None stands for none.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        if zone is not None:
            zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("no time zone; wanted a name like Europe/Berlin") from error
    return zone


def fill(text: str, where: str, mend: str) -> str:
    """Put in what the environment variables hold that a text names.

    Args:
        text: from a watch file.
        where: what it is, for the message.
        mend: what the variable should be, for the message.

    Raises:
        WatchError: a variable is not set.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise WatchError(f"{where}: the environment variable {name} is not set; {mend}")
        return os.environ[name]

    return VARIABLE.sub(value, text)
