"""Yahoo S5: A1Benchmark/real_*.csv, A2Benchmark/synthetic_*.csv, A3Benchmark and A4Benchmark with *-TS*.csv.

A1 counts hours from 1 instead of telling the time. A3 and A4 call their columns otherwise (`timestamps`, `anomaly`),
and lay open what the series was made of (trend, noise, seasons), which no detector may see. The files that hold a whole
benchmark in one (`*_all.csv`) are passed over.
"""

import re
from pathlib import Path

from tasks.sources.benchmarks.piece import Piece, head_of, matching, regular_clock, text_piece
from tasks.sources.cells import Layout
from tasks.sources.delimited import Clock
from watchkeeper.sources import BenchmarkSource

NAME = re.compile(r"(real|synthetic)_\d+|A[34]Benchmark-TS\d+")
MADE_OF = ("changepoint", "trend", "noise", "seasonality1", "seasonality2", "seasonality3")
HOUR_S = 3600.0
FIRST_UNIX_TIME = 100_000_000  # a number below it counts hours


def find(folder: Path, source: BenchmarkSource) -> list[Piece]:
    """Return the series of the folder."""
    return [_piece(path, source) for path in matching(folder.rglob("*.csv"), source) if NAME.fullmatch(path.stem)]


def _piece(path: Path, source: BenchmarkSource) -> Piece:
    header, first, *_ = [*head_of(path), "", ""]
    time = "timestamps" if "timestamps" in header else "timestamp"
    label = "is_anomaly" if "is_anomaly" in header else "anomaly"
    number = first.partition(",")[0].strip()
    if number.isdigit() and int(number) < FIRST_UNIX_TIME:
        layout = Layout(time=(), label=label, ignore=(time, *MADE_OF))
        return text_piece(path.stem, path, layout, regular_clock(source, HOUR_S))
    layout = Layout(time=(time,), format="unix_s", label=label, ignore=MADE_OF)
    return text_piece(path.stem, path, layout, Clock())
