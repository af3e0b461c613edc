"""Rollback through its flow: to the previous version or any other, and never to one that could not score."""

from pathlib import Path
from typing import Any

import pytest
from small_watch import AGENT_OFF, Small, make_small

from flows.rollback import rollback
from flows.score import score
from watchkeeper.errors import VersionNotFoundError, VersionRefusedError
from watchkeeper.registry import folder_of

ANOMALIES = dict.fromkeys(range(150, 4000, 211), 5.0)


@pytest.fixture(scope="module")
def lived_home(module_source: Any, tmp_path_factory: pytest.TempPathFactory, fresh_database: Path) -> Path:
    """A home with a champion and two versions of other members."""
    with pytest.MonkeyPatch.context() as patch:
        small = make_small(module_source, tmp_path_factory.mktemp("lived"), fresh_database, patch)
        small.world(1200, ANOMALIES)
        for members in ('"ridge"', '"norm"', '"norm", "ridge"'):
            small.watch(AGENT_OFF, members)
            small.retrain()
    return small.folder / "home"


@pytest.fixture
def small(source: Any, tmp_path: Path, lived_home: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small watch with these versions."""
    return make_small(source, tmp_path, lived_home, monkeypatch)


def state(small: Small) -> tuple[Any, ...]:
    """Aliases by version, and how many decisions the audit holds."""
    return [line.aliases for line in small.registry.versions("unit")], len(small.audit())


def test_any_version_comes_back_and_the_previous_one_again(small: Small) -> None:
    """By number, then without one; each run scores with who is champion."""
    start = small.champion()
    target = next(number for number in (3, 2, 1) if number != start)
    assert rollback.fn("unit", target, "a look").version == target
    assert score.fn("unit").version == target
    back = rollback.fn("unit")
    assert (back.version, back.previous) == (start, target)
    assert score.fn("unit").version == start
    assert [one.action for one in small.audit()][-2:] == ["rolled back", "rolled back"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("detector.safetensors", "detector.safetensors has changed since it was written"),
        ("reference.parquet", "reference.parquet has changed since it was written"),
        ("manifest.json", "manifest.json is not the registered one"),
    ],
)
def test_a_damaged_version_is_refused_and_nothing_moves(small: Small, file: str, said: str) -> None:
    """The message names the version and the file, and says what to do."""
    target = next(number for number in (1, 2, 3) if number != small.champion())
    path = small.lake.path(f"{folder_of(small.registry.get('unit', target))}/{file}")
    path.write_bytes(path.read_bytes()[:-7])
    before = state(small)
    with pytest.raises(VersionRefusedError, match=said) as caught:
        rollback.fn("unit", target)
    assert str(caught.value).startswith(f"cannot roll back to version {target} of watch unit: ")
    assert "roll back to another version" in str(caught.value)
    assert state(small) == before


def test_a_version_whose_files_are_gone_is_refused(small: Small) -> None:
    """As one that is damaged."""
    target = next(number for number in (1, 2, 3) if number != small.champion())
    small.lake.path(f"{folder_of(small.registry.get('unit', target))}/detector.safetensors").unlink()
    before = state(small)
    with pytest.raises(VersionRefusedError, match=f"cannot roll back to version {target} of watch unit: cannot read"):
        rollback.fn("unit", target)
    assert state(small) == before


@pytest.mark.parametrize(
    ("channels", "odd"), [(("a", "b", "c", "d"), "d"), (("a", "b"), "c"), (("c", "b", "a"), "their order")]
)
def test_a_version_of_other_channels_is_refused_and_the_odd_one_is_named(
    small: Small, channels: tuple[str, ...], odd: str
) -> None:
    """Data that were taken in anew, with other channels than the version was trained on."""
    target = next(number for number in (1, 2, 3) if number != small.champion())
    key = small.lake.list("snapshots/unit")[-1]
    newer = {**small.lake.get_json(key), "channels": channels, "id": "000009-other"}
    small.lake.put_json("snapshots/unit/000009-other.json", newer)
    before = state(small)
    with pytest.raises(VersionRefusedError, match=f"does not fit the data: channels differ in {odd};") as caught:
        rollback.fn("unit", target)
    assert str(caught.value).startswith(f"cannot roll back to version {target} of watch unit: ")
    assert state(small) == before


def test_a_version_that_never_was_is_refused(small: Small) -> None:
    """The versions that there are stand in the message."""
    before = state(small)
    with pytest.raises(VersionNotFoundError, match="has no version 9; it has: 1, 2, 3"):
        rollback.fn("unit", 9)
    assert state(small) == before
