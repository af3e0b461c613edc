"""Score: the champion over rows that it has not scored yet; scores and alarms go to the lake."""

import re
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.detector import Scored as SeriesScored
from models.member import State
from models.metrics import alarm_events
from tasks import champion, runs
from tasks.reading import go_on
from tasks.rows import Rows, require_snapshot
from tasks.step import step
from tasks.validate import day_of
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.lake import Lake, digest_of
from watchkeeper.progress import progress_of
from watchkeeper.records import Scored
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

KEY = re.compile(r"/v(\d+)-(\d+)-(\d+)\.parquet$")
TOP = 5
"""Channels named with an alarm."""
RECENT_DAYS = 3
"""Days in which a version that scores by schedule has scored."""


@step(retries=2)
def score(lake_uri: str, registry_uri: str, watch: Watch) -> Scored:
    """Score new rows.

    Each version has its own watermark: after a rollback the version that serves again goes on where it stopped. A
    version's first run begins with the rows that were held out when it was trained. The state of the detector after
    the last row is kept, so that runs score as one long one would, at a cost that grows with the new rows only.

    Raises:
        VersionNotFoundError: there is no champion.
        VersionRefusedError: the champion's folder is damaged or its channels do not fit the data.
    """
    lake = Lake(lake_uri)
    served = champion.require_champion(lake, Registry(registry_uri), watch.name)
    snapshot = require_snapshot(lake, watch.name)
    champion.require_fit(served, snapshot.channels)
    version, manifest = served.registered.version, served.version.manifest
    tell = progress_of("score")
    total, alarms, times = 0, 0, []
    for done, series in enumerate(manifest.series):
        tell(done / len(manifest.series), series)
        newest = max((file.end for file in snapshot.files if file.series == series), default=snapshot.end)
        after = watermark(lake, watch.name, series, version, newest)
        if after is None:
            after = to_microseconds(manifest.held_out_from) - 1
        before = state_key(served, watch.name, series, after)
        scored, rows, state = go_on(lake, served, snapshot, series, after, read_state(lake, before))
        if scored is None or state is None:
            continue
        # The state first: killed in between, the next run finds the old one, and after all scores the new one.
        lake.put(state_key(served, watch.name, series, int(rows.timestamps[-1])), save(state))
        write_scores(lake, watch.name, series, version, rows, scored, snapshot.channels)
        lake.delete(before)
        total += len(rows)
        alarms += len(alarm_events(scored.alarm, served.detector.settings.merge))
        times += [int(rows.timestamps[0]), int(rows.timestamps[-1])]
    return Scored(
        watch=watch.name,
        version=version,
        rows=total,
        alarms=alarms,
        start=to_datetime(min(times)) if times else None,
        end=to_datetime(max(times)) if times else None,
        left_out=tuple(series for series in snapshot.series if series not in manifest.series),
        days=total * manifest.interval_s / 86_400,
    )


def watermark(lake: Lake, watch: str, series: str, version: int, newest: datetime) -> int | None:
    """Return the time (µs since 1970 UTC) of the newest row that a version has scored, or None.

    Where the version has scored one of the days before `newest`, the time of the newest row that there is, only those
    days are listed: what a score run asks of the lake does not grow with the years.
    """
    folder = f"scores/watch={watch}/series={series}"
    days = [f"{folder}/date={newest - timedelta(days=back):%Y-%m-%d}" for back in range(RECENT_DAYS)]
    for place in (*days, folder):
        found = (KEY.search(key) for key in lake.list(place))
        if ends := [int(match[3]) for match in found if match and int(match[1]) == version]:
            return max(ends)
    return None


def state_key(served: champion.Served, watch: str, series: str, after: int) -> str:
    """Return the key of what a version carries from the row at `after` to the next: another code has other states."""
    about = digest_of([served.registered.sha256, runs.code_digest()])[:12]
    return f"states/watch={watch}/series={series}/v{served.registered.version:06d}-{after}-{about}.safetensors"


def read_state(lake: Lake, key: str) -> State | None:
    """Return a state, or None where none was written or it cannot be used: it only saves scoring what came before."""
    try:
        return dict(load(lake.get(key))) if lake.exists(key) else None
    except SafetensorError:
        return None


def write_scores(
    lake: Lake, watch: str, series: str, version: int, rows: Rows, scored: SeriesScored, channels: tuple[str, ...]
) -> None:
    """Write scores, one file a day, oldest first: a killed run leaves no gap before its watermark."""
    days = day_of(rows.timestamps)
    for day in np.unique(days):
        chosen = np.flatnonzero(days == day)
        start, end = int(rows.timestamps[chosen[0]]), int(rows.timestamps[chosen[-1]])
        folder = f"scores/watch={watch}/series={series}/date={to_datetime(start):%Y-%m-%d}"
        table = _table(rows.timestamps[chosen], _rows_of(scored, chosen), version, channels)
        lake.put_table(f"{folder}/v{version:06d}-{start}-{end}.parquet", table)


def _rows_of(scored: SeriesScored, chosen: np.ndarray) -> SeriesScored:
    return SeriesScored(
        score=scored.score[chosen],
        threshold=scored.threshold[chosen],
        alarm=scored.alarm[chosen],
        members={},
        contributions=scored.contributions[chosen],
    )


def _table(timestamps: np.ndarray, scored: SeriesScored, version: int, channels: tuple[str, ...]) -> pa.Table:
    """Build the table of scores; only alarms carry the channels that made them, and how much each did."""
    order = np.argsort(-scored.contributions, axis=1, kind="stable")[:, :TOP]
    names, shares = [], []
    for row, alarm in enumerate(scored.alarm):
        names.append([channels[index] for index in order[row]] if alarm else None)
        shares.append([float(scored.contributions[row, index]) for index in order[row]] if alarm else None)
    return pa.table(
        {
            "timestamp": pa.array(timestamps, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            "score": pa.array(scored.score, pa.float64()),
            "threshold": pa.array(scored.threshold, pa.float64()),
            "alarm": pa.array(scored.alarm, pa.bool_()),
            "version": pa.array(np.full(len(timestamps), version), pa.int32()),
            "channels": pa.array(names, pa.list_(pa.string())),
            "contributions": pa.array(shares, pa.list_(pa.float32())),
        }
    )
