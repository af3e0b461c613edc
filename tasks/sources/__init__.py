"""Sources: where rows come from. Each gives batches, one series each, in the order of time."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.inbox import Inbox
from tasks.sources.pace import Pace
from watchkeeper.errors import DataError
from watchkeeper.records import Refusal
from watchkeeper.sources import MappedSource, PlantSource, Source


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of one series as a source gave them, not yet validated.

    Attributes:
        series: the series' name.
        origin: where the rows came from, for messages.
        table: a column `timestamp`, the channels, and perhaps a column `label`.
        content: digest of the file whose rows these all are; None where there is no file, or rows of it were left out.
        rows: int64 (time,), where each row stands in the file, from 0; None: in the order of the table.
        reasons: str (time,), why the source itself could not read a row, "" where it could; None: it could read all.
        pace: of the clock, where the file has its rows in another order than the table; None: it is the table's.
        more: further batches of the same file follow. A file is taken in with the last of them, or not at all.
    """

    series: str
    origin: str
    table: pa.Table
    content: str | None = None
    rows: npt.NDArray[np.int64] | None = None
    reasons: npt.NDArray[np.object_] | None = None
    pace: Pace | None = None
    more: bool = False

    def clock(self) -> Pace:
        """Return the pace of the clock."""
        if self.pace is not None:
            return self.pace
        return Pace.of(self.table["timestamp"].drop_null().cast(pa.int64()).to_numpy())


@dataclass(frozen=True)
class Stored:
    """What the lake has of a watch, for a source that goes on where it ends.

    Attributes:
        times: of each series the oldest and the newest stored time.
        channels: of the watch, in order; () before the first ingest of a watch that names none.
        inbox: what a listener has written down; None where there is no lake.
    """

    times: Mapping[str, tuple[datetime, datetime]] = field(default_factory=lambda: MappingProxyType({}))
    channels: tuple[str, ...] = ()
    inbox: Inbox | None = None


def read_source(
    source: Source,
    until: datetime | None,
    seen: Collection[str] = (),
    stored: Stored = Stored(),
    now: datetime | None = None,
) -> Iterator[Batch | Refusal]:
    """Read a source, file by file, or stretch by stretch.

    Args:
        source: as the watch file describes it.
        until: rows from this time on are left for a later ingest; None takes all that the source has.
        seen: digests of files that were taken in whole before; they are passed over.
        stored: what the lake has; a database is asked for what lies beyond it.
        now: what a database's `now` means; None: the present time.

    Raises:
        DataError: the source is not there or holds nothing.
        SourceError: a database cannot be reached, or fails.
    """
    if source.kind == "plant":
        yield from _read_plant(source, until)
    elif isinstance(source, MappedSource) and source.place().startswith("s3://"):
        from tasks.sources.bucket import read_bucket

        yield from read_bucket(source, until, seen, stored.channels)
    elif source.kind == "parquet":
        from tasks.sources.parquet import read_parquet

        yield from read_parquet(source, until, seen)
    elif source.kind == "csv":
        from tasks.sources.delimited import read_csv

        yield from read_csv(source, until, seen)
    elif source.kind == "lines":
        from tasks.sources.lines import read_lines

        yield from read_lines(source, until, seen, stored.channels)
    elif source.kind == "benchmark":
        from tasks.sources.benchmarks import read_benchmark

        yield from read_benchmark(source, until, seen)
    else:
        from tasks.sources.databases import read_database

        yield from read_database(source, until, stored, now or datetime.now(UTC))


def _read_plant(source: PlantSource, until: datetime | None) -> Iterator[Batch]:
    from tasks.sources import plant

    days = source.days if until is None else (until - source.start) / timedelta(days=1)
    if days <= 0:
        raise DataError(f"the plant starts at {source.start:%Y-%m-%d}; it has no rows before {until:%Y-%m-%d %H:%M}")
    shift = plant.Shift(source.shift.after_days, source.shift.strength) if source.shift else None
    config = plant.PlantConfig(start=source.start, seed=source.seed, lines=source.lines, shift=shift)
    for line in range(1, source.lines + 1):
        yield Batch(f"line_{line}", f"plant line_{line}", plant.fabricate(config, line, days).table)
