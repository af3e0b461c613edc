"""Backtest: a watch's life replayed over its history, in a lake and a registry of its own.

Each night takes in the rows until then, lets the champion score them, checks for drift, trains a candidate with answers
from known truth under the budget, and decides. What the live watch has is neither read nor changed but for its source.
"""

import contextlib
import itertools
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from models.metrics import alarm_events
from tasks import champion as champions
from tasks import runs
from tasks.check_drift import check_drift, read_checks
from tasks.probation import probation
from tasks.score import KEY, score
from tasks.sources import Batch, read_source
from tasks.step import step
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.lake import Lake, digest_of
from watchkeeper.promotion import read_audit
from watchkeeper.records import Asked, DriftCheck, Evaluation, Ingested, Night, Record, Registered, Stage
from watchkeeper.registry import CHAMPION, Registry
from watchkeeper.watch import Watch

FIRST_SHARE = 0.5
"""Share of the history that the first version learns from, where nobody says when to start."""
MOST_NIGHTS = 1000
TIME = pa.timestamp("us", tz="UTC")


class Day(Record):
    """What the champion did with the rows since the night before."""

    champion: int | None
    alarms: int
    drifted: bool | None
    asked_to_retrain: bool
    remark: str

    def __str__(self) -> str:
        if self.champion is None:
            return "nobody keeps watch yet"
        return f"version {self.champion}: {self.alarms} alarms{', drift' if self.drifted else ''}"


def played(watch: Watch) -> Watch:
    """Return the watch that plays: labels that came with the data answer the agent's questions, and train nobody."""
    return watch.model_copy(
        update={
            "name": f"{watch.name}-backtest",
            "labels": watch.labels.model_copy(update={"imported": "oracle"}),
        }
    )


@step()
def open_stage(home: str, watch: Watch, start: datetime | None, until: datetime | None, every_hours: float) -> Stage:
    """Say which nights are played and where. A backtest that was killed goes on with the first night it lacks.

    Args:
        home: folder of the home.
        watch: which watch.
        start: the first night; None: when half of the history is there.
        until: the last row played lies before; None: the newest that the source has.
        every_hours: between two nights.

    Raises:
        DataError: the source has no rows there, or the nights would be none or too many.
    """
    what = [watch.model_dump(mode="json"), runs.code_digest(), str(start), str(until), every_hours]
    place = Path(home).absolute() / "backtests" / watch.name
    folder = place / digest_of(what)[:16]
    lake = Lake((folder / "lake").as_uri())
    if folder.exists() and lake.exists("stage.json"):
        stage = Stage(**lake.get_json("stage.json"))
        return stage.model_copy(update={"done": len(read_nights(stage))})
    shutil.rmtree(place, ignore_errors=True)  # another backtest's, which was killed: one of a watch plays at a time
    first, last = history_of(watch, until)
    begin = start or to_datetime(first + int((last - first) * FIRST_SHARE))
    nights = nights_between(begin, to_datetime(last + 1), timedelta(hours=every_hours))
    stage = Stage(
        folder=str(folder), lake=lake.uri, registry=f"sqlite:///{folder / 'registry.db'}", nights=nights, done=0
    )
    lake.put_json("stage.json", stage.model_dump(mode="json"))
    return stage


def history_of(watch: Watch, until: datetime | None) -> tuple[int, int]:
    """Return the times of the first and the last row of the source, in µs since 1970 UTC.

    Raises:
        DataError: it has no rows.
    """
    first, last, why = None, None, ""
    for item in read_source(watch.source, until):
        if not isinstance(item, Batch):
            why = why or f"; first problem: {item.origin}: {item.reason}"
            continue
        ends = pc.min_max(item.table["timestamp"].cast("int64")).as_py()
        if ends["min"] is not None:
            first = ends["min"] if first is None else min(first, ends["min"])
            last = ends["max"] if last is None else max(last, ends["max"])
    if first is None or last is None:
        raise DataError(f"watch {watch.name}: the source has no row to replay{why}")
    return first, last


def nights_between(begin: datetime, end: datetime, every: timedelta) -> tuple[datetime, ...]:
    """Return the nights: the first one, then one after another, and the end of the rows as the last.

    Raises:
        DataError: they would be fewer than two, or too many.
    """
    count = (end - begin) // every + 1 if end > begin else 0
    if count > MOST_NIGHTS:
        raise DataError(
            f"a backtest of {count} nights; wanted at most {MOST_NIGHTS}: take longer pauses or a later start"
        )
    nights = [begin + every * number for number in range(count)]
    if nights and nights[-1] < end:
        nights.append(end)
    if len(nights) < 2:
        raise DataError(f"a backtest from {begin:%Y-%m-%d %H:%M} has no rows to play: they end {end:%Y-%m-%d %H:%M}")
    return tuple(nights)


