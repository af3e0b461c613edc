"""What a collection takes and leaves: small homes by hand, and any home that Hypothesis can think of."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.collect_plan import FOLDERS, Found, Going, Kind, KnownVersion, Made, mark, plan
from watchkeeper.records import RawFile, Snapshot
from watchkeeper.stores import Entry
from watchkeeper.watch import KeepRule

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(hours=25), NOW - timedelta(hours=23)


def entry(key: str, modified: datetime = OLD, size: int = 10) -> Entry:
    return Entry(key, size, modified)


def snapshot_id(number: int) -> str:
    return f"{number:06d}-{'abcdef'[number % 6] * 12}"


def snapshot(number: int, files: int) -> Snapshot:
    """The snapshot of a number, which names the first so many raw files."""
    day = datetime(2026, 2, 1, tzinfo=UTC)
    raw = tuple(
        RawFile(key=f"raw/watch=w/{n}", series="s", date="2026-02-01", rows=1, start=day, end=day, sha256="")
        for n in range(files)
    )
    return Snapshot(
        id=snapshot_id(number),
        watch="w",
        channels=("a",),
        files=raw,
        labels=(),
        queue=(),
        sources=(),
        rows=files,
        start=day,
        end=day,
    )


def home(
    *,
    runs: Iterable[tuple[str, int, datetime]] = (),
    versions: Iterable[tuple[int, str, tuple[str, ...], datetime]] = (),
    snapshots: Iterable[tuple[int, datetime]] = (),
    more: Iterable[Entry] = (),
) -> Found:
    """Build what there is.

    Args:
        runs: name, number of the snapshot, age of what it wrote.
        versions: number, run, aliases, when it was made.
        snapshots: number and age.
        more: any further objects.
    """
    entries: dict[Kind, list[Entry]] = {kind: [] for kind in FOLDERS}
    made = {}
    for run, number, age in runs:
        prepared = f"prepared/w/{snapshot_id(number)}/{run}"
        made[run] = Made(snapshot_id(number), prepared)
        names = ("prepare.json", "base.json", "prepare.safetensors", "base.safetensors")
        entries[Kind.RUN] += [entry(f"runs/w/{run}/{name}", age) for name in names]
        entries[Kind.PREPARED].append(entry(f"{prepared}/series=s.parquet", age))
        entries[Kind.LIBRARY].append(entry(f"incidents/w/{snapshot_id(number)}-{run[:12]}.json", age))
    known = []
    for number, run, aliases, at in versions:
        folder = f"versions/w/{run}-0"
        known.append(KnownVersion(number, aliases, run, made[run].snapshot, folder, at))
        for name in ("detector.safetensors", "manifest.json"):
            if all(one.key != f"{folder}/{name}" for one in entries[Kind.VERSION_FILES]):
                entries[Kind.VERSION_FILES].append(entry(f"{folder}/{name}", at))
    entries[Kind.SNAPSHOT] = [entry(f"snapshots/w/{snapshot_id(number)}.json", age) for number, age in snapshots]
    for one in more:
        kind = next(kind for kind, folder in FOLDERS.items() if one.key.startswith(folder.format("w") + "/"))
        entries[kind].append(one)
    return Found(watch="w", entries=entries, versions=known, runs=made)


def planned(found: Found, rule: KeepRule | None = None, files: int = 0) -> list[Going]:
    rule = rule or KeepRule(versions=1)
    staying = mark(found, rule, NOW)
    there = {PurePosixPath(one.key).stem for one in found.entries[Kind.SNAPSHOT]}
    named = [snapshot(int(name[:6]), files) for name in staying.snapshots & there]
    return plan(found, staying, named, rule, NOW)


def names(going: Iterable[Going], kind: Kind) -> list[str]:
    return [one.name for one in going if one.kind == kind]


def test_old_versions_go_with_all_that_was_made_for_them() -> None:
    """Of four versions, the champion, the challenger and the newest two stay; of the other nothing is left."""
    found = home(
        runs=[(f"run{n}", n, OLD) for n in range(1, 6)],
        versions=[
            (1, "run1", ("champion",), OLD),
            (2, "run2", (), OLD),
            (3, "run3", ("challenger",), OLD),
            (4, "run4", (), OLD),
            (5, "run5", (), OLD),
        ],
        snapshots=[(n, OLD) for n in range(1, 7)],
    )
    going = planned(found, KeepRule(versions=2))
    assert names(going, Kind.VERSION) == ["2"]
    assert names(going, Kind.VERSION_FILES) == ["run2-0"]
    assert names(going, Kind.RUN) == ["run2"]
    assert names(going, Kind.LIBRARY) == [f"incidents/w/{snapshot_id(2)}-run2.json"]
    assert names(going, Kind.SNAPSHOT) == [snapshot_id(2)]
    assert len(names(going, Kind.PREPARED)) == 5  # none is of the latest snapshot
    assert [one.kind for one in going] == sorted((one.kind for one in going), key=list(Kind).index)


@pytest.mark.parametrize("alias", ["champion", "challenger", "previous"])
def test_a_version_with_an_alias_stays(alias: str) -> None:
    """However old it is and however few are to stay."""
    runs = [("run1", 1, OLD), ("run2", 2, OLD)]
    versions = [(1, "run1", (alias,), OLD), (2, "run2", (), OLD)]
    going = planned(home(runs=runs, versions=versions, snapshots=[(1, OLD), (2, OLD)]))
    assert not names(going, Kind.VERSION)
    assert not names(going, Kind.RUN)
    assert not names(going, Kind.SNAPSHOT)


def test_what_is_young_stays() -> None:
    """A version, a dead run, a raw file, a snapshot and a leftover younger than the grace period are left."""
    raw = [entry("raw/watch=w/orphan", YOUNG), entry("raw/watch=w/older orphan")]
    found = home(
        runs=[("run1", 1, OLD), ("run2", 2, OLD), ("dead", 1, YOUNG), ("deader", 1, OLD)],
        versions=[(1, "run1", (), YOUNG), (2, "run2", (), OLD)],
        snapshots=[(1, OLD), (2, OLD), (3, YOUNG), (4, OLD)],
        more=raw,
    )
    found = replace(found, leftovers=[entry("raw/watch=w/.unpublished-1", YOUNG), entry("raw/watch=w/.unpublished-2")])
    going = planned(found)
    assert not names(going, Kind.VERSION)
    assert names(going, Kind.RUN) == ["deader"]
    assert names(going, Kind.RAW) == ["raw/watch=w/older orphan"]
    assert not names(going, Kind.SNAPSHOT)
    assert names(going, Kind.LEFTOVER) == ["raw/watch=w/.unpublished-2"]
    # The dead run may be at work, and it reads its prepared rows.
    assert not any("/dead" in name and "deader" not in name for name in names(going, Kind.PREPARED))


def test_the_latest_snapshot_and_the_runs_on_it_stay() -> None:
    """A run that was killed on the latest snapshot goes on one day, from its outputs and its prepared rows."""
    found = home(runs=[("dead", 2, OLD)], snapshots=[(1, OLD), (2, OLD)])
    going = planned(found)
    assert names(going, Kind.SNAPSHOT) == [snapshot_id(1)]
    assert not names(going, Kind.RUN)
    assert not names(going, Kind.PREPARED)


def test_raw_rows_that_a_snapshot_names_stay() -> None:
    """Only those that none names go."""
    found = home(snapshots=[(1, OLD)], more=[entry(f"raw/watch=w/{n}") for n in range(4)])
    assert names(planned(found, files=3), Kind.RAW) == ["raw/watch=w/3"]


def test_files_that_versions_share_stay_with_the_one_that_stays() -> None:
    """A version that was registered anew has the folder of the damaged one that it stands for."""
    found = home(
        runs=[("run1", 1, OLD)],
        versions=[(1, "run1", (), OLD), (2, "run1", (), OLD)],
        snapshots=[(1, OLD)],
    )
    going = planned(found)
    assert [(one.kind, one.name) for one in going] == [(Kind.VERSION, "1")]


def test_files_of_a_version_that_was_never_registered_go() -> None:
    """Its manifest goes first: from then on it is no version."""
    found = home(more=[entry("versions/w/run1-0/detector.safetensors"), entry("versions/w/run1-0/manifest.json")])
    (going,) = planned(found)
    assert [PurePosixPath(one.key).name for one in going.entries] == ["manifest.json", "detector.safetensors"]


def test_answers_without_their_questions_go() -> None:
    """Answers of a run that is gone and never asked; not those that count, a person's word, or those of a run there."""
    labels = ("answered-gone", "answered-asked", "answered-dead", "0a1b2c")
    found = home(
        runs=[("dead", 1, OLD)], snapshots=[(1, OLD)], more=[entry(f"labels/watch=w/{n}.parquet") for n in labels]
    )
    found = replace(found, questions=["queue/w/asked.json"])
    assert names(planned(found), Kind.ANSWERS) == ["labels/watch=w/answered-gone.parquet"]


