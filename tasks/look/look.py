"""Look at a place: find out how its data is written, try the source out, and suggest a watch on it."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tasks.look import Choice, database, lines, servers, tables, text
from tasks.look.benchmark import benchmark_in
from tasks.look.cost import cost_of
from tasks.look.found import Channel, Found
from tasks.look.place import LINES, Place, find_place
from tasks.look.rhythm import rhythm_of, suggest_window
from tasks.look.roles import Columns
from tasks.look.suggest import DAY_S, suggest
from tasks.look.text import Sample
from tasks.look.trial import Stretch, Trial, joined, try_out
from tasks.sources import Stored, read_source
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.settings import first_problem
from watchkeeper.sources import Source

CLOCK_SLACK = timedelta(days=1)
"""As in tasks/ingest.py: how far a source's clock may run ahead before a row counts as in the future."""
BENCHMARK_ROWS = 300_000
"""Of a benchmark's folder, series are tried out until so many rows have been read."""
STALE = timedelta(minutes=10)
"""Prometheus repeats the last sample for some minutes, and an ingest takes in what it repeats."""
SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


def look(place: str, choice: Choice, now: datetime) -> Found:
    """Look at a file, a folder or a bucket of files, or a database.

    Args:
        place: its path or URL.
        choice: what a person has said about it.
        now: a row more than a day later is in the future, and not taken in.

    Raises:
        DataError: it is not there, or cannot be made into a source; the message says which key is unclear.
        LakeError, SourceError: a bucket or a database cannot be reached.
    """
    latest = to_microseconds(now + CLOCK_SLACK)
    if database.URL.match(place):
        return _in_database(place, choice, latest, now)
    if servers.URL.match(place):
        return _on_server(place, choice, latest, now)
    if benchmark := benchmark_in(Path(place), choice):
        keys, name, count, notes = benchmark
        items = read_source(SOURCE.validate_python(keys), None)
        trial = try_out(items, (), latest, BENCHMARK_ROWS)
        _check(trial, place)
        share = min(1.0, len(trial.series) / count)
        about = "all series" if share == 1 else f"{len(trial.series):,} of {count:,} series"
        return _found(name, keys, None, trial, Sample((), share, about), count, notes)
    where = find_place(place, choice)
    with tempfile.TemporaryDirectory(prefix="watchkeeper-") as scratch:
        columns, keys, sample, trial = _in_files(where, choice, latest, Path(scratch))
    _check(trial, place)
    stems = {Path(file.name).name.split(".")[0] for file in where.found}
    count = len(trial.series) if columns.series else len(stems)
    passed = where.passed and not choice.files
    notes = (*columns.notes, *([f"{where.passed:,} other files there are passed over"] if passed else []))
    return _found(where.name, keys, columns, trial, sample, count, notes)


def _in_files(
    where: Place, choice: Choice, latest: int, scratch: Path
) -> tuple[Columns, dict[str, Any], Sample, Trial]:
    """Find the columns of files, and try out a part of them: columns, keys of the source, what was tried, what came."""
    kind = where.found[0].kind
    if kind == ".parquet":
        columns = tables.look_into(where, choice)
        sample = tables.take_sample(where, len(columns.channels), scratch)
        keys_of = partial(tables.source_of, where, choice)
    elif kind in LINES:
        columns, about = lines.look_into(where, choice)
        sample = text.take_sample(where, None, scratch)
        keys_of = partial(lines.source_of, about)
    else:
        dialect, columns = text.look_into(where, choice)
        sample = text.take_sample(where, dialect, scratch)
        keys_of = partial(text.source_of, where, dialect, choice)
    columns, keys, trial = _try(columns, sample, keys_of, latest)
    return columns, keys, sample, trial


def _in_database(url: str, choice: Choice, latest: int, now: datetime) -> Found:
    """Try out the latest rows of a table; how many there are in all, the database has told."""
    table = database.look_into(url, choice)
    end = table.newest + timedelta(seconds=1)
    keys = table.keys | {"since": table.begin.isoformat(), "until": end.isoformat()}
    columns = table.columns
    items = read_source(SOURCE.validate_python(keys), None, stored=Stored(channels=columns.channels), now=now)
    trial = try_out(items, columns.channels, latest)
    _check(trial, url)
    per_row = (trial.rows + trial.quarantined.total()) / max(1, table.looked)  # of the long form, a moment has several
    share = 1.0 if table.looked == table.rows else table.looked / table.rows
    found = _found(
        table.name, table.keys, columns, trial, Sample((), share, table.about), len(trial.series), columns.notes
    )
    rows = found.rows if share == 1 else round(table.rows * per_row)
    cost = cost_of(rows, len(found.channels), found.suggestion.window, found.day_rows)
    return replace(found, rows=rows, start=table.oldest, cost=cost)


