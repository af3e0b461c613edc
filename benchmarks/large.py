"""What much data takes to come in: memory at most and rows a CPU-second of ingest and prepare, from one file.

    OMP_NUM_THREADS=1 python benchmarks/large.py [--rows 20000000] [--kind parquet|csv]
        [--order whole|shuffled|newest-first] [--out FILE]

Each stage runs in a process of its own, because a process never gives its peak back; the peak is what Linux counts as
resident at most, the libraries included, which stand in the row `imports`; their CPU time does not count. The floor is
pyarrow alone, which reads the file piece by piece and writes each again. `shuffled` moves each row by up to 1,000
places; `newest-first` has the groups of rows in reverse.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tasks.ingest import ingest
from tasks.prepare import prepare
from tasks.rows import require_snapshot
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

CHANNELS = 20
GROUP = 2**20
"""Rows of a group, as pyarrow and pandas write them unless they are told otherwise."""
BAR_GIB = 2.0
START_US = 1_700_000_000_000_000
SCHEMA = pa.schema(
    [("timestamp", pa.timestamp("us")), *((f"c{at:02d}", pa.float32()) for at in range(CHANNELS))],
)
STAGES = ("write", "imports", "floor", "ingest", "prepare")
Found = dict[str, float | str]


def write_file(path: Path, rows: int, order: str) -> None:
    """Write a reading a second of each channel, group by group."""
    random = np.random.default_rng(0)
    starts = range(0, rows, GROUP)
    with open_writer(path) as writer:
        for first in reversed(starts) if order == "newest-first" else starts:
            place = np.arange(first, min(first + GROUP, rows))
            if order == "shuffled":
                place = place[np.argsort(place + random.uniform(0, 1_000, len(place)), kind="stable")]
            values = random.normal(50, 10, (len(place), CHANNELS)).astype(np.float32).round(3)
            columns = [pa.array(START_US + place * 1_000_000).cast(SCHEMA.field(0).type)]
            columns += [pa.array(values[:, at]) for at in range(CHANNELS)]
            writer.write_table(pa.table(columns, schema=SCHEMA), GROUP)


def open_writer(path: Path) -> pq.ParquetWriter | pacsv.CSVWriter:
    """Open a file to be written to, of the kind that its name says."""
    return pq.ParquetWriter(path, SCHEMA) if path.suffix == ".parquet" else pacsv.CSVWriter(path, SCHEMA)


def read_pieces(path: Path) -> Iterator[pa.Table]:
    """Read a file piece by piece, with pyarrow alone."""
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        yield from (file.read_row_group(group, use_threads=False) for group in range(file.num_row_groups))
    else:
        types = pacsv.ConvertOptions(column_types=SCHEMA)
        yield from (pa.Table.from_batches([batch]) for batch in pacsv.open_csv(path, convert_options=types))


def floor(folder: Path) -> int:
    """Read the file and write it again, with pyarrow alone, as Parquet."""
    (path,) = (folder / "files").iterdir()
    again, rows = folder / "again.parquet", 0
    with open_writer(again) as writer:
        for table in read_pieces(path):
            writer.write_table(table)
            rows += len(table)
    again.unlink()
    return rows


def run_stage(stage: str, folder: Path, rows: int, kind: str, order: str) -> int:
    """Do one stage; return its rows."""
    if stage == "write":
        write_file(folder / "files" / f"pump.{kind}", rows, order)
    watch = Watch(name="large", source={"kind": kind, "folder": str(folder / "files")})
    lake = (folder / "lake").as_uri()
    if stage == "floor":
        return floor(folder)
    if stage == "ingest":
        return ingest(lake, watch).new_rows
    if stage == "prepare":
        return prepare(lake, watch, require_snapshot(Lake(lake), watch.name).id).rows
    return 0


def in_this_process(stage: str, folder: Path, rows: int, kind: str, order: str) -> Found:
    """Measure one stage."""
    before = time.process_time()
    rows = run_stage(stage, folder, rows, kind, order)
    spent = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    return {"stage": stage, "rows": rows, "cpu_s": spent, "peak_gib": peak}


def measure(rows: int, kind: str, order: str, place: Path | None) -> list[Found]:
    """Run each stage in a process of its own."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        (folder / "files").mkdir()
        found: list[Found] = []
        for stage in STAGES:
            command = [sys.executable, __file__, "--stage", stage, "--folder", name]
            command += ["--rows", str(rows), "--kind", kind, "--order", order]
            # S603: the command is this file, with arguments of its own
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
            found.append(json.loads(done.stdout.splitlines()[-1]))
            if stage not in ("write", "imports") and found[-1]["rows"] != rows:
                raise SystemExit(f"{stage}: {found[-1]['rows']:,} rows of {rows:,}")
        return found[1:]


def table_of(found: list[Found], rows: int, kind: str, order: str) -> Table:
    """One row for each stage."""
    title = f"{rows:,} rows of {CHANNELS} channels in one file, {kind}, order: {order}"
    table = Table(title=title, title_justify="left", box=None)
    for heading in ("stage", "GiB at most", f"below {BAR_GIB:.0f} GiB", "CPU-s", "rows/CPU-s"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for one in found:
        peak, spent = float(one["peak_gib"]), float(one["cpu_s"])
        met = "met" if peak < BAR_GIB else "NOT met"
        speed = ("", "") if one["stage"] == "imports" else (f"{spent:.1f}", f"{float(one['rows']) / spent:,.0f}")
        table.add_row(str(one["stage"]), f"{peak:.2f}", met, *speed)
    return table


def main() -> None:
    """Print the table; with --out, write the figures too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--kind", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--order", choices=("whole", "shuffled", "newest-first"), default="whole")
    parser.add_argument("--folder", type=Path, help="where to put the files: 4 GB for 20,000,000 rows")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--stage", choices=STAGES, help="one stage of a folder that another process has made")
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(in_this_process(options.stage, options.folder, options.rows, options.kind, options.order)))
        return
    found = measure(options.rows, options.kind, options.order, options.folder)
    Console().print(table_of(found, options.rows, options.kind, options.order))
    if options.out:
        options.out.write_text(
            json.dumps([{"kind": options.kind, "order": options.order, **one} for one in found], indent=1)
        )


if __name__ == "__main__":
    main()
