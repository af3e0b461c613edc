"""What a score and an alarm are worth against labels: pure functions, vectorised, without a window-sized copy.

Conventions: a higher score is more anomalous; a sample raises an alarm when `score >= threshold`; a label is 1
(anomalous) or 0 (normal). Samples of unknown label (−1) are refused: the caller drops them first. Where a figure is not
defined (no anomalous sample, no alarm to be right or wrong) it is nan, never a made-up 0 or 1.

`auc_pr`, `auc_roc`, `vus_pr` and `vus_roc` are equal to those of TSB-AD (Liu and Paparrizos, NeurIPS 2024), which the
field reports; the arithmetic here is our own. Where a figure differs from TSB-AD's, its docstring says how. All figures
share one long file, so that these conventions are read, and the input is checked, in one place.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watchkeeper.errors import DataError

Label = npt.NDArray[np.int8]
Score = npt.NDArray[np.float64] | npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Spans = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

VUS_THRESHOLDS = 250  # quantiles of the score at which the volume is taken, as in TSB-AD
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class PointMetrics:
    """Sample by sample. `precision` is nan without an alarm; `recall` and `f1` are nan without an anomalous sample."""

    precision: float
    recall: float
    f1: float


def events(mask: Mask) -> Spans:
    """Find the runs of consecutive true samples.

    Args:
        mask: bool (time,).

    Returns:
        int64 (n, 2), half-open `[start, end)`, ascending.

    Raises:
        DataError: the mask is not boolean, or not one-dimensional.
    """
    _check_mask(mask)
    padded = np.concatenate([[False], mask, [False]])
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def auc_pr(label: Label, score: Score) -> float:
    """Area under the precision-recall curve, as average precision; exact for ties.

    Args:
        label: int8 (time,), 1 or 0.
        score: float (time,), finite.

    Returns:
        0 to 1; nan when no sample is anomalous.

    Raises:
        DataError: lengths differ, a score is not finite, or a label is neither 0 nor 1.
    """
    positive, score = _checked_scores(label, score)
    if not positive.any():
        return math.nan
    _, hits, alarms = _counts(positive, score)
    return float(np.sum(np.diff(hits, prepend=0) * (hits / alarms)) / hits[-1])


def auc_roc(label: Label, score: Score) -> float:
    """Area under the ROC curve: how often an anomalous sample outranks a normal one, a tie counting one half.

    Args and errors are those of `auc_pr`.

    Returns:
        0 to 1; nan when the samples are all normal or all anomalous.
    """
    positive, score = _checked_scores(label, score)
    if not positive.any() or positive.all():
        return math.nan
    _, hits, alarms = _counts(positive, score)
    false_alarms = alarms - hits
    height = hits + np.concatenate([[0], hits[:-1]])  # twice the mean height of each trapezium
    return float(np.sum(np.diff(false_alarms, prepend=0) * height) / (2 * hits[-1] * false_alarms[-1]))


def best_f1(label: Label, score: Score) -> tuple[float, float]:
    """Find the best point-wise F1 over all distinct thresholds. It looks at the labels, so it is an upper bound only.

    TSB-AD's Standard-F1 adds 1e-5 to the denominator `precision + recall`, so it is smaller by that relative amount.

    Args and errors are those of `auc_pr`.

    Returns:
        F1 and its threshold, the highest one where several are as good; (nan, nan) when no sample is anomalous.
    """
    positive, score = _checked_scores(label, score)
    if not positive.any():
        return math.nan, math.nan
    thresholds, hits, alarms = _counts(positive, score)
    f1 = 2 * hits / (alarms + hits[-1])
    best = int(np.argmax(f1))
    return float(f1[best]), float(thresholds[best])


def vus_pr(label: Label, score: Score, window: int = 100) -> float:
    """Volume under the precision-recall surface: AUC-PR, forgiving near the borders of events.

    For each buffer length `w` from 0 to `window`, samples within `w // 2` of an event get a part of its label, falling
    with distance; the figure is the mean area over all `w`. Thresholds are 250 quantiles of the score.

    Args:
        label: int8 (time,), 1 or 0, in the order of time.
        score: float (time,), finite.
        window: the largest buffer length in samples, at least 0.

    Returns:
        0 to 1; nan when no sample is anomalous.

    Raises:
        DataError: as `auc_pr`, or the window is negative.

    Source: Paparrizos et al., Volume Under the Surface, VLDB 2022; TSB-AD, `get_metrics`, version "opt".
    """
    positive, score = _checked_scores(label, score)
    if not positive.any():
        return math.nan
    recall, precision, _ = _range_curves(positive, score, window)
    return float(np.mean(np.sum(np.diff(recall, prepend=0.0) * precision, axis=1)))


def vus_roc(label: Label, score: Score, window: int = 100) -> float:
    """Volume under the ROC surface. Args, errors and source are those of `vus_pr`.

    Returns:
        0 to 1; nan when the samples are all normal or all anomalous.
    """
    positive, score = _checked_scores(label, score)
    if not positive.any() or positive.all():
        return math.nan
    recall, _, fallout = _range_curves(positive, score, window)
    height = np.pad(recall, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))  # from (0, 0) to (1, 1)
    width = np.diff(fallout, prepend=0.0, append=1.0)
    return float(np.mean(np.sum(width * (height[:, 1:] + height[:, :-1]) / 2, axis=1)))


def point_metrics(label: Label, alarm: Mask) -> PointMetrics:
    """Precision, recall and F1, sample by sample.

    Args:
        label: int8 (time,), 1 or 0.
        alarm: bool (time,).

    Raises:
        DataError: lengths differ, the alarm is not boolean, or a label is neither 0 nor 1.
    """
    positive = _checked_alarms(label, alarm)
    hits, alarms, anomalous = int(np.sum(positive & alarm)), int(np.sum(alarm)), int(np.sum(positive))
    return PointMetrics(_ratio(hits, alarms), _ratio(hits, anomalous), _f1(hits, alarms, anomalous))


def point_adjusted_f1(label: Label, alarm: Mask) -> float:
    """F1 after an event with one alarm inside counts as fully found. Noise scores high: print it beside a random row.

    Args and errors are those of `point_metrics`. TSB-AD's form leaves out sample 0 of an event that starts there.

    Returns:
        nan when no sample is anomalous.
    """
    positive = _checked_alarms(label, alarm)
    spans = events(positive)
    length = spans[:, 1] - spans[:, 0]
    hits = int(length[_alarms_inside(spans, alarm) > 0].sum())
    return _f1(hits, hits + int(np.sum(alarm & ~positive)), int(length.sum()))


def event_recall(label: Label, alarm: Mask) -> float:
    """Share of events with at least one alarm inside. Args and errors are those of `point_metrics`.

    Returns:
        nan when there is no event.
    """
    spans = events(_checked_alarms(label, alarm))
    return _ratio(int(np.sum(_alarms_inside(spans, alarm) > 0)), len(spans))


def detection_delay(label: Label, alarm: Mask) -> float:
    """Mean samples from the start of an event to the first alarm inside it, over the events that were found.

    Args and errors are those of `point_metrics`. Read it beside `event_recall`: events that were missed do not count.

    Returns:
        nan when no event was found.
    """
    spans = events(_checked_alarms(label, alarm))
    found = spans[_alarms_inside(spans, alarm) > 0]
    if len(found) == 0:
        return math.nan
    raised = np.flatnonzero(alarm)
    return float(np.mean(raised[np.searchsorted(raised, found[:, 0])] - found[:, 0]))


def alarm_events(alarm: Mask, merge: int) -> Spans:
    """Find the runs of alarms, joining those with a gap shorter than `merge` samples: what an operator sees as one.

    Args:
        alarm: bool (time,).
        merge: samples; 0 and 1 join nothing.

    Returns:
        int64 (n, 2), half-open `[start, end)`, ascending.

    Raises:
        DataError: `merge` is negative, or the alarm is not boolean.
    """
    if merge < 0:
        raise DataError(f"alarms are merged over a gap of at least 0 samples, found {merge}")
    runs = events(alarm)
    apart = runs[1:, 0] - runs[:-1, 1] >= merge
    # A joined run starts where the gap before it is wide and ends where the gap after it is; outside, gaps are wide.
    starts = runs[np.concatenate([[True], apart])[: len(runs)], 0]
    ends = runs[np.concatenate([apart, [True]])[: len(runs)], 1]
    return np.column_stack([starts, ends])


def alarms_per_day(alarm: Mask, interval_s: float, merge: int) -> float:
    """Alarms that an operator gets in a day.

    Args:
        alarm: bool (time,), one sample each `interval_s`.
        interval_s: seconds between two samples, above 0.
        merge: alarms closer than this many samples are one, see `alarm_events`.

    Returns:
        Alarms per 24 hours; nan for no samples.

    Raises:
        DataError: `interval_s` is not above 0, or as `alarm_events`.
    """
    if not interval_s > 0:
        raise DataError(f"the interval between samples must be above 0 s, found {interval_s}")
    return _ratio(len(alarm_events(alarm, merge)) * SECONDS_PER_DAY, len(alarm) * interval_s)


def affiliation_f1(label: Label, alarm: Mask) -> float:
    """F1 of affiliation precision and recall: how near alarms and events are, against a random alarm.

    Time is cut into one zone around each event, halfway to its neighbours. An instant of alarm counts by the chance
    that a random instant of the zone lies farther from the event; an instant of the event, by the chance that a random
    instant lies farther from it than the nearest alarm of the zone does. Precision is the mean over the zones with
    alarms, recall over all. Noise scores well above 0.5: read it beside a random row.

    Args and errors are those of `point_metrics`.

    Returns:
        0 to 1; 0 when there is no alarm; nan when no sample is anomalous.

    Source: Huet et al., Local Evaluation of Time Series Anomaly Detection Algorithms, KDD 2022, equations 3 to 6.
    """
    positive = _checked_alarms(label, alarm)
    spans = events(positive)
    if len(spans) == 0:
        return math.nan
    if not alarm.any():
        return 0.0
    edges = np.concatenate([[0], (spans[:-1, 1] + spans[1:, 0]) / 2, [len(label)]])
    precision = _affiliation_precision(spans, edges, alarm)
    recall = _affiliation_recall(positive, edges, events(alarm))
    return _ratio(2 * precision * recall, precision + recall)


def _affiliation_precision(spans: Spans, edges: Floats, alarm: Mask) -> float:
    at = _quarters(alarm)
    zone = np.searchsorted(edges[1:-1], at)
    low, high, start, end = edges[zone], edges[zone + 1], spans[zone, 0], spans[zone, 1]
    distance = np.maximum(np.maximum(start - at, at - end), 0)
    nearer = (end - start) + np.minimum(distance, start - low) + np.minimum(distance, high - end)
    chance: Floats = np.where(distance > 0, 1 - nearer / (high - low), 1.0)
    total, count = np.bincount(zone, chance), np.bincount(zone)
    return float(np.mean(total[count > 0] / count[count > 0]))


def _affiliation_recall(positive: Mask, edges: Floats, runs: Spans) -> float:
    at = _quarters(positive)
    zone = np.searchsorted(edges[1:-1], at)
    low, high = edges[zone], edges[zone + 1]
    starts, ends = np.append(runs[:, 0], np.inf), np.append(-np.inf, runs[:, 1])
    following = np.searchsorted(runs[:, 0], at)  # the first run of alarms after each instant; before it lies one more
    before, after = ends[following], starts[following]
    to_before = np.where(before > low, np.maximum(at - before, 0), np.inf)
    to_after = np.where(after < high, after - at, np.inf)
    distance = np.minimum(to_before, to_after)  # inf in a zone without alarms, which makes the chance 0
    chance = 1 - (np.minimum(distance, at - low) + np.minimum(distance, high - at)) / (high - low)
    return float(np.mean(np.bincount(zone, chance) / np.bincount(zone)))


def _quarters(mask: Mask) -> Floats:
    """Middle of each quarter of the true samples, sample i being the interval [i, i + 1).

    Zones end at halves of a sample and the kinks of the chances lie at quarters, so between quarters the chances are
    straight lines, and the sum over the middles is the exact integral.
    """
    quarters: Floats = np.flatnonzero(mask)[:, np.newaxis] + np.array([0.125, 0.375, 0.625, 0.875])
    return quarters.ravel()


def _range_curves(positive: Mask, score: Floats, window: int) -> tuple[Floats, Floats, Floats]:
    """Range-based recall, precision and fall-out, each (window + 1, thresholds), thresholds falling.

    Only samples within `window // 2` of an event change their weight with the buffer, so everything else is counted
    once; a threshold's sums are cumulative over the first threshold that each sample reaches.
    """
    if window < 0:
        raise DataError(f"the window of VUS is at least 0 samples, found {window}")
    n, spans = len(score), events(positive)
    thresholds = np.sort(score)[::-1][np.linspace(0, n - 1, VUS_THRESHOLDS).astype(np.int64)]  # falling
    reached = VUS_THRESHOLDS - np.searchsorted(thresholds[::-1], score, side="right")  # index of the first one reached
    alarms, inside = _running(reached), _running(reached[positive])
    near, which, distance = _buffer_samples(positive, spans, window // 2)
    recall, precision, fallout = (np.empty((window + 1, VUS_THRESHOLDS)) for _ in range(3))
    found = np.empty(VUS_THRESHOLDS)
    for w in range(window + 1):
        if w % 2 == 0:  # the reach of a buffer is w // 2, so events merge differently at even w only
            found = _found_share(spans, reached, w // 2)
        count = int(np.searchsorted(distance, w // 2, side="right"))
        weight = np.sqrt(1 - np.arange(w // 2 + 1) / max(w, 1))[distance[:count]]
        share = np.minimum(np.bincount(which[:count], weight, minlength=len(near)), 1.0)  # buffers may overlap
        buffered = _running(reached[near], share)
        anomalous = inside[-1] + buffered / 2  # the buffers' labels count by half, as far as alarms reach them
        hits = inside + buffered
        recall[w] = np.minimum(hits / anomalous, 1.0) * found
        precision[w] = hits / alarms
        with np.errstate(invalid="ignore", divide="ignore"):  # no normal sample: VUS-ROC is nan before this is read
            fallout[w] = (alarms - hits) / (n - anomalous)
    return recall, precision, fallout


def _buffer_samples(positive: Mask, spans: Spans, reach: int) -> tuple[Spans, Spans, Spans]:
    """List the normal samples within `reach` of an event.

    Returns:
        `near`, their positions; and for each pair of a sample and an event side in reach, ascending by distance:
        the index into `near`, and the distance in samples.
    """
    away = np.arange(1, reach + 1)[:, np.newaxis]
    at = np.concatenate([spans[:, 1] - 1 + away, spans[:, 0] - away], axis=1)  # (distance, side of an event)
    distance = np.broadcast_to(away, at.shape)
    usable = (at >= 0) & (at < len(positive))
    usable[usable] = ~positive[at[usable]]
    is_near = np.zeros(len(positive), dtype=np.bool_)
    is_near[at[usable]] = True
    index = np.cumsum(is_near) - 1
    return np.flatnonzero(is_near), index[at[usable]], distance[usable]


def _found_share(spans: Spans, reached: Spans, reach: int) -> Floats:
    """Share of events, widened by `reach` on both sides and joined where they overlap, with an alarm, by threshold."""
    n = len(reached)
    apart = spans[:-1, 1] + reach <= spans[1:, 0] - reach
    starts = np.maximum(spans[np.concatenate([[True], apart]), 0] - reach, 0)
    ends = np.minimum(spans[np.concatenate([apart, [True]]), 1] + reach, n)
    bounds = np.column_stack([starts, ends]).ravel()
    padded = np.append(reached, VUS_THRESHOLDS)  # reduceat wants an index below the length, and an end may be n
    first = np.minimum.reduceat(padded, bounds)[::2]  # every second slice lies between two events
    return _running(first) / len(first)


def _running(reached: Spans, weight: Floats | None = None) -> Floats:
    """Weight of the samples that have reached each threshold."""
    return np.cumsum(np.bincount(reached, weight, minlength=VUS_THRESHOLDS), dtype=np.float64)


def _counts(positive: Mask, score: Floats) -> tuple[Floats, Spans, Spans]:
    """At each distinct threshold, highest first: the threshold, the anomalous samples at or above it, all of them."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last: Spans = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last sample of each run of ties
    return ranked[last], np.cumsum(positive[order], dtype=np.int64)[last], last + 1


