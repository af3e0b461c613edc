"""SKAB: valve1/, valve2/, other/ and anomaly-free/ with files that are separated by semicolons.

Files of different folders have the same names, so that a series is called after both. The files of `anomaly-free` have
no labels: all rows are normal. `changepoint` is another truth than `anomaly`, and no channel.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.benchmarks.piece import Piece, matching, text_piece
from tasks.sources.cells import Layout
from tasks.sources.delimited import Clock
from watchkeeper.sources import BenchmarkSource

FOLDERS = ("valve1", "valve2", "other", "anomaly-free")
LAYOUT = Layout(time=("datetime",), label="anomaly", delimiter=";", ignore=("changepoint",))


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the experiments of the folder."""
    paths = [path for path in matching(folder.rglob("*.csv"), source) if path.parent.name in FOLDERS]
    pieces = []
    for path in paths:
        place = path.parent.name
        series = place if path.stem == place else f"{place}_{path.stem}"
        finish = _all_normal if place == "anomaly-free" else None
        pieces.append(text_piece(series, path, LAYOUT, Clock(source.zone), finish))
    return sorted(pieces, key=lambda one: one.series)


def _all_normal(batch: Batch) -> Batch:
    if "label" in batch.table.column_names:
        return batch
    label = pa.array(np.zeros(len(batch.table), np.float32))
    return replace(batch, table=batch.table.append_column("label", label))
