"""Server Machine Dataset: train/, test/ and test_label/, each with <machine>.txt, without header and clock.

A machine's test rows follow its training rows, a reading a minute. Nothing is known of the labels of the latter.
"""

from functools import partial
from pathlib import Path

import numpy as np

from tasks.sources.benchmarks.piece import Piece, Readings, matching, read_rows, regular_clock, row_piece
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkSource

MINUTE_S = 60.0


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the machines of the folder."""
    paths = matching([*folder.glob("train/*.txt"), *folder.glob("test/*.txt")], source)
    clock = regular_clock(source, MINUTE_S)
    pieces = []
    for name in sorted({path.name for path in paths}):
        parts = tuple(folder / part / name for part in ("train", "test", "test_label"))
        pieces.append(row_piece(name.removesuffix(".txt"), name, parts, partial(_load, *parts), clock))
    return pieces


def _load(train: Path, test: Path, labels: Path) -> Readings:
    for path in (train, test, labels):
        if not path.is_file():
            raise DataError(f"has no {path.parent.name}/{path.name} beside it")
    first, second, label = read_rows(train), read_rows(test), read_rows(labels)
    if first.names != second.names:
        raise DataError(f"has {len(first.names)} channels in train and {len(second.names)} in test")
    if label.values.shape != (len(second.values), 1):
        raise DataError(f"has {len(second.values):,} rows in test and {len(label.values):,} labels")
    reasons = [one.reasons for one in (first, second) if one.reasons is not None]
    unknown = np.full(len(first.values), np.nan, np.float32)
    return Readings(
        np.concatenate([first.values, second.values]),
        first.names,
        np.concatenate([unknown, label.values[:, 0]]),
        np.concatenate(reasons),
    )
