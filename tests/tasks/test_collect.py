"""Collecting in a real home: what stays works to the bit, what goes is gone, and neither a kill nor a retrain minds."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flows.collect import collect
from flows.retrain import retrain
from tasks import runs
from tasks.champion import load
from tasks.collect import Collected
from tasks.collect import collect as collect_rows
from tasks.evaluate import evaluate
from tasks.rollback import rollback
from tasks.rows import read_snapshot
from tasks.score import score
from watchkeeper.lake import Lake
from watchkeeper.promotion import read_audit
from watchkeeper.records import Evaluation, Prepared, Trained
from watchkeeper.registry import Registry
from watchkeeper.stores import UNPUBLISHED
from watchkeeper.watch import load_watch

ROWS = 900
DAYS_BACK_S = 3 * 86_400
LEFT_BY_KILLS = (
    "raw/watch=unit/series=pump/date=2026-01-05/0123.parquet",
    "runs/unit/feedfeed/base.safetensors",
    "versions/unit/feedfeed-0/detector.safetensors",
    "labels/watch=unit/answered-feedfeed.parquet",
    f"prepared/unit/000001-0/0/{UNPUBLISHED}00",
    ".doctor/probe",
)


class Killed(BaseException):
    """Ends a run where a kill would: nothing but a test catches it."""


def lake_of(home: Path) -> Lake:
    return Lake((home / "lake").as_uri())


def registry_of(home: Path) -> Registry:
    return Registry(f"sqlite:///{home / 'registry.db'}")


def age(home: Path) -> None:
    """Make everything three days older."""
    for path in (home / "lake").rglob("*"):
        at = path.stat().st_mtime - DAYS_BACK_S
        os.utime(path, (at, at))
    with closing(sqlite3.connect(home / "registry.db")) as registry, registry:
        registry.execute(f"UPDATE model_versions SET creation_time = creation_time - {DAYS_BACK_S * 1000}")  # noqa: S608
        registry.execute(f"UPDATE runs SET start_time = start_time - {DAYS_BACK_S * 1000}")  # noqa: S608


def everything(home: Path) -> dict[str, bytes]:
    """Every object of the lake but the audit, whose records are named by their time, and what the registry says."""
    files = {
        str(path.relative_to(home)): path.read_bytes()
        for path in (home / "lake").rglob("*")
        if path.is_file() and "audit" not in path.parts
    }
    lines = registry_of(home).versions("unit")
    left = registry_of(home).runs_without_version("unit")
    return files | {
        "versions": repr([(line.version, line.aliases) for line in lines]).encode(),
        "runs": repr(left).encode(),
    }


@pytest.fixture(scope="module")
def lived(module_source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after five retrains, each with newer rows, three days ago; and what killed runs left there."""
    folder = tmp_path_factory.mktemp("lived")
    (folder / "unit.toml").write_text(
        f'window = 10\nmembers = ["norm", "ridge"]\nagent.enabled = false\ngate.resamples = 20\nkeep.versions = 1\n'
        f"split.held_out = 0.25\n"
        f'[source]\nkind = "parquet"\nfolder = "{module_source.folder}"\n'
    )
    home = folder / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATCHKEEPER_HOME", str(home))
        patch.setenv("WATCHKEEPER_WATCHES", str(folder))
        label = {(at, at + 6): 1 for at in range(50, ROWS + 600, 100)}
        for rows in range(ROWS, ROWS + 650, 150):
            stretches = {(begin, end): 1 for begin, end in label if end <= rows}
            module_source.write("pump", module_source.table(rows, label=stretches))
            retrain.fn("unit")
        lake, registry = lake_of(home), registry_of(home)
        watch = load_watch("unit", folder)
        rollback(lake.uri, f"sqlite:///{home / 'registry.db'}", watch, 1 if champion(home) != 1 else 2, "a test")
        score(lake.uri, f"sqlite:///{home / 'registry.db'}", watch)
        for key in LEFT_BY_KILLS:
            path = home / "lake" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
        experiment = registry._client.get_experiment_by_name("unit")  # no caller but a killed one leaves such a run
        registry._client.create_run(experiment.experiment_id)
    age(home)
    return home


def champion(home: Path) -> int:
    found = registry_of(home).alias("unit", "champion")
    assert found
    return found.version


