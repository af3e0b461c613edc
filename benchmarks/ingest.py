"""How fast rows come in: 20 channels from Parquet, CSV and line protocol, in rows a CPU-second.

Measured are the sources alone and the whole ingest.

The report on their quality is a part of the ingest; it is measured alone too, on readings that hardly repeat and on
coarse ones (steps of a standard deviation), whose many short runs it has to count. So is the writing of both, beside
pyarrow's own way.

    python benchmarks/ingest.py [--rows 400000] [--repeats 3] [--out figures.json]

CSV is compared with pyarrow.csv alone on the same file in the same run: it gives the columns and nothing else, no
reasons for bad rows and no series. Figures are the best of the repeats, in CPU time of the whole process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tasks.ingest import ingest
from tasks.quality import Tally
from tasks.quality_findings import figures, findings
from tasks.quality_report import QualityReport, page
from tasks.rows import to_table
from tasks.sources import Batch, read_source
from tasks.sources.pace import Pace
from watchkeeper.lake import parquet_bytes
from watchkeeper.sources import CsvSource, LinesSource, ParquetSource
from watchkeeper.watch import Watch

CHANNELS = 20
PARQUET_BAR = 500_000  # rows a CPU-second, from the file into the lake
CSV_BAR = 0.7  # of pyarrow.csv's own speed
START_US = 1_700_000_000_000_000
DAY_ROWS = 86_400  # rows of a raw file


def write_files(folder: Path, rows: int, seed: int) -> None:
    """Write the same rows as Parquet, as CSV and in line protocol, a reading a second."""
    values = np.random.default_rng(seed).normal(50, 10, size=(rows, CHANNELS)).astype(np.float32).round(3)
    times = pa.array(START_US + np.arange(rows) * 1_000_000).cast(pa.timestamp("us"))
    table = pa.table({"timestamp": times} | {f"c{at:02d}": values[:, at] for at in range(CHANNELS)})
    for kind in ("parquet", "csv", "lines", "export"):
        (folder / kind).mkdir()
    pq.write_table(table, folder / "parquet" / "pump.parquet")
    pacsv.write_csv(table, folder / "csv" / "pump.csv")
    names = [f"c{at:02d}" for at in range(CHANNELS)]
    with (folder / "lines" / "pump.lp").open("w") as file:
        for row, cells in enumerate(values.tolist()):
            fields = ",".join(f"{name}={cell:.3f}" for name, cell in zip(names, cells, strict=True))
            file.write(f"pump,unit=pump {fields} {(START_US + row * 1_000_000) * 1000}\n")
    with (folder / "export" / "pump.lp").open("w") as file:  # as InfluxDB exports: a field a line, one behind another
        for name, column in zip(names, values[: rows // CHANNELS].T.tolist(), strict=True):
            for row, cell in enumerate(column):
                file.write(f"pump,unit=pump {name}={cell:.3f} {(START_US + row * 1_000_000) * 1000}\n")


def read(source: ParquetSource | CsvSource | LinesSource) -> int:
    """Read a source to its end, as ingest does, and return its rows."""
    return sum(len(item.table) for item in read_source(source, None) if isinstance(item, Batch))


def take_in(source: ParquetSource | CsvSource | LinesSource) -> int:
    """Ingest into an empty lake."""
    watch = Watch(name="speed", source=source)
    with tempfile.TemporaryDirectory() as lake:
        return ingest(Path(lake).as_uri(), watch, datetime.now(UTC)).new_rows


def judge(times: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> int:
    """Count what the report on quality tells of rows, and write its page."""
    names = [f"c{at}" for at in range(values.shape[1])]
    high = np.full(len(names), 1e9, np.float32)
    tally = Tally(len(names))
    tally.add_read(Pace.of(times), 0, {})
    tally.add_rows(times, values, -high, high)
    found = figures("pump", tally, names, {})
    report = QualityReport(
        watch="speed", snapshot="", series=(found,), refused=(), findings=tuple(findings([found], []))
    )
    page(report)
    return found.new


def bare(path: Path) -> int:
    """Read with pyarrow.csv alone, to the types that are wanted."""
    types = {"timestamp": pa.timestamp("us")} | {f"c{at:02d}": pa.float32() for at in range(CHANNELS)}
    return len(pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=types)))


def by_default(table: pa.Table) -> bytes:
    """Return a table as pyarrow writes it unless it is told otherwise, with the lake's compression."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def peak_gib(folder: Path) -> float:
    """Return what a process takes at most that reads a folder of line protocol, which is held whole."""
    # S603: the command is this file, with an argument of its own
    done = subprocess.run([sys.executable, __file__, "--peak", str(folder)], stdout=subprocess.PIPE, check=True)  # noqa: S603
    return float(done.stdout)


