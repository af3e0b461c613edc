"""The library of past incidents: does the candidate still find what the watch has lived through?

An incident is a stretch that people or sources called anomalous, in rows before the held-out ones. The library holds
references to raw rows, never rows. Candidate and champion are scored on the same incidents, with all that is known now.
The candidate may have been trained on an incident and its label, so finding it proves no skill on new rows: the library
can speak against a candidate, never for it (docs/adr/0008-incident-library.md).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.calibration import Scores
from models.detector import Detector
from models.detector import Scored as SeriesScored
from models.metrics import alarm_events
from models.parts import Bounds
from tasks import runs
from tasks.prepare import history_start
from tasks.rows import Rows, from_table, read_snapshot, read_timestamps
from tasks.train_agent import questions_of
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.labels import asked_for, label_samples, read_labels
from watchkeeper.lake import Lake
from watchkeeper.records import Incident, IncidentResult, Prepared, Question, Snapshot, Trained
from watchkeeper.watch import Watch

CONTEXT = 2_880
"""Rows before an incident that are scored with it: two days of minutes. Windows, averages and hidden states forget
within hundreds of rows; the threshold is to see what was usual at that time."""
AFTER = 60
"""Rows after an incident that are read for the pictures."""
FEWEST = 100
"""Rows of context without which an incident is left out: nothing can be in the swing."""
MOST = 200
"""Incidents of a watch that are kept, the newest ones: bounds what an evaluation costs."""
MERGE = 10
"""Labelled stretches closer than so many rows are one incident, as two such alarms are one alarm."""
SAME_WORLD = 1.0
"""How far the median score around an incident may lie from that of the held-out rows. One is the distance from the
median to the 90 % quantile of the calibration scores (models/calibration.py)."""

Times = npt.NDArray[np.int64]


class Taught(NamedTuple):
    """An anomalous stretch that a candidate was told of in training: times in µs since 1970 UTC, half open."""

    series: str
    start: int
    end: int

    def overlaps(self, incident: Incident) -> bool:
        """Tell whether it says something of an incident."""
        inside = self.start < to_microseconds(incident.end) and self.end > to_microseconds(incident.start)
        return inside and self.series == incident.series


@dataclass(frozen=True, eq=False)
class Judged:
    """A past incident with the rows around it, as both detectors see them; `span` is its rows, half open."""

    result: IncidentResult
    rows: Rows
    span: tuple[int, int]
    own: SeriesScored
    champion: SeriesScored | None


def store_library(
    lake: Lake, watch: Watch, prepared: Prepared, before: Mapping[str, int]
) -> tuple[str, list[Incident]]:
    """Build a run's library (`build_library`), write it, and return it with its key."""
    snapshot = read_snapshot(lake, watch.name, prepared.snapshot)
    library = build_library(lake, snapshot, read_labels(lake, snapshot.labels), before)
    key = f"incidents/{watch.name}/{prepared.snapshot}-{runs.run_key(watch, prepared.snapshot)[:12]}.json"
    lake.put_json(key, [incident.model_dump(mode="json") for incident in library])
    return key, library


def build_library(lake: Lake, snapshot: Snapshot, events: pa.Table, before: Mapping[str, int]) -> list[Incident]:
    """Find the incidents of a snapshot that lie before the held-out rows.

    Args:
        lake: where the rows are.
        snapshot: which rows there are.
        events: all that is known, as from `read_labels`; what was only inferred (`propagated`) does not count.
        before: µs since 1970 UTC by series: its first held-out row. Other series have no incidents.

    Returns:
        At most MOST, oldest first.
    """
    told = events.filter(pc.not_equal(events["origin"], "propagated"))
    found: list[Incident] = []
    for series, held_out in before.items():
        times = read_timestamps(lake, snapshot, series)
        label = label_samples(told, series, times)
        until = int(np.searchsorted(times, held_out))
        for start, end in alarm_events(label == 1, MERGE).tolist():
            if start < FEWEST or end > until:  # an incident that reaches into the held-out rows is judged there
                continue
            since, last = times[max(0, start - CONTEXT)], times[min(end + AFTER, until) - 1]
            found.append(
                Incident(
                    series=series,
                    start=to_datetime(times[start]),
                    end=to_datetime(times[end - 1] + 1),
                    since=to_datetime(since),
                    files=_files(snapshot, series, int(since), int(last)),
                )
            )
    return sorted(found, key=lambda incident: (incident.start, incident.series))[-MOST:]


