"""The gate: whether a candidate takes over, decided from evidence alone. How, with an example: docs/gate.md."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from watchkeeper.records import Evaluation, IncidentResult
from watchkeeper.watch import GateRule

NAMED = 5
"""Forgotten incidents named in a reason."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says, and why, one line a reason."""

    promote: bool
    reasons: tuple[str, ...]


def judge(evaluation: Evaluation, rule: GateRule, budget_per_day: float) -> Verdict:
    """Judge a candidate.

    It takes over when it beats the random row and the trivial row, its alarms keep the budget, its point estimate is
    better than the champion's, a paired block bootstrap over days does not say that it is worse, and it does not forget
    significantly more past incidents than it newly finds. The first version of a watch has no champion to beat: it
    needs to beat the random row, and what else is wanting stands in its reasons, for a weak watch is better than none.
    So does one whose champion cannot be read any more.

    Args:
        evaluation: candidate and champion on the same held-out rows.
        rule: the watch's gate.
        budget_per_day: alarms per day that people are willing to look at.
    """
    own, random, trivial = (evaluation.mean(row, "vus_pr") for row in ("combination", "random", "trivial"))
    if own is None or random is None or trivial is None:
        return Verdict(False, ("the held-out rows have no anomaly, so nothing can be said for the candidate",))
    checks: list[tuple[bool, str]] = [
        (own > random, f"VUS-PR {own:.3f} against {random:.3f} of the random row"),
        (own > trivial, f"VUS-PR {own:.3f} against {trivial:.3f} of the trivial row"),
    ]
    alarms, most = evaluation.mean("combination", "alarms_per_day"), rule.alarm_slack * budget_per_day
    if alarms is not None:
        checks.append((alarms <= most, f"{alarms:.1f} alarms per day, allowed {most:.1f}"))
    if evaluation.against is None:
        return _first(checks, evaluation.unreadable)
    champion = evaluation.mean("champion", "vus_pr")
    if champion is not None:
        checks.append((own > champion, f"VUS-PR {own:.3f} against {champion:.3f} of version {evaluation.against}"))
    if evaluation.difference is not None and evaluation.low is not None and evaluation.high is not None:
        words = f"VUS-PR {evaluation.difference:+.3f} [{evaluation.low:+.3f}, {evaluation.high:+.3f}] on resampled days"
        checks.append((evaluation.low >= -rule.tolerance, words))
    checks += _remembers(evaluation, rule.level)
    missed = [words for passed, words in checks if not passed]
    if missed:
        return Verdict(False, tuple(f"not good enough: {words}" for words in missed))
    return Verdict(True, tuple(words for _, words in checks))


def forgotten(incidents: Sequence[IncidentResult]) -> list[IncidentResult]:
    """Return the incidents that count and that the champion finds and the candidate does not."""
    return [one for one in _counting(incidents) if one.champion_found and not one.found]


def chance_of(lost: int, gained: int) -> float:
    """Return how likely at least so many losses are where losses and gains are equally likely: an exact sign test.

    Args:
        lost: incidents that the champion alone finds.
        gained: incidents that the candidate alone finds.

    Source: McNemar, Psychometrika 12 (1947), in its exact form: the smaller tail of a binomial with probability ½.
    """
    both = lost + gained
    return sum(math.comb(both, count) for count in range(lost, both + 1)) / float(2**both)


def _remembers(evaluation: Evaluation, level: float) -> list[tuple[bool, str]]:
    """Return the check of the past incidents, where there are any to compare on."""
    counting = _counting(evaluation.incidents)
    if not counting:
        return []
    lost = forgotten(counting)
    gained = sum(one.found and not one.champion_found for one in counting)
    found, known = sum(one.found for one in counting), sum(bool(one.champion_found) for one in counting)
    words = f"finds {found} of {len(counting)} past incidents, version {evaluation.against} finds {known}"
    if lost:
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        words += f"; forgets {', '.join(str(one) for one in lost[:NAMED])}{more}"
    return [(chance_of(len(lost), gained) > 1 - level, words)]


def _counting(incidents: Sequence[IncidentResult]) -> list[IncidentResult]:
    """Return the incidents that both were scored on, in surroundings that the candidate knows."""
    return [one for one in incidents if one.comparable and one.champion_found is not None]


def _first(checks: list[tuple[bool, str]], unreadable: str) -> Verdict:
    beats_random = checks[0][0]
    if not beats_random:
        return Verdict(False, (f"not good enough: {checks[0][1]}",))
    words = tuple(words if passed else f"but {words}" for passed, words in checks)
    why = f"the champion cannot be read: {unreadable}" if unreadable else "the first version of this watch"
    return Verdict(True, (why, *words))