def test_runs_of_the_registry_without_a_version_go() -> None:
    """But not while they may be at work."""
    found = replace(home(), registry_runs=[("left", OLD), ("at work", YOUNG)])
    assert names(planned(found), Kind.REGISTRY_RUN) == ["left"]


def test_scores_stay_unless_a_rule_says_how_long() -> None:
    """With a rule, old days go; the newest of a version that stays is where its next score run goes on."""
    days = ("2026-01-01", "2026-01-02", "2026-01-30")
    keys = [
        f"scores/watch=w/series=s/date={day}/v{version:06d}-{n}-{n + 5}.parquet"
        for version in (1, 2)
        for n, day in enumerate(days)
        if (version, day) != (2, days[2])
    ]
    found = home(
        runs=[("run2", 1, OLD)],
        versions=[(2, "run2", (), OLD)],
        snapshots=[(1, OLD)],
        more=[entry(key) for key in keys],
    )
    assert not names(planned(found, files=1), Kind.SCORES)
    going = names(planned(found, KeepRule(scores_days=10), files=1), Kind.SCORES)
    assert going == [keys[0], keys[1], keys[3]]


def test_states_stay_where_a_score_run_goes_on() -> None:
    """Of a version that stays, the state at its newest score; older ones and those of versions that are gone go."""
    scores = [f"scores/watch=w/series=s/date=2026-01-0{n}/v000002-{n}0-{n}9.parquet" for n in (1, 2)]
    states = [
        f"states/watch=w/series={name}-abc.safetensors"
        for name in ("s/v000002-29", "s/v000002-19", "s/v000002-39", "s/v000001-29", "t/v000002-29")
    ]
    found = home(
        runs=[("run2", 1, OLD)],
        versions=[(2, "run2", (), OLD)],
        snapshots=[(1, OLD)],
        more=[
            *(entry(key) for key in (*scores, *states)),
            entry("states/watch=w/series=s/v000001-5-abc.safetensors", YOUNG),
        ],
    )
    assert names(planned(found), Kind.STATE) == states[1:]


