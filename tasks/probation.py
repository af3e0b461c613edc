"""Probation: after each score run, a new champion's alarms and scores on live rows against bounds.

Held-out rows prove that a version was better; live rows show whether it keeps what it promised. Where it leaves its
bounds, the champion before it is scored on the same rows and comes back if it does better there. Where that one would
have left them as well, the data have changed, and a rollback would not help.

What stands where is read from the audit and the alias, so a run that is killed anywhere is simply done again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.metrics import alarm_events
from tasks import champion as champions
from tasks.probation_bounds import Left, Watched, bounds_left, does_better, move_of
from tasks.reading import score_rows
from tasks.rows import require_snapshot
from tasks.score import KEY
from tasks.step import step
from watchkeeper import promotion
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import VersionNotFoundError, VersionRefusedError
from watchkeeper.lake import Lake
from watchkeeper.records import Decision, Probation
from watchkeeper.registry import CHAMPION, Registry
from watchkeeper.watch import Watch

Times = npt.NDArray[np.int64]
State = Literal["running", "kept", "confirmed", "rolled back"]


@dataclass(frozen=True, eq=False)
class Stretch:
    """What a version said of the probation's rows of one series."""

    times: Times
    score: npt.NDArray[np.float64]
    alarm: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """A champion on probation: its promotion, the version before it, and the last row that the gate had seen."""

    promotion: Decision
    version: int
    before: int
    until: datetime
    audit: tuple[Decision, ...]


@step(retries=2)
def probation(lake_uri: str, registry_uri: str, watch: Watch) -> Probation:
    """Look at a champion that was promoted a short while ago; put the one before it back if that does better."""
    lake = Lake(lake_uri)
    registry = Registry(registry_uri)
    case = find_case(lake, registry, watch)
    if case is None:
        return Probation(watch=watch.name, version=None, state="none")
    served = champions.load(lake, registry.get(watch.name, case.version))
    interval_s = served.version.manifest.interval_s
    wanted = max(1, math.ceil(watch.probation.days * 86_400 / interval_s))
    stretches = _scored(lake, watch.name, served, to_microseconds(case.until), wanted)
    seen = watch_rows(served, stretches)
    left = bounds_left(seen, watch.probation, watch.alarms.budget_per_day, watch.drift.share)
    over = max((len(one.times) for one in stretches.values()), default=0) >= wanted
    if left:
        return _answer(lake, registry, watch, case, served, stretches, seen, left, over)
    if not over:
        return _record(case, watch, seen, "running", ())
    reasons = (f"{seen.alarms} alarms in {seen.series_days:.2g} days of rows, and its score stayed where it was",)
    return _conclude(lake, watch, case, seen, "confirmed", reasons)


def find_case(lake: Lake, registry: Registry, watch: Watch) -> Case | None:
    """Return who is on probation, or None.

    On probation is a champion whose latest crowning is a promotion over another version, until a record confirms it. A
    rollback that was recorded and did not take effect changes nothing of that: it is decided again.
    """
    champion = registry.alias(watch.name, CHAMPION)
    if champion is None or watch.probation.days == 0:
        return None
    audit = promotion.read_audit(lake, watch.name)
    crowned = promotion.crowning(audit, champion.version)
    if crowned is None or crowned.action != promotion.PROMOTED or "until" not in crowned.evidence:
        return None
    if crowned.previous is None or crowned.previous == crowned.version:
        return None
    since = tuple(one for one in audit if one.when > crowned.when and one.who == promotion.PROBATION)
    if any(one.action == promotion.CONFIRMED and one.version == champion.version for one in since):
        return None
    until = datetime.fromisoformat(crowned.evidence["until"])
    return Case(crowned, champion.version, crowned.previous, until, since)


def watch_rows(served: champions.Served, stretches: dict[str, Stretch]) -> Watched:
    """Sum up what a version said of the probation's rows."""
    interval_s, merge = served.version.manifest.interval_s, served.detector.settings.merge
    counts = [len(one.times) for one in stretches.values()]
    raised = sum(int(one.alarm.sum()) for one in stretches.values())
    moved = {}
    for series, one in stretches.items():
        reference = served.version.reference.filter(pc.equal(served.version.reference["series"], series))
        times = reference["timestamp"].cast(pa.int64()).to_numpy()
        move = move_of(times, reference["score"].to_numpy(), one.times, one.score)
        if move is not None:
            moved[series] = move
    return Watched(
        days=max(counts, default=0) * interval_s / 86_400,
        series_days=sum(counts) * interval_s / 86_400,
        alarms=sum(len(alarm_events(one.alarm, merge)) for one in stretches.values()),
        share=raised / max(1, sum(counts)),
        moved=moved,
    )


