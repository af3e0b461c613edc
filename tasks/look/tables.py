"""Parquet files: what their columns are by their types, and the row groups of them that are looked at."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.look import Choice
from tasks.look.clocks import Clock
from tasks.look.place import File, Place, several_kinds
from tasks.look.roles import LEAKS, SURE_LABEL, TIME_NAMES, Columns, is_truth
from tasks.look.text import Sample, spread
from tasks.sources.folder import READ_ERRORS, bad_name, first_line
from tasks.validate import RESERVED
from watchkeeper.errors import DataError
from watchkeeper.sources import ParquetSource

BUDGET = 20_000_000
"""Readings that are tried out in all."""
MOST_ROWS = 100_000
"""Rows of one stretch at most."""
HEAD_ROWS = 20_000
"""Rows that show whether a column counts them, or holds nothing."""


def look_into(place: Place, choice: Choice) -> Columns:
    """Find the columns of a place's Parquet files.

    Raises:
        DataError: they are not readable, not all of one kind, or no series.
    """
    kinds: dict[frozenset[str], list[tuple[File, list[str]]]] = defaultdict(list)
    failed: list[str] = []
    for file in spread(place.found, 200):
        try:
            if refusal := bad_name(Path(file.name).name.split(".")[0], file.name):
                raise DataError(refusal.reason)
            with file.open() as raw:
                names = pq.ParquetFile(raw, pre_buffer=False).schema_arrow.names
            # A label may stand in some files alone.
            kinds[frozenset(name for name in names if not is_truth(name, choice))].append((file, names))
        except DataError as error:
            failed.append(f"{file.name}: {error}")
        except READ_ERRORS as error:
            failed.append(f"{file.name} is no readable Parquet file: {first_line(error)}")
    if not kinds:
        raise DataError(failed[0])
    if len(kinds) > 1:
        raise several_kinds(place, [([file.name for file, _ in kind], kind[0][1]) for kind in kinds.values()])
    ((*found,),) = kinds.values()
    file, _ = max(found, key=lambda one: len(one[1]))  # one with a label, where there is any
    try:
        with file.open() as raw:
            head = _head(pq.ParquetFile(raw, pre_buffer=False))
        columns = columns_of(head, choice)
    except READ_ERRORS as error:
        raise DataError(f"{file.name} is no readable Parquet file: {first_line(error)}") from error
    except DataError as error:
        raise DataError(f"{file.name} {error}") from error
    return Columns(**{**columns.__dict__, "notes": (*columns.notes, *failed[:3])})


def _head(file: pq.ParquetFile) -> pa.Table:
    batches = []
    for batch in file.iter_batches(HEAD_ROWS, use_threads=False):
        batches.append(batch)
        break
    return pa.Table.from_batches(batches, schema=file.schema_arrow)


def columns_of(head: pa.Table, choice: Choice) -> Columns:
    """Tell what each column is by its type.

    Raises:
        DataError: there is no clock or no column of numbers, or a file holds several series.
    """
    if not len(head):
        raise DataError("has no rows")
    names = head.column_names
    for name in [*choice.timestamp, *(one for one in (choice.label,) if one is not None)]:
        if name not in names:
            raise DataError(f"has no column {name}; its columns begin with {', '.join(names[:8])}")
    if choice.series or len(choice.timestamp) > 1 or choice.format:
        raise DataError("is a Parquet file: one series a file, one column of timestamps; that option is for CSV alone")
    time = None if choice.start is not None else _time_of(head, choice)
    label = _label_of(head, choice)
    rest = [name for name in names if name not in (time, label)]
    reasons = {name: _no_channel(head, name, time) for name in rest}
    ignored = {name: why for name, why in reasons.items() if why}
    channels = [name for name in rest if name not in ignored]
    if not channels:
        raise DataError(
            f"has no column of numbers beside its clock and label; its columns begin with {', '.join(names[:8])}"
        )
    clock = None
    if time is not None:
        _check_single(head, time, ignored)
        clock = Clock(None, aware=head.schema.field(time).type.tz is not None)
    taken = {name: f"{name}_reading" for name in channels if name in RESERVED or name in ("timestamp", "label")}
    return Columns(
        time=() if time is None else (time,),
        clock=clock,
        label=label,
        channels=tuple(taken.get(name, name) for name in channels),
        ignored=ignored,
        rename=taken,
    )


def _label_of(head: pa.Table, choice: Choice) -> str | None:
    if choice.label is not None:
        if not _is_label(head[choice.label]):
            kind = head.schema.field(choice.label).type
            raise DataError(f"column {choice.label} is no label: wanted numbers 0, 1 and −1, found {kind}")
        return choice.label
    return next(
        (name for name in head.column_names if SURE_LABEL.fullmatch(name.strip()) and _is_label(head[name])), None
    )


def _no_channel(head: pa.Table, name: str, time: str | None) -> str:
    """Say why a column is no reading, "" where it is one."""
    kind = head.schema.field(name).type
    if LEAKS.fullmatch(name.strip()):
        return "tells where the anomalies are"
    if SURE_LABEL.fullmatch(name.strip()):
        return "is called like a label, but is none, or not the one that is used"
    if pa.types.is_timestamp(kind):
        return "is another clock"
    if not _is_number(kind):
        return f"is {kind}, no number"
    if name.startswith("__index_level_") or _counts(head[name]):
        return "counts the rows"
    return "has a name that Watchkeeper uses itself" if time is not None and name in ("timestamp", "label") else ""


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _time_of(head: pa.Table, choice: Choice) -> str:
    stamps = [field.name for field in head.schema if pa.types.is_timestamp(field.type)]
    if choice.timestamp:
        (name,) = choice.timestamp
        if name not in stamps:
            raise DataError(f"column {name} is {head.schema.field(name).type}, wanted a timestamp")
        return name
    if not stamps:
        meant = [name for name in head.column_names if TIME_NAMES.fullmatch(name)]
        found = f"; column {meant[0]} is {head.schema.field(meant[0]).type}: write it as a timestamp" if meant else ""
        raise DataError(f"has no column of type timestamp{found}, or make up a clock with --start and --interval")
    named = [name for name in stamps if TIME_NAMES.fullmatch(name)]
    return str((named or stamps)[0])


def _is_label(column: pa.ChunkedArray) -> bool:
    if not _is_number(column.type):
        return False
    values = pc.unique(column.cast(pa.float64(), safe=False)).to_pylist()
    return all(value is None or value in (-1, 0, 1) or value != value for value in values)  # noqa: PLR0124 - NaN


def _counts(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_integer(column.type) or len(column) < 3 or column.null_count:
        return False
    steps = pc.pairwise_diff(column.combine_chunks())
    return bool(pc.all(pc.equal(steps.drop_null(), 1)).as_py())


def _check_single(head: pa.Table, time: str, ignored: dict[str, str]) -> None:
    """Refuse a file of several series: a Parquet source takes one of each file."""
    alone = len(pc.unique(head[time]))
    words = [name for name in ignored if pa.types.is_string(head.schema.field(name).type)]
    for name in words:
        pairs = len(head.select([time, name]).group_by([time, name]).aggregate([]))
        if alone < 0.95 * len(head) and pairs > 1.05 * alone:
            raise DataError(
                f"holds several rows of each moment, told apart by column {name}; Parquet files are one series each: "
                f"write a file for each, or a CSV file"
            )


def take_sample(place: Place, channels: int, scratch: Path) -> Sample:
    """Put whole files, where they are small, or some row groups of them into folders of their own.

    Raises:
        DataError: a file cannot be read.
    """
    chosen = spread(place.found)
    each = max(1_000, BUDGET // max(1, channels) // len(chosen))
    looked, total, whole_files = 0, 0, 0
    folders: dict[str, Path] = {}
    for number, file in enumerate(chosen):
        try:
            with file.open() as raw:
                table = pq.ParquetFile(raw, pre_buffer=False)
                rows = int(table.metadata.num_rows)
                parts = {"head": table.read(use_threads=False)} if rows <= each else _stretches(table, each // 3)
        except READ_ERRORS:
            continue  # the columns were looked into before; what cannot be read is told there
        for name, part in parts.items():
            target = folders.setdefault(name, scratch / name) / f"{number:04d}"
            target.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, target / Path(file.name).name)
            looked += len(part)
        whole_files += rows <= each
        total += rows
    total = round(total * len(place.found) / max(1, len(chosen)))
    if whole_files == len(place.found):
        return Sample(
            tuple(folders.values()),
            1.0,
            "all rows of " + ("the file" if total and whole_files == 1 else f"all {whole_files:,} files"),
        )
    where = "the file" if len(place.found) == 1 else f"{len(chosen):,} of {len(place.found):,} files"
    share = looked / max(1, total)
    return Sample(tuple(folders.values()), share, f"{looked:,} rows from {where}, about {share:.1%} of all")


def _stretches(table: pq.ParquetFile, rows: int) -> dict[str, pa.Table]:
    """Read rows from the first, the middle and the last row group."""
    rows = min(rows, MOST_ROWS)
    groups = table.num_row_groups
    wanted = {"head": 0, "middle": groups // 2, "end": groups - 1}
    found: dict[str, pa.Table] = {}
    for name, group in wanted.items():
        if group in [wanted[one] for one in found]:
            continue
        read = table.read_row_group(group, use_threads=False)
        found[name] = read.slice(max(0, len(read) - rows)) if name == "end" else read.slice(0, rows)
    return found


def source_of(place: Place, choice: Choice, columns: Columns) -> dict[str, Any]:
    """Return the keys of the source that differ from their defaults, as a watch file has them."""
    keys: dict[str, Any] = {
        "kind": "parquet",
        "folder": place.folder,
        "files": place.files,
        "timestamp": columns.time[0] if columns.time else None,
        "start": choice.start if columns.clock is None else None,
        "interval_s": choice.interval_s if columns.clock is None else None,
        "zone": choice.zone,
        "label": columns.label,
        "rename": dict(columns.rename),
        "ignore": tuple(columns.ignored),
    }
    usual = {name: field.default for name, field in ParquetSource.model_fields.items()}
    return {name: value for name, value in keys.items() if value not in (None, (), {}) and value != usual.get(name)}