@pytest.fixture
def home(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which the settings of this process name."""
    target = shutil.copytree(lived, tmp_path / "home")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(target))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(lived.parent))
    return target


def collected() -> Collected:
    return collect.fn("unit")


def test_a_dry_run_tells_and_deletes_nothing(home: Path) -> None:
    """It says what the real one then says, and leaves every byte."""
    before, audit = everything(home), len(read_audit(lake_of(home), "unit"))
    told = collect.fn("unit", dry_run=True)
    assert told.dry_run
    assert told.kinds
    assert everything(home) == before
    assert len(read_audit(lake_of(home), "unit")) == audit
    assert collected().kinds == told.kinds


def test_what_killed_runs_left_goes(home: Path) -> None:
    """Raw rows, outputs, files, answers, unpublished parts, probes and runs of the registry that nothing names."""
    assert [run for run, _ in registry_of(home).runs_without_version("unit")]
    collected()
    assert not [key for key in LEFT_BY_KILLS if (home / "lake" / key).exists()]
    assert not registry_of(home).runs_without_version("unit")
    assert not collected().kinds


def test_the_versions_that_go_are_told_in_the_audit(home: Path) -> None:
    """Champion, previous, challenger and the newest stay; each of the others has its record, and all records stay."""
    before = registry_of(home).versions("unit")
    stay = {line.version for line in before if line.aliases} | {5}
    assert len(before) == 5
    assert len(stay) < 5
    audit = read_audit(lake_of(home), "unit")
    collected()
    after = registry_of(home).versions("unit")
    assert [line for line in before if line.version in stay] == after
    records = read_audit(lake_of(home), "unit")
    assert records[: len(audit)] == audit
    assert {(one.action, one.version) for one in records[len(audit) :]} == {
        ("collected", line.version) for line in before if line.version not in stay
    }


def test_every_version_that_stays_scores_and_is_judged_as_before(home: Path, lived: Path) -> None:
    """After a collection each one can be made champion again, scores to the bit, and its evaluation comes out equal."""
    collected()
    uri = f"sqlite:///{home / 'registry.db'}"
    lake, theirs, registry = lake_of(home), lake_of(lived), registry_of(home)
    watch = load_watch("unit", lived.parent)
    for line in registry.versions("unit"):
        if line.version != champion(home):
            rollback(lake.uri, uri, watch, line.version, "a test")
        served, before = (load(one, registry.get("unit", line.version)) for one in (lake, theirs))
        assert served.version.manifest == before.version.manifest
        assert served.version.reference.equals(before.version.reference)
        score(lake.uri, uri, watch)

        prepared = Prepared(**runs.about(lake, f"runs/unit/{line.run}/prepare")["record"])
        key = f"runs/unit/{line.run}/base"
        candidate = Trained(key=key, members=watch.members, summary="")
        (old,) = (
            Evaluation(**lake.get_json(key))
            for key in lake.list(f"runs/unit/{line.run}/evaluations")
            if key.rpartition("/")[2] in ("evaluation-against-none.json", "evaluation-against-1.json")
        )
        again = evaluate(
            lake.uri,
            uri,
            watch.model_copy(update={"gate": watch.gate.model_copy(update={"level": 0.8})}),
            prepared,
            candidate,
        )
        assert again.key != old.key
        own = [row for row in again.rows if row.row != "champion"]
        assert own == [row for row in old.rows if row.row != "champion"]
    scores = {key: lake.get(key) for key in lake.list("scores")}
    assert {key: scores[key] for key in theirs.list("scores")} == {
        key: theirs.get(key) for key in theirs.list("scores")
    }


def test_killed_after_each_deletion_in_turn_it_ends_as_undisturbed(
    home: Path, lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start does one thing and is killed; the last finds nothing to do, and the home is the undisturbed one."""
    count = 0

    def deadly(function: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            nonlocal count
            function(*args)
            count += 1
            raise Killed

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "delete", deadly(Lake.delete))
        patch.setattr(Registry, "forget", deadly(Registry.forget))
        patch.setattr(Registry, "forget_run", deadly(Registry.forget_run))
        while True:
            try:
                assert not collected().kinds
                break
            except Killed:
                pass
    other = shutil.copytree(lived, tmp_path / "other")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(other))
    done = collected()
    assert count > sum(kind.objects for kind in done.kinds)
    ours, theirs = everything(home), everything(other)
    assert ours.keys() == theirs.keys()
    assert ours == theirs


