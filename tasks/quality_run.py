"""The quality of one ingest: gathered batch by batch, written as a report that the next ingest goes on from."""

import copy
from collections.abc import Sequence
from typing import Any

from tasks.quality import Tally
from tasks.quality_findings import figures, findings
from tasks.quality_report import QualityReport, page
from tasks.rows import latest_snapshot
from tasks.sources import Batch
from tasks.validate import Ranges, Valid
from watchkeeper.lake import Lake, digest_of
from watchkeeper.records import Refusal, Snapshot
from watchkeeper.watch import Watch


class Quality:
    """What one ingest finds of the quality of its rows."""

    def __init__(self, lake: Lake, watch: Watch, before: Snapshot | None) -> None:
        """Begin where the ingest that made the snapshot `before` ended."""
        self._lake, self._watch = lake, watch
        self._state: dict[str, Any] = {}
        if before and (key := latest_key(lake, before)):
            self._state = lake.get_json(key)["state"]
        self._tallies: dict[str, Tally] = {}
        self._before_file: dict[str, Tally | None] = {}
        self.written: tuple[str, QualityReport] | None = None

    def take(self, batch: Batch, valid: Valid, ranges: Ranges) -> None:
        """Count what a batch brought.

        Args:
            batch: as the source gave it.
            valid: what became of it.
            ranges: of its channels.
        """
        tally = self._tallies.get(batch.series)
        if batch.series not in self._before_file:
            self._before_file[batch.series] = copy.deepcopy(tally)
        if tally is None:
            known = self._state.get(batch.series)
            tally = self._tallies[batch.series] = Tally.go_on(known) if known else Tally(valid.values.shape[1])
        tally.add_read(batch.clock(), valid.known, valid.reasons())
        tally.add_rows(valid.timestamps, valid.values, *ranges)

    def keep_file(self) -> None:
        """Keep what was counted since the last file."""
        self._before_file.clear()

    def undo_file(self) -> None:
        """Forget what was counted since the last file."""
        for series, tally in self._before_file.items():
            if tally is None:
                del self._tallies[series]
            else:
                self._tallies[series] = tally
        self._before_file.clear()

    def write(self, snapshot: Snapshot, refused: Sequence[Refusal]) -> None:
        """Write the report under `reports/`, unless nothing came.

        Args:
            snapshot: of all rows, those of this ingest among them; it is published after.
            refused: files.
        """
        told = {name: tally for name, tally in sorted(self._tallies.items()) if tally.rows or tally.quarantined}
        if not told and not refused:
            return
        ranges = self._watch.ranges.limits
        series = tuple(figures(name, tally, snapshot.channels, ranges) for name, tally in told.items())
        report = QualityReport(
            watch=self._watch.name,
            snapshot=snapshot.id,
            series=series,
            refused=tuple(refused),
            findings=tuple(findings(series, refused)),
        )
        state = {**self._state, **{name: tally.state() for name, tally in self._tallies.items()}}
        whole = {"report": report.model_dump(mode="json"), "state": state}
        number = snapshot.id.partition("-")[0]
        stem = f"{_folder(snapshot)}/quality-{number}-{_rows(snapshot)}-{digest_of(whole)[:12]}"
        self._lake.put(f"{stem}.html", page(report).encode())
        self._lake.put_json(f"{stem}.json", whole)
        self.written = self._lake.uri_of(f"{stem}.html"), report


def latest_key(lake: Lake, snapshot: Snapshot) -> str | None:
    """Return the key of the newest report of the ingests after which there were the rows of a snapshot, or None.

    Labels and questions alone make new snapshots of the same rows, without a report.
    """
    ours = f"-{_rows(snapshot)}-"
    entries = [one for one in lake.entries(_folder(snapshot)) if ours in one.key and one.key.endswith(".json")]
    return max(entries, key=lambda one: (one.modified, one.key)).key if entries else None


def latest_report(lake: Lake, watch: str) -> tuple[str, str] | None:
    """Return what the report of the latest ingest says in one line, and its page's URI; None where there is none."""
    snapshot = latest_snapshot(lake, watch)
    key = latest_key(lake, snapshot) if snapshot else None
    if key is None:
        return None
    return str(QualityReport(**lake.get_json(key)["report"])), lake.uri_of(f"{key.removesuffix('.json')}.html")


def _rows(snapshot: Snapshot) -> str:
    """Name the rows of a snapshot by their digest."""
    return digest_of([file.sha256 for file in snapshot.files])[:12]


def _folder(snapshot: Snapshot) -> str:
    return f"reports/{snapshot.watch}/{snapshot.end:%Y-%m-%d}"