def test_reports_stay_unless_a_rule_says_how_long() -> None:
    """With a rule, old ones go, but for those that the audit names, of versions that stay, and each kind's newest."""
    stems = (
        "a/drift-1",
        "a/drift-2",
        "a/evaluation-1-v1",
        "a/evaluation-1-v2",
        "b/drift-3",
        "a/quality-1",
        "b/quality-2",
    )
    keys = [f"reports/w/{stem}.{ending}" for stem in stems for ending in ("html", "json")]
    month = NOW - timedelta(days=30)
    found = home(
        runs=[("run2", 1, OLD)],
        versions=[(2, "run2", (), OLD)],
        snapshots=[(1, OLD)],
        more=[entry(key, month) for key in keys],
    )
    found = replace(found, named=frozenset({"reports/w/a/drift-2.html"}))
    assert not names(planned(found), Kind.REPORT)
    assert not names(planned(found, KeepRule(reports_days=40)), Kind.REPORT)
    assert names(planned(found, KeepRule(reports_days=20)), Kind.REPORT) == [
        *(keys[at] for at in (0, 1, 4, 5, 10, 11)),
    ]


ages = st.sampled_from([OLD, YOUNG])


@st.composite
def homes(draw: st.DrawFn) -> Found:
    """Draw homes: some snapshots, runs on them, versions of those runs, and files that nothing names."""
    count = draw(st.integers(1, 5))
    snapshots = [(n, draw(ages)) for n in range(1, count + 1)]
    runs = [(f"run{n}", draw(st.integers(1, count)), draw(ages)) for n in range(draw(st.integers(0, 5)))]
    registered = draw(st.lists(st.sampled_from(runs), max_size=6)) if runs else []
    aliases = draw(st.dictionaries(st.sampled_from(["champion", "challenger", "previous"]), st.integers(1, 6)))
    versions = [
        (n, run, tuple(alias for alias, at in aliases.items() if at == n), draw(ages))
        for n, (run, _, _) in enumerate(registered, start=1)
    ]
    raw = [entry(f"raw/watch=w/{n}", draw(ages)) for n in range(8)]
    return home(runs=runs, versions=versions, snapshots=snapshots, more=raw)