def test_a_retrain_does_not_mind_a_collection_after_each_of_its_writes(
    home: Path, lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection after every write of a retrain leaves it what it needs: the version is the undisturbed one."""
    source = load_watch("unit", lived.parent).source
    grown = tmp_path / "watches"
    grown.mkdir()
    table = (lived.parent / "unit.toml").read_text()
    (grown / "unit.toml").write_text(table.replace(source.folder, str(tmp_path / "source")))
    shutil.copytree(source.folder, tmp_path / "source")
    from tests.conftest import SourceFolder

    ours = SourceFolder(tmp_path / "source")
    ours.write("pump", ours.table(ROWS + 600, label={(50, 56): 1}))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(grown))
    other = shutil.copytree(lived, tmp_path / "other")
    put, busy, times = Lake.put, False, 0

    def put_and_collect(lake: Lake, key: str, data: bytes) -> None:
        nonlocal busy, times
        put(lake, key, data)
        if not busy:
            busy, times = True, times + 1
            collected()
            busy = False

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put", put_and_collect)
        disturbed = retrain.fn("unit")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(other))
    undisturbed = retrain.fn("unit")
    assert times > 10
    assert disturbed.version == undisturbed.version
    assert (
        load(lake_of(home), disturbed.version).version.manifest.run
        == load(lake_of(other), undisturbed.version).version.manifest.run
    )


def test_rows_that_an_ingest_writes_again_meanwhile_stay(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a killed ingest left are written again between plan and deletion: they are not deleted any more."""
    key = LEFT_BY_KILLS[0]
    delete = Lake.delete

    def meanwhile(lake: Lake, other: str) -> None:
        lake.put(key, b"whole")
        delete(lake, other)

    monkeypatch.setattr(Lake, "delete", meanwhile)
    told = collected()
    assert key in {name for kind in told.kinds for name in kind.names}
    assert lake_of(home).get(key) == b"whole"


def test_a_version_that_becomes_champion_meanwhile_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody rolls back to a version that was about to go: it keeps its files, run, snapshot and rows."""
    going = collect.fn("unit", dry_run=True)
    numbers = [int(name) for kind in going.kinds if kind.kind == "version" for name in kind.names]
    monkeypatch.setattr(Registry, "forget", _crowns_another(numbers, Registry.forget))
    collected()
    monkeypatch.undo()
    lake, registry = lake_of(home), registry_of(home)
    assert champion(home) == numbers[1]
    served = load(lake, registry.get("unit", numbers[1]))
    assert [line.version for line in registry.versions("unit") if line.version in numbers] == [numbers[1]]
    assert runs.published(lake, f"runs/unit/{served.version.manifest.run}/base")
    assert all(lake.exists(file.key) for file in read_snapshot(lake, "unit", served.version.manifest.snapshot).files)


def _crowns_another(numbers: list[int], forget: Callable[..., None]) -> Callable[..., None]:
    def call(registry: Registry, watch: str, version: int) -> None:
        forget(registry, watch, version)
        registry.set_alias(watch, "champion", numbers[1])

    return call


def test_any_store_is_cleared(any_lake: Lake, fresh_database: Path, source, tmp_path: Path) -> None:
    """In a folder and in a bucket: what nothing names stays for a day, and goes once that is waived."""
    uri = f"sqlite:///{shutil.copy(fresh_database, tmp_path)}"
    for key in LEFT_BY_KILLS:
        if UNPUBLISHED not in key:
            any_lake.put(key, b"half")
    any_lake.put("labels/watch=unit/0123.parquet", b"a person's word")
    any_lake.put("raw/watch=other/series=pump/date=2026-01-05/0123.parquet", b"of another watch")
    before = any_lake.list("")
    assert not collect_rows(any_lake.uri, uri, source.watch()).kinds
    assert any_lake.list("") == before
    done = collect_rows(any_lake.uri, uri, source.watch(), older_than_hours=0)
    assert sum(kind.objects for kind in done.kinds) == 5
    assert any_lake.list("") == [
        "labels/watch=unit/0123.parquet",
        "raw/watch=other/series=pump/date=2026-01-05/0123.parquet",
    ]
