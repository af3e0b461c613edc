"""Evaluate: candidate and champion on the same held-out rows, beside a random row, a trivial row and each member.

Truth is what people and sources said of the held-out rows. Where they said nothing, anomalies are put into the rows
(models/inject.py), and the record says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models import metrics
from models.bootstrap import PairedScores, paired_block_bootstrap
from models.calibration import Scores, fit_line, smooth_fast_and_slow
from models.detector import Detector, Scored
from models.inject import inject
from models.norm import Norm
from models.parts import HeldOutPart
from models.threshold import ThresholdConfig, adapt, start_state
from tasks import champion as champions
from tasks import runs
from tasks.prepare import Bounds, history_start, read_bounds
from tasks.reading import score_from
from tasks.rows import Rows, read_rows, read_snapshot
from tasks.step import step
from tasks.train_vae import read_detector
from tasks.validate import day_of
from watchkeeper.clock import to_datetime
from watchkeeper.errors import VersionRefusedError
from watchkeeper.labels import label_samples, read_labels
from watchkeeper.lake import Lake, digest_of
from watchkeeper.progress import progress_of
from watchkeeper.records import Decision, Evaluation, Prepared, Row, Trained
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

RANDOM, TRIVIAL, COMBINATION, CHAMPION = "random", "trivial", "combination", "champion"
FEWEST_BLOCKS = 4
"""Blocks that a bootstrap needs to say anything."""
LABELS, INJECTED = "labels", "injected anomalies"


@dataclass(frozen=True, eq=False)
class Stretch:
    """Calibration and held-out rows of a series, raw, and where the held-out ones begin."""

    rows: Rows
    first: int
    held_out: HeldOutPart


@step()
def evaluate(lake_uri: str, registry_uri: str, watch: Watch, prepared: Prepared, candidate: Trained) -> Evaluation:
    """Score the held-out rows and write the evaluation; nothing in here reaches training code.

    A champion that cannot be read any more is nothing to compare with, and must not stand in the way of its successor:
    the candidate is judged as a first version would be, and the evaluation says why.
    """
    lake = Lake(lake_uri)
    champion, unreadable = None, ""
    try:
        champion = champions.find_champion(Registry(registry_uri, lake.uri_of("mlflow")), watch.name)
    except VersionRefusedError as error:
        unreadable = str(error)
    against = champion.registered.version if champion else None
    # The bootstrap's settings and an unreadable champion change the evaluation, and nothing of the run besides.
    about = digest_of([watch.gate.resamples, watch.gate.level, unreadable])[:12]
    key = f"{runs.run_folder(watch, prepared.snapshot)}/evaluations/{about}/evaluation-against-{against or 'none'}"
    if runs.published(lake, key):
        return Evaluation(**runs.about(lake, key))
    detector = read_detector(lake, candidate)
    stretches = read_stretches(lake, watch, prepared)
    truth = LABELS
    if not any((stretch.held_out.label == 1).any() for stretch in stretches.values()):
        truth = INJECTED
        stretches = {series: _with_injected(stretch, watch.seed) for series, stretch in stretches.items()}
    tell = progress_of("evaluate")
    rows: list[Row] = []
    paired: list[PairedScores] = []
    for done, (series, stretch) in enumerate(stretches.items()):
        tell(done / len(stretches), series)
        own = score_from(detector, series, stretch.rows, 0)
        rows += rows_of(series, stretch, own, detector, watch.seed)
        if champion and _fits(champion, series, prepared):
            theirs = score_from(champion.detector, series, stretch.rows, 0)
            rows.append(
                _row(series, CHAMPION, stretch, theirs.score[stretch.first :], theirs.alarm[stretch.first :], detector)
            )
            held = stretch.held_out
            blocks = blocks_of(held.timestamps)
            paired.append(PairedScores(held.label, theirs.score[stretch.first :], own.score[stretch.first :], blocks))
    evaluation = Evaluation(
        key=key,
        truth=truth,
        start=to_datetime(min(int(stretch.held_out.timestamps[0]) for stretch in stretches.values())),
        end=to_datetime(max(int(stretch.held_out.timestamps[-1]) for stretch in stretches.values())),
        rows=tuple(rows),
        against=against,
        unreadable=unreadable,
        **_compare(paired, watch),
    )
    runs.publish(lake, key, evaluation.model_dump(mode="json"), {})
    return evaluation


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


def rows_of(series: str, stretch: Stretch, scored: Scored, detector: Detector, seed: int) -> list[Row]:
    """Judge the random row, the trivial row, each member alone and the combination on the held-out rows.

    Rows other than the combination get the same smoothing and the same rule of the threshold, so that their figures at
    the deployed threshold can be compared.
    """
    noise = np.random.default_rng(seed).random(len(stretch.rows))
    alone = {RANDOM: noise, TRIVIAL: scored.members.get(Norm.name, noise), **scored.members}
    if Norm.name not in scored.members:
        alone[TRIVIAL] = _norm_of(series, stretch, detector)
    rule = detector.settings.threshold
    judged = []
    for name, scores in alone.items():
        smoothed, _ = smooth_fast_and_slow(scores, detector.settings.smoothing, detector.settings.slow_smoothing)
        alarm = _alarms(smoothed, stretch.first, rule)
        raw = scores if name == RANDOM else smoothed
        judged.append(_row(series, name, stretch, raw[stretch.first :], alarm, detector))
    own = _row(series, COMBINATION, stretch, scored.score[stretch.first :], scored.alarm[stretch.first :], detector)
    return [*judged, own]


def latest_evaluation(lake: Lake, audit: Sequence[Decision]) -> Evaluation | None:
    """Return the evaluation that the newest decision of the gate rests on, or None."""
    for decision in reversed(audit):
        key = decision.evidence.get("evaluation")
        if key and runs.published(lake, str(key)):
            return Evaluation(**runs.about(lake, str(key)))
    return None


def blocks_of(timestamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number the blocks that the bootstrap draws: days, or equal parts where the held-out rows span few days."""
    days = day_of(timestamps)
    if len(np.unique(days)) >= FEWEST_BLOCKS:
        return days
    return np.arange(len(timestamps), dtype=np.int64) * FEWEST_BLOCKS // len(timestamps)


