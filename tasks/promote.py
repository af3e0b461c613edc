"""Promote: the gate's decision, put into effect and into the audit."""

import getpass
from datetime import UTC, datetime

from tasks.gate import judge
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
    registry = Registry(registry_uri, lake.uri_of("mlflow"))
    champion = registry.alias(watch.name, CHAMPION)
    verdict = judge(evaluation, watch.gate, watch.alarms.budget_per_day)
    same = champion is not None and champion.version == version.version
    decision = Decision(
        watch=watch.name,
        action="kept" if same else "promoted" if verdict.promote else "refused",
        version=version.version,
        previous=None if champion is None or same else champion.version,
        who=getpass.getuser(),
        when=datetime.now(UTC),
        reasons=("nothing new since it was trained",) if same else verdict.reasons,
        evidence={"evaluation": evaluation.key, "retrain": reason, "drift report": report},
    )
    if same:
        return decision
    return promotion.promote(lake, registry, decision) if verdict.promote else promotion.refuse(lake, decision)
