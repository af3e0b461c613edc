import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import metrics
from models.inject import inject
from tasks import evaluate as module
from tasks.evaluate import blocks_of, evaluate, latest_evaluation
from tasks.held_out import read_stretches, with_injected
from tasks.ingest import ingest
from tasks.prepare import prepare, read_bounds
from tasks.register import register
from tasks.rows import read_rows, read_snapshot
from tasks.train_vae import read_detector, train_vae
from watchkeeper import promotion
from watchkeeper.lake import Lake
from watchkeeper.records import Decision, Evaluation, Prepared, Registered, Row, Trained
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

ROWS = 1200  # eight days of ten minutes; the last 300 rows are held out
TRUTH = {(200, 210): 1, (950, 960): 1, (1100, 1104): 1}
MEMBERS = ("random", "trivial", "norm", "ridge", "combination")
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class House:
    """A lake and a registry, and the steps of a retrain without networks."""

    lake: Lake
    registry_uri: str

    def train(self, watch: Watch) -> tuple[Prepared, Trained]:
        record = prepare(self.lake.uri, watch, ingest(self.lake.uri, watch).snapshot)
        return record, train_vae(self.lake.uri, watch, record, "cpu", 1)

    def evaluate(self, watch: Watch) -> Evaluation:
        return evaluate(self.lake.uri, self.registry_uri, watch, *self.train(watch))

    def crown(self, watch: Watch) -> Registered:
        """Train a version and make it champion, whatever the gate would say."""
        made = register(self.lake.uri, self.registry_uri, watch, *self.train(watch), self.evaluate(watch))
        registry = Registry(self.registry_uri)
        promotion.promote(self.lake, registry, decision("promoted", made.version, {}))
        return made


@pytest.fixture
def house(lake: Lake, fresh_database: Path, tmp_path: Path) -> House:
    shutil.copy(fresh_database, tmp_path)
    return House(lake, f"sqlite:///{tmp_path / 'registry.db'}")


def decision(action: str, version: int, evidence: dict[str, Any]) -> Decision:
    return Decision(
        watch="unit", action=action, version=version, previous=None, who="ann", when=NOON, reasons=(), evidence=evidence
    )


def watch_of(source: Any, **changes: Any) -> Watch:
    return source.watch(**{"gate": {"resamples": 20}, **changes})


def with_anomalies(source: Any, rows: int = ROWS, seed: int = 0) -> Any:
    """Rows whose labelled stretches are far off in every channel."""
    table = source.table(rows, seed=seed, label=TRUTH)
    for index, name in enumerate("abc", 1):
        values = table[name].to_numpy().copy()
        for start, end in TRUTH:
            values[start:end] += 40
        table = table.set_column(index, name, [values])
    return table


def test_labels_are_the_truth_where_there_are_some(house: House, source: Any) -> None:
    """Each scorer has a row for each series, on the held-out rows alone."""
    for seed, name in enumerate(("fan", "pump")):
        source.write(name, with_anomalies(source, seed=seed))
    found = house.evaluate(watch_of(source))
    assert found.truth == "labels"
    assert {(row.series, row.row) for row in found.rows} == {(s, r) for s in ("fan", "pump") for r in MEMBERS}
    assert (found.start, found.end) == (source.time(900), source.time(ROWS - 1))
    assert (found.against, found.difference, found.low, found.high) == (None,) * 4
    assert found.mean("combination", "vus_pr") > 0.5 > found.mean("random", "vus_pr")
    assert found.mean("combination", "event_recall") == 1.0


def test_figures_are_those_of_the_held_out_rows(house: House, source: Any) -> None:
    """Scored again by hand from the raw rows: the detector begins with the calibration rows, labels cut the rest."""
    truth = {**TRUTH, (1150, 1200): -1}  # nobody knows the last rows, so they do not count
    table = with_anomalies(source)
    label = np.zeros(ROWS, np.int8)
    for (start, end), value in truth.items():
        label[start:end] = value
    source.write("pump", table.set_column(4, "label", [label]))
    watch = watch_of(source)
    record, base = house.train(watch)
    found = evaluate(house.lake.uri, house.registry_uri, watch, record, base)
    where = read_bounds(house.lake, record)["pump"]
    begin, (start, end) = where.calibration[0], where.held_out
    rows = read_rows(house.lake, read_snapshot(house.lake, "unit", record.snapshot), "pump", record.channels)
    detector = read_detector(house.lake, base)
    scored, _ = detector.score("pump", rows.values[begin:end], rows.timestamps[begin:end])
    known = label[start:end] >= 0
    score, alarm = scored.score[start - begin :], scored.alarm[start - begin :]
    (own,) = (row for row in found.rows if row.row == "combination")
    assert own.vus_pr == metrics.vus_pr(label[start:end][known], score[known])
    assert own.f1 == metrics.point_metrics(label[start:end][known], alarm[known]).f1
    assert own.alarms_per_day == metrics.alarms_per_day(alarm, 600.0, 10)
    points = metrics.point_metrics(label[start:end][known], alarm[known])
    assert (own.precision, own.recall) == (points.precision, points.recall)
    assert own.delay_s == metrics.detection_delay(label[start:end][known], alarm[known]) * 600.0
    assert own.affiliation_f1 == metrics.affiliation_f1(label[start:end][known], alarm[known])
    assert own.point_adjusted_f1 == metrics.point_adjusted_f1(label[start:end][known], alarm[known])
    assert known.sum() == 250


