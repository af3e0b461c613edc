"""Held-out rows, and how each scorer did on them: random row, trivial row, each member alone, the combination."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models import metrics
from models.calibration import Scores, fit_line, smooth_fast_and_slow
from models.detector import Detector, Scored
from models.inject import inject
from models.norm import Norm
from models.parts import Bounds, HeldOutPart
from models.threshold import ThresholdConfig, adapt, start_state
from tasks.prepare import history_start, read_bounds
from tasks.rows import Rows, read_rows, read_snapshot
from watchkeeper.labels import label_samples, read_labels
from watchkeeper.lake import Lake
from watchkeeper.records import Prepared, Row
from watchkeeper.watch import Watch

RANDOM, TRIVIAL, COMBINATION, CHAMPION = "random", "trivial", "combination", "champion"


@dataclass(frozen=True, eq=False)
class Stretch:
    """Calibration and held-out rows of a series, raw, and where the held-out ones begin."""

    rows: Rows
    first: int
    held_out: HeldOutPart


def read_stretches(lake: Lake, watch: Watch, prepared: Prepared) -> dict[str, Stretch]:
    """Read the calibration and held-out rows of each series with all that is known of the held-out ones."""
    snapshot = read_snapshot(lake, watch.name, prepared.snapshot)
    events = read_labels(lake, snapshot.labels)
    after = history_start(snapshot, watch)
    stretches = {}
    for series, where in read_bounds(lake, prepared).items():
        rows = read_rows(lake, snapshot, series, prepared.channels, after)
        stretches[series] = _stretch(rows, where, label_samples(events, series, rows.timestamps))
    return stretches


def with_injected(stretch: Stretch, seed: int) -> Stretch:
    """Put anomalies into the held-out rows of a stretch; the rows before them stay as they are."""
    values, label = inject(stretch.held_out.values, seed)
    held = HeldOutPart(values, stretch.held_out.timestamps, label)
    together = np.concatenate([stretch.rows.values[: stretch.first], values])
    return Stretch(Rows(stretch.rows.timestamps, together), stretch.first, held)


def rows_of(series: str, stretch: Stretch, scored: Scored, detector: Detector, seed: int) -> list[Row]:
    """Judge the random row, the trivial row, each member alone and the combination on the held-out rows."""
    judged = [
        row_of(series, name, stretch, scores, alarm, detector)
        for name, scores, alarm in alone(series, stretch, scored, detector, seed)
    ]
    own = row_of(series, COMBINATION, stretch, scored.score[stretch.first :], scored.alarm[stretch.first :], detector)
    return [*judged, own]


def alone(
    series: str, stretch: Stretch, scored: Scored, detector: Detector, seed: int
) -> Iterator[tuple[str, Scores, npt.NDArray[np.bool_]]]:
    """Give the name, the scores and the alarms on the held-out rows of random row, trivial row and each member alone.

    They get the combination's smoothing and its rule of the threshold, so that their figures at the deployed threshold
    can be compared.
    """
    noise = np.random.default_rng(seed).random(len(stretch.rows))
    found = {RANDOM: noise, TRIVIAL: scored.members.get(Norm.name, noise), **scored.members}
    if Norm.name not in scored.members:
        found[TRIVIAL] = _norm_of(series, stretch, detector)
    for name, scores in found.items():
        smoothed, _ = smooth_fast_and_slow(scores, detector.settings.smoothing, detector.settings.slow_smoothing)
        alarm = _alarms(smoothed, stretch.first, detector.settings.threshold)
        raw = scores if name == RANDOM else smoothed
        yield name, raw[stretch.first :], alarm


def row_of(
    series: str, name: str, stretch: Stretch, scores: Scores, alarm: npt.NDArray[np.bool_], detector: Detector
) -> Row:
    """Judge one scorer; rows that nobody knows anything of count for its alarms a day alone."""
    settings = detector.settings
    known = stretch.held_out.label >= 0
    label, score, said = stretch.held_out.label[known], scores[known], alarm[known]
    points = metrics.point_metrics(label, said)
    return Row(
        series=series,
        row=name,
        vus_pr=finite(metrics.vus_pr(label, score)) if known.any() else None,
        auc_pr=finite(metrics.auc_pr(label, score)) if known.any() else None,
        best_f1=finite(metrics.best_f1(label, score)[0]) if known.any() else None,
        f1=finite(points.f1),
        event_recall=finite(metrics.event_recall(label, said)) if known.any() else None,
        alarms_per_day=finite(metrics.alarms_per_day(alarm, settings.interval_s, settings.merge)),
        precision=finite(points.precision),
        recall=finite(points.recall),
        delay_s=finite(metrics.detection_delay(label, said) * settings.interval_s),
        affiliation_f1=finite(metrics.affiliation_f1(label, said)),
        point_adjusted_f1=finite(metrics.point_adjusted_f1(label, said)),
    )


def _stretch(rows: Rows, where: Bounds, label: npt.NDArray[np.int8]) -> Stretch:
    begin, (start, end) = where.calibration[0], where.held_out
    held = HeldOutPart(rows.values[start:end], rows.timestamps[start:end], label[start:end])
    return Stretch(Rows(rows.timestamps[begin:end], rows.values[begin:end]), start - begin, held)


def _norm_of(series: str, stretch: Stretch, detector: Detector) -> Scores:
    """Return the trivial score, calibrated as a member's is, where the detector has no member that gives it."""
    filled, _ = detector.scaler.fill_forward(series, stretch.rows.values)
    scaled = detector.scaler.transform(series, filled)
    norm = Norm()
    norm.fit({series: scaled}, seed=0)
    score, _ = norm.score(series, scaled)
    return fit_line(score[: stretch.first]).calibrate(score)


def _alarms(scores: Scores, first: int, rule: ThresholdConfig) -> npt.NDArray[np.bool_]:
    """Cut held-out scores by the deployed rule, started on the calibration scores before them."""
    threshold, _ = adapt(scores[first:], start_state(scores[:first], rule), rule)
    alarm: npt.NDArray[np.bool_] = scores[first:] >= threshold
    return alarm


def finite(value: float) -> float | None:
    """Return a figure as records hold it: None where it is not defined."""
    return float(value) if math.isfinite(value) else None
