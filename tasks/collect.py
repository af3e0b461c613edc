"""Collect: clear what no version needs any more, what killed runs left, and what the watch's rule does not keep.

What goes is planned first (tasks/collect_plan.py) and deleted kind by kind. Just before a kind goes, its folder is read
again: an object that was written anew in the meantime stays, and so do rows that a new snapshot names. Killed and
started again, it ends where it would have ended.
"""

import getpass
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from tasks import runs
from tasks.collect_plan import FOLDERS, Found, Going, Kind, KnownVersion, Made, mark, plan
from tasks.rows import read_snapshot
from tasks.sources.mqtt import never_asked
from tasks.step import step
from watchkeeper.doctor import PROBES
from watchkeeper.lake import Lake
from watchkeeper.mqtt import MqttSource
from watchkeeper.progress import progress_of
from watchkeeper.promotion import read_audit, write_audit
from watchkeeper.records import Decision, Prepared, Record
from watchkeeper.registry import IN_LAKE, Registry
from watchkeeper.watch import KeepRule, Watch


class CollectedKind(Record):
    """What went of one kind, for one reason."""

    kind: str
    why: str
    names: tuple[str, ...]
    objects: int
    size: int
    """In bytes."""


class Collected(Record):
    """What was collected, or would be."""

    watch: str
    dry_run: bool
    kinds: tuple[CollectedKind, ...]

    def __str__(self) -> str:
        if not self.kinds:
            return "nothing to collect"
        objects, size = sum(kind.objects for kind in self.kinds), sum(kind.size for kind in self.kinds)
        return f"{objects:,} objects, {size / 1e6:,.1f} MB {'would go' if self.dry_run else 'gone'}"


@step(retries=2)
def collect(
    lake_uri: str,
    registry_uri: str,
    watch: Watch,
    keep: int | None = None,
    older_than_hours: float | None = None,
    dry_run: bool = False,
) -> Collected:
    """Delete what the watch's rule does not keep and nothing needs.

    Args:
        lake_uri: the lake.
        registry_uri: the registry.
        watch: whose.
        keep: how many of the newest versions stay, at least 1; None for what the rule says.
        older_than_hours: nothing younger goes, at least 0; None for what the rule says.
        dry_run: delete nothing, and tell what would go.
    """
    lake, registry = Lake(lake_uri), Registry(registry_uri)
    given = {"versions": keep, "grace_hours": older_than_hours}
    rule = watch.keep.model_copy(update={name: value for name, value in given.items() if value is not None})
    now = datetime.now(UTC)
    found = look(lake, registry, watch, now)
    going = _plan(lake, found, rule, now)
    if not dry_run:
        versions = [one for one in going if one.kind == Kind.VERSION]
        for one in versions:
            _delete_version(lake, registry, watch.name, one)
        if versions:
            # Somebody may have rolled back to one of them meanwhile: what the registry names now has all it needs.
            found = look(lake, registry, watch, now)
            rule = rule.model_copy(update={"versions": max(1, len(found.versions))})
            going = [*versions, *_plan(lake, found, rule, now)]
        tell = progress_of("collect")
        for done, kind in enumerate(Kind):
            chosen = [one for one in going if one.kind == kind]
            if chosen and kind != Kind.VERSION:
                tell(done / len(Kind), f"{len(chosen)} × {kind}")
                _delete(lake, registry, watch.name, kind, chosen, _snapshots(found))
    return Collected(watch=watch.name, dry_run=dry_run, kinds=_summary(going))


def _plan(lake: Lake, found: Found, rule: KeepRule, now: datetime) -> list[Going]:
    staying = mark(found, rule, now)
    snapshots = [read_snapshot(lake, found.watch, name) for name in sorted(staying.snapshots & _snapshots(found))]
    return plan(found, staying, snapshots, rule, now)