def measure(rows: int, repeats: int, seed: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return rows a CPU-second of each way in, bytes a reading of each way to write, GiB at most of line protocol."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, rows, seed)
        parquet = ParquetSource(kind="parquet", folder=str(folder / "parquet"))
        table = pq.read_table(folder / "parquet" / "pump.parquet")
        fine = np.stack([column.to_numpy() for column in table.columns[1:]], axis=1)
        coarse, clock = fine.round(-1), table["timestamp"].cast(pa.int64()).to_numpy()
        text = CsvSource(kind="csv", folder=str(folder / "csv"))
        stored = {
            name: to_table(clock, values, tuple(table.column_names[1:]))
            for name, values in (("fine", fine), ("coarse", coarse))
        }
        sizes: dict[str, float] = {}

        def write(way: str, name: str, to_bytes: Callable[[pa.Table], bytes]) -> int:
            days = (stored[name].slice(first, DAY_ROWS) for first in range(0, rows, DAY_ROWS))
            sizes[f"{way}, {name}"] = sum(len(to_bytes(day)) for day in days) / rows / CHANNELS
            return rows

        lines = LinesSource(kind="lines", folder=str(folder / "lines"), series=("unit",))
        export = lines.model_copy(update={"folder": str(folder / "export")})
        ways: dict[str, Callable[[], int]] = {
            "parquet, source": lambda: read(parquet),
            "parquet, ingest": lambda: take_in(parquet),
            "quality report alone": lambda: judge(clock, fine),
            "quality report alone, coarse": lambda: judge(clock, coarse),
            "written as the lake does, fine": lambda: write("lake", "fine", parquet_bytes),
            "written as pyarrow does, fine": lambda: write("pyarrow", "fine", by_default),
            "written as the lake does, coarse": lambda: write("lake", "coarse", parquet_bytes),
            "written as pyarrow does, coarse": lambda: write("pyarrow", "coarse", by_default),
            "csv, pyarrow alone": lambda: bare(folder / "csv" / "pump.csv"),
            "csv, source": lambda: read(text),
            "csv, ingest": lambda: take_in(text),
            "line protocol, source": lambda: read(lines),
            "line protocol, ingest": lambda: take_in(lines),
            "line protocol, a field a line, source": lambda: read(export),
        }
        wanted = {"line protocol, a field a line, source": rows // CHANNELS}  # as many lines as the others have rows
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats):  # in turn, so that a busy machine is busy for all
            for way, call in ways.items():
                before = time.process_time()
                found = call()
                spent[way].append(time.process_time() - before)
                if found != wanted.get(way, rows):
                    raise SystemExit(f"{way}: {found:,} rows came in of {wanted.get(way, rows):,}")
        peaks = {"20 fields a line": peak_gib(folder / "lines"), "a field a line": peak_gib(folder / "export")}
        return {way: wanted.get(way, rows) / min(times) for way, times in spent.items()}, sizes, peaks


def main() -> None:
    """Print the table; with --out, write the figures too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--peak", type=Path, help="read this folder of line protocol and print the GiB at most")
    options = parser.parse_args()
    if options.peak:
        read(LinesSource(kind="lines", folder=str(options.peak)))
        # getrusage would tell the peak of the process that has started this one
        (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
        print(int(line.split()[1]) / 2**20)  # Linux counts in KiB
        return
    speed, sizes, peaks = measure(options.rows, options.repeats, options.seed)
    share = speed["csv, source"] / speed["csv, pyarrow alone"]
    table = Table(
        title=f"{options.rows:,} rows of {CHANNELS} channels, rows a CPU-second", title_justify="left", box=None
    )
    for heading in ("way", "rows/CPU-s", "bar"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    bars = {
        "parquet, ingest": (PARQUET_BAR, speed["parquet, ingest"] >= PARQUET_BAR),
        "csv, source": (CSV_BAR * speed["csv, pyarrow alone"], share >= CSV_BAR),
    }
    for way, figure in speed.items():
        bar, kept = bars.get(way, (None, True))
        table.add_row(way, f"{figure:,.0f}", "" if bar is None else f"{bar:,.0f} {'kept' if kept else 'MISSED'}")
    Console().print(table)
    part = speed["parquet, ingest"] / speed["quality report alone"]
    Console().print(f"quality report: {part:.1%} of an ingest from Parquet")
    told = ", ".join(f"{way} {size:.2f}" for way, size in sizes.items())
    Console().print(f"bytes a reading, as written: {told}")
    Console().print(f"csv, source: {share:.0%} of pyarrow.csv's own speed; bar {CSV_BAR:.0%}")
    for how, peak in peaks.items():
        Console().print(f"line protocol, {options.rows:,} lines, {how}: {peak:.2f} GiB at most")
    if options.out:
        figures = {
            "rows": options.rows,
            "channels": CHANNELS,
            "rows_per_cpu_s": speed,
            "bytes_per_reading": sizes,
            "csv_share": share,
            "quality_share": part,
            "line_protocol_gib": peaks,
        }
        options.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
