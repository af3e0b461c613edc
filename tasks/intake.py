"""One file of a source, or all that a database gives, on its way into the lake: all of it comes in, or nothing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.quality_run import Quality
from tasks.quarantine import Aside, changed_since_stored, not_set_aside_before
from tasks.raw_files import Ints, RawWriter, Stock
from tasks.remarks import Remarks
from tasks.sources import Batch
from tasks.validate import Before, Ranges, Valid, channels_of, ranges_of, validate
from watchkeeper.clock import to_datetime
from watchkeeper.databases import DatabaseSource
from watchkeeper.errors import DataError
from watchkeeper.labels import Event, events_of, write_labels
from watchkeeper.lake import Lake
from watchkeeper.records import RawFile, Refusal, Snapshot
from watchkeeper.watch import Watch


class Intake:
    """What came of one file so far.

    Attributes:
        origin: what the file is called.
        channels: the watch's; () until a batch says which.
        content: digests of what was taken in whole.
        refused: series of the file that could not be used, and why.
        quarantined: rows that went to quarantine, by reason.
    """

    def __init__(
        self, lake: Lake, watch: Watch, origin: str, channels: tuple[str, ...], stock: Stock, before: Snapshot | None
    ) -> None:
        """Begin without rows.

        Args:
            lake: where to.
            watch: whose rows they are.
            origin: what the file is called.
            channels: of the watch; () where this file is the first.
            stock: what is stored.
            before: what was stored when the ingest began.
        """
        self.origin, self.channels = origin, channels
        self._lake, self._watch, self._stock, self._before = lake, watch, stock, before
        self._own = Stock(lake)
        self._series: dict[str, _Series] = {}
        self._aside = Aside(lake, watch.name)
        self.content: set[str] = set()
        self.refused: dict[str, Refusal] = {}
        self.quarantined: Counter[str] = Counter()

    def take(self, batch: Batch, latest: int, quality: Quality) -> None:
        """Validate a batch, and write what has become whole.

        Args:
            batch: the file's next.
            latest: µs since 1970 UTC; a later row is in the future.
            quality: counts it.

        Raises:
            DataError: a database's rows do not fit the watch, or a range is one of no channel.
        """
        if batch.series in self.refused:
            return
        channels = self.channels or channels_of(batch)
        ranges = ranges_of(self._watch.ranges, channels)
        try:
            valid = self._validate(batch, channels, latest, ranges)
        except DataError as error:
            if isinstance(self._watch.source, DatabaseSource):
                # Behind the newest row of the other series, its rows would never be asked for again.
                raise DataError(f"{batch.origin}: {error}") from error
            self.refused[batch.series] = Refusal(origin=batch.origin, reason=str(error))
            return
        self.channels = channels
        batch = replace(batch, pace=batch.clock())  # the report and the remarks count by it
        if batch.content:
            self.content.add(batch.content)
        self.quarantined += valid.reasons()
        quality.take(batch, valid, ranges)
        self._aside.add(batch.series, valid.quarantine)
        series = self._series.get(batch.series)
        if series is None:
            series = self._series[batch.series] = _Series(self._lake, self._watch.name, batch.series, channels)
        for file in series.add(batch, valid):
            self._own.add(file)

    def keep(self) -> tuple[list[RawFile], list[str]]:
        """Write the rest; return the raw files and what a person should know."""
        files: list[RawFile] = []
        lines: list[str] = []
        for name, series in self._series.items():
            files += series.close(self._watch.name)
            lines += series.remarks.told(name if isinstance(self._watch.source, DatabaseSource) else self.origin)
        self._aside.close()
        return files, lines

    def undo(self) -> None:
        """Leave nothing that anybody reads: raw files that no snapshot names are garbage."""
        self._aside.undo()

    def _validate(self, batch: Batch, channels: tuple[str, ...], latest: int, ranges: Ranges) -> Valid:
        outside = ranges if self._watch.ranges.action == "quarantine" else None
        before = self._come_before(batch)
        valid = validate(batch, channels, bool(self._watch.channels), before, latest, outside)
        if not isinstance(self._watch.source, DatabaseSource):
            return valid
        aside = [valid.quarantine, changed_since_stored(self._lake, self._before, batch, channels)]
        new = not_set_aside_before(self._lake, self._watch.name, batch.series, pa.concat_tables(aside))
        return replace(valid, quarantine=new, known=valid.known + len(valid.quarantine) - len(new))

    def _come_before(self, batch: Batch) -> Before:
        """Say what is there of the batch's series."""
        stamps = batch.table["timestamp"].cast(pa.int64()).drop_null().to_numpy()
        if not len(stamps):
            return Before()
        first, last = int(stamps.min()), int(stamps.max())
        own, series = self._own.between(batch.series, first, last), self._series.get(batch.series)
        if series and series.newest is not None and series.newest >= first:
            own = np.unique(np.concatenate([own, series.raw.times_held()]))
        newest = [self._stock.newest(batch.series), series.newest if series else None]
        told = max((time for time in newest if time is not None), default=None)
        return Before(self._stock.between(batch.series, first, last), own, told)


class _Series:
    """What came of one series of a file so far."""

    def __init__(self, lake: Lake, watch: str, series: str, channels: tuple[str, ...]) -> None:
        self._lake, self._name = lake, series
        self.raw = RawWriter(lake, watch, series, channels)
        self.remarks = Remarks(channels)
        self.newest: int | None = None
        self._events: list[Event] = []
        self._last_label = -1

    def add(self, batch: Batch, valid: Valid) -> list[RawFile]:
        """Take in rows; return the raw files that were written."""
        self.remarks.add(batch.clock(), valid.values)
        if not len(valid.timestamps):
            return []
        written = len(self.raw.files)
        self.raw.add(valid.timestamps, valid.values)
        self._add_labels(valid.timestamps, valid.label)
        self.newest = int(valid.timestamps[-1])
        return self.raw.files[written:]

    def _add_labels(self, times: Ints, label: npt.NDArray[np.int8]) -> None:
        events = events_of(self._name, times, label)
        if events and self._events and self._last_label == label[0] >= 0:  # one event, cut in two
            _, start, _, same = self._events.pop()
            events[0] = self._name, start, events[0][2], same
        self._events += events
        self._last_label = int(label[-1])

    def close(self, watch: str) -> list[RawFile]:
        """Write what is held; return all raw files."""
        self.raw.close()
        if self._events and self.newest is not None:
            # The newest row stands for the time of the import, so that the same rows give the same bytes.
            write_labels(self._lake, watch, self._events, "source", "imported", to_datetime(self.newest))
        return self.raw.files
