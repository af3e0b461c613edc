"""A home that was moved: no file of it says where it once lay."""

from pathlib import Path

import pytest

from flows.ingest import ingest
from flows.rollback import rollback
from flows.score import score
from watchkeeper.cli import run
from watchkeeper.lake import Lake
from watchkeeper.registry import Registry, folder_of


def test_a_moved_home_goes_on(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It scores, lists, reports and rolls back where it lies now, and nothing appears where it lay."""
    moved = tmp_path / "another place" / "größer"
    moved.parent.mkdir()
    home.rename(moved)
    monkeypatch.setenv("WATCHKEEPER_HOME", str(moved))
    assert score.fn("tiny").rows > 100
    assert ingest.fn("tiny").new_rows == 0
    registry = Registry(f"sqlite:///{moved / 'registry.db'}")
    first = registry.get("tiny", 1)
    registry.register("tiny", "second", folder_of(first), first.sha256, parameters={}, metrics={}, history=(), tags={})
    assert rollback.fn("tiny", to=2).version == 2
    assert score.fn("tiny").version == 2
    assert [line.version for line in run.versions("tiny")] == [2, 1]
    found = run.report("tiny")
    evaluation, metadata, audit = found.evaluation, found.metadata, found.audit
    assert found.quality is not None
    assert found.quality[1].startswith(moved.as_uri())
    assert evaluation is not None
    assert metadata is not None
    assert metadata.series.keys() == {"line_1"}
    assert [decision.action for decision in audit] == ["promoted", "rolled back"]
    assert not home.exists()


def test_a_lake_may_move_from_a_folder_into_a_bucket(
    home: Path, s3_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its objects copied key by key, the same registry serves the same champion from there."""
    assert s3_server
    folder, bucket = Lake((home / "lake").as_uri()), Lake(f"s3://lakes/{home.parent.name}")
    for key in folder.list(""):
        bucket.put(key, folder.get(key))
    (home / "lake").rename(home / "gone")
    monkeypatch.setenv("WATCHKEEPER_LAKE", bucket.uri)
    done = score.fn("tiny")
    assert (done.version, done.rows > 100) == (1, True)
    assert bucket.list("scores/watch=tiny")
    assert not (home / "lake").exists()
