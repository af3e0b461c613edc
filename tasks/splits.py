"""Which rows go to which part by the watch's split rule, and the metadata.json that says what went where."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.parts import ANOMALOUS, NORMAL, UNKNOWN, Bounds, split_by_shares, split_by_times
from tasks import runs
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.lake import Lake
from watchkeeper.records import Evaluation, Prepared, Record, Refusal
from watchkeeper.watch import Watch

NAME = "metadata.json"
"""Beside the prepared rows that it tells of."""
PartName = Literal["train", "gap", "calibration", "held_out"]
LABELS = {"anomalous": ANOMALOUS, "normal": NORMAL, "unknown": UNKNOWN}


class PartRows(Record):
    """Consecutive rows of a series that went to one part, or to none: a gap.

    Attributes:
        part: which.
        first: the first row, counted from the first one used.
        stop: behind the last row.
        start: time of the first row.
        end: time of the last row.
        labels: how many samples people and sources called so, before learning chooses what it may know.
    """

    part: PartName
    first: int
    stop: int
    start: datetime
    end: datetime
    labels: dict[str, int]

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return self.stop - self.first


class SeriesParts(Record):
    """What became of the rows of one series; those earlier than `split.history_days` say are only counted."""

    earlier: int
    rows: int
    interval_s: float
    parts: tuple[PartRows, ...]


class Metadata(Record):
    """Which rows of which series went where, and by what rule."""

    watch: str
    snapshot: str
    code: str
    """Digest of the code that learns (tasks/runs.py)."""
    window: int
    gap: int
    """Rows between two parts."""
    split: dict[str, float | datetime]
    """The shares, or the dates, and the history used where it is limited."""
    channels: tuple[str, ...]
    features: tuple[str, ...]
    """Columns made of the channels."""
    interval_s: float
    series: dict[str, SeriesParts]
    left_out: tuple[Refusal, ...]


def usual_interval(timestamps: npt.NDArray[np.int64]) -> float:
    """Return the median of the seconds between two rows; of one row it is 0."""
    return float(np.median(np.diff(timestamps))) / 1e6 if len(timestamps) > 1 else 0.0


def gap_of(watch: Watch) -> int:
    """Return how many rows lie between two parts."""
    return watch.window if watch.split.gap is None else watch.split.gap


def bounds_of(timestamps: npt.NDArray[np.int64], watch: Watch) -> Bounds:
    """Return where the parts of a series lie: by the dates of the watch's split rule, else by its shares.

    Raises:
        DataError: the series is too short for this watch's window, or has too few rows on one side of a date.
    """
    rule, gap = watch.split, gap_of(watch)
    if rule.calibration_from is None or rule.held_out_from is None:
        return split_by_shares(len(timestamps), rule.calibration, rule.held_out, watch.window, gap)
    dates = to_microseconds(rule.calibration_from), to_microseconds(rule.held_out_from)
    return split_by_times(timestamps, *dates, watch.window, gap)


def parts_of(
    timestamps: npt.NDArray[np.int64], bounds: Bounds, label: npt.NDArray[np.int8], stored: int
) -> SeriesParts:
    """Say where the rows of a series went.

    Args:
        timestamps: int64 (time,), µs since 1970 UTC, of the rows used.
        bounds: where their parts lie.
        label: int8 (time,), as is known of them.
        stored: rows of the series in the snapshot.
    """
    (first, stop), (held_from, end) = bounds.calibration, bounds.held_out
    stretches: tuple[tuple[PartName, int, int], ...] = (
        ("train", 0, bounds.train),
        ("gap", bounds.train, first),
        ("calibration", first, stop),
        ("gap", stop, held_from),
        ("held_out", held_from, end),
    )
    return SeriesParts(
        earlier=stored - len(timestamps),
        rows=len(timestamps),
        interval_s=usual_interval(timestamps),
        parts=tuple(
            PartRows(
                part=name,
                first=start,
                stop=until,
                start=to_datetime(timestamps[start]),
                end=to_datetime(timestamps[until - 1]),
                labels={word: int((label[start:until] == value).sum()) for word, value in LABELS.items()},
            )
            for name, start, until in stretches
        ),
    )


def write_metadata(
    lake: Lake,
    watch: Watch,
    prepared: Prepared,
    features: tuple[str, ...],
    series: Mapping[str, SeriesParts],
) -> None:
    """Write what went where beside the prepared rows."""
    metadata = Metadata(
        watch=watch.name,
        snapshot=prepared.snapshot,
        code=runs.code_digest(),
        window=watch.window,
        gap=gap_of(watch),
        split=_rule(watch),
        channels=prepared.channels,
        features=features,
        interval_s=prepared.interval_s,
        series=dict(series),
        left_out=prepared.left_out,
    )
    lake.put_json(f"{prepared.folder}/{NAME}", metadata.model_dump(mode="json"))


def _rule(watch: Watch) -> dict[str, float | datetime]:
    """Return what the split went by, without what did not count."""
    chosen = (
        ("calibration", "held_out") if watch.split.calibration_from is None else ("calibration_from", "held_out_from")
    )
    said = {name: getattr(watch.split, name) for name in (*chosen, "history_days")}
    return {name: value for name, value in said.items() if value is not None}


def read_metadata(lake: Lake, evaluation: Evaluation) -> Metadata | None:
    """Read what went where in the retrain of an evaluation; None once garbage collection has cleared it."""
    run = PurePosixPath(evaluation.key).parts[:3]
    prepare = "/".join((*run, "prepare"))
    if not runs.published(lake, prepare):
        return None
    key = f"{Prepared(**runs.about(lake, prepare)['record']).folder}/{NAME}"
    return Metadata(**lake.get_json(key)) if lake.exists(key) else None


def totals(metadata: Metadata) -> list[PartRows]:
    """Sum the series up: one entry for each part, the two gaps as one; times from the earliest to the latest."""
    found = []
    for name in ("train", "calibration", "held_out", "gap"):
        parts = [part for one in metadata.series.values() for part in one.parts if part.part == name]
        labels = {word: sum(part.labels[word] for part in parts) for word in LABELS}
        ends = min(part.start for part in parts), max(part.end for part in parts)
        found.append(
            PartRows(part=name, first=0, stop=sum(p.rows for p in parts), start=ends[0], end=ends[1], labels=labels)
        )
    return found
