"""Who is champion: promotion, refusal and rollback, each with an audit record.

The record is written before the alias moves. If the move fails, a second record says so: an audit may hold a decision
that did not take effect, never an effect without its decision. Aliases move in an order that leaves a usable registry
wherever a kill strikes: `previous` first, `champion`, the commit point, next, `challenger` last.
"""

import getpass
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from watchkeeper.errors import VersionNotFoundError, WatchkeeperError
from watchkeeper.lake import Lake
from watchkeeper.records import Decision
from watchkeeper.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry

PROMOTED, CONFIRMED, ROLLED_BACK = "promoted", "confirmed", "rolled back"
PROBATION = "probation"
"""Who decides at the end of a probation (tasks/probation.py)."""


def write_audit(lake: Lake, decision: Decision) -> Decision:
    """Write a decision under `audit/<watch>/` and return it with its key."""
    stamp = decision.when.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    word = decision.action.replace(" ", "-")
    key = f"audit/{decision.watch}/{stamp}-{word}-v{decision.version}.json"
    kept = decision.model_copy(update={"key": key})
    lake.put_json(key, kept.model_dump(mode="json"))
    return kept


def read_audit(lake: Lake, watch: str) -> list[Decision]:
    """Return the watch's audit records, oldest first."""
    return [Decision(**record) for record in lake.get_jsons(lake.list(f"audit/{watch}"))]


def crowning(audit: Sequence[Decision], version: int) -> Decision | None:
    """Return the latest decision that made a version champion, or None."""
    found = (one for one in reversed(audit) if one.action in (PROMOTED, ROLLED_BACK) and one.version == version)
    return next(found, None)


def put_back(audit: Sequence[Decision], version: int) -> Decision | None:
    """Return the decision by which a probation took a version from its place, unless a person has set it there since.

    A version that failed on live rows is not to come back by the evidence that had brought it there before.
    """
    found = None
    for one in audit:
        if one.action == ROLLED_BACK and one.who == PROBATION and one.previous == version:
            found = one
        elif one.action == ROLLED_BACK and one.version == version:
            found = None
    return found


def refuse(lake: Lake, decision: Decision) -> Decision:
    """Record that a candidate stays a challenger."""
    return write_audit(lake, decision)


def promote(lake: Lake, registry: Registry, decision: Decision) -> Decision:
    """Record the decision, then make its version champion."""
    return _crown(lake, registry, decision)


def rollback(
    lake: Lake,
    registry: Registry,
    watch: str,
    to: int | None,
    why: str,
    who: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Decision:
    """Make an earlier version champion again.

    Args:
        lake: where the audit record goes.
        registry: whose aliases move.
        watch: the watch's name.
        to: the version; None for the previous champion.
        why: the reason, for the audit record.
        who: who asked; default the name of the account.
        evidence: for the audit record.

    Raises:
        VersionNotFoundError: there is no such version, no previous champion, or it is champion already.
    """
    champion = registry.alias(watch, CHAMPION)
    if champion is None:
        raise VersionNotFoundError(f"watch {watch} has no champion to roll back from; run `watchkeeper retrain` first")
    target = registry.get(watch, to) if to is not None else registry.alias(watch, PREVIOUS)
    if target is None:
        raise VersionNotFoundError(
            f"watch {watch} has no previous champion: version {champion.version} is the first; name one with --to"
        )
    if target.version == champion.version:
        raise VersionNotFoundError(f"version {target.version} of watch {watch} is champion already")
    decision = Decision(
        watch=watch,
        action=ROLLED_BACK,
        version=target.version,
        previous=champion.version,
        who=who or getpass.getuser(),
        when=datetime.now(UTC),
        reasons=(f"champion again instead of version {champion.version}: {why}",),
        evidence=dict(evidence or {}),
    )
    return _crown(lake, registry, decision)


def _crown(lake: Lake, registry: Registry, decision: Decision) -> Decision:
    kept = write_audit(lake, decision)
    try:
        if decision.previous is not None:
            registry.set_alias(decision.watch, PREVIOUS, decision.previous)
        registry.set_alias(decision.watch, CHAMPION, decision.version)
        challenger = registry.alias(decision.watch, CHALLENGER)
        if challenger and challenger.version == decision.version:
            registry.set_alias(decision.watch, CHALLENGER, None)
    except WatchkeeperError as error:
        update = {"action": "failed", "reasons": (f"{decision.action} did not take effect: {error}",)}
        write_audit(lake, decision.model_copy(update={**update, "when": datetime.now(UTC)}))
        raise
    return kept
