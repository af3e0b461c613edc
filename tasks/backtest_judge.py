"""What a backtest's life was worth: what was scored night by night, beside a first version that nobody retrains.

Scores of different versions lie on different scales. So what ranks rows by their scores (VUS-PR, AUC-PR, best F1) is
taken night by night, where one version kept watch, and its mean stands over the nights that hold an anomaly. What
goes by alarms is taken over all rows at once.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models import metrics
from models.bootstrap import Metric
from models.calibration import Scores
from models.detector import Detector, Scored
from models.parts import HeldOutPart
from tasks import champion as champions
from tasks.backtest import champions_of, lived_rows
from tasks.held_out import RANDOM, TRIVIAL, Stretch, alone, finite, row_of
from tasks.reading import CONTEXT, score_from
from tasks.rows import read_rows, require_snapshot
from watchkeeper.clock import to_microseconds
from watchkeeper.labels import label_samples, read_labels
from watchkeeper.lake import Lake
from watchkeeper.progress import progress_of
from watchkeeper.records import Night, Row
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

LIVED, KEPT = "as lived", "first version kept"
Edges = npt.NDArray[np.int64]
"""The nights, in µs since 1970 UTC."""


def _best_f1(label: metrics.Label, score: metrics.Score) -> float:
    return metrics.best_f1(label, score)[0]


RANKED: dict[str, Metric] = {"vus_pr": metrics.vus_pr, "auc_pr": metrics.auc_pr, "best_f1": _best_f1}
"""Figures that rank rows by their scores."""


@dataclass(eq=False)
class Lives:
    """Gathered series by series.

    Attributes:
        rows: figures.
        gains: (night, VUS-PR as lived less that of the first version) of each night of a series with an anomaly.
        alarms: int64 (night, 2), alarms since the night before, of the life as lived and of the first version.
        events: (time in µs, found as lived) of each anomalous event.
        series: how many were judged.
    """

    alarms: npt.NDArray[np.int64]
    rows: list[Row] = field(default_factory=list)
    gains: list[tuple[int, float]] = field(default_factory=list)
    events: list[tuple[int, bool]] = field(default_factory=list)
    series: int = 0


def judge_lives(lake: Lake, registry: Registry, watch: Watch, nights: Sequence[Night]) -> Lives:
    """Judge what was raised between the first night and the last."""
    snapshot = require_snapshot(lake, watch.name)
    first = champions.load(lake, registry.get(watch.name, nights[0].version))
    events = read_labels(lake, snapshot.labels)
    edges = np.array([to_microseconds(night.when) for night in nights])
    lives = Lives(alarms=np.zeros((len(nights), 2), np.int64))
    tell = progress_of("conclude")
    for done, series in enumerate(first.version.manifest.series):
        tell(done / len(first.version.manifest.series), series)
        rows = read_rows(lake, snapshot, series, first.version.manifest.channels, int(edges[0]) - 1, CONTEXT)
        begin = int(np.searchsorted(rows.timestamps, edges[0]))
        if begin == len(rows):
            continue
        score, alarm, known = read_lived(lake, watch.name, series, rows.timestamps[begin:], nights)
        label = label_samples(events, series, rows.timestamps)[begin:]
        label = np.where(known, label, -1).astype(np.int8)  # a row that nobody scored tells nothing
        held = HeldOutPart(rows.values[begin:], rows.timestamps[begin:], label)
        stretch = Stretch(rows, begin, held)
        whole = score_from(first.detector, series, rows, 0)
        kept = score_from(first.detector, series, rows, begin)
        lived = replace(kept, score=score, alarm=alarm)
        _judge_series(lives, series, stretch, lived, kept, whole, first.detector, edges, watch.seed)
    return lives


def _judge_series(
    lives: Lives,
    series: str,
    stretch: Stretch,
    lived: Scored,
    kept: Scored,
    whole: Scored,
    detector: Detector,
    edges: Edges,
    seed: int,
) -> None:
    held, merge = stretch.held_out, detector.settings.merge
    night_of = np.searchsorted(edges, held.timestamps, side="right")
    floors = (one for one in alone(series, stretch, whole, detector, seed) if one[0] in (TRIVIAL, RANDOM))
    by_night = {}
    for name, score, alarm in ((LIVED, lived.score, lived.alarm), (KEPT, kept.score, kept.alarm), *floors):
        by_night[name] = rank_by_night(held.label, score, night_of)
        means = {metric: finite(_mean(one[metric] for one in by_night[name].values())) for metric in RANKED}
        lives.rows.append(row_of(series, name, stretch, score, alarm, detector).model_copy(update=means))
    lives.gains += [
        (night, found["vus_pr"] - by_night[KEPT][night]["vus_pr"]) for night, found in by_night[LIVED].items()
    ]
    lives.series += 1
    for night in np.unique(night_of).tolist():
        for column, one in enumerate((lived, kept)):
            lives.alarms[night, column] += len(metrics.alarm_events(one.alarm[night_of == night], merge))
    for begin, end in metrics.events(held.label == 1):
        lives.events.append((int(held.timestamps[begin]), bool(lived.alarm[begin:end].any())))


def rank_by_night(
    label: npt.NDArray[np.int8], score: Scores, night_of: npt.NDArray[np.int64]
) -> dict[int, dict[str, float]]:
    """Return the figures that rank rows, of each night that holds an anomaly; rows of unknown label are left out."""
    found = {}
    for night in np.unique(night_of[label == 1]).tolist():
        rows = (night_of == night) & (label >= 0)
        found[night] = {metric: figure(label[rows], score[rows]) for metric, figure in RANKED.items()}
    return found


def gain_of(gains: Sequence[tuple[int, float]], resamples: int, level: float, seed: int) -> tuple[float, float, float]:
    """Return the mean gain over nights and a bootstrap interval: nights are drawn, with all their series.

    Returns:
        Mean, lower and upper end; nan where no night holds an anomaly.
    """
    nights = sorted({night for night, _ in gains})
    if not nights:
        return math.nan, math.nan, math.nan
    by_night = np.array([_mean(gain for night, gain in gains if night == one) for one in nights])
    drawn = np.random.default_rng(seed).choice(by_night, (resamples, len(by_night))).mean(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(by_night.mean()), float(low), float(high)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def read_lived(
    lake: Lake, watch: str, series: str, timestamps: npt.NDArray[np.int64], nights: Sequence[Night]
) -> tuple[Scores, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Read what was said of rows by whoever was champion when they came in.

    Returns:
        Score and alarm of each row, and which rows were scored at all.
    """
    score = np.zeros(len(timestamps))
    alarm, known = np.zeros(len(timestamps), np.bool_), np.zeros(len(timestamps), np.bool_)
    for since, until, version in champions_of(nights):
        said = lived_rows(lake, watch, series, version, since, until)
        at = np.searchsorted(timestamps, said["timestamp"].cast(pa.int64()).to_numpy())
        score[at], alarm[at] = said["score"].to_numpy(), said["alarm"].to_numpy(zero_copy_only=False)
        known[at] = True
    return score, alarm, known
