"""A trial: the real source and the real validation over the rows that are looked at, and what comes of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources import Batch
from tasks.validate import Before, channels_of, validate
from watchkeeper.errors import DataError
from watchkeeper.records import Refusal

NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rows of one series that follow one another.

    Attributes:
        series: its name.
        times: int64 (time,), µs since 1970 UTC, ascending.
        values: float32 (time, channel), NaN where a reading is missing.
        label: int8 (time,), −1 where nothing is known.
    """

    series: str
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]


@dataclass
class Trial:
    """What came of the rows that were looked at.

    Attributes:
        channels: their names, in order.
        stretches: the rows that a watch would take in.
        quarantined: rows that it would not, by reason.
        refused: files that it would not.
        wordy: channels that hold no numbers in some file, with the file.
        read: rows that the source gave.
    """

    channels: tuple[str, ...]
    stretches: list[Stretch] = field(default_factory=list)
    quarantined: Counter[str] = field(default_factory=Counter)
    refused: list[Refusal] = field(default_factory=list)
    wordy: dict[str, str] = field(default_factory=dict)
    read: int = 0

    @property
    def rows(self) -> int:
        """Rows that a watch would take in."""
        return sum(len(one.times) for one in self.stretches)

    @property
    def series(self) -> list[str]:
        """The names of the series, sorted."""
        return sorted({one.series for one in self.stretches})

    def add(self, other: "Trial") -> None:
        """Take in what came of other rows of the same source."""
        self.channels = self.channels or other.channels
        self.stretches += other.stretches
        self.quarantined += other.quarantined
        self.refused += other.refused
        self.wordy |= other.wordy
        self.read += other.read


def try_out(
    items: Iterable[Batch | Refusal], channels: tuple[str, ...], latest: int, most_rows: int | None = None
) -> Trial:
    """Validate what a source gives as an ingest into an empty store would.

    Args:
        items: what the source gives.
        channels: that the watch will name; () takes those of the first batch.
        latest: µs since 1970 UTC; a later row is in the future.
        most_rows: after so many no further batch is asked for; None: all are.

    Raises:
        DataError: the source is not there.
    """
    trial = Trial(channels)
    known: dict[str, npt.NDArray[np.int64]] = {}
    for item in items:
        if isinstance(item, Refusal):
            trial.refused.append(item)
            continue
        trial.channels = trial.channels or channels_of(item)
        wordy = [name for name in trial.channels if _holds_words(item.table, name)]
        trial.wordy |= dict.fromkeys(wordy, item.origin)
        if wordy:
            continue
        stored = known.get(item.series, NONE)
        before = Before(stored, newest=int(stored[-1]) if len(stored) else None)
        try:
            valid = validate(item, trial.channels, extra_allowed=True, before=before, latest=latest)
        except DataError as error:
            trial.refused.append(Refusal(origin=item.origin, reason=str(error)))
            continue
        trial.read += len(item.table)
        trial.quarantined += valid.reasons()
        if valid.known:
            trial.quarantined["stands in an earlier file"] += valid.known
        if len(valid.timestamps):
            known[item.series] = np.concatenate([stored, valid.timestamps])
            trial.stretches.append(Stretch(item.series, valid.timestamps, valid.values, valid.label))
        if most_rows is not None and trial.read >= most_rows:
            break
    return trial


def joined(stretches: list[Stretch]) -> list[Stretch]:
    """Return one stretch for each series: what is between the files of a series is a gap too."""
    each: dict[str, list[Stretch]] = defaultdict(list)
    for one in stretches:
        each[one.series].append(one)
    return [
        Stretch(
            series,
            np.concatenate([one.times for one in parts]),
            np.concatenate([one.values for one in parts]),
            np.concatenate([one.label for one in parts]),
        )
        for series, parts in each.items()
    ]


def _holds_words(table: pa.Table, name: str) -> bool:
    return name in table.column_names and pa.types.is_string(table.schema.field(name).type)