@pytest.mark.parametrize(
    "label", [None, {}, {(200, 210): 1}, {(900, ROWS): -1}], ids=["none", "normal", "early", "unknown"]
)
def test_without_an_anomaly_in_the_held_out_rows_injected_ones_stand_in(
    house: House, source: Any, label: dict[tuple[int, int], int] | None
) -> None:
    """The record says so, every series has figures, and the stored rows are not touched."""
    table = source.table(ROWS, label=label)
    source.write("fan", table)
    source.write("pump", table)
    before = ingest(house.lake.uri, watch_of(source)).snapshot
    raw = {key: house.lake.get(key) for key in house.lake.list("raw")}
    found = house.evaluate(watch_of(source))
    assert found.truth == "injected anomalies"
    assert all(row.vus_pr is not None for row in found.rows)
    assert found.mean("combination", "vus_pr") > found.mean("random", "vus_pr")
    assert {key: house.lake.get(key) for key in house.lake.list("raw")} == raw
    assert ingest(house.lake.uri, watch_of(source)).snapshot == before


def test_injected_anomalies_lie_in_the_held_out_rows_alone(house: House, source: Any) -> None:
    """The calibration rows before them are as they were, and the watch's seed says where anomalies come."""
    source.write("pump", source.table(ROWS))
    watch = watch_of(source)
    record, _ = house.train(watch)
    (stretch,) = read_stretches(house.lake, watch, record).values()
    changed = with_injected(stretch, 3)
    assert np.array_equal(changed.rows.values[: stretch.first], stretch.rows.values[: stretch.first])
    values, label = inject(stretch.held_out.values, 3)
    assert np.array_equal(changed.held_out.label, label)
    assert np.array_equal(changed.rows.values[stretch.first :], values)
    assert not np.array_equal(changed.rows.values, stretch.rows.values)


def test_one_labelled_series_is_enough(house: House, source: Any) -> None:
    """Truth beats injection; the series that nobody labelled has no figures but its alarms are counted."""
    source.write("fan", source.table(ROWS))
    source.write("pump", with_anomalies(source))
    found = house.evaluate(watch_of(source))
    assert found.truth == "labels"
    fan = [row for row in found.rows if row.series == "fan"]
    assert all(row.vus_pr is None and row.alarms_per_day is not None for row in fan)
    (pump,) = (row.vus_pr for row in found.rows if (row.series, row.row) == ("pump", "combination"))
    assert found.mean("combination", "vus_pr") == pump


def test_a_champion_is_judged_on_the_same_rows(house: House, source: Any) -> None:
    """The same detector on the same rows has the same figures and a difference of nothing."""
    source.write("pump", with_anomalies(source))
    watch = watch_of(source)
    made = house.crown(watch)
    found = house.evaluate(watch)
    assert found.against == made.version == 1
    champion, own = (next(row for row in found.rows if row.row == name) for name in ("champion", "combination"))
    assert champion.model_copy(update={"row": "combination"}) == own
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.key.endswith("/evaluation-against-1")


def test_a_later_candidate_is_compared_with_the_champion(house: House, source: Any) -> None:
    """On the later rows; a series that the champion does not know has no champion row."""
    source.write("pump", with_anomalies(source))
    house.crown(watch_of(source))
    source.write("pump", with_anomalies(source, rows=1400))
    source.write("fan", with_anomalies(source, rows=1400, seed=1))
    found = house.evaluate(watch_of(source, members=("ridge",)))
    assert [row.series for row in found.rows if row.row == "champion"] == ["pump"]
    assert found.low <= found.difference <= found.high
    assert found.difference != 0.0