def look(lake: Lake, registry: Registry, watch: Watch, now: datetime) -> Found:
    """Read what there is of a watch."""
    name = watch.name
    entries = {kind: lake.entries(folder.format(name)) for kind, folder in FOLDERS.items()}
    lines = registry.versions(name)
    versions = [
        KnownVersion(
            number=line.version,
            aliases=line.aliases,
            run=line.run,
            snapshot=line.snapshot,
            folder=line.source.removeprefix(IN_LAKE),
            made=datetime.fromtimestamp(line.created_ms / 1000, UTC),
        )
        for line in lines
    ]
    made = {}
    for entry in entries[Kind.RUN]:
        path = PurePosixPath(entry.key)
        if path.name == "prepare.json":
            record = Prepared(**runs.about(lake, str(path.with_suffix("")))["record"])
            made[path.parts[2]] = Made(record.snapshot, record.folder)
    named = {
        str(value).removeprefix(f"{lake.uri}/")
        for decision in read_audit(lake, name)
        for value in decision.evidence.values()
        if value
    }
    ours = tuple(f"{folder.format(name)}/" for folder in FOLDERS.values())
    leftovers = [entry for entry in lake.leftovers() if entry.key.startswith(ours)]
    found = Found(
        watch=name,
        entries=entries,
        versions=versions,
        runs=made,
        questions=lake.list(f"queue/{name}"),
        named=frozenset(named),
        registry_runs=registry.runs_without_version(name),
        leftovers=[*leftovers, *lake.entries(PROBES)],
    )
    if not isinstance(watch.source, MqttSource) or found.latest is None:
        return found
    times = read_snapshot(lake, name, found.latest).times
    keys = [entry.key for entry in entries[Kind.INBOX]]
    return replace(found, never_asked=frozenset(never_asked(watch.source, times, keys, now)))


def _delete(
    lake: Lake, registry: Registry, watch: str, kind: Kind, chosen: Sequence[Going], known: frozenset[str]
) -> None:
    if kind == Kind.REGISTRY_RUN:
        for one in chosen:
            registry.forget_run(one.name)
        return
    folder = FOLDERS.get(kind)
    there = {entry.key: entry.modified for entry in lake.entries(folder.format(watch))} if folder else {}
    spared = _named_since(lake, watch, known) if kind == Kind.RAW else set()
    for one in chosen:
        for entry in one.entries:
            # A leftover is never written again: its name is drawn for one writer.
            if folder is None or (there.get(entry.key) == entry.modified and entry.key not in spared):
                lake.delete(entry.key)


def _delete_version(lake: Lake, registry: Registry, watch: str, one: Going) -> None:
    """Take a version out of the registry, its audit record first; it is then gone for everybody at once."""
    number = int(one.name)
    if not any(line.version == number and not line.aliases for line in registry.versions(watch)):
        return  # somebody rolled back to it a moment ago
    decision = Decision(
        watch=watch,
        action="collected",
        version=number,
        previous=None,
        who=getpass.getuser(),
        when=datetime.now(UTC),
        reasons=(one.why,),
    )
    write_audit(lake, decision)
    registry.forget(watch, number)


def _named_since(lake: Lake, watch: str, known: frozenset[str]) -> set[str]:
    """Return the raw rows that snapshots name which came after the plan."""
    new = {PurePosixPath(key).stem for key in lake.list(FOLDERS[Kind.SNAPSHOT].format(watch))} - known
    return {file.key for name in new for file in read_snapshot(lake, watch, name).files}


def _snapshots(found: Found) -> frozenset[str]:
    return frozenset(PurePosixPath(entry.key).stem for entry in found.entries[Kind.SNAPSHOT])


def _summary(going: Iterable[Going]) -> tuple[CollectedKind, ...]:
    groups: dict[tuple[Kind, str], list[Going]] = {}
    for one in going:
        groups.setdefault((one.kind, one.why), []).append(one)
    return tuple(
        CollectedKind(
            kind=kind,
            why=why,
            names=tuple(one.name for one in together),
            objects=sum(len(one.entries) for one in together),
            size=sum(entry.size for one in together for entry in one.entries),
        )
        for (kind, why), together in groups.items()
    )