def _on_server(url: str, choice: Choice, latest: int, now: datetime) -> Found:
    """Try out the latest rows of a server; how many there are in all, it has told."""
    held = servers.look_into(url, choice, now)
    whole = held.begin <= held.oldest
    times = {"since": (held.oldest if whole else held.begin).isoformat()}
    times["until"] = (held.newest + STALE).isoformat()
    trial = try_out(read_source(SOURCE.validate_python(dict(held.keys) | times), None, now=now), (), latest)
    _check(trial, url)
    share = 1.0 if whole else min(1.0, trial.rows / max(1, held.rows))
    about = f"{'all' if whole else 'the latest'} {trial.rows:,} rows"
    sample = Sample((), share, about)
    found = _found(held.name, held.keys, None, trial, sample, len(trial.series), held.notes)
    return replace(found, start=min(found.start, held.oldest) if not whole else found.start)


def _try(
    columns: Columns, sample: Sample, keys_of: Callable[[Columns], dict[str, Any]], latest: int
) -> tuple[Columns, dict[str, Any], Trial]:
    """Read the sample with the real source, once more without the channels that hold words in some file."""
    while True:
        keys = keys_of(columns)
        try:
            source = SOURCE.validate_python(keys)
        except ValidationError as error:
            raise DataError(f"what was found or asked for makes no source: {first_problem(error)}") from error
        # Of the long form, the first rows need not show every channel: they are what the first file has.
        wanted = () if columns.channel else columns.channels
        trial = Trial(wanted)
        for folder in sample.folders:
            part = source.model_copy(update={"folder": str(folder), "files": "*/*"})
            items = read_source(part, None, stored=Stored(channels=trial.channels))
            trial.add(try_out(items, trial.channels, latest))
        if not trial.wordy:
            return columns, keys, trial
        left = tuple(name for name in columns.channels if name not in trial.wordy)
        if not left:
            raise DataError(f"no column of numbers is left: {', '.join(trial.wordy)} hold words")
        called = {new: old for old, new in columns.rename.items()}
        why = {
            called.get(name, name): f"holds no number in the first rows of {origin}"
            for name, origin in trial.wordy.items()
        }
        columns = replace(columns, channels=left, ignored={**columns.ignored, **why})


def _check(trial: Trial, place: str) -> None:
    """Refuse a source that gives nothing.

    Raises:
        DataError: no row came in.
    """
    if trial.rows:
        return
    if trial.refused:
        raise DataError(f"{place}: {trial.refused[0].origin}: {trial.refused[0].reason}")
    worst = trial.quarantined.most_common(1)
    told = f": {worst[0][0]}, {worst[0][1]:,} times" if worst else ""
    raise DataError(
        f"{place}: no row of it can be used{told}; say how it is written with --timestamp, --format, --label"
    )


def _found(
    name: str,
    keys: Mapping[str, Any],
    columns: Columns | None,
    trial: Trial,
    sample: Sample,
    count: int,
    notes: tuple[str, ...],
) -> Found:
    rows = trial.rows if sample.share == 1 else round(trial.rows / max(sample.share, 1e-9))
    each: dict[str, int] = defaultdict(int)
    for one in trial.stretches:
        each[one.series] += len(one.times)
    longest = round(max(each.values()) / (sample.share if count == len(each) else 1.0))
    stretches = joined(trial.stretches) if sample.share == 1 else trial.stretches
    rhythm = rhythm_of(stretches)
    window = suggest_window(stretches, rhythm.interval_s)
    suggestion = suggest(rows, count, longest, rhythm.interval_s, window)
    day_rows = count * DAY_S / rhythm.interval_s if rhythm.interval_s else 0.0
    label = np.concatenate([one.label for one in trial.stretches])
    channels = _channels(trial.stretches, trial.channels, columns)
    refused = [f"{one.origin} is refused: {one.reason}" for one in trial.refused[:3]]
    return Found(
        name=name,
        source=keys,
        about=sample.about,
        columns=columns,
        channels=channels,
        rows=rows,
        whole=sample.share == 1,
        series=tuple(trial.series),
        series_count=count,
        start=to_datetime(min(one.times[0] for one in trial.stretches)),
        end=to_datetime(max(one.times[-1] for one in trial.stretches)),
        rhythm=rhythm,
        anomalous=int((label == 1).sum()),
        labelled=int((label >= 0).sum()),
        quarantined=dict(trial.quarantined.most_common()),
        suggestion=suggestion,
        cost=cost_of(rows, len(channels), suggestion.window, day_rows),
        day_rows=day_rows,
        notes=(*notes, *refused),
    )


def _channels(stretches: list[Stretch], names: tuple[str, ...], columns: Columns | None) -> tuple[Channel, ...]:
    missing, rows = np.zeros(len(names)), 0
    low, high = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for one in stretches:
        missing += np.isnan(one.values).sum(axis=0)
        rows += len(one.values)
        low = np.fmin(low, np.fmin.reduce(one.values, axis=0))
        high = np.fmax(high, np.fmax.reduce(one.values, axis=0))
    called = {} if columns is None else {new: old for old, new in columns.rename.items()}
    return tuple(
        Channel(name, float(missing[at] / rows), float(low[at]), float(high[at]), called.get(name, name))
        for at, name in enumerate(names)
    )