def _scored(lake: Lake, watch: str, served: champions.Served, after: int, wanted: int) -> dict[str, Stretch]:
    """Read what a version has said of the first `wanted` rows after a time, by series."""
    found = {}
    for series in served.version.manifest.series:
        keys = []
        for key in lake.list(f"scores/watch={watch}/series={series}"):
            match = KEY.search(key)
            if match and int(match[1]) == served.registered.version and int(match[3]) > after:
                keys.append(key)
        if not keys:
            continue
        table = pa.concat_tables(lake.get_tables(keys, ["timestamp", "score", "alarm"])).sort_by("timestamp")
        times = table["timestamp"].cast(pa.int64()).to_numpy()
        rows = slice(int(np.searchsorted(times, after, side="right")), None)
        score, alarm = (table[name].to_numpy()[rows][:wanted] for name in ("score", "alarm"))
        if len(score):
            found[series] = Stretch(times[rows][:wanted], score, alarm)
    return found


def _answer(
    lake: Lake,
    registry: Registry,
    watch: Watch,
    case: Case,
    served: champions.Served,
    stretches: dict[str, Stretch],
    seen: Watched,
    left: Sequence[Left],
    over: bool,
) -> Probation:
    """Put the version before back if it does better on the same rows; else say why not."""
    words = "; ".join(one.words for one in left)
    try:
        before = champions.load(lake, registry.get(watch.name, case.before))
        snapshot = require_snapshot(lake, watch.name)
        champions.require_fit(before, snapshot.channels)
    except (VersionRefusedError, VersionNotFoundError) as error:
        return _stays(lake, watch, case, seen, (words, f"version {case.before} cannot come back: {error}"), over)
    theirs: dict[str, Stretch] = {}
    for series in sorted(set(stretches) & set(before.version.manifest.series)):
        own = stretches[series]
        scored, rows = score_rows(lake, before, snapshot, series, to_microseconds(case.until))
        if scored is not None:
            same = np.isin(rows.timestamps, own.times)
            theirs[series] = Stretch(rows.timestamps[same], scored.score[same], scored.alarm[same])
    other = watch_rows(before, theirs)
    shared = watch_rows(served, {series: stretches[series] for series in theirs})
    left = bounds_left(shared, watch.probation, watch.alarms.budget_per_day, watch.drift.share)
    compared = f"version {case.before} on the same rows: {other.alarms} alarms, {other.share:.0%} of the rows in alarm"
    if not left or not does_better(left, other, watch.drift.share):
        why = "no better, so the data have changed and a rollback would not help"
        return _stays(lake, watch, case, seen, (words, f"{compared}: {why}"), over)
    evidence = {"seen": _figures(seen), f"version {case.before}": _figures(other), "until": case.until.isoformat()}
    why = f"{words}; {compared}"
    done = promotion.rollback(lake, registry, watch.name, case.before, why, promotion.PROBATION, evidence)
    return _record(case, watch, seen, "rolled back", (f"version {done.version} is champion again: {why}",))


def _stays(lake: Lake, watch: Watch, case: Case, seen: Watched, reasons: tuple[str, ...], over: bool) -> Probation:
    """Record that a champion left its bounds and stays: once while it is on probation, and at its end."""
    if over:
        return _conclude(lake, watch, case, seen, "confirmed", reasons)
    if any(one.action == "kept" and one.version == case.version for one in case.audit):
        return _record(case, watch, seen, "kept", reasons)
    return _conclude(lake, watch, case, seen, "kept", reasons)


def _conclude(
    lake: Lake,
    watch: Watch,
    case: Case,
    seen: Watched,
    action: Literal["kept", "confirmed"],
    reasons: tuple[str, ...],
) -> Probation:
    """Write an audit record that moves no alias."""
    decision = Decision(
        watch=watch.name,
        action=action,
        version=case.version,
        previous=case.before,
        who=promotion.PROBATION,
        when=datetime.now(UTC),
        reasons=reasons,
        evidence={"seen": _figures(seen), "until": case.until.isoformat()},
    )
    promotion.write_audit(lake, decision)
    return _record(case, watch, seen, action, reasons)


def _record(case: Case, watch: Watch, seen: Watched, state: State, reasons: tuple[str, ...]) -> Probation:
    return Probation(
        watch=watch.name,
        version=case.version,
        state=state,
        days=seen.days,
        of_days=watch.probation.days,
        alarms=seen.alarms,
        reasons=reasons,
    )


def _figures(seen: Watched) -> dict[str, Any]:
    return {
        "days": round(seen.days, 4),
        "series days": round(seen.series_days, 4),
        "alarms": seen.alarms,
        "share of rows in alarm": round(seen.share, 4),
        "score moved, multiples of its limit": {series: round(move, 3) for series, move in seen.moved.items()},
    }
