"""Is one score better than another on the same days? A paired bootstrap over blocks of time.

Neighbouring samples say much the same, so rows are no independent evidence, but days nearly are. Whole blocks are drawn
with replacement; both scores are judged on the same draw, so what makes a day hard for both cancels out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.metrics import Label, Score, auc_pr
from watchkeeper.errors import DataError

Metric = Callable[[Label, Score], float]
Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Judge = Callable[[Numbers], float]
"""The figure of one score of one series, given how often each block was drawn."""


class PairedScores(NamedTuple):
    """Two scores of one series, row by row.

    Attributes:
        label: int8 (time,), 1 anomalous, 0 normal, −1 unknown; rows of unknown label are left out.
        score_a: float (time,), finite: the champion's.
        score_b: float (time,), finite: the candidate's.
        block: int64 (time,), the number of each row's block (its day, say); the same number in two series means the
            same block, and the two are drawn together, because days that are odd are odd for the whole watch.
    """

    label: Label
    score_a: Score
    score_b: Score
    block: Numbers


@dataclass(frozen=True)
class Comparison:
    """How much better score b is than score a.

    Attributes:
        difference: of the metric, b − a, on all labelled rows, mean over the series; nan with no anomalous sample.
        low: lower end of the percentile interval of `difference`; nan when no resample counts.
        high: its upper end.
        resamples: how many resamples the interval rests on: those with an anomalous sample in some series.
        level: of the interval, 0.95 say.
    """

    difference: float
    low: float
    high: float
    resamples: int
    level: float


def paired_block_bootstrap(
    series: Sequence[PairedScores],
    metric: Metric = auc_pr,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare two scores on the same resampled blocks.

    A series without an anomalous sample in a resample has no figure there and is left out of that resample's mean; a
    resample in which no series has one is dropped. So the interval is for days of which some hold an anomaly, and with
    anomalies on one day only it is as narrow as that one day's evidence allows: read `resamples` beside it. Blocks
    without any labelled row are not drawn.

    Args:
        series: one or more, see `PairedScores`.
        metric: of (label, score), nan where it is not defined. It sees the rows of the drawn blocks in the order of
            time, a block drawn twice standing twice; a metric of events sees the seams between blocks, a metric of
            rows does not.
        resamples: how many to draw, at least 1.
        seed: of the draws; the same input and seed give the same result, and swapping a and b mirrors it.
        level: of the interval, between 0 and 1.

    Raises:
        DataError: there are no series, fewer than two blocks with labels, arrays that differ in length, or a number out
            of range; or `metric` refuses the rows.

    Source: percentile block bootstrap, Efron and Tibshirani, An Introduction to the Bootstrap (1993), 8.6 and 13.3.
    """
    if resamples < 1 or not 0 < level < 1:
        raise DataError(f"wanted at least 1 resample and a level in (0, 1), found {resamples} and {level}")
    labelled = [_labelled(one) for one in series]
    known = np.unique(np.concatenate([one.block for one in labelled])) if labelled else np.empty(0, np.int64)
    if len(known) < 2:
        raise DataError(f"a bootstrap needs at least 2 blocks with labels, found {len(known)}: cut shorter blocks")
    pairs = [_judges(one, known, metric) for one in labelled if len(one.label)]

    draws = np.random.default_rng(seed).integers(len(known), size=(resamples, len(known)))
    differences = np.array([_difference(pairs, np.bincount(draw, minlength=len(known))) for draw in draws])
    differences = differences[~np.isnan(differences)]
    low = high = math.nan
    if len(differences):
        low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2]).tolist()
    whole = _difference(pairs, np.ones(len(known), dtype=np.int64))
    return Comparison(whole, low, high, len(differences), level)


def _labelled(one: PairedScores) -> PairedScores:
    lengths = [len(values) for values in one]
    if len(set(lengths)) > 1:
        raise DataError(f"label, both scores and block are of one length, found {lengths}")
    known = one.label != -1
    return PairedScores(one.label[known], one.score_a[known], one.score_b[known], one.block[known])


def _judges(one: PairedScores, known: Numbers, metric: Metric) -> tuple[Judge, Judge]:
    block = np.searchsorted(known, one.block)
    # AUC-PR rests on the order of scores, which no draw changes: its rows are sorted once, and each resample only
    # counts. Any other metric gets the rows themselves. Both ways give the same figure.
    build = _auc_pr_judge if metric is auc_pr else _row_judge(metric)
    return build(one.label, one.score_a, block), build(one.label, one.score_b, block)


def _difference(pairs: list[tuple[Judge, Judge]], drawn: Numbers) -> float:
    """Mean over the series of b − a, over those in which the metric is defined; nan when it is in none."""
    differences = np.array([judge_b(drawn) - judge_a(drawn) for judge_a, judge_b in pairs])
    defined = differences[~np.isnan(differences)]
    return float(defined.mean()) if len(defined) else math.nan


def _row_judge(metric: Metric) -> Callable[[Label, Score, Numbers], Judge]:
    def build(label: Label, score: Score, block: Numbers) -> Judge:
        rows = [np.flatnonzero(block == number) for number in range(int(block.max()) + 1)]

        def judge(drawn: Numbers) -> float:
            # Blocks beyond this series' last one hold none of its rows, so `drawn` may be the longer of the two.
            at = np.concatenate([np.tile(own, times) for own, times in zip(rows, drawn, strict=False)])
            return metric(label[at], score[at])

        return judge

    return build


def _auc_pr_judge(label: Label, score: Score, block: Numbers) -> Judge:
    auc_pr(label, score)  # checks the input once, as every call on rows would
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last row of each run of ties
    block_ranked, positive = block[order], (label == 1)[order]

    def judge(drawn: Numbers) -> float:
        times = drawn[block_ranked]  # how often each row stands in the resample, best score first
        alarms = np.cumsum(times)[last]
        hits = np.cumsum(times * positive)[last]
        if hits[-1] == 0:
            return math.nan
        precision = hits / np.maximum(alarms, 1)  # nothing drawn yet: no hit either, so the value does not matter
        return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])

    return judge
