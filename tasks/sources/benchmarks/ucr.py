"""UCR Anomaly Archive: 001_UCR_Anomaly_DISTORTED1sddb40_35000_52000_52620.txt, one reading a line and no clock.

The numbers in the name are the rows for training and the first and last row of the one anomaly, counted from 1. A few
files have all their readings in one line, with blanks between.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from tasks.sources.benchmarks.piece import Piece, Readings, matching, regular_clock, row_piece
from tasks.sources.cells import NO_NUMBER, NUMBER
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkSource

NAME = re.compile(r"\d+_UCR_Anomaly_.+_(\d+)_(\d+)_(\d+)")
MINUTE_S = 60.0


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the series of the folder."""
    clock = regular_clock(source, MINUTE_S)
    pieces = []
    for path in matching(folder.rglob("*.txt"), source):
        if name := NAME.fullmatch(path.stem):
            train, begin, end = (int(number) for number in name.groups())
            pieces.append(row_piece(path.stem, path.name, (path,), partial(_load, path, train, begin, end), clock))
    return pieces


def _load(path: Path, train: int, begin: int, end: int) -> Readings:
    words = path.read_text(encoding="utf-8", errors="replace").split()
    values = np.array([_number(word) for word in words], dtype=np.float64)
    if not 0 < train < begin <= end <= len(values):
        raise DataError(
            f"has {len(values):,} rows; by its name {train:,} for training and {begin:,} to {end:,} anomalous"
        )
    bad = np.array([np.isnan(value) and word.lower() != "nan" for value, word in zip(values, words, strict=True)])
    label = np.zeros(len(values), np.float32)
    label[begin - 1 : end] = 1
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and so goes to quarantine
        return Readings(
            values.astype(np.float32)[:, None], ("value",), label, np.where(bad, NO_NUMBER, "").astype(object)
        )


def _number(word: str) -> float:
    return float(word) if NUMBER.fullmatch(word) else float("nan")