def test_a_champion_of_other_channels_is_not_asked(house: House, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no row of it, and no difference either, but the record says whom it was against."""
    source.write("pump", with_anomalies(source))
    house.crown(watch_of(source))
    whole = module.champions.find_champion

    def other(*args: Any) -> Any:
        served = whole(*args)
        manifest = served.version.manifest.model_copy(update={"channels": ("x", "y", "z")})
        return module.champions.Served(served.registered, replace(served.version, manifest=manifest), served.detector)

    monkeypatch.setattr(module.champions, "find_champion", other)
    found = house.evaluate(watch_of(source, seed=1))
    assert "champion" not in {row.row for row in found.rows}
    assert (found.against, found.difference) == (1, None)
    assert found.notes == ("version 1 knows other channels, so it was not compared with",)
    assert [one.champion_found for one in found.incidents] == [None]


def test_past_incidents_are_judged_beside_the_held_out_rows(house: House, source: Any) -> None:
    """The one before the held-out rows, with both versions; events in the held-out rows are no past incidents."""
    source.write("pump", with_anomalies(source))
    first = house.evaluate(watch_of(source))
    (alone,) = first.incidents
    assert (alone.start, alone.learnt, alone.champion_found) == (source.time(200), True, None)
    house.crown(watch_of(source))
    source.write("pump", with_anomalies(source, rows=1400))
    found = house.evaluate(watch_of(source, members=("ridge",)))
    assert [one.start for one in found.incidents] == [source.time(200), source.time(950)]
    assert all(one.champion_found is not None for one in found.incidents)
    assert found.library.startswith("incidents/unit/000002-")


@pytest.mark.parametrize("mode", ["known", "oracle"])
def test_what_training_was_not_told_is_not_learnt(house: House, source: Any, mode: str) -> None:
    """Labels that an oracle keeps to itself are known to the evaluation alone."""
    source.write("pump", with_anomalies(source))
    (one,) = house.evaluate(watch_of(source, labels={"imported": mode})).incidents
    assert one.learnt is (mode == "known")


def test_a_champion_that_has_learnt_from_the_held_out_rows_is_noted(house: House, source: Any) -> None:
    """Another split of the same rows puts what it was trained on into the rows that it is judged on."""
    source.write("pump", with_anomalies(source))
    house.crown(watch_of(source))
    assert house.evaluate(watch_of(source, seed=1)).notes == ()
    (note,) = house.evaluate(watch_of(source, split={"held_out": 0.5})).notes
    assert "version 1 has learnt from some of these held-out rows" in note


def test_the_trivial_row_is_there_without_its_member(house: House, source: Any) -> None:
    """It is the norm of the scaled sample, whether or not the detector has it as a member."""
    source.write("pump", with_anomalies(source))
    with_norm = house.evaluate(watch_of(source))
    without = house.evaluate(watch_of(source, members=("ridge",)))
    assert "norm" not in {row.row for row in without.rows}
    assert with_norm.mean("trivial", "vus_pr") == with_norm.mean("norm", "vus_pr")
    assert without.mean("trivial", "vus_pr") == pytest.approx(with_norm.mean("trivial", "vus_pr"), abs=1e-3)


def test_an_evaluation_is_made_once(house: House, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rerun finds it, and equal input gives an equal one."""
    source.write("pump", with_anomalies(source))
    watch = watch_of(source)
    first = house.evaluate(watch)
    house.lake.path(f"{first.key}.json").unlink()
    assert house.evaluate(watch) == first

    def fail(*_: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(module, "rows_of", fail)
    assert house.evaluate(watch) == first


def test_the_latest_evaluation_is_that_of_the_newest_decision(house: House, source: Any) -> None:
    """A rollback rests on none, and one whose files are gone is passed over."""
    source.write("pump", with_anomalies(source))
    found = house.evaluate(watch_of(source))
    audit = [
        decision("promoted", 1, {"evaluation": found.key}),
        decision("refused", 2, {"evaluation": "runs/unit/gone/evaluation"}),
        decision("rolled back", 1, {}),
    ]
    assert latest_evaluation(house.lake, audit) == found
    assert latest_evaluation(house.lake, audit[1:]) is None
    assert latest_evaluation(house.lake, []) is None


def test_a_mean_is_over_the_series_that_have_the_figure() -> None:
    """None is not zero."""
    row = Row(
        series="a", row="norm", vus_pr=0.2, auc_pr=None, best_f1=None, f1=0.0, event_recall=None, alarms_per_day=1
    )
    rows = (row, row.model_copy(update={"vus_pr": None, "f1": 1.0}), row.model_copy(update={"row": "other"}))
    found = Evaluation(
        key="", truth="", start=NOON, end=NOON, rows=rows, against=None, difference=None, low=None, high=None
    )
    assert (found.mean("norm", "vus_pr"), found.mean("norm", "f1"), found.mean("norm", "auc_pr")) == (0.2, 0.5, None)
    assert found.mean("nobody", "vus_pr") is None


def test_blocks_are_days_or_equal_parts_of_a_short_stretch() -> None:
    """A held-out hour still gives the bootstrap blocks to draw; five days give five."""
    minute = 60_000_000
    assert np.unique(blocks_of(np.arange(60, dtype=np.int64) * minute)).tolist() == [0, 1, 2, 3]
    assert np.unique(blocks_of(np.arange(5 * 1440, dtype=np.int64) * minute)).tolist() == [0, 1, 2, 3, 4]


def test_another_gate_is_another_evaluation_of_the_same_run(house: House, source: Any) -> None:
    """A changed bootstrap is not answered with what an earlier one found, and nothing is trained again for it."""
    source.write("pump", with_anomalies(source))
    watch = watch_of(source)
    house.crown(watch)
    first = house.evaluate(watch)
    second = house.evaluate(watch.model_copy(update={"gate": watch.gate.model_copy(update={"level": 0.5})}))
    assert first.key != second.key
    assert first.key.split("/evaluations/")[0] == second.key.split("/evaluations/")[0]
