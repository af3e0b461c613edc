"""Ingest: new rows from the watch's source into the raw store, validated, incremental, a snapshot at the end."""

import itertools
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.quality_run import Quality
from tasks.quarantine import changed_since_stored, not_set_aside_before
from tasks.rows import latest_snapshot, read_timestamps, to_table
from tasks.sources import Batch, Stored, read_source
from tasks.step import step
from tasks.validate import LAST_US, Valid, channels_of, day_of, ranges_of, validate
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.databases import DatabaseSource
from watchkeeper.errors import DataError
from watchkeeper.labels import counted, events_of, write_labels
from watchkeeper.lake import Lake, digest, digest_of, parquet_bytes
from watchkeeper.progress import progress_of
from watchkeeper.records import Ingested, RawFile, Refusal, Snapshot
from watchkeeper.watch import Watch

CLOCK_SLACK = timedelta(days=1)
"""How far a source's clock may run ahead of ours before a row counts as in the future."""


@step(retries=2)
def ingest(lake_uri: str, watch: Watch, until: datetime | None = None) -> Ingested:
    """Take in what the source has beyond what is stored.

    Raw files and labels are written first, the snapshot last: until then nothing refers to them, and a second run
    writes the same files under the same keys.

    Raises:
        DataError: the source is missing, or there is no usable row at all.
        SourceError: a database cannot be reached, or fails.
    """
    lake = Lake(lake_uri)
    before = latest_snapshot(lake, watch.name)
    now = datetime.now(UTC)
    run = _Run(lake, watch, before, now)
    tell = progress_of("ingest")
    stored = Stored(before.times, before.channels) if before else Stored(channels=watch.channels)
    for item in read_source(watch.source, until, before.sources if before else (), stored, now):
        if isinstance(item, Refusal):
            run.refused.append(item)
        else:
            tell(0.0, item.origin)
            run.take(item)
    if not run.new_files and before is None:
        first = f"; first problem: {run.refused[0].origin}: {run.refused[0].reason}" if run.refused else ""
        raise DataError(f"watch {watch.name}: the source has no usable row{first}")
    snapshot = run.publish()
    page, found = run.quality.written or ("", None)
    return Ingested(
        snapshot=snapshot.id,
        rows=snapshot.rows,
        new_rows=sum(file.rows for file in run.new_files),
        quarantined=dict(run.quarantined),
        refused=tuple(run.refused),
        warnings=tuple(run.warnings),
        findings=found.kinds() if found else {},
        report=page,
    )