def _alarms_inside(spans: Spans, alarm: Mask) -> Spans:
    """Count the alarms inside each event."""
    before: Spans = np.concatenate([[0], np.cumsum(alarm)])
    inside: Spans = before[spans[:, 1]] - before[spans[:, 0]]
    return inside


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _f1(hits: int, alarms: int, anomalous: int) -> float:
    return 2 * hits / (alarms + anomalous) if anomalous else math.nan


def _checked_scores(label: Label, score: Score) -> tuple[Mask, Floats]:
    positive = _checked_label(label, score, "score")
    if not np.isfinite(score).all():
        raise DataError(f"scores must be finite, found {int(np.sum(~np.isfinite(score)))} that are not")
    return positive, score.astype(np.float64)


def _checked_alarms(label: Label, alarm: Mask) -> Mask:
    _check_mask(alarm)
    return _checked_label(label, alarm, "alarm")


def _check_mask(mask: Mask) -> None:
    if mask.dtype != np.bool_ or mask.ndim != 1:
        raise DataError(
            f"alarms and masks are boolean (time,), found {mask.dtype} {mask.shape}: compare the score with a threshold"
        )


def _checked_label(label: Label, other: Score | Mask, name: str) -> Mask:
    if label.ndim != 1 or label.shape != other.shape:
        raise DataError(f"label and {name} are (time,) of one length, found {label.shape} and {other.shape}")
    positive: Mask = label == 1
    if not np.all(positive | (label == 0)):
        raise DataError(f"labels must be 0 or 1, found {np.unique(label)[:5].tolist()}: drop what is unknown")
    return positive
