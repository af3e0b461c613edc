import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.gate import judge
from watchkeeper.records import Evaluation, Row
from watchkeeper.watch import GateRule

NOON = datetime(2026, 1, 5, tzinfo=UTC)
RULE = GateRule(tolerance=0.02, alarm_slack=1.5)
BUDGET = 2.0
PASSES = {"combination": 0.6, "random": 0.1, "trivial": 0.4, "champion": 0.5}
BOUNDS = (0.1, -0.01, 0.2)  # difference, low, high


def evaluation(
    *,
    against: int | None = 1,
    alarms: float | None = 3.0,
    bounds: tuple[float | None, ...] = BOUNDS,
    series: tuple[str, ...] = ("s",),
    **vus_pr: float | None,
) -> Evaluation:
    figures: dict[str, Any] = {**PASSES, **vus_pr}
    rows = tuple(
        Row(
            series=one, row=name, vus_pr=value, auc_pr=None, best_f1=None, f1=None, event_recall=None,
            alarms_per_day=alarms if name == "combination" else 1000.0,
        )
        for one in series
        for name, value in figures.items()
        if name != "champion" or against is not None
    )  # fmt: skip
    difference, low, high = bounds
    return Evaluation(
        key="k", truth="labels", start=NOON, end=NOON, rows=rows, against=against,
        difference=difference, low=low, high=high,
    )  # fmt: skip


def test_a_better_candidate_takes_over_and_every_check_is_told() -> None:
    """Random, trivial, alarms, champion and interval: one line each."""
    verdict = judge(evaluation(), RULE, BUDGET)
    assert verdict.promote
    assert verdict.reasons == (
        "VUS-PR 0.600 against 0.100 of the random row",
        "VUS-PR 0.600 against 0.400 of the trivial row",
        "3.0 alarms per day, allowed 3.0",
        "VUS-PR 0.600 against 0.500 of version 1",
        "VUS-PR +0.100 [-0.010, +0.200] on resampled days",
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"random": 0.6}, "0.600 of the random row"),
        ({"random": 0.7}, "0.700 of the random row"),
        ({"trivial": 0.6}, "0.600 of the trivial row"),
        ({"trivial": 0.61}, "0.610 of the trivial row"),
        ({"champion": 0.6}, "0.600 of version 1"),
        ({"champion": 0.7}, "0.700 of version 1"),
        ({"alarms": 3.01}, "alarms per day, allowed 3.0"),
        ({"bounds": (0.1, -0.021, 0.2)}, r"VUS-PR \+0.100 \[-0.021, \+0.200\]"),
        ({"bounds": (-0.1, -0.2, -0.03)}, r"VUS-PR -0.100"),
    ],
)
def test_one_failed_check_is_enough_to_refuse(changes: dict[str, Any], reason: str) -> None:
    """A tie is no improvement; only what was missed is told."""
    verdict = judge(evaluation(**changes), RULE, BUDGET)
    assert not verdict.promote
    (told,) = verdict.reasons
    assert told.startswith("not good enough: ")
    assert re.search(reason, told)


@pytest.mark.parametrize(
    "changes",
    [
        {"bounds": (0.1, -0.02, 0.2)},  # just as far as the tolerance
        {"bounds": (0.1, 0.05, 0.2)},
        {"bounds": (None, None, None)},  # too few days to resample
        {"alarms": 0.0},
        {"alarms": None},
        {"champion": None},  # the champion could not score these rows
    ],
)
def test_what_does_not_speak_against_a_candidate(changes: dict[str, Any]) -> None:
    """Figures that are missing are no reasons."""
    assert judge(evaluation(**changes), RULE, BUDGET).promote


def test_several_failed_checks_are_all_told() -> None:
    """Whoever reads the audit sees the whole of it."""
    verdict = judge(evaluation(random=0.7, trivial=0.8, champion=0.9, alarms=9.0), RULE, BUDGET)
    assert len(verdict.reasons) == 4


def test_the_rule_and_the_budget_count() -> None:
    """A wider tolerance and a larger slack let a candidate pass that was refused."""
    weak = evaluation(alarms=5.0, bounds=(0.1, -0.04, 0.2))
    assert not judge(weak, RULE, BUDGET).promote
    assert judge(weak, GateRule(tolerance=0.05, alarm_slack=2.5), BUDGET).promote
    assert judge(weak, GateRule(tolerance=0.05, alarm_slack=1.0), 5.0).promote
    assert not judge(weak, GateRule(tolerance=0.05, alarm_slack=1.0), 4.9).promote


def test_the_first_version_needs_to_beat_the_random_row_alone() -> None:
    """A weak watch is better than none, and what else is wanting is told."""
    verdict = judge(evaluation(against=None, trivial=0.7, alarms=50.0, bounds=(None,) * 3), RULE, BUDGET)
    assert verdict.promote
    assert verdict.reasons == (
        "the first version of this watch",
        "VUS-PR 0.600 against 0.100 of the random row",
        "but VUS-PR 0.600 against 0.700 of the trivial row",
        "but 50.0 alarms per day, allowed 3.0",
    )


def test_a_first_version_no_better_than_chance_is_refused() -> None:
    """Not even then."""
    verdict = judge(evaluation(against=None, random=0.6), RULE, BUDGET)
    assert not verdict.promote
    assert verdict.reasons == ("not good enough: VUS-PR 0.600 against 0.600 of the random row",)


@pytest.mark.parametrize("missing", ["combination", "random", "trivial"])
@pytest.mark.parametrize("against", [None, 1])
def test_without_figures_nothing_is_promoted(missing: str, against: int | None) -> None:
    """Neither the first version nor a later one."""
    verdict = judge(evaluation(against=against, **{missing: None}), RULE, BUDGET)
    assert not verdict.promote
    assert verdict.reasons == ("the held-out rows have no anomaly, so nothing can be said for the candidate",)


def test_figures_are_means_over_the_series_that_have_them() -> None:
    """A series without an anomaly has no figure, and does not count as zero."""
    both = evaluation(series=("s", "t"))
    rows = tuple(row.model_copy(update={"vus_pr": None}) if row.series == "t" else row for row in both.rows)
    assert judge(both.model_copy(update={"rows": rows}), RULE, BUDGET) == judge(both, RULE, BUDGET)
    worse = tuple(
        row.model_copy(update={"vus_pr": 0.1}) if (row.series, row.row) == ("t", "combination") else row
        for row in both.rows
    )
    verdict = judge(both.model_copy(update={"rows": worse}), RULE, BUDGET)
    assert not verdict.promote
    assert "VUS-PR 0.350 against 0.400 of the trivial row" in verdict.reasons[0]
