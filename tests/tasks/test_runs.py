import json
from typing import Any

import numpy as np
import pytest

from tasks import runs
from watchkeeper.errors import LakeError
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

SOURCE = {"kind": "parquet", "folder": "/data"}
ARRAYS = {"a/x": np.arange(6, dtype=np.float32).reshape(2, 3), "turned": np.arange(6).reshape(2, 3).T}


def watch(**changes: Any) -> Watch:
    return Watch(**{"name": "unit", "source": SOURCE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"channels": ("a",)},
        {"window": 20},
        {"stride": 2},
        {"members": ("norm",)},
        {"seed": 1},
        {"split": {"history_days": 3}},
        {"labels": {"budget": 3}},
        {"labels": {"imported": "oracle"}},
        {"alarms": {"budget_per_day": 3}},
        {"agent": {"episodes": 3}},
    ],
)
def test_what_changes_learning_changes_the_key(changes: dict[str, Any]) -> None:
    """Else a retrain would find what an older watch file had trained."""
    assert runs.run_key(watch(**changes), "000001-abc") != runs.run_key(watch(), "000001-abc")


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": {"retrain": "0 3 * * *"}},
        {"gate": {"resamples": 50}},
        {"drift": {"days": 3}},
        {"source": {"kind": "parquet", "folder": "/moved"}},
    ],
)
def test_what_does_not_change_learning_keeps_the_key(changes: dict[str, Any]) -> None:
    """Another schedule is no reason to train again."""
    assert runs.run_key(watch(**changes), "000001-abc") == runs.run_key(watch(), "000001-abc")


def test_every_key_of_a_watch_is_one_or_the_other() -> None:
    """A key that a watch gains has to be put on one side."""
    others = {"source", "ranges", "drift", "gate", "probation", "keep", "schedule"}
    assert set(Watch.model_fields) - set(runs.LEARNING) == others


def test_snapshot_and_code_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows under the same code give the same run, and nothing else does."""
    key = runs.run_key(watch(), "000001-abc")
    assert runs.run_key(watch(), "000002-def") != key
    assert runs.run_folder(watch(), "000001-abc") == f"runs/unit/{key}"
    monkeypatch.setattr(runs, "code_digest", lambda: "other code")
    assert runs.run_key(watch(), "000001-abc") != key


def test_the_digest_of_the_code_sees_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that learns is what it covers, and a change in any file shows."""
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(runs, "digest_of", lambda contents: seen.append(contents) or "digest")
    assert runs.code_digest.__wrapped__() == "digest"
    (contents,) = seen
    assert {"models/detector.py", "tasks/prepare.py", "tasks/sources/parquet.py"} <= contents.keys()
    assert not any(name.startswith(("flows", "tests", "serving")) for name in contents)
    assert "class Detector" in contents["models/detector.py"]


def test_an_output_reads_as_it_was_published(lake: Lake) -> None:
    """Arrays to the last bit, also those that lie the other way round in memory."""
    runs.publish(lake, "runs/unit/k/step", {"summary": "done"}, ARRAYS)
    assert runs.published(lake, "runs/unit/k/step")
    assert runs.about(lake, "runs/unit/k/step") == {"summary": "done"}
    back = runs.arrays_of(lake, "runs/unit/k/step")
    assert back.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)


def test_an_output_counts_only_when_it_is_complete(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays first, then the JSON that makes them count: a kill in between leaves nothing that is found."""

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "put_json", kill)
        with pytest.raises(KeyboardInterrupt):
            runs.publish(lake, "runs/k", {}, ARRAYS)
    assert not runs.published(lake, "runs/k")
    assert lake.exists("runs/k.safetensors")
    runs.publish(lake, "runs/k", {}, ARRAYS)
    assert runs.published(lake, "runs/k")


def test_damaged_arrays_are_an_error_that_says_what_to_do(lake: Lake) -> None:
    """So are missing ones."""
    runs.publish(lake, "runs/k", {}, ARRAYS)
    lake.put("runs/k.safetensors", b"damaged")
    with pytest.raises(LakeError, match=r"runs/k\.safetensors is damaged.*delete runs/k\.json and run again"):
        runs.arrays_of(lake, "runs/k")
    lake.path("runs/k.safetensors").unlink()
    with pytest.raises(LakeError, match="cannot read"):
        runs.arrays_of(lake, "runs/k")


def test_the_json_is_plain(lake: Lake) -> None:
    """Anyone can read what a run was."""
    runs.publish(lake, "runs/k", {"b": 1, "a": None}, {})
    assert json.loads(lake.get("runs/k.json")) == {"a": None, "b": 1}
