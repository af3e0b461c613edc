"""The flows without an engine, and what a version is made of: same snapshot, code and seed, same version."""

from pathlib import Path
from typing import Any

import pytest

from flows.retrain import retrain
from watchkeeper.lake import Lake, digest
from watchkeeper.promotion import read_audit
from watchkeeper.records import Record, Snapshot
from watchkeeper.registry import Registry, folder_of

OF_THE_CLOCK = {"when", "key", "source", "report", "verdict", "event_id", "evidence"}
"""Fields that say when a record was made and in which home; everything else must be equal."""
NAMED_BY_CONTENT = ("raw", "snapshots", "prepared", "labels", "queue", "runs", "scores")


def plain(record: Record) -> dict[str, Any]:
    dump = record.model_dump(mode="json", exclude=OF_THE_CLOCK)
    return {name: plain(value) if isinstance(value := getattr(record, name), Record) else dump[name] for name in dump}


def objects(lake: Lake) -> dict[str, str]:
    """Every object below the folders whose keys hold no clock, with its digest."""
    return {key: digest(lake.get(key)) for folder in NAMED_BY_CONTENT for key in lake.list(folder)}


def version_files(home: Path, number: int = 1) -> dict[str, str]:
    """The files of a version of `tiny`, with their digests."""
    lake = Lake((home / "lake").as_uri())
    registered = Registry(f"sqlite:///{home / 'registry.db'}").get("tiny", number)
    files = {key.rpartition("/")[2]: digest(lake.get(key)) for key in lake.list(folder_of(registered))}
    assert files["manifest.json"] == registered.sha256
    return files


def test_with_and_without_the_engine_the_flows_return_the_same(directly, through_prefect) -> None:
    """Each record of the life is the same, but for clocks and places."""
    for name in ("retrained", "scored", "rolled_back", "returned"):
        assert plain(getattr(directly, name)) == plain(getattr(through_prefect, name)), name
    for name in ("ingested", "checks"):
        ours, theirs = getattr(directly, name), getattr(through_prefect, name)
        assert [plain(record) for record in ours] == [plain(record) for record in theirs], name


def test_with_and_without_the_engine_the_lake_holds_the_same(directly, through_prefect) -> None:
    """Rows, outputs of steps, labels, questions and scores are equal to the byte, under equal keys."""
    ours, theirs = objects(directly.lake), objects(through_prefect.lake)
    assert ours == theirs
    assert {key.split("/")[0] for key in ours} == set(NAMED_BY_CONTENT)


def test_with_and_without_the_engine_the_version_is_the_same(directly, through_prefect) -> None:
    """A retrain through Prefect and a direct one end in bit-equal version folders."""
    assert version_files(directly.home) == version_files(through_prefect.home)


def test_two_direct_retrains_make_the_same_version(directly, trained) -> None:
    """Two retrains in two homes end in bit-equal version folders: nothing of the place or the clock gets in."""
    files = version_files(trained)
    assert version_files(directly.home) == files
    assert set(files) == {"manifest.json", "detector.safetensors", "reference.parquet"}


def test_another_seed_makes_another_version(trained, tiny_watches, tmp_path, monkeypatch) -> None:
    """With another seed, the same rows give other weights: the comparison above can tell versions apart."""
    watch = (tiny_watches / "tiny.toml").read_text()
    (tmp_path / "tiny.toml").write_text(f"seed = 1\n{watch}")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    done = retrain.fn("tiny")
    ours, theirs = version_files(trained), version_files(tmp_path / "home")
    assert done.ingested.snapshot == Path(next((trained / "lake/snapshots/tiny").iterdir())).stem
    assert ours["detector.safetensors"] != theirs["detector.safetensors"]
    assert ours["manifest.json"] != theirs["manifest.json"]


def test_a_retrain_learns_from_the_answers_to_the_last_one(trained, retrained) -> None:
    """A second retrain finds the eight answered windows in a new snapshot, and asks about others."""
    before, after = (Lake((home / "lake").as_uri()) for home in (trained, retrained))
    first, second = (Snapshot(**after.get_json(key)) for key in after.list("snapshots/tiny"))
    assert second.files == first.files
    assert second.labels == tuple(before.list("labels/watch=tiny"))
    assert set(first.labels) < set(second.labels)
    (old,) = before.list("queue/tiny")
    (new,) = set(after.list("queue/tiny")) - {old}
    asked, asked_then = (after.get_json(key) for key in (old, new))
    assert len(asked) == len(asked_then) == 8
    assert {item["start"] for item in asked}.isdisjoint(item["start"] for item in asked_then)
    (_, decision) = read_audit(after, "tiny")
    assert (decision.version, decision.previous) == (2, 1)
    assert decision.evidence["evaluation"].endswith("/evaluation-against-1")


def test_a_check_without_an_engine_sends_no_event(directly, monkeypatch) -> None:
    """Outside of a flow run nothing goes to a server, whatever the check found: the caller acts on the record."""
    from prefect import events

    from tasks.check_drift import emit

    monkeypatch.setattr(events, "emit_event", lambda **_: pytest.fail("an event was sent"))
    assert directly.checks[1].started
    emit(directly.checks[1])