def _stretch(rows: Rows, where: Bounds, label: npt.NDArray[np.int8]) -> Stretch:
    begin, (start, end) = where.calibration[0], where.held_out
    held = HeldOutPart(rows.values[start:end], rows.timestamps[start:end], label[start:end])
    return Stretch(Rows(rows.timestamps[begin:end], rows.values[begin:end]), start - begin, held)


def _with_injected(stretch: Stretch, seed: int) -> Stretch:
    values, label = inject(stretch.held_out.values, seed)
    held = HeldOutPart(values, stretch.held_out.timestamps, label)
    together = np.concatenate([stretch.rows.values[: stretch.first], values])
    return Stretch(Rows(stretch.rows.timestamps, together), stretch.first, held)


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


def _row(
    series: str, name: str, stretch: Stretch, scores: Scores, alarm: npt.NDArray[np.bool_], detector: Detector
) -> Row:
    settings = detector.settings
    known = stretch.held_out.label >= 0
    label, score, said = stretch.held_out.label[known], scores[known], alarm[known]
    return Row(
        series=series,
        row=name,
        vus_pr=_finite(metrics.vus_pr(label, score)) if known.any() else None,
        auc_pr=_finite(metrics.auc_pr(label, score)) if known.any() else None,
        best_f1=_finite(metrics.best_f1(label, score)[0]) if known.any() else None,
        f1=_finite(metrics.point_metrics(label, said).f1) if known.any() else None,
        event_recall=_finite(metrics.event_recall(label, said)) if known.any() else None,
        alarms_per_day=_finite(metrics.alarms_per_day(alarm, settings.interval_s, settings.merge)),
    )


def _fits(champion: champions.Served, series: str, prepared: Prepared) -> bool:
    manifest = champion.version.manifest
    return series in manifest.series and manifest.channels == prepared.channels


def _compare(paired: list[PairedScores], watch: Watch) -> dict[str, float | None]:
    if not paired:
        return {"difference": None, "low": None, "high": None}
    found = paired_block_bootstrap(
        paired, metrics.vus_pr, resamples=watch.gate.resamples, seed=watch.seed, level=watch.gate.level
    )
    return {"difference": _finite(found.difference), "low": _finite(found.low), "high": _finite(found.high)}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
