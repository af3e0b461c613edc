"""Has the world moved away from what the champion learnt? One reference sample against the current days.

The distances are computed here, so that they can be calibrated: sensors are autocorrelated, a day of them is worth a
handful of independent samples, and a test that counts rows cries wolf on nearly every column. What a distance must
exceed is therefore measured inside the reference, on blocks as long as the current days. Evidently draws the report
with these distances and these thresholds, so its page and the verdict agree.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from tasks.drift_distance import Floats, Measured, measure
from tasks.drift_sample import HOURS, ROWS_NEEDED, TIME, blocks, in_order, match, sample_by_hour, slots
from watchkeeper.errors import DataError

__all__ = ["ColumnDrift", "DriftRule", "DriftVerdict", "compare", "judge", "sample_by_hour"]

Kind = Literal["none", "values", "spread", "stuck", "unstuck", "missing"]


SCORE = "score"


@dataclass(frozen=True)
class DriftRule:
    """What counts as drift. Distances are in standard deviations (σ) of the reference column.

    Attributes:
        rows: sampled from each side at most, so that the verdict does not depend on how much data there is.
        threshold: distance of the values that a drifted column exceeds, whatever the reference did itself. Distances
            are how far values must be moved on average to turn one distribution into the other (Wasserstein).
        spread: distance of the values around their own mean that a drifted column exceeds: it sees a changed variance
            that a wandering mean hides.
        margin: a drifted column also exceeds `margin` times the largest distance of a block of the reference from the
            rest of it, if the reference is long enough to have such blocks.
        share: share of the channels that must drift for a verdict.
        score: the score column alone is a verdict when it exceeds `score` times its threshold. It is the one column
            that sees the channels together, and the alarm threshold stands on it; but it is one column, so it must be
            surer than the others.
        missing: a channel whose share of missing values rises by more than this has drifted.
    """

    rows: int = 2000
    threshold: float = 0.25
    spread: float = 0.2
    margin: float = 1.25
    share: float = 0.3
    score: float = 2.0
    missing: float = 0.2


@dataclass(frozen=True)
class ColumnDrift:
    """One column. Distances and their thresholds are in σ of the reference; means are None where nothing is present.

    `kind` says what drifted: the values, their spread, a channel that stuck, one that was constant and is no longer, or
    the share of missing values.
    """

    column: str
    kind: Kind
    statistic: float
    threshold: float
    spread: float
    spread_threshold: float
    drifted: bool
    reference_mean: float | None
    current_mean: float | None
    missing_reference: float
    missing_current: float
    reason: str


@dataclass(frozen=True)
class DriftVerdict:
    """The verdict of one check.

    Attributes:
        exceeds: whether the rule is exceeded.
        share: share of the channels that drifted; the score is not counted.
        columns: the score and every channel, drifted ones first, then by distance over threshold.
        reasons: sentences for people.
        rows_reference: rows compared, after matching and sampling.
        rows_current: the same; equal to `rows_reference`.
        hours_compared: hours of the day (UTC) present on both sides.
        weekends_apart: whether weekends were compared with weekends only.
        blocks: blocks of the reference that set the thresholds; 0: too short for that, fixed thresholds alone.
        period_reference: first and last timestamp of the reference, ISO 8601.
        period_current: the same of the current rows.
    """

    exceeds: bool
    share: float
    columns: tuple[ColumnDrift, ...]
    reasons: tuple[str, ...]
    rows_reference: int
    rows_current: int
    hours_compared: int
    weekends_apart: bool
    blocks: int
    period_reference: tuple[str, str]
    period_current: tuple[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        record = asdict(self)
        record["columns"] = [dict(column) for column in record["columns"]]
        for name in ("reasons", "period_reference", "period_current"):
            record[name] = list(record[name])
        return record


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, rule: DriftRule, seed: int, subject: str = ""
) -> tuple[DriftVerdict, str]:
    """Judge drift and write the report. Arguments and errors as in `judge`; `subject` stands in the page's heading.

    Returns:
        The verdict, and one HTML page that loads nothing from a network: the verdict first, then Evidently's report of
        the columns that moved most.
    """
    from tasks.drift_report import page  # Evidently takes seconds to import

    verdict, matched_reference, matched_current = _judge(reference, current, rule, seed)
    return verdict, page(verdict, matched_reference, matched_current, subject)


def judge(reference: pd.DataFrame, current: pd.DataFrame, rule: DriftRule, seed: int) -> DriftVerdict:
    """Judge drift, without a report.

    Args:
        reference: `timestamp` (datetime64[us, UTC]), `score` (the champion's) and channels (float32, NaN missing),
            from when the champion was trained. Two weeks and 10,000 rows or more let it measure its own variation.
        current: the same columns, in any order, of the days to judge.
        rule: what counts as drift.
        seed: for the samples.

    Raises:
        DataError: a column is missing on a side, a timestamp is not in UTC, or too few rows lie in matching hours.
    """
    return _judge(reference, current, rule, seed)[0]


def _judge(
    reference: pd.DataFrame, current: pd.DataFrame, rule: DriftRule, seed: int
) -> tuple[DriftVerdict, pd.DataFrame, pd.DataFrame]:
    """Return the verdict and the rows that it compared."""
    names = _columns(reference, current)
    reference, current = in_order(reference, "reference"), in_order(current, "current")
    rng = np.random.default_rng(seed)
    slots_reference, slots_current, weekends_apart = slots(reference[TIME], current[TIME])
    rows_reference, rows_current = match(slots_reference, slots_current, rule.rows, rng)
    if len(rows_current) < ROWS_NEEDED:
        raise DataError(
            f"drift cannot be judged: {len(rows_current)} rows lie in hours of the day that reference and current "
            f"share, wanted {ROWS_NEEDED}; check a longer period, or take a reference that covers these hours"
        )

    values_reference, values_current = _values(reference, names), _values(current, names)
    found = measure(values_reference[rows_reference], values_current[rows_current])
    within = [
        measure(values_reference[rest], values_reference[block])
        for rest, block in blocks(reference[TIME], current[TIME], slots_reference, slots_current, rule.rows, rng)
    ]
    columns = [_column(name, i, found, within, rule) for i, name in enumerate(names)]
    exceeds, share, reasons = _decide(columns, rule)
    if not within:
        reasons.append("The reference is too short to measure its own variation: the fixed thresholds stand alone.")
    verdict = DriftVerdict(
        exceeds=exceeds,
        share=share,
        columns=tuple(sorted(columns, key=lambda column: (not column.drifted, -excess(column), column.column))),
        reasons=tuple(reasons),
        rows_reference=len(rows_reference),
        rows_current=len(rows_current),
        hours_compared=len(np.unique(slots_current[rows_current] % HOURS)),
        weekends_apart=weekends_apart,
        blocks=len(within),
        period_reference=_period(reference),
        period_current=_period(current),
    )
    return verdict, reference.iloc[rows_reference], current.iloc[rows_current]


def _columns(reference: pd.DataFrame, current: pd.DataFrame) -> list[str]:
    """Return the score and the channels, or refuse frames that do not have the same."""
    here, there = ({str(name) for name in frame.columns} for frame in (reference, current))
    if here != there:
        raise DataError(
            f"reference and current differ in columns: only in the reference {sorted(here - there)}, only in current "
            f"{sorted(there - here)}; compare with the reference of a version that was trained on these channels"
        )
    channels = [str(name) for name in reference.columns if name not in (TIME, SCORE)]
    if SCORE not in here or not channels:
        raise DataError(f"drift needs a column {SCORE!r} and at least one channel, found {sorted(here)}")
    names = [SCORE, *channels]
    for frame in (reference, current):
        odd = [name for name in names if not pd.api.types.is_numeric_dtype(frame[name])]
        if odd:
            raise DataError(f"drift compares numbers, {odd} hold something else; give the rows of one series alone")
    return names


def _column(name: str, i: int, found: Measured, within: Sequence[Measured], rule: DriftRule) -> ColumnDrift:
    """Judge one column against the fixed thresholds and against what the reference did itself."""
    threshold = max([rule.threshold, *(rule.margin * float(block.distance[i]) for block in within)])
    spread_threshold = max([rule.spread, *(rule.margin * float(block.spread[i]) for block in within)])
    missing_reference, missing_current = (float(side[i]) for side in found.missing)
    usual_rise = max([0.0, *(float(block.missing[1][i] - block.missing[0][i]) for block in within)])
    mean_reference, mean_current = (None if np.isnan(side[i]) else float(side[i]) for side in found.mean)

    kind: Kind = "none"
    reason = "within its limits" if found.present[i] else "too few values to compare"
    if missing_current - missing_reference > max(rule.missing, usual_rise):
        kind = "missing"
        reason = f"missing in {missing_current:.0%} of the rows, {missing_reference:.0%} in the reference"
        if missing_current == 1:
            reason = "no values at all: " + reason
    elif found.stuck[i] and mean_reference is not None and not any(block.stuck[i] for block in within):
        kind, reason = "stuck", f"stuck at {mean_current:.6g}; the reference varies around {mean_reference:.6g}"
    elif found.unstuck[i]:
        kind, reason = "unstuck", f"constant at {mean_reference:.6g} in the reference, now around {mean_current:.6g}"
    elif found.distance[i] > threshold:
        kind, reason = "values", f"values moved by {found.distance[i]:.2f} σ, limit {threshold:.2f}"
    elif found.spread[i] > spread_threshold:
        ratio = found.deviation[1][i] / found.deviation[0][i]
        kind = "spread"
        reason = f"spread {ratio:.2f} times as wide, {found.spread[i]:.2f} σ, limit {spread_threshold:.2f}"
    elif found.present[i] and found.deviation[0][i] == 0:
        reason = "constant on both sides"
    return ColumnDrift(
        column=name,
        kind=kind,
        statistic=float(found.distance[i]),
        threshold=threshold,
        spread=float(found.spread[i]),
        spread_threshold=spread_threshold,
        drifted=kind != "none",
        reference_mean=mean_reference,
        current_mean=mean_current,
        missing_reference=missing_reference,
        missing_current=missing_current,
        reason=reason,
    )


def excess(column: ColumnDrift) -> float:
    """Return how many times its threshold a column's larger distance is."""
    return max(column.statistic / column.threshold, column.spread / column.spread_threshold)


def _decide(columns: Sequence[ColumnDrift], rule: DriftRule) -> tuple[bool, float, list[str]]:
    """Return the verdict, the share of channels that drifted, and the reasons."""
    score, *channels = columns
    drifted = [channel.column for channel in channels if channel.drifted]
    share = len(drifted) / len(channels)
    enough = share >= rule.share
    sure = score.drifted and (score.kind not in ("values", "spread") or excess(score) >= rule.score)
    reasons = [
        f"{len(drifted)} of {len(channels)} channels drifted ({share:.0%}); "
        f"{rule.share:.0%} {'are' if enough else 'would be'} enough for a verdict."
    ]
    if score.drifted:
        weight = "enough for a verdict alone" if sure else f"{rule.score:g} times its limit would be a verdict alone"
        reasons.append(f"The champion's score drifted: {score.reason} ({weight}).")
    return enough or sure, share, reasons


def _values(frame: pd.DataFrame, names: Sequence[str]) -> Floats:
    """Return the columns as float64 (rows, column), everything that is not finite as NaN."""
    values = frame[list(names)].to_numpy(dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _period(frame: pd.DataFrame) -> tuple[str, str]:
    return frame[TIME].iloc[0].isoformat(), frame[TIME].iloc[-1].isoformat()
