"""Has the world moved away from what the champion learnt? One reference against the current days.

Each column is judged by its hours: where its level lies, how unsteady it is within the hour, whether it is there, and
whether it moves at all, always against the same hours of the day. How far hours stray by themselves is measured inside
the reference (`tasks/drift_limits.py`). Evidently draws the report with these figures and these limits, so its page and
the verdict agree.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.drift_columns import SCORE, ColumnDrift, DriftRule, judge_columns
from tasks.drift_hours import cut, holds
from tasks.drift_sample import HOURS, ROWS_NEEDED, TIME, Indices, days_of, in_order, match, sample_by_hour, slots
from watchkeeper.errors import DataError

NAMED = 3  # columns in the reasons: the page lists all
DAY = pd.Timedelta(days=1)

__all__ = ["ColumnDrift", "DriftRule", "DriftVerdict", "compare", "judge", "sample_by_hour"]


@dataclass(frozen=True)
class DriftVerdict:
    """The verdict of one check.

    Attributes:
        exceeds: whether the rule is exceeded.
        share: share of the channels that drifted; the score is not counted.
        columns: the score and every channel, drifted ones first, then by how near they are to their limits.
        reasons: sentences for people.
        rows_reference: rows in the hours that were compared.
        rows_current: the same.
        hours_compared: hours of the day (UTC) present on both sides.
        weekends_apart: whether weekends were compared with weekends only.
        matched: whether hours were compared with the same hours; not so if the reference has them on one day alone.
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
    matched: bool
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

    Args:
        reference: see `judge`.
        current: see `judge`.
        rule: see `judge`.
        seed: for the rows that the page draws.
        subject: what the rows are of.

    Returns:
        The verdict, and one HTML page that loads nothing from a network: the verdict first, then Evidently's report of
        the columns that moved most.
    """
    from tasks.drift_report import page  # Evidently takes seconds to import

    reference, current = in_order(reference, "reference"), in_order(current, "current")
    verdict = judge(reference, current, rule)
    of_reference, of_current, _ = slots(reference[TIME], current[TIME])
    rows_reference, rows_current = match(of_reference, of_current, rule.rows, np.random.default_rng(seed))
    return verdict, page(verdict, reference.iloc[rows_reference], current.iloc[rows_current], subject)


def judge(reference: pd.DataFrame, current: pd.DataFrame, rule: DriftRule) -> DriftVerdict:
    """Judge drift, without a report.

    Args:
        reference: `timestamp` (datetime64[us, UTC]), `score` (the champion's) and channels (float32, NaN missing),
            from when the champion was trained. Two weeks let it measure its own variation.
        current: the same columns, in any order, of the days to judge.
        rule: what counts as drift.

    Raises:
        DataError: a column is missing on a side, a timestamp is not in UTC, or too few rows lie in matching hours.
    """
    names = _columns(reference, current)
    reference, current = in_order(reference, "reference"), in_order(current, "current")
    of_reference, of_current, weekends_apart = slots(reference[TIME], current[TIME])
    common = np.intersect1d(of_reference, of_current)
    reference_in, current_in = np.isin(of_reference, common), np.isin(of_current, common)
    rows = min(int(reference_in.sum()), int(current_in.sum()))
    if rows < ROWS_NEEDED:
        raise DataError(
            f"{rows} rows lie in hours of the day that the reference and the current rows share, wanted {ROWS_NEEDED}; "
            f"check a longer period, or take a reference that covers these hours"
        )
    matched = bool(days_of(reference[TIME], of_reference)[common].min() >= 2)
    compared: list[Indices] = [
        np.where(inside, each if matched else 0, -1)
        for each, inside in ((of_reference, reference_in), (of_current, current_in))
    ]
    sides = cut(reference, current, names, compared)
    days = (reference[TIME].iloc[-1] - reference[TIME].iloc[0]) / DAY
    columns = judge_columns(names, *sides, (holds(reference, names), holds(current, names)), days, rule)
    exceeds, share, reasons = _decide(columns, rule)
    if not matched:
        reasons.append("The reference is shorter than two days: its hours of the day are not told apart.")
    return DriftVerdict(
        exceeds=exceeds,
        share=share,
        columns=tuple(sorted(columns, key=lambda column: (not column.drifted, -column.excess, column.column))),
        reasons=tuple(reasons),
        rows_reference=int(reference_in.sum()),
        rows_current=int(current_in.sum()),
        hours_compared=len(np.unique(common % HOURS)),
        weekends_apart=weekends_apart,
        matched=matched,
        period_reference=_period(reference),
        period_current=_period(current),
    )


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


def _decide(columns: Sequence[ColumnDrift], rule: DriftRule) -> tuple[bool, float, list[str]]:
    """Return the verdict, the share of channels that drifted, and the reasons."""
    channels = [column for column in columns if column.column != SCORE]
    drifted = [channel for channel in channels if channel.drifted]
    share = len(drifted) / len(channels)
    enough = share >= rule.share and len(drifted) > 1
    alone = [column for column in columns if column.alone]
    reasons = [f"{len(drifted)} of {len(channels)} channels drifted ({share:.0%})."]
    if enough:
        reasons[0] = f"{reasons[0][:-1]}; {rule.share:.0%} are enough for a verdict."
    reasons += [f"{_called(column)}: {column.reason}; enough for a verdict alone." for column in alone[:NAMED]]
    if len(alone) > NAMED:
        reasons.append(f"{len(alone) - NAMED} more columns would be enough alone.")
    return enough or bool(alone), share, reasons


def _called(column: ColumnDrift) -> str:
    return "The champion's score" if column.column == SCORE else column.column


def _period(frame: pd.DataFrame) -> tuple[str, str]:
    return frame[TIME].iloc[0].isoformat(), frame[TIME].iloc[-1].isoformat()
