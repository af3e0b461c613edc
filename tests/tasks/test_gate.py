import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scipy.stats import binomtest

from tasks.gate import chance_of, forgotten, judge
from watchkeeper.records import Evaluation, IncidentResult, Row
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


def incident(found: bool, champion: bool | None, *, day: int = 1, comparable: bool = True) -> IncidentResult:
    at = NOON + timedelta(days=day)
    return IncidentResult(
        series="s", start=at, end=at, learnt=False, comparable=comparable, found=found, delay_s=None,
        champion_found=champion, champion_delay_s=None,
    )  # fmt: skip


def with_incidents(lost: int, gained: int = 0, both: int = 3, **changes: Any) -> Evaluation:
    """Incidents that the champion alone, the candidate alone, and both find; one that nobody does."""
    pairs = [(False, True)] * lost + [(True, False)] * gained + [(True, True)] * both + [(False, False)]
    found = tuple(incident(*pair, day=day) for day, pair in enumerate(pairs))
    return evaluation(**changes).model_copy(update={"incidents": found})


def test_a_candidate_that_forgets_is_refused_and_what_it_forgets_is_named() -> None:
    """Four of seven are more than chance takes."""
    verdict = judge(with_incidents(4), RULE, BUDGET)
    assert not verdict.promote
    assert verdict.reasons == (
        "not good enough: finds 3 of 8 past incidents, version 1 finds 7; forgets s 2026-01-05 00:00, "
        "s 2026-01-06 00:00, s 2026-01-07 00:00, s 2026-01-08 00:00",
    )


@pytest.mark.parametrize(
    ("lost", "gained", "promoted"),
    [(3, 0, True), (4, 0, False), (4, 1, True), (6, 1, False), (6, 6, True), (0, 9, True), (30, 24, True)],
)
def test_forgetting_is_weighed_against_what_is_newly_found(lost: int, gained: int, promoted: bool) -> None:
    """Thresholds that follow a budget lose and find some incidents by chance."""
    assert judge(with_incidents(lost, gained), RULE, BUDGET).promote is promoted


def test_what_chance_can_take_is_told_all_the_same() -> None:
    """A promoted candidate's reasons name what it no longer finds."""
    verdict = judge(with_incidents(1, both=2), RULE, BUDGET)
    assert verdict.promote
    assert verdict.reasons[-1] == "finds 2 of 4 past incidents, version 1 finds 3; forgets s 2026-01-05 00:00"


def test_a_long_list_is_cut() -> None:
    """The page has the whole of it."""
    assert judge(with_incidents(9), RULE, BUDGET).reasons[0].endswith("s 2026-01-09 00:00 and 4 more")


def test_remembering_does_not_promote() -> None:
    """The candidate may have learnt the incidents by heart: they speak against it or not at all."""
    assert not judge(with_incidents(0, gained=50, champion=0.6), RULE, BUDGET).promote


def test_incidents_of_another_world_or_without_a_champion_do_not_count() -> None:
    """Neither as forgotten nor in the figures."""
    for changes in ({"comparable": False}, {"champion": None}):
        aside = tuple(incident(False, **{"champion": True, **changes}, day=day) for day in range(9))
        verdict = judge(evaluation().model_copy(update={"incidents": aside}), RULE, BUDGET)
        assert verdict == judge(evaluation(), RULE, BUDGET)
        assert forgotten(aside) == []


def test_the_level_of_the_gate_is_that_of_the_incidents() -> None:
    """A level of 0.8 takes three of three for more than chance, one of 0.9 does not."""
    assert judge(with_incidents(3), RULE, BUDGET).promote
    assert not judge(with_incidents(3), RULE.model_copy(update={"level": 0.8}), BUDGET).promote


def test_the_chance_is_that_of_an_exact_sign_test() -> None:
    """As scipy's binomial test has it, for every small pair."""
    for lost in range(8):
        for gained in range(8):
            both = lost + gained
            wanted = binomtest(lost, both, 0.5, alternative="greater").pvalue if both else 1.0
            assert chance_of(lost, gained) == pytest.approx(wanted, abs=1e-12)


def test_the_first_version_is_not_asked_what_it_remembers() -> None:
    """Nobody found the incidents before."""
    assert judge(with_incidents(9, against=None), RULE, BUDGET).promote
