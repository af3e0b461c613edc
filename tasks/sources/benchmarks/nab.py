"""Numenta Anomaly Benchmark: data/<category>/*.csv, and labels/combined_windows.json with the anomalous windows.

Both ends of a window are anomalous. Some clocks jump back an hour and tell the same times again: those rows go to
quarantine, and what is left is the clock's first pass.
"""

import json
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.benchmarks.piece import Piece, matching, text_piece
from tasks.sources.cells import Layout
from tasks.sources.delimited import Clock
from watchkeeper.clock import to_microseconds
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkSource
from watchkeeper.table import as_utc

WINDOWS = Path("labels") / "combined_windows.json"
Windows = list[tuple[int, int]]


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the series of the folder.

    Raises:
        DataError: the windows are missing or not readable.
    """
    windows = _windows(folder / WINDOWS)
    pieces = []
    for path in matching(folder.glob("data/*/*.csv"), source):
        known = windows.get(f"{path.parent.name}/{path.name}")
        finish = None if known is None else partial(_labelled, known)
        pieces.append(text_piece(path.stem, path, Layout(), Clock(source.zone), finish, (folder / WINDOWS,)))
    return pieces


def _windows(path: Path) -> dict[str, Windows]:
    """Read the windows: µs since 1970, both ends in."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: [(_us(first), _us(last)) for first, last in windows] for name, windows in dict(found).items()}
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}; NAB's labels belong there") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no list of windows: {error}") from error


def _us(time: str) -> int:
    return to_microseconds(as_utc(datetime.fromisoformat(time)))


def _labelled(windows: Windows, batch: Batch) -> Batch:
    times = np.asarray(batch.table["timestamp"].cast(pa.int64()).combine_chunks().fill_null(0))
    label = np.zeros(len(times), np.float32)
    for first, last in windows:
        label[(times >= first) & (times <= last)] = 1
    return replace(batch, table=batch.table.append_column("label", pa.array(label)))
