"""What may go, and why: mark and sweep over what a watch keeps, without touching anything.

Marked are the versions that stay and what they were made from; the latest snapshot and the runs on it; all that is
younger than the grace period, for a retrain under way may be about to refer to it. The rest goes, in an order in which
whatever refers goes before what it refers to, so that a kill in between leaves nothing that points at something gone.
Raw rows that a snapshot names, labels and questions that count, and audit records are no candidates at all.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import PurePosixPath

from watchkeeper.labels import counted
from watchkeeper.records import Snapshot
from watchkeeper.stores import Entry
from watchkeeper.watch import KeepRule


class Kind(StrEnum):
    """The kinds of things that go, in the order in which they go."""

    VERSION = "version"
    VERSION_FILES = "version files"
    REGISTRY_RUN = "registry run"
    RUN = "run"
    LIBRARY = "incident library"
    PREPARED = "prepared rows"
    ANSWERS = "answers"
    SNAPSHOT = "snapshot"
    RAW = "raw rows"
    INBOX = "messages"
    SCORES = "scores"
    STATE = "score state"
    REPORT = "report"
    LEFTOVER = "leftover"


FOLDERS = {
    Kind.VERSION_FILES: "versions/{}",
    Kind.RUN: "runs/{}",
    Kind.LIBRARY: "incidents/{}",
    Kind.PREPARED: "prepared/{}",
    Kind.ANSWERS: "labels/watch={}",
    Kind.SNAPSHOT: "snapshots/{}",
    Kind.RAW: "raw/watch={}",
    Kind.INBOX: "inbox/{}",
    Kind.SCORES: "scores/watch={}",
    Kind.STATE: "states/watch={}",
    Kind.REPORT: "reports/{}",
}
"""Where each kind lies in the lake, by the watch's name."""
SCORED = re.compile(
    r"/series=(?P<series>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d)/v(?P<version>\d+)-\d+-(?P<end>\d+)\.parquet$"
)
STATE = re.compile(r"/series=(?P<series>[^/]+)/v(?P<version>\d+)-(?P<after>-?\d+)-[^/-]+\.safetensors$")
OF_VERSION = re.compile(r"/evaluation-[^/]*-v(\d+)$")
"""A report on the evaluation of a version."""


@dataclass(frozen=True)
class KnownVersion:
    """A version of the registry; `folder` is where its files lie in the lake."""

    number: int
    aliases: tuple[str, ...]
    run: str
    snapshot: str
    folder: str
    made: datetime


@dataclass(frozen=True)
class Made:
    """What a run was made from and where its prepared rows lie."""

    snapshot: str
    prepared: str


@dataclass(frozen=True)
class Found:
    """What there is of a watch.

    Attributes:
        watch: its name.
        entries: the objects of each kind.
        versions: those of the registry.
        runs: by run, what its first step said; a run that was killed before has nothing here.
        questions: keys of the queue.
        named: keys that audit records name.
        registry_runs: runs of the registry without a version: their id and when they began.
        leftovers: unpublished objects, and what probes left behind.
        never_asked: keys of messages that no ingest will ask for.
    """

    watch: str
    entries: Mapping[Kind, Sequence[Entry]]
    versions: Sequence[KnownVersion]
    runs: Mapping[str, Made]
    questions: Sequence[str] = ()
    named: frozenset[str] = frozenset()
    registry_runs: Sequence[tuple[str, datetime]] = ()
    leftovers: Sequence[Entry] = ()
    never_asked: frozenset[str] = frozenset()

    @property
    def latest(self) -> str | None:
        """The newest snapshot's id."""
        return max((PurePosixPath(entry.key).stem for entry in self.entries[Kind.SNAPSHOT]), default=None)


@dataclass(frozen=True)
class Staying:
    """What is marked: numbers of versions, runs, ids of snapshots."""

    versions: frozenset[int]
    runs: frozenset[str]
    snapshots: frozenset[str]


@dataclass(frozen=True)
class Going:
    """One thing that goes: a version, or objects that go together. `name` is for people and for the registry."""

    kind: Kind
    name: str
    why: str
    entries: tuple[Entry, ...] = ()


