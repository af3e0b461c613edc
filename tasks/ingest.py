"""Ingest: new rows from the watch's source into the raw store, validated, incremental, a snapshot at the end."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from tasks.inbox import Inbox
from tasks.intake import Intake
from tasks.quality_run import Quality
from tasks.raw_files import Stock
from tasks.rows import latest_snapshot
from tasks.sources import Batch, Stored, read_source
from tasks.step import step
from tasks.validate import LAST_US
from watchkeeper.clock import to_microseconds
from watchkeeper.databases import DatabaseSource
from watchkeeper.errors import DataError
from watchkeeper.labels import counted
from watchkeeper.lake import Lake, digest_of
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
    inbox = Inbox(lake, watch.name)
    stored = Stored(before.times, before.channels, inbox) if before else Stored(channels=watch.channels, inbox=inbox)
    read = 0
    for item in read_source(watch.source, until, before.sources if before else (), stored, now):
        if isinstance(item, Refusal):
            run.refuse(item)
        else:
            read += len(item.table)
            tell(0.0, f"{item.origin}, {read:,} rows so far")  # nobody knows how many there are
            run.take(item)
    run.end_file()
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
        self._stock = Stock(lake, before.files if before else ())
        self._file: Intake | None = None
        self._sources = set(before.sources if before else ())
        # A plant that is fabricated lives in a time of its own.
        self._latest = LAST_US if watch.source.kind == "plant" else to_microseconds(now + CLOCK_SLACK)
        self.new_files: list[RawFile] = []
        self.refused: list[Refusal] = []
        self.warnings: list[str] = []
        self.quarantined: Counter[str] = Counter()
        self.quality = Quality(lake, watch, before)

    def take(self, batch: Batch) -> None:
        """Take in a batch; its file counts once the last batch of it is here. A database is one file."""
        database = isinstance(self._watch.source, DatabaseSource)
        origin = f"the {self._watch.source.kind} source" if database else batch.origin
        if self._file and self._file.origin != origin:
            self.end_file()
        if self._file is None:
            self._file = Intake(self._lake, self._watch, origin, self._channels, self._stock, self._before)
        self._file.take(batch, self._latest, self.quality)
        if not (batch.more or database):
            self.end_file()

    def refuse(self, refusal: Refusal) -> None:
        """Note a file that cannot be used; what came of it before that was found is left out."""
        if self._file and self._file.origin == refusal.origin:
            self._file.undo()
            self.quality.undo_file()
            self._file = None
        self.end_file()
        self.refused.append(refusal)

    def end_file(self) -> None:
        """Keep what came of the file that is being taken in, if there is one."""
        if self._file is None:
            return
        files, warnings = self._file.keep()
        self.quality.keep_file()
        for file in files:
            self._stock.add(file)
        self.new_files += files
        self.warnings += warnings
        self.refused += self._file.refused.values()
        self.quarantined += self._file.quarantined
        self._sources |= self._file.content
        self._channels = self._file.channels
        self._file = None

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
