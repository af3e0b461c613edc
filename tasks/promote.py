"""Promote: the gate's decision, put into effect, into the audit, and onto a page that a person can read."""

import getpass
from datetime import UTC, datetime
from typing import Any

from tasks.evaluation_report import write_report
from tasks.gate import Verdict, judge
from tasks.step import step
from watchkeeper import promotion
from watchkeeper.lake import Lake
from watchkeeper.records import Decision, Evaluation, Registered
from watchkeeper.registry import CHAMPION, Registry
from watchkeeper.watch import Watch


@step(retries=2)
def promote(
    lake_uri: str,
    registry_uri: str,
    watch: Watch,
    version: Registered,
    evaluation: Evaluation,
    reason: str,
    report: str | None,
) -> Decision:
    """Let the gate decide on a candidate, record it, and move the aliases.

    A version that is champion already is left as it is: nothing new came since it was trained.
    """
    lake = Lake(lake_uri)
    registry = Registry(registry_uri)
    champion = registry.alias(watch.name, CHAMPION)
    if champion is not None and champion.version == version.version:
        return _decision(watch, version, None, "kept", ("nothing new since it was trained",), {})
    verdict = _verdict(lake, watch, version, champion, evaluation)
    evidence = {
        "evaluation": evaluation.key,
        "until": evaluation.end.isoformat(),
        "retrain": reason,
        "drift report": report,
    }
    action = promotion.PROMOTED if verdict.promote else "refused"
    decision = _decision(watch, version, champion, action, verdict.reasons, evidence)
    # The page is written before the record that names it: a kill in between leaves a page that nothing refers to.
    evidence["report"] = write_report(lake, decision, evaluation)
    decision = decision.model_copy(update={"evidence": evidence})
    return promotion.promote(lake, registry, decision) if verdict.promote else promotion.refuse(lake, decision)


def _verdict(
    lake: Lake, watch: Watch, version: Registered, champion: Registered | None, evaluation: Evaluation
) -> Verdict:
    """Judge the evidence, unless something else forbids to go by it."""
    if champion and evaluation.against != champion.version and not evaluation.unreadable:
        was = f"version {evaluation.against}" if evaluation.against else "no champion"
        return Verdict(False, (f"it was compared with {was}, and now version {champion.version} is champion; retrain",))
    if before := promotion.put_back(promotion.read_audit(lake, watch.name), version.version):
        why = f"its probation put version {before.version} back on {before.when:%Y-%m-%d %H:%M}: {before.reasons[0]}"
        return Verdict(False, (f"{why}; it needs newer rows to learn from, or a person's rollback to it",))
    return judge(evaluation, watch.gate, watch.alarms.budget_per_day)


def _decision(
    watch: Watch,
    version: Registered,
    champion: Registered | None,
    action: str,
    reasons: tuple[str, ...],
    evidence: dict[str, Any],
) -> Decision:
    return Decision(
        watch=watch.name,
        action=action,
        version=version.version,
        previous=champion.version if champion else None,
        who=getpass.getuser(),
        when=datetime.now(UTC),
        reasons=reasons,
        evidence=evidence,
    )