def mark(found: Found, rule: KeepRule, now: datetime) -> Staying:
    """Say which versions, runs and snapshots stay."""
    since = now - timedelta(hours=rule.grace_hours)
    newest = sorted((version.number for version in found.versions), reverse=True)[: rule.versions]
    versions = [
        version for version in found.versions if version.aliases or version.number in newest or version.made > since
    ]
    folders = _by_part(found.entries[Kind.RUN], 2)
    runs = {version.run for version in versions}
    runs |= {run for run, entries in folders.items() if _young(entries, since)}
    runs |= {run for run, made in found.runs.items() if made.snapshot == found.latest}
    snapshots = {version.snapshot for version in versions}
    snapshots |= {found.runs[run].snapshot for run in runs if run in found.runs}
    snapshots |= {PurePosixPath(entry.key).stem for entry in found.entries[Kind.SNAPSHOT] if entry.modified > since}
    snapshots |= {found.latest} if found.latest else set()
    return Staying(frozenset(version.number for version in versions), frozenset(runs), frozenset(snapshots))


def plan(found: Found, staying: Staying, snapshots: Sequence[Snapshot], rule: KeepRule, now: datetime) -> list[Going]:
    """Say what goes, in the order in which it goes.

    Args:
        found: what there is.
        staying: as from `mark`.
        snapshots: those of `staying` that can be read.
        rule: what the watch wants to keep.
        now: the time; nothing younger than the grace period goes.
    """
    since = now - timedelta(hours=rule.grace_hours)
    going = [
        *_versions(found, staying, rule, since),
        *(
            Going(Kind.REGISTRY_RUN, run, "no version came of it")
            for run, began in found.registry_runs
            if began <= since
        ),
        *_runs(found, staying, since),
        *_prepared(found, staying, since),
        *_answers(found, staying, since),
        *(
            Going(Kind.SNAPSHOT, PurePosixPath(entry.key).stem, "an older one that no version needs", (entry,))
            for entry in found.entries[Kind.SNAPSHOT]
            if PurePosixPath(entry.key).stem not in staying.snapshots
        ),
        *_raw(found, snapshots, since),
        *(
            Going(Kind.INBOX, entry.key, "taken in, or too late for it", (entry,))
            for entry in found.entries[Kind.INBOX]
            if entry.key in found.never_asked and entry.modified <= since
        ),
        *_scores(found, staying, snapshots, rule, since),
        *_states(found, staying, since),
        *_reports(found, staying, rule, now),
        *(
            Going(Kind.LEFTOVER, entry.key, "its writer was killed", (entry,))
            for entry in found.leftovers
            if entry.modified <= since
        ),
    ]
    order = list(Kind)
    return sorted(going, key=lambda one: order.index(one.kind))


def _versions(found: Found, staying: Staying, rule: KeepRule, since: datetime) -> Iterator[Going]:
    used = {version.folder for version in found.versions if version.number in staying.versions}
    for version in sorted(found.versions, key=lambda version: version.number):
        if version.number not in staying.versions:
            yield Going(Kind.VERSION, str(version.number), f"not among the newest {rule.versions}")
    for folder, entries in _by_part(found.entries[Kind.VERSION_FILES], 2).items():
        key = "/".join(PurePosixPath(entries[0].key).parts[:3])
        # Young ones may be those of a version that is being registered anew.
        if key not in used and not _young(entries, since):
            yield Going(Kind.VERSION_FILES, folder, "no version that stays names them", _json_first(entries))


def _runs(found: Found, staying: Staying, since: datetime) -> Iterator[Going]:
    for run, entries in _by_part(found.entries[Kind.RUN], 2).items():
        if run not in staying.runs:
            yield Going(Kind.RUN, run, "no version that stays came of it", _json_first(entries))
    short = {run[:12] for run in staying.runs}
    for entry in found.entries[Kind.LIBRARY]:
        if PurePosixPath(entry.key).stem.rpartition("-")[2] not in short and entry.modified <= since:
            yield Going(Kind.LIBRARY, entry.key, "of a run that is gone", (entry,))


def _prepared(found: Found, staying: Staying, since: datetime) -> Iterator[Going]:
    """Prepared rows serve training alone, and only the latest snapshot is trained on: a run goes on for its grace."""
    folders = _by_part(found.entries[Kind.RUN], 2)
    active = {
        made.prepared for run, made in found.runs.items() if run in staying.runs and _young(folders.get(run, ()), since)
    }
    for snapshot, entries in _by_part(found.entries[Kind.PREPARED], 2).items():
        for name, objects in _by_part(entries, 3).items():
            folder = "/".join(PurePosixPath(objects[0].key).parts[:4])
            if snapshot != found.latest and folder not in active and not _young(objects, since):
                yield Going(Kind.PREPARED, f"{snapshot}/{name}", "a newer snapshot is trained on", tuple(objects))


