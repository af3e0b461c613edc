"""Types of the flows' parameters: what Prefect's server checks before it makes a run, and what the flow then gets."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from watchkeeper.watch import NAME


def _to_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


WatchName = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
"""The name of a watch file."""

Time = Annotated[
    datetime,
    AfterValidator(_to_utc),
    # Prefect's server does not check a schema's `format`, but it does check a pattern.
    Field(
        json_schema_extra={
            "pattern": r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$",
        }
    ),
]
"""A time: 2026-01-26 or 2026-01-26T12:00; one without a zone is UTC."""
