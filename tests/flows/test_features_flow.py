"""The whole life of a watch with features: trained, judged, promoted, scored by schedule, and live."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_watch import AGENT_OFF, DAY, Small, make_small

from serving.live import LiveScorer
from tasks.rows import read_rows, require_snapshot
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.errors import WatchError
from watchkeeper.registry import folder_of
from watchkeeper.version import read_version

FEATURES = """
[features]
rolling = ["mean", "std", "slope"]
spans = [12]
difference = [1]
clock = ["hour"]
zone = "Europe/Berlin"
correlate = [["a", "b"]]
[features.expressions]
spread = "max(a, b) - min(a, b)"
"""
SELDOM = range(150, 3600, 211)


@pytest.fixture
def small(source: Any, tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small watch, in a home of its own."""
    return make_small(source, tmp_path, fresh_database, monkeypatch)


def test_a_watch_with_features_lives_as_others_do(small: Small) -> None:
    """Its version takes over, its score runs go on from one another, and live readings score as they did."""
    from flows.ingest import ingest
    from flows.score import score

    small.watch(AGENT_OFF + FEATURES)
    small.world(1000, dict.fromkeys(SELDOM, 5.0))
    done = small.retrain()
    assert done.decision.action == "promoted"
    score.fn("unit")
    small.world(1000 + 2 * DAY, {**dict.fromkeys(SELDOM, 5.0), 1100: 30.0})
    ingest.fn("unit")
    assert score.fn("unit").rows == 2 * DAY

    registered = small.registry.alias("unit", "champion")
    assert registered
    folder = folder_of(registered)
    manifest = read_version(small.lake, folder, registered.sha256).manifest
    assert manifest.channels == ("a", "b", "c")
    assert manifest.detector["features"]["rule"]["expressions"] == {"spread": "max(a, b) - min(a, b)"}

    stored = stored_scores(small)
    first = to_microseconds(manifest.held_out_from)
    rows = read_rows(small.lake, require_snapshot(small.lake, "unit"), "pump", manifest.channels)
    live = LiveScorer(small.lake, folder, registered.sha256)
    answers = []
    for at in range(len(rows)):
        answers += live.score("pump", [to_datetime(int(rows.timestamps[at]))], rows.values[at : at + 1])
    known = rows.timestamps >= first
    np.testing.assert_allclose(
        np.array([answer.score for answer in answers])[known], stored["score"].to_numpy(), rtol=1e-4, atol=1e-5
    )
    alarms = [name for names in stored["channels"].to_pylist() if names for name in names]
    assert alarms
    assert set(alarms) <= {"a", "b", "c"}


def test_a_feature_of_a_channel_that_is_not_there_ends_a_retrain(small: Small) -> None:
    """As bad input, for which the command line has one line and status 2; the champion stays."""
    small.world(1200, dict.fromkeys(SELDOM, 5.0))
    small.retrain()
    small.watch(AGENT_OFF + '[features]\nratio = [["a", "depth"]]\n')
    with pytest.raises(WatchError, match=r"features\.ratio: channel depth is not known; known are a, b, c") as caught:
        small.retrain()
    assert caught.value.exit_status == 2
    assert small.champion() == 1


def stored_scores(small: Small) -> pa.Table:
    """All that the score runs wrote, in the order of time."""
    tables = [small.lake.get_table(key) for key in small.lake.list("scores/watch=unit/series=pump")]
    return pa.concat_tables(tables).sort_by("timestamp")