class _Run:
    """What one ingest gathers before it publishes."""

    def __init__(self, lake: Lake, watch: Watch, before: Snapshot | None, now: datetime) -> None:
        self._lake, self._watch, self._before = lake, watch, before
        self._channels = before.channels if before else watch.channels
        if before and watch.channels and watch.channels != before.channels:
            raise DataError(
                f"watch {watch.name}: the channels in its file are not those of its data "
                f"({len(watch.channels)} against {len(before.channels)}); a watch keeps its channels: start a new watch"
            )
        self._known: dict[str, tuple[int, npt.NDArray[np.int64]]] = {}
        self._sources = set(before.sources if before else ())
        # A plant that is fabricated lives in a time of its own.
        self._latest = LAST_US if watch.source.kind == "plant" else to_microseconds(now + CLOCK_SLACK)
        self.new_files: list[RawFile] = []
        self.refused: list[Refusal] = []
        self.warnings: list[str] = []
        self.quarantined: Counter[str] = Counter()
        self.quality = Quality(lake, watch, before)

    def take(self, batch: Batch) -> None:
        """Validate a batch and write its rows, its labels and what goes to quarantine."""
        self._channels = self._channels or channels_of(batch)
        known = self._stored(batch)
        ranges = ranges_of(self._watch.ranges, self._channels)
        outside = ranges if self._watch.ranges.action == "quarantine" else None
        try:
            valid = validate(batch, self._channels, bool(self._watch.channels), known, self._latest, outside)
        except DataError as error:
            if isinstance(self._watch.source, DatabaseSource):
                # Behind the newest row of the other series, its rows would never be asked for again.
                raise DataError(f"{batch.origin}: {error}") from error
            self.refused.append(Refusal(origin=batch.origin, reason=str(error)))
            return
        if batch.content:
            self._sources.add(batch.content)
        self.warnings += valid.warnings
        if isinstance(self._watch.source, DatabaseSource):
            aside = [valid.quarantine, changed_since_stored(self._lake, self._before, batch, self._channels)]
            new = not_set_aside_before(self._lake, self._watch.name, batch.series, pa.concat_tables(aside))
            valid = replace(valid, quarantine=new, known=valid.known + len(valid.quarantine) - len(new))
        self.quarantined += valid.reasons()
        self.quality.take(batch, valid, ranges)
        if len(valid.quarantine):
            data = parquet_bytes(valid.quarantine)
            self._lake.put(f"quarantine/{self._watch.name}/series={batch.series}/{digest(data)[:32]}.parquet", data)
        if len(valid.timestamps):
            self._write_rows(batch.series, valid)
            since, _ = self._known[batch.series]
            self._known[batch.series] = since, np.concatenate([known, valid.timestamps])

    def _stored(self, batch: Batch) -> npt.NDArray[np.int64]:
        """Return the timestamps stored for the batch's series, from its first row on: of years, a batch needs days."""
        first = pc.min(batch.table["timestamp"].cast(pa.int64())).as_py()
        since, known = self._known.get(batch.series, (sys.maxsize, np.empty(0, np.int64)))
        if first is not None and first < since:
            since = first
            if self._before:
                stored = read_timestamps(self._lake, self._before, batch.series, since)
                known = np.union1d(stored, known)  # together with what this ingest has written
        self._known[batch.series] = since, known
        return known

    def _write_rows(self, series: str, valid: Valid) -> None:
        days = day_of(valid.timestamps)
        cuts = np.r_[0, np.flatnonzero(np.diff(days)) + 1, len(days)]
        for start, end in itertools.pairwise(cuts):
            stamps = valid.timestamps[start:end]
            data = parquet_bytes(to_table(stamps, valid.values[start:end], self._channels))
            sha256, date = digest(data), f"{to_datetime(stamps[0]):%Y-%m-%d}"
            key = f"raw/watch={self._watch.name}/series={series}/date={date}/{sha256[:32]}.parquet"
            self._lake.put(key, data)
            self.new_files.append(
                RawFile(
                    key=key,
                    series=series,
                    date=date,
                    rows=int(end - start),
                    start=to_datetime(stamps[0]),
                    end=to_datetime(stamps[-1]),
                    sha256=sha256,
                )
            )
        events = events_of(series, valid.timestamps, valid.label)
        if events:
            # The batch's newest row stands for the time of the import, so that the same rows give the same bytes.
            when = to_datetime(valid.timestamps[-1])
            write_labels(self._lake, self._watch.name, events, "source", "imported", when)

    def publish(self) -> Snapshot:
        """Write the snapshot that holds all rows so far, or return the old one if nothing came."""
        files = (*(self._before.files if self._before else ()), *self.new_files)
        queue = tuple(self._lake.list(f"queue/{self._watch.name}"))  # before the labels, which are written first
        labels = counted(self._lake.list(f"labels/watch={self._watch.name}"), queue)
        sources = tuple(sorted(self._sources))
        same = self._before and (labels, queue, sources) == (
            self._before.labels,
            self._before.queue,
            self._before.sources,
        )
        if self._before and same and not self.new_files:
            self.quality.write(self._before, self.refused)
            return self._before
        content = digest_of([[file.sha256 for file in files], labels, queue, self._channels])
        number = int(self._before.id.split("-")[0]) + 1 if self._before else 1
        snapshot = Snapshot(
            id=f"{number:06d}-{content[:12]}",
            watch=self._watch.name,
            channels=self._channels,
            files=files,
            labels=labels,
            queue=queue,
            sources=sources,
            rows=sum(file.rows for file in files),
            start=min(file.start for file in files),
            end=max(file.end for file in files),
        )
        self.quality.write(snapshot, self.refused)
        self._lake.put_json(f"snapshots/{self._watch.name}/{snapshot.id}.json", snapshot.model_dump(mode="json"))
        return snapshot
