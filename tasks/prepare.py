"""Prepare: raw rows to scaled rows with their features, split by time. Scales are fitted on the training part only."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.features import Features, Recipe
from models.parts import Bounds, CalibrationPart, TrainPart
from models.scaler import Scaler
from models.windows import Array
from tasks import runs
from tasks.rows import Rows, from_table, iter_rows, read_snapshot, schema_of, to_table
from tasks.splits import SeriesParts, bounds_of, parts_of, write_metadata
from tasks.step import step
from watchkeeper.clock import DAY_US, to_microseconds
from watchkeeper.errors import DataError, WatchError
from watchkeeper.labels import asked_for, label_samples, read_labels
from watchkeeper.lake import Lake, digest_of
from watchkeeper.progress import progress_of
from watchkeeper.records import Prepared, Refusal, Snapshot
from watchkeeper.watch import Watch

Blocks = Callable[[], Iterator[Rows]]
"""Gives the rows of a series from the first one, block by block, as often as it is called."""


@dataclass(frozen=True, eq=False)
class Learning:
    """What training may see of a series: its training and its calibration part. Held-out rows are not in here."""

    train: TrainPart
    calibration: CalibrationPart


@step(retries=2)
def prepare(lake_uri: str, watch: Watch, snapshot: str) -> Prepared:
    """Scale a snapshot's rows and say where its parts lie.

    A series that is too short to split is left out with its reason; the others go on.

    Raises:
        DataError: every series is too short.
        WatchError: the features name a channel that the data does not have.
    """
    lake = Lake(lake_uri)
    key = f"{runs.run_folder(watch, snapshot)}/prepare"
    if runs.published(lake, key):
        return Prepared(**runs.about(lake, key)["record"])
    what = read_snapshot(lake, watch.name, snapshot)
    made_from = [
        watch.window,
        watch.split.model_dump(),
        watch.channels,
        watch.features.model_dump(),
        runs.code_digest(),
    ]
    folder = f"prepared/{watch.name}/{snapshot}/{digest_of(made_from)[:16]}"
    recipe = recipe_of(watch, what.channels)
    columns = (*what.channels, *(recipe.names if recipe else ()))
    events = read_labels(lake, what.labels)
    tell = progress_of("prepare")
    scalers: dict[str, Scaler] = {}
    features: dict[str, Features] = {}
    bounds: dict[str, Bounds] = {}
    left_out: list[Refusal] = []
    went: dict[str, SeriesParts] = {}
    for done, series in enumerate(what.series):
        tell(done / len(what.series), series)
        read = functools.partial(iter_rows, lake, what, series, after=history_start(what, watch))
        stamps = np.concatenate([np.empty(0, np.int64), *(block.timestamps for block in read(channels=()))])
        try:
            where = bounds_of(stamps, watch)
        except DataError as error:
            left_out.append(Refusal(origin=series, reason=str(error)))
            continue
        blocks = functools.partial(read, channels=what.channels)
        scaler = Scaler.fit_blocks(series, functools.partial(_values, where.train, blocks))
        if recipe:
            filled = functools.partial(_filled, series, scaler, where.train, blocks)
            features[series] = Features.fit_blocks(recipe, series, filled)
        scaled = _scaled(series, scaler, features.get(series), blocks(), columns)
        lake.put_tables(f"{folder}/series={series}.parquet", schema_of(columns), scaled)
        scalers[series], bounds[series] = scaler, where
        stored = sum(file.rows for file in what.files if file.series == series)
        went[series] = parts_of(stamps, where, label_samples(events, series, stamps), stored)
    if not bounds:
        raise DataError(f"watch {watch.name}: no series can be split: {left_out[0].origin}: {left_out[0].reason}")
    record = Prepared(
        key=key,
        folder=folder,
        snapshot=snapshot,
        channels=what.channels,
        series=tuple(bounds),
        interval_s=float(np.median([one.interval_s for one in went.values()])),
        rows=sum(one.rows for one in went.values()),
        left_out=tuple(left_out),
    )
    write_metadata(lake, watch, record, columns[len(what.channels) :], went)
    arrays = {name: array for scaler in scalers.values() for name, array in scaler.arrays().items()}
    for one in features.values():
        arrays |= {f"features/{name}": array for name, array in one.arrays().items()}
    about = {
        "record": record.model_dump(mode="json"),
        "bounds": {series: [where.train, *where.calibration, *where.held_out] for series, where in bounds.items()},
        "scaler": {"series": list(scalers)},
    }
    runs.publish(lake, key, about, arrays)
    return record


def _first(rows: int, blocks: Blocks) -> Iterator[Rows]:
    """Give the first rows of a series, block by block."""
    for block in blocks():
        yield Rows(block.timestamps[:rows], block.values[:rows])
        rows -= len(block)
        if rows <= 0:
            return


def _values(rows: int, blocks: Blocks) -> Iterator[Array]:
    return (block.values for block in _first(rows, blocks))


def _filled(series: str, scaler: Scaler, rows: int, blocks: Blocks) -> Iterator[tuple[Array, npt.NDArray[np.int64]]]:
    """Give the first rows of a series without missing readings, with their times."""
    last = None
    for block in _first(rows, blocks):
        filled, last = scaler.fill_forward(series, block.values, last)
        yield filled, block.timestamps


def _scaled(
    series: str, scaler: Scaler, features: Features | None, blocks: Iterator[Rows], columns: tuple[str, ...]
) -> Iterator[pa.Table]:
    """Fill, scale and add features, block by block."""
    last, state = None, None
    for block in blocks:
        filled, last = scaler.fill_forward(series, block.values, last)
        scaled = scaler.transform(series, filled)
        if features:
            scaled, state = features.append(series, filled, scaled, block.timestamps, state)
        yield to_table(block.timestamps, scaled, columns)


def history_start(snapshot: Snapshot, watch: Watch) -> int | None:
    """Return the time (µs since 1970 UTC) from which on rows are used; None for all."""
    days = watch.split.history_days
    return None if days is None else to_microseconds(snapshot.end) - int(days * DAY_US)


def read_scaler(lake: Lake, prepared: Prepared) -> Scaler:
    """Read the scaler back."""
    return Scaler.from_arrays(runs.about(lake, prepared.key)["scaler"], runs.arrays_of(lake, prepared.key))


def recipe_of(watch: Watch, channels: tuple[str, ...]) -> Recipe | None:
    """Return how the watch's features are made, or None where it has none.

    Raises:
        WatchError: they name a channel that is not there.
    """
    if not watch.features.any():
        return None
    try:
        return Recipe(watch.features, channels)
    except WatchError as error:
        raise WatchError(f"watch {watch.name}: {error}") from error


def read_features(lake: Lake, watch: Watch, prepared: Prepared) -> Features | None:
    """Read the features back with their scales; None where the watch has none."""
    recipe = recipe_of(watch, prepared.channels)
    if recipe is None:
        return None
    arrays = {
        name.removeprefix("features/"): array
        for name, array in runs.arrays_of(lake, prepared.key).items()
        if name.startswith("features/")
    }
    return Features(recipe, Scaler.from_arrays(runs.about(lake, prepared.key)["scaler"], arrays))


def read_bounds(lake: Lake, prepared: Prepared) -> dict[str, Bounds]:
    """Read where the parts of each series lie."""
    stored = runs.about(lake, prepared.key)["bounds"]
    return {series: Bounds(b[0], (b[1], b[2]), (b[3], b[4])) for series, b in stored.items()}


def read_learning(lake: Lake, watch: Watch, prepared: Prepared) -> dict[str, Learning]:
    """Read what training may see: scaled rows and known labels of the training and calibration parts.

    This is the only door from the lake to training code, and held-out rows do not pass it.
    """
    bounds = read_bounds(lake, prepared)
    events = read_labels(lake, read_snapshot(lake, watch.name, prepared.snapshot).labels)
    if watch.labels.imported == "oracle":
        events = asked_for(events)
    recipe = recipe_of(watch, prepared.channels)
    columns = (*prepared.channels, *(recipe.names if recipe else ()))
    learning = {}
    for series in prepared.series:
        table = lake.get_table(f"{prepared.folder}/series={series}.parquet")
        where = bounds[series]
        start, end = where.calibration
        seen = from_table(table.slice(0, end), columns)
        label = label_samples(events, series, seen.timestamps)
        learning[series] = Learning(
            TrainPart(seen.values[: where.train], seen.timestamps[: where.train], label[: where.train]),
            CalibrationPart(seen.values[start:end], seen.timestamps[start:end], label[start:end]),
        )
    return learning
