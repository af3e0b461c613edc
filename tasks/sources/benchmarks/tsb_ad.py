"""TSB-AD: CSV files like 001_NAB_id_1_Facility_tr_1007_1st_2014.csv, channels and a column `Label`, no clock.

The number after `tr` says how many rows are for training; a file that is not longer is refused. The files of different
collections have different channels, so a watch takes those of one: `files = "*_SMD_id_*"`.
"""

import re
from functools import partial
from pathlib import Path

from tasks.sources import Batch
from tasks.sources.benchmarks.piece import Piece, matching, regular_clock, text_piece
from tasks.sources.cells import Layout
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkSource

NAME = re.compile(r"\d+_\w+?_id_\d+_.+_tr_(\d+)_1st_(\d+)")
MINUTE_S = 60.0
LAYOUT = Layout(time=(), label="Label")


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the series of the folder."""
    clock = regular_clock(source, MINUTE_S)
    found = [(path, NAME.fullmatch(path.stem)) for path in matching(folder.rglob("*.csv"), source)]
    return [text_piece(path.stem, path, LAYOUT, clock, partial(_checked, int(name[1]))) for path, name in found if name]


def _checked(train_rows: int, batch: Batch) -> Batch:
    if batch.content is not None and batch.rows is not None and batch.rows.max(initial=0) < train_rows:
        raise DataError(f"has {len(batch.rows):,} rows, and {train_rows:,} for training by its name")
    if "label" not in batch.table.column_names:
        raise DataError("has no column Label")
    return batch