def _answers(found: Found, staying: Staying, since: datetime) -> Iterator[Going]:
    keys = [entry.key for entry in found.entries[Kind.ANSWERS]]
    uncounted = set(keys) - set(counted(keys, found.questions))
    for entry in found.entries[Kind.ANSWERS]:
        run = PurePosixPath(entry.key).stem.partition("-")[2]
        if entry.key in uncounted and run not in staying.runs and entry.modified <= since:
            yield Going(Kind.ANSWERS, entry.key, "their run died before its questions were written", (entry,))


def _raw(found: Found, snapshots: Iterable[Snapshot], since: datetime) -> Iterator[Going]:
    named = {file.key for snapshot in snapshots for file in snapshot.files}
    for entry in found.entries[Kind.RAW]:
        if entry.key not in named and entry.modified <= since:
            yield Going(Kind.RAW, entry.key, "no snapshot names them", (entry,))


def _scores(
    found: Found, staying: Staying, snapshots: Sequence[Snapshot], rule: KeepRule, since: datetime
) -> Iterator[Going]:
    """Old days of scores; not the newest of a version that stays: a score run goes on from there."""
    if rule.scores_days is None or not snapshots:
        return
    first = f"{max(snapshot.end for snapshot in snapshots) - timedelta(days=rule.scores_days):%Y-%m-%d}"
    newest = _watermarks(found)
    for entry in found.entries[Kind.SCORES]:
        match = SCORED.search(entry.key)
        if match is None or match["date"] >= first or entry.modified > since:
            continue
        which = match["series"], int(match["version"])
        if which[1] not in staying.versions or int(match["end"]) != newest[which]:
            yield Going(Kind.SCORES, entry.key, f"of days more than {rule.scores_days:g} days back", (entry,))


def _states(found: Found, staying: Staying, since: datetime) -> Iterator[Going]:
    """What versions carried from one score run to the next; not that of the newest score of a version that stays."""
    newest = _watermarks(found)
    for entry in found.entries[Kind.STATE]:
        match = STATE.search(entry.key)
        if match is None or entry.modified > since:
            continue
        which = match["series"], int(match["version"])
        if which[1] not in staying.versions or newest.get(which) != int(match["after"]):
            yield Going(Kind.STATE, entry.key, "no score run goes on from it", (entry,))


def _watermarks(found: Found) -> dict[tuple[str, int], int]:
    """Return the time (µs since 1970 UTC) of the newest row that each version has scored, by series and version."""
    newest: dict[tuple[str, int], int] = {}
    for entry in found.entries[Kind.SCORES]:
        if match := SCORED.search(entry.key):
            which = match["series"], int(match["version"])
            newest[which] = max(newest.get(which, 0), int(match["end"]))
    return newest


def _reports(found: Found, staying: Staying, rule: KeepRule, now: datetime) -> Iterator[Going]:
    """Old reports; not those of a version that stays, nor those that an audit record names, nor each kind's newest."""
    if rule.reports_days is None:
        return
    before = now - timedelta(days=max(rule.reports_days, rule.grace_hours / 24))
    newest: dict[str, str] = {}  # of drift checks, evaluations and ingests each: later ones go on from them
    for stem in sorted(_stem(entry.key) for entry in found.entries[Kind.REPORT]):
        newest[PurePosixPath(stem).name.partition("-")[0]] = stem
    kept = {_stem(key) for key in found.named} | set(newest.values())
    for entry in found.entries[Kind.REPORT]:
        stem = _stem(entry.key)
        of_version = OF_VERSION.search(stem)
        needed = stem in kept or (of_version and int(of_version[1]) in staying.versions)
        if entry.modified <= before and not needed:
            yield Going(Kind.REPORT, entry.key, f"more than {rule.reports_days:g} days old", (entry,))


def _stem(key: str) -> str:
    return str(PurePosixPath(key).with_suffix(""))


def _by_part(entries: Iterable[Entry], part: int) -> dict[str, list[Entry]]:
    """Group entries by one part of their keys."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(PurePosixPath(entry.key).parts[part], []).append(entry)
    return groups


def _json_first(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return objects in the order in which they go: the JSON makes the files beside it count, so it goes first."""
    return tuple(sorted(entries, key=lambda entry: (not entry.key.endswith(".json"), entry.key)))


def _young(entries: Iterable[Entry], since: datetime) -> bool:
    return any(entry.modified > since for entry in entries)