def judge_incidents(
    lake: Lake,
    library: Sequence[Incident],
    channels: tuple[str, ...],
    detector: Detector,
    champion: Detector | None,
    learnt: Sequence[Taught],
    usual: Mapping[str, float],
) -> list[Judged]:
    """Score the incidents with candidate and champion.

    Args:
        lake: where the rows are.
        library: the incidents.
        channels: of the rows, in the order that both detectors know.
        detector: the candidate.
        champion: None where there is none, or none that knows these channels.
        learnt: what the candidate was told in training.
        usual: by series, the median of the candidate's score on held-out rows.
    """
    judged: list[Judged] = []
    for series, together in _groups(library):
        rows = _read(lake, together, channels)
        own, _ = detector.score(series, rows.values, rows.timestamps)
        theirs = None
        if champion is not None and series in champion.series:
            theirs, _ = champion.score(series, rows.values, rows.timestamps)
        bad = np.zeros(len(rows), dtype=np.bool_)
        places = []
        for incident in together:
            edges = [to_microseconds(incident.start), to_microseconds(incident.end)]
            first, stop = np.searchsorted(rows.timestamps, edges).tolist()
            bad[first:stop] = True
            places.append((first, stop))
        for incident, (first, stop) in zip(together, places, strict=True):
            begin = int(np.searchsorted(rows.timestamps, to_microseconds(incident.since)))
            around = own.score[begin:first][~bad[begin:first]]
            result = IncidentResult(
                series=series,
                start=incident.start,
                end=incident.end,
                learnt=any(one.overlaps(incident) for one in learnt),
                comparable=_same_world(around, usual[series]),
                found=bool(own.alarm[first:stop].any()),
                delay_s=_delay_s(rows.timestamps, own, first, stop),
                champion_found=None if theirs is None else bool(theirs.alarm[first:stop].any()),
                champion_delay_s=None if theirs is None else _delay_s(rows.timestamps, theirs, first, stop),
            )
            judged.append(Judged(result, rows, (first, stop), own, theirs))
    return sorted(judged, key=lambda one: (one.result.start, one.result.series))


def taught_events(
    lake: Lake, watch: Watch, prepared: Prepared, candidate: Trained, bounds: Mapping[str, Bounds]
) -> list[Taught]:
    """Return the anomalous stretches of training rows that the candidate was told of, answers to its questions too."""
    snapshot = read_snapshot(lake, watch.name, prepared.snapshot)
    events = read_labels(lake, snapshot.labels)
    if watch.labels.imported == "oracle":
        events = asked_for(events)
    taught = []
    after = history_start(snapshot, watch)
    for series, where in bounds.items():
        times = read_timestamps(lake, snapshot, series)
        times = times[0 if after is None else int(np.searchsorted(times, after, side="right")) :][: where.train]
        told = label_samples(events, series, times) == 1
        taught += [Taught(series, int(times[a]), int(times[b - 1]) + 1) for a, b in alarm_events(told, 0).tolist()]
    for item in questions_of(lake, candidate):  # answered while it trained, so the snapshot has not got them
        question = Question(**item)
        if question.answer == 1:
            taught.append(Taught(question.series, to_microseconds(question.start), to_microseconds(question.end)))
    return taught


def _same_world(around: Scores, usual: float) -> bool:
    return len(around) > 0 and abs(float(np.median(around)) - usual) <= SAME_WORLD


def _delay_s(times: Times, scored: SeriesScored, first: int, stop: int) -> float | None:
    raised = np.flatnonzero(scored.alarm[first:stop])
    return float(times[first + raised[0]] - times[first]) / 1e6 if len(raised) else None


def _groups(library: Iterable[Incident]) -> Iterator[tuple[str, list[Incident]]]:
    """Put incidents of a series together whose context overlaps: their rows are read and scored once."""
    by_series: dict[str, list[Incident]] = {}
    for incident in sorted(library, key=lambda one: one.start):
        by_series.setdefault(incident.series, []).append(incident)
    for series, incidents in by_series.items():
        together = [incidents[0]]
        for incident in incidents[1:]:
            if incident.since <= together[-1].end:
                together.append(incident)
            else:
                yield series, together
                together = [incident]
        yield series, together


def _read(lake: Lake, together: Sequence[Incident], channels: tuple[str, ...]) -> Rows:
    """Read the rows of incidents whose context overlaps, from the first one's context on."""
    keys = dict.fromkeys(key for incident in together for key in incident.files)
    parts = [from_table(table, channels) for table in lake.get_tables(list(keys), ["timestamp", *channels])]
    parts.sort(key=lambda part: int(part.timestamps[0]))
    times = np.concatenate([part.timestamps for part in parts])
    values = np.concatenate([part.values for part in parts])
    first = int(np.searchsorted(times, to_microseconds(together[0].since)))
    stop = int(np.searchsorted(times, to_microseconds(together[-1].end))) + AFTER
    return Rows(times[first:stop], values[first:stop])


def _files(snapshot: Snapshot, series: str, first: int, last: int) -> tuple[str, ...]:
    files = (file for file in snapshot.files if file.series == series)
    chosen = [file for file in files if to_microseconds(file.end) >= first and to_microseconds(file.start) <= last]
    return tuple(file.key for file in sorted(chosen, key=lambda file: file.start))
