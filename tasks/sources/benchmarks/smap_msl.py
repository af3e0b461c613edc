"""SMAP and MSL: train/<channel>.npy, test/<channel>.npy, and labeled_anomalies.csv with the anomalous rows.

The table lies in the folder or above it. Both ends of a sequence are anomalous, and a series may stand in the table
more than once (P-2 does). SMAP has 25 channels and MSL 55, so each is a format of its own. Nothing is known of the
labels of the training rows.
"""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np

from tasks.sources.benchmarks.piece import Floats, Piece, Readings, matching, regular_clock, row_piece
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkSource

TABLE = "labeled_anomalies.csv"
MINUTE_S = 60.0
Sequences = list[tuple[int, int]]


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the series of one of the two spacecraft.

    Raises:
        DataError: the table of anomalies is missing or not readable.
    """
    table = next((place / TABLE for place in (folder, folder.parent) if (place / TABLE).is_file()), None)
    if table is None:
        raise DataError(f"there is no {TABLE} in {folder} or above it; the labels are in it")
    known = _sequences(table, source.format.upper())
    clock = regular_clock(source, MINUTE_S)
    pieces = []
    for test in matching(folder.glob("test/*.npy"), source):
        if test.stem in known:
            train = folder / "train" / test.name
            load = partial(_load, train, test, known[test.stem])
            pieces.append(row_piece(test.stem, test.name, (train, test, table), load, clock))
    return pieces


def _sequences(path: Path, spacecraft: str) -> dict[str, Sequences]:
    """Read which rows of which series are anomalous, both ends in."""
    found: dict[str, Sequences] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                if row["spacecraft"] == spacecraft:
                    pairs = [(int(first), int(last)) for first, last in json.loads(row["anomaly_sequences"])]
                    found.setdefault(row["chan_id"], []).extend(pairs)
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is no table of anomalies: {type(error).__name__}: {error}") from error
    return found


def _load(train: Path, test: Path, sequences: Sequences) -> Readings:
    first, second = _read(train), _read(test)
    if first.shape[1] != second.shape[1]:
        raise DataError(f"has {first.shape[1]} channels in train and {second.shape[1]} in test")
    label = np.r_[np.full(len(first), np.nan, np.float32), np.zeros(len(second), np.float32)]
    for begin, end in sequences:
        if not 0 <= begin <= end < len(second):
            raise DataError(f"has {len(second):,} rows in test, and an anomaly in rows {begin} to {end}")
        label[len(first) + begin : len(first) + end + 1] = 1
    names = tuple(f"c{at:02d}" for at in range(first.shape[1]))
    return Readings(np.concatenate([first, second]), names, label)


def _read(path: Path) -> Floats:
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"has no {path.parent.name}/{path.name} beside it") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"{path.parent.name}/{path.name} is no readable array: {error}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiu":
        raise DataError(f"{path.parent.name}/{path.name} is no table of numbers (time, channel)")
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and so goes to quarantine
        return np.asarray(values, dtype=np.float32)
