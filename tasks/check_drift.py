"""Check drift: the champion's reference against the latest days, a report, a verdict, and the event."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from prefect.context import FlowRunContext

from tasks import champion
from tasks.drift import DriftRule, DriftVerdict, compare, judge
from tasks.reading import score_rows
from tasks.rows import require_snapshot, to_table
from tasks.step import step
from watchkeeper.clock import DAY_US, to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.lake import Lake
from watchkeeper.progress import progress_of
from watchkeeper.records import DriftCheck, Snapshot
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

if TYPE_CHECKING:
    import pandas as pd

EVENT = "watchkeeper.drift.detected"
"""The event that starts `retrain/on-drift`."""
FRESH = 0.2
"""Share of the compared days that must be new before a verdict counts as another one in a row: a check an hour later
judges almost the same rows, and is no second opinion."""
RECENT = 500
"""Checks that are read back: more than any count in a row or cool-down spans, and no more each year."""


@step(retries=1)
def check_drift(lake_uri: str, registry_uri: str, watch: Watch, replayed: datetime | None = None) -> DriftCheck:
    """Judge each series by itself; the watch has drifted when one of them has.

    The report shows the series that moved most. Verdicts are counted from check to check: only so many in a row, and
    outside the cool-down of an earlier event, ask for a retrain.

    Args:
        lake_uri: where the rows are.
        registry_uri: who is champion.
        watch: which watch.
        replayed: the time that a replay is at, and no event is sent; None: it is now.

    Raises:
        VersionNotFoundError: there is no champion to compare with.
        DataError: there are too few rows to compare.
    """
    lake = Lake(lake_uri)
    registry = Registry(registry_uri)
    served = champion.require_champion(lake, registry, watch.name)
    snapshot = require_snapshot(lake, watch.name)
    champion.require_fit(served, snapshot.channels)
    many = len(served.version.manifest.series)
    rule = DriftRule(share=watch.drift.share, chance=DriftRule.chance / many)  # any series may make the verdict
    tell = progress_of("check drift")

    frames: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    verdicts: dict[str, DriftVerdict] = {}
    for done, series in enumerate(served.version.manifest.series):
        tell(0.5 * done / len(served.version.manifest.series), series)
        reference = served.version.reference.filter(pc.equal(served.version.reference["series"], series))
        frames[series] = reference.drop_columns(["series"]).to_pandas(), _current(lake, served, snapshot, series, watch)
        verdicts[series] = judge(*frames[series], rule)
    worst = max(verdicts, key=lambda series: (verdicts[series].exceeds, verdicts[series].share))
    tell(0.5, f"report on {worst}")
    _, page = compare(*frames[worst], rule, watch.seed, f"{worst} of watch {watch.name}")
    check = _conclude(
        lake, watch, served.registered.version, snapshot, verdicts, worst, page, replayed or datetime.now(UTC)
    )
    if check.started and replayed is None:
        emit(check)
    return check


def _current(lake: Lake, served: champion.Served, snapshot: Snapshot, series: str, watch: Watch) -> "pd.DataFrame":
    """Return the latest days of a series with the champion's score."""
    after = to_microseconds(snapshot.end) - int(watch.drift.days * DAY_US)
    scored, rows = score_rows(lake, served, snapshot, series, after)
    if scored is None:
        raise DataError(f"series {series} has no rows in the latest {watch.drift.days:g} days of watch {watch.name}")
    table = to_table(rows.timestamps, rows.values, snapshot.channels)
    return table.append_column("score", [scored.score]).to_pandas()  # type: ignore[no-any-return] # pyarrow is untyped


def _conclude(
    lake: Lake,
    watch: Watch,
    version: int,
    snapshot: Snapshot,
    verdicts: dict[str, DriftVerdict],
    worst: str,
    page: str,
    now: datetime,
) -> DriftCheck:
    """Write report and verdict, and decide whether they ask for a retrain."""
    exceeds = any(verdict.exceeds for verdict in verdicts.values())
    earlier = read_checks(lake, watch.name)
    fresh = timedelta(days=FRESH * watch.drift.days)
    consecutive = 1 + count_before(earlier, version, snapshot.end, fresh) if exceeds else 0
    cooling = cooling_since(earlier, now, timedelta(hours=watch.drift.cool_down_hours))
    started = exceeds and consecutive >= watch.drift.consecutive and cooling is None
    drifted = [series for series, verdict in verdicts.items() if verdict.exceeds]
    reasons = [f"{series}: {reason}" for series in (drifted or [worst]) for reason in verdicts[series].reasons]
    if exceeds and not started:
        reasons.append(
            f"an event at {cooling:%Y-%m-%d %H:%M} already asked for a retrain"
            if cooling
            else f"check {consecutive} of {watch.drift.consecutive} in a row that a retrain needs, "
            f"each with {fresh / timedelta(hours=1):g} h of new rows"
        )
    stem = f"reports/{watch.name}/{snapshot.end:%Y-%m-%d}/drift-{now:%Y%m%dT%H%M%S%f}"
    lake.put(f"{stem}.html", page.encode())
    check = DriftCheck(
        watch=watch.name,
        version=version,
        when=now,
        until=snapshot.end,
        exceeds=exceeds,
        consecutive=consecutive,
        started=started,
        reasons=tuple(reasons),
        report=lake.uri_of(f"{stem}.html"),
        verdict=lake.uri_of(f"{stem}.json"),
        event_id=str(uuid.uuid4()) if started else None,
    )
    details = {series: verdict.to_json() for series, verdict in verdicts.items()}
    lake.put_json(f"{stem}.json", {"check": check.model_dump(mode="json"), "series": details})
    return check


def read_checks(lake: Lake, watch: str) -> list[DriftCheck]:
    """Return a watch's recent drift checks, oldest first."""
    keys = (key for key in lake.list(f"reports/{watch}") if "/drift-" in key and key.endswith(".json"))
    newest = sorted(keys, key=lambda key: key.rpartition("/")[2])[-RECENT:]  # named by when they were made
    return sorted((DriftCheck(**found["check"]) for found in lake.get_jsons(newest)), key=lambda check: check.when)


def count_before(earlier: Sequence[DriftCheck], version: int, until: datetime, fresh: timedelta) -> int:
    """Count the verdicts in a row, up to the last, that found drift of this version, each with enough new rows.

    Args:
        earlier: the checks, oldest first.
        version: the champion's.
        until: where the rows of the check that is under way end.
        fresh: how far apart the ends of two checks' rows lie that count as two.
    """
    ends = set()
    for check in reversed(earlier):
        if not check.exceeds or check.version != version:
            break
        ends.add(check.until)
    count, last = 0, until
    for end in sorted(ends, reverse=True):
        if last - end >= fresh and end < last:
            count, last = count + 1, end
    return count


def cooling_since(earlier: Sequence[DriftCheck], now: datetime, pause: timedelta) -> datetime | None:
    """Return when the last event was, if that is less than the cool-down ago."""
    events = [check.when for check in earlier if check.started and now - check.when < pause]
    return events[-1] if events else None


def emit(check: DriftCheck) -> None:
    """Tell Prefect, where a flow run of its is under way. Without an engine, whoever called acts on the record."""
    if FlowRunContext.get() is None:
        return
    from prefect.events import emit_event

    emit_event(
        event=EVENT,
        resource={"prefect.resource.id": f"watchkeeper.watch.{check.watch}"},
        payload={
            "watch": check.watch,
            "version": check.version,
            "report": check.report,
            "reasons": list(check.reasons),
        },
        id=uuid.UUID(check.event_id),
    )
