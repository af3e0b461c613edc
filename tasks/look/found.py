"""What a look at a place has found: the source, what is in it, and what is suggested for a watch on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.look.cost import Cost
from tasks.look.rhythm import Rhythm
from tasks.look.roles import Columns
from tasks.look.suggest import Suggestion


@dataclass(frozen=True)
class Channel:
    """A channel, as it is in the rows that were looked at.

    Attributes:
        name: of the channel.
        missing: share of its readings that are missing.
        low, high: its range; NaN where it has no reading.
        column: what the file calls it.
    """

    name: str
    missing: float
    low: float
    high: float
    column: str


@dataclass(frozen=True)
class Found:
    """What a look has found.

    Attributes:
        name: what a watch may be called.
        source: the keys of its source.
        about: what was looked at, in words.
        columns: what the columns are; None where the source knows that itself.
        channels: in order.
        rows: of all series; exact where `whole`.
        whole: whether all rows were looked at.
        series: names of those that were looked at.
        series_count: how many there are, as far as files tell.
        start, end: of the rows that were looked at.
        rhythm: of the rows.
        anomalous, labelled: rows with label 1, and with a label.
        quarantined: rows that a watch would not take in, by reason.
        suggestion: for the watch.
        cost: of a retrain and of a day.
        day_rows: rows that a day brings.
        notes: what a person should know.
    """

    name: str
    source: Mapping[str, Any]
    about: str
    columns: Columns | None
    channels: tuple[Channel, ...]
    rows: int
    whole: bool
    series: tuple[str, ...]
    series_count: int
    start: datetime
    end: datetime
    rhythm: Rhythm
    anomalous: int
    labelled: int
    quarantined: Mapping[str, int]
    suggestion: Suggestion
    cost: Cost
    day_rows: float
    notes: tuple[str, ...] = field(default=())
