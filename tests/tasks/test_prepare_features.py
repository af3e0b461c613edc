"""What members learn from is what they will be given: features in prepared rows, in the score flow, and live."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks import runs
from tasks.ingest import ingest
from tasks.prepare import prepare, read_bounds, read_features, read_learning, read_scaler
from tasks.rows import read_rows, read_snapshot
from tasks.train_vae import read_detector, train_vae
from watchkeeper.errors import WatchError
from watchkeeper.lake import Lake
from watchkeeper.records import Prepared

ROWS = 600
FEATURES = {
    "rolling": ("mean", "std", "min", "max", "slope"),
    "spans": (6, 25),
    "difference": (3,),
    "clock": ("hour", "weekday"),
    "correlate": (("a", "b"),),
    "ratio": (("b", "c"),),
    "expressions": {"lift": "a / (b - 20)"},
}
COLUMNS = 3 + 2 * 5 * 3 + 3 + 4 + 2 + 1 + 1


@pytest.fixture
def prepared(lake: Lake, source: Any) -> tuple[Any, Prepared]:
    """A watch with features, and its prepared rows; readings are missing here and there."""
    table = source.table(ROWS)
    for name, gaps in (("a", [0, 40, 41]), ("c", [1, 2, 333])):
        values = table[name].to_numpy().copy()
        values[gaps] = np.nan
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    source.write("pump", table)
    watch = source.watch(features=FEATURES)
    return watch, prepare(lake.uri, watch, ingest(lake.uri, watch).snapshot)


def test_training_rows_are_those_that_scoring_makes(lake: Lake, prepared: Any) -> None:
    """The detector's members see, of raw rows in pieces, what they learnt from to the last bit."""
    watch, record = prepared
    parts = read_learning(lake, watch, record)["pump"]
    where = read_bounds(lake, record)["pump"]
    assert parts.train.values.shape == (where.train, COLUMNS)
    detector = read_detector(lake, train_vae(lake.uri, watch, record, "cpu", 1))
    seen: list[np.ndarray] = []
    members = detector._members  # what members are given is not to be had from outside
    given = members["norm"].explain
    members["norm"].explain = lambda series, values, state: (seen.append(values), given(series, values, state))[1]
    raw = read_rows(lake, read_snapshot(lake, watch.name, record.snapshot), "pump", record.channels)
    state, first = None, 0
    for stop in (1, 2, 50, 51, 300, ROWS):
        _, state = detector.score("pump", raw.values[first:stop], raw.timestamps[first:stop], state)
        first = stop
    rows = np.concatenate(seen)
    assert np.array_equal(rows[: where.train], parts.train.values)
    start, end = where.calibration
    assert np.array_equal(rows[start:end], parts.calibration.values)


def test_the_scale_of_a_feature_knows_the_training_rows_alone(lake: Lake, prepared: Any) -> None:
    """Each feature of the training part has mean 0 and deviation 1, or less where its scale has a floor."""
    watch, record = prepared
    values = read_learning(lake, watch, record)["pump"].train.values[:, 3:]
    features = read_features(lake, watch, record)
    assert features is not None
    assert len(features.recipe.names) == values.shape[1]
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.05)
    assert (values.std(axis=0) < 1.1).all()
    assert values[:, features.recipe.names.index("a.std.6")].std() > 0.9


def test_held_out_rows_change_no_feature_before_them(lake: Lake, source: Any, tmp_path: Any) -> None:
    """Neither their values nor their scale."""
    table, watch = source.table(ROWS), source.watch(features=FEATURES)
    source.write("pump", table)
    record = prepare(lake.uri, watch, ingest(lake.uri, watch).snapshot)
    first = read_bounds(lake, record)["pump"].held_out[0]
    before = read_learning(lake, watch, record)["pump"]
    values = table["b"].to_numpy().copy()
    values[first:] *= 100
    source.write("pump", table.set_column(2, "b", pa.array(values)))
    other = Lake((tmp_path / "other").as_uri())
    after = read_learning(other, watch, prepare(other.uri, watch, ingest(other.uri, watch).snapshot))["pump"]
    assert np.array_equal(before.train.values, after.train.values)
    assert np.array_equal(before.calibration.values, after.calibration.values)


def test_other_features_make_another_run(source: Any) -> None:
    """And the same ones the same run."""
    plain, one, two = (
        source.watch(),
        source.watch(features={"difference": (1,)}),
        source.watch(features={"difference": (2,)}),
    )
    again = source.watch(features={"difference": (1,)})
    keys = [runs.run_key(watch, "s") for watch in (plain, one, two, again)]
    assert len(set(keys[:3])) == 3
    assert keys[1] == keys[3]


def test_without_features_channels_are_prepared_as_they_always_were(lake: Lake, source: Any) -> None:
    """The scaled channels are those of a watch with features, to the last bit, and nothing is beside them."""
    source.write("pump", source.table(ROWS))
    plain, rich = source.watch(), source.watch(features=FEATURES)
    snapshot = ingest(lake.uri, plain).snapshot
    record = prepare(lake.uri, plain, snapshot)
    with_features = prepare(lake.uri, rich, snapshot)
    values = read_learning(lake, plain, record)["pump"].train.values
    assert values.shape[1] == 3
    assert np.array_equal(values, read_learning(lake, rich, with_features)["pump"].train.values[:, :3])
    assert read_features(lake, plain, record) is None
    scaler, other = read_scaler(lake, record).arrays(), read_scaler(lake, with_features).arrays()
    assert all(np.array_equal(scaler[name], other[name]) for name in scaler)


def test_a_channel_that_the_data_does_not_have_is_told(lake: Lake, source: Any) -> None:
    """Where the watch file names no channels, it shows when rows are prepared; nothing is published."""
    source.write("pump", source.table(ROWS))
    watch = source.watch(features={"ratio": (("a", "depth"),)})
    snapshot = ingest(lake.uri, watch).snapshot
    with pytest.raises(WatchError, match=r"watch unit: features.ratio: channel depth is not known; known are a, b, c"):
        prepare(lake.uri, watch, snapshot)
    assert not lake.list("prepared/unit")
