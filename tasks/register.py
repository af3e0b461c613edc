"""Register: the candidate as a folder in the lake, and the folder as the watch's next version."""

from typing import Any

import numpy as np
import pyarrow as pa

from models.detector import Detector
from tasks import champion, runs
from tasks.held_out import COMBINATION
from tasks.prepare import history_start, read_learning
from tasks.reading import score_from
from tasks.rows import read_rows, read_snapshot, to_table
from tasks.step import step
from tasks.train_agent import questions_of
from tasks.train_vae import read_detector
from watchkeeper.lake import Lake
from watchkeeper.records import Evaluation, Prepared, Registered, Trained
from watchkeeper.registry import Registry
from watchkeeper.version import FORMAT, Manifest, write_version
from watchkeeper.watch import Watch

REFERENCE_ROWS = 20_160
"""Rows of a series kept for drift checks at most: two weeks of minutes. Longer histories are thinned evenly."""
METRICS = ("vus_pr", "auc_pr", "best_f1", "f1", "event_recall", "alarms_per_day")


@step(retries=2)
def register(
    lake_uri: str, registry_uri: str, watch: Watch, prepared: Prepared, candidate: Trained, evaluation: Evaluation
) -> Registered:
    """Make the candidate a version, once: the same run finds the version that it made before, if it can be read."""
    lake = Lake(lake_uri)
    registry = Registry(registry_uri)
    run = runs.run_key(watch, prepared.snapshot)
    known = registry.find(watch.name, run)
    if known and champion.readable(lake, known):
        registry.settle(known)
        return known
    detector = read_detector(lake, candidate)
    manifest = build_manifest(lake, watch, prepared, candidate, evaluation, detector)
    folder, sha256 = write_version(lake, manifest, detector.arrays(), _reference(lake, watch, prepared, detector))
    vus_pr = evaluation.mean(COMBINATION, "vus_pr")
    return registry.register(
        watch.name,
        run,
        folder,
        sha256,
        parameters=_parameters(watch, prepared),
        metrics=_metrics(evaluation),
        history=_history(lake, watch, prepared, candidate),
        tags={"snapshot": prepared.snapshot, "vus_pr": "" if vus_pr is None else repr(vus_pr)},
    )


def build_manifest(
    lake: Lake, watch: Watch, prepared: Prepared, candidate: Trained, evaluation: Evaluation, detector: Detector
) -> Manifest:
    """Say what the candidate is and what it was made from."""
    learning = read_learning(lake, watch, prepared)
    known = np.concatenate([parts.train.label for parts in learning.values()])
    questions = questions_of(lake, candidate)
    names = sorted({row.row for row in evaluation.rows})
    return Manifest(
        format=FORMAT,
        watch=watch.name,
        run=runs.run_key(watch, prepared.snapshot),
        snapshot=prepared.snapshot,
        channels=prepared.channels,
        series=prepared.series,
        interval_s=prepared.interval_s,
        held_out_from=evaluation.start,
        window=watch.window,
        code=runs.code_digest(),
        seed=watch.seed,
        labels={
            "anomalous": int((known == 1).sum()),
            "normal": int((known == 0).sum()),
            "asked": len(questions),
            "answered": sum(question["answer"] is not None for question in questions),
        },
        detector=detector.config(),
        evaluation={name: {metric: evaluation.mean(name, metric) for metric in METRICS} for name in names},
    )


def _reference(lake: Lake, watch: Watch, prepared: Prepared, detector: Detector) -> pa.Table:
    """Return the rows that drift checks compare with: the latest ones, with this version's score."""
    snapshot = read_snapshot(lake, watch.name, prepared.snapshot)
    tables = []
    for series in prepared.series:
        rows = read_rows(lake, snapshot, series, prepared.channels, history_start(snapshot, watch))
        scored = score_from(detector, series, rows, 0)
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), REFERENCE_ROWS)).astype(np.int64))
        table = to_table(rows.timestamps[chosen], rows.values[chosen], prepared.channels)
        table = table.append_column("score", pa.array(scored.score[chosen], pa.float64()))
        tables.append(table.append_column("series", pa.array([series] * len(chosen), pa.string())))
    return pa.concat_tables(tables)


def _parameters(watch: Watch, prepared: Prepared) -> dict[str, Any]:
    return {
        "window": watch.window,
        "members": ",".join(watch.members),
        "seed": watch.seed,
        "label_budget": watch.labels.budget,
        "alarm_budget_per_day": watch.alarms.budget_per_day,
        "snapshot": prepared.snapshot,
        "rows": prepared.rows,
        "series": len(prepared.series),
        "code": runs.code_digest()[:12],
    }


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the mean figures by scorer, as MLflow names them: combination/vus_pr."""
    found = {}
    for name in sorted({row.row for row in evaluation.rows}):
        for metric in METRICS:
            value = evaluation.mean(name, metric)
            if value is not None:
                found[f"{name}/{metric}"] = value
    return found


def _history(lake: Lake, watch: Watch, prepared: Prepared, candidate: Trained) -> list[tuple[str, int, float]]:
    """Return the figures of each epoch and episode as (name, step, value)."""
    points: list[tuple[str, int, float]] = []
    base = runs.about(lake, f"{runs.run_folder(watch, prepared.snapshot)}/base")["history"]
    for member, epochs in base.items():
        for number, epoch in enumerate(epochs):
            points += [(f"{member}/{name}", number, float(value)) for name, value in epoch.items()]
    if candidate.key.endswith("/agent"):
        for number, episode in enumerate(runs.about(lake, candidate.key)["history"]):
            points += [(f"agent/{name}", number, float(value)) for name, value in episode.items() if name != "number"]
    return points