@step()
def live_day(stage: Stage, watch: Watch, night: datetime) -> Day:
    """Let the champion score what came since the night before, and look for drift; the first night has nobody yet."""
    lake, key = Lake(stage.lake), f"days/{stage.nights.index(night):04d}.json"
    if lake.exists(key):  # played before a kill: by now the night may have another champion
        return Day(**lake.get_json(key))
    day = _live(lake, stage, watch, night)
    lake.put_json(key, day.model_dump(mode="json"))
    return day


def _live(lake: Lake, stage: Stage, watch: Watch, night: datetime) -> Day:
    registered = Registry(stage.registry).alias(watch.name, CHAMPION)
    if registered is None:
        return Day(champion=None, alarms=0, drifted=None, asked_to_retrain=False, remark="")
    score(stage.lake, stage.registry, watch)
    check, remark = _check(stage, watch, night)
    looked = probation(stage.lake, stage.registry, watch)
    if looked.state == "rolled back":
        remark = "; ".join(filter(None, [remark, str(looked)]))
    served = champions.load(lake, registered)
    since = stage.nights[stage.nights.index(night) - 1]
    # Counted in what was written, not in what was just done: a day that was killed half way has scored before.
    alarms = 0
    for series in served.version.manifest.series:
        said = lived_rows(lake, watch.name, series, registered.version, since, night)
        alarms += len(alarm_events(said["alarm"].to_numpy(zero_copy_only=False), served.detector.settings.merge))
    return Day(
        champion=registered.version,
        alarms=alarms,
        drifted=check.exceeds if check else None,
        asked_to_retrain=bool(check and check.started),
        remark=remark,
    )


def lived_rows(lake: Lake, watch: str, series: str, version: int, since: datetime, until: datetime) -> pa.Table:
    """Read what a version has said of the rows from one night to the next: timestamp, score, alarm, in order."""
    begin, end = to_microseconds(since), to_microseconds(until)
    keys = []
    for key in lake.list(f"scores/watch={watch}/series={series}"):
        match = KEY.search(key)
        if match and int(match[1]) == version and int(match[2]) < end and int(match[3]) >= begin:
            keys.append(key)
    empty = pa.table(
        {"timestamp": pa.array([], TIME), "score": pa.array([], pa.float64()), "alarm": pa.array([], pa.bool_())}
    )
    table = pa.concat_tables([empty, *lake.get_tables(keys, empty.column_names)]).sort_by("timestamp")
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    return table.filter(pa.array((times >= begin) & (times < end)))


def _check(stage: Stage, watch: Watch, night: datetime) -> tuple[DriftCheck | None, str]:
    for check in read_checks(Lake(stage.lake), watch.name):
        if check.when == night:  # made before a kill; a second one would find the first one's cool-down
            return check, ""
    try:
        return check_drift(stage.lake, stage.registry, watch, night), ""
    except DataError as error:  # too few rows yet: the life goes on, and the night says so
        return None, f"no drift check: {error}"


@step()
def close_night(
    stage: Stage, watch: Watch, night: datetime, ingested: Ingested, day: Day, version: Registered, asked: Asked
) -> Night:
    """Write down what happened in a night; with that it is done."""
    lake = Lake(stage.lake)
    # The first decision on the version: a night that was killed after it judges the version once more, beside itself.
    decision = next(one for one in read_audit(lake, watch.name) if one.version == version.version)
    evaluation = Evaluation(**runs.about(lake, str(decision.evidence["evaluation"])))
    told = Night(
        when=night,
        rows=ingested.rows,
        **day.model_dump(),
        questions=asked.questions,
        answered=asked.answered,
        decision=decision.action,
        reason=decision.reasons[0],
        version=version.version,
        vus_pr=evaluation.mean("combination", "vus_pr"),
        against_vus_pr=evaluation.mean("champion", "vus_pr"),
    )
    lake.put_json(f"nights/{stage.nights.index(night):04d}.json", told.model_dump(mode="json"))
    return told


def read_nights(stage: Stage) -> list[Night]:
    """Return the nights that were played, the first one first."""
    lake = Lake(stage.lake)
    return [Night(**found) for found in lake.get_jsons(sorted(lake.list("nights")))]


def clear_stage(stage: Stage) -> None:
    """Remove a stage whose report is written, and the folders above it that are empty then."""
    folder = Path(stage.folder)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # another watch's backtest
        for above in folder.parents[:2]:
            above.rmdir()


def champions_of(nights: Sequence[Night]) -> list[tuple[datetime, datetime, int]]:
    """Return who kept watch: from a night to the next one, and which version."""
    return [
        (before.when, after.when, after.champion)
        for before, after in itertools.pairwise(nights)
        if after.champion is not None
    ]