def without(found: Found, steps: Iterable[tuple[Going, Entry | None]]) -> Found:
    """What is left after some steps of a collection."""
    gone: set[str] = set()
    versions: set[int] = set()
    for going, one in steps:
        if one is None:
            versions.add(int(going.name))
        else:
            gone.add(one.key)
    return replace(
        found,
        entries={kind: [one for one in entries if one.key not in gone] for kind, entries in found.entries.items()},
        versions=[version for version in found.versions if version.number not in versions],
        runs={run: made for run, made in found.runs.items() if f"runs/w/{run}/prepare.json" not in gone},
    )


def steps_of(going: Iterable[Going]) -> list[tuple[Going, Entry | None]]:
    return [(one, each) for one in going for each in (one.entries or (None,))]


def keys_of(found: Found) -> set[str]:
    return {one.key for entries in found.entries.values() for one in entries}


@given(homes(), st.integers(1, 3), st.data())
def test_wherever_a_kill_strikes_nothing_needed_is_gone_and_the_next_one_ends_it(
    found: Found, versions: int, data: st.DataObject
) -> None:
    """After any part of a collection, what stays has all it needs, and the rest of the work ends in the same home."""
    rule, files = KeepRule(versions=versions), 5
    going = planned(found, rule, files)
    steps = steps_of(going)
    left = without(found, steps[: data.draw(st.integers(0, len(steps)), label="steps before the kill")])
    keys = keys_of(left)

    newest = sorted((version.number for version in found.versions), reverse=True)[:versions]
    for version in found.versions:
        if version.aliases or version.number in newest or version.made == YOUNG:
            assert version in left.versions
            assert f"{version.folder}/manifest.json" in keys
            assert f"runs/w/{version.run}/base.safetensors" in keys
            assert f"snapshots/w/{version.snapshot}.json" in keys
    for version in left.versions:
        assert {f"{version.folder}/{name}" for name in ("manifest.json", "detector.safetensors")} <= keys
    for made in left.runs.values():
        assert f"snapshots/w/{made.snapshot}.json" in keys
    assert {f"raw/watch=w/{n}" for n in range(files)} <= keys
    young = {one.key for entries in found.entries.values() for one in entries if one.modified == YOUNG}
    assert young <= keys

    end = without(left, steps_of(planned(left, rule, files)))
    assert keys_of(end) == keys_of(without(found, steps))
    assert end.versions == without(found, steps).versions
    assert not planned(end, rule, files)
