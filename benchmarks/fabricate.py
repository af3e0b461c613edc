"""How fast the fabricator writes, and the memory it holds: `python -m benchmarks.fabricate [--rows N] [--out FILE]`.

Each facility and length runs in a process of its own, because a process never gives its peak back. Rows are of 23 or 24
channels, with all anomalies, from the seed to the Parquet file. The bar: a million rows in 20 CPU-seconds, and a peak
that does not grow with the rows.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tasks.fabricate.run import FACILITIES, Run
from tasks.fabricate.timeline import DAY_S
from tasks.fabricate.write import write

BAR_ROWS_PER_CPU_S = 1_000_000 / 20
GROWTH = 1.3  # of the peak, from a short run to one eight times as long
START = datetime(2000, 1, 3, tzinfo=UTC)
Found = dict[str, str | int | float]


def one(facility: str, rows: int, folder: Path) -> Found:
    """Write one run, in a process of its own."""
    run = Run(facility, START, rows * FACILITIES[facility].interval_s / DAY_S, seed=1)
    idle_mib = peak_mib()
    began = time.process_time()
    written = write(run, folder, overwrite=True)
    seconds = time.process_time() - began
    return {
        "facility": facility,
        "rows": written.rows,
        "channels": written.channels,
        "cpu_s": round(seconds, 2),
        "rows_per_cpu_s": round(written.rows / seconds),
        "imports_mib": round(idle_mib),
        "peak_mib": round(peak_mib()),
        "file_mb": round(written.parquet.stat().st_size / 1e6, 1),
        "anomalous_share": round(written.anomalous_rows / written.rows, 4),
    }


def peak_mib() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def measure(facilities: list[str], sizes: list[int]) -> list[Found]:
    """Run `one` for each facility and size."""
    found: list[Found] = []
    for facility in facilities:
        for rows in sizes:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "benchmarks.fabricate", "--one", facility, str(rows), folder]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                # S603: the command is this file, with arguments that it checks
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)  # noqa: S603
            found.append(json.loads(done.stdout))
    return found


def table(found: list[Found]) -> Table:
    """One row for each facility and size."""
    shown = Table(title="From the seed to the Parquet file, one thread", title_justify="left", box=None)
    headings = ("facility", "rows", "channels", "CPU-s", "rows/CPU-s", "peak MiB", "of them imports", "file MB", "bar")
    for heading in headings:
        shown.add_column(heading, justify="left" if heading == "facility" else "right")
    for each in found:
        least = min(float(other["peak_mib"]) for other in found if other["facility"] == each["facility"])
        fast = float(each["rows_per_cpu_s"]) >= BAR_ROWS_PER_CPU_S
        met = fast and float(each["peak_mib"]) <= GROWTH * least
        shown.add_row(
            str(each["facility"]), f"{int(each['rows']):,}", str(each["channels"]), f"{float(each['cpu_s']):.1f}",
            f"{int(each['rows_per_cpu_s']):,}", str(each["peak_mib"]), str(each["imports_mib"]),
            str(each["file_mb"]), "met" if met else "NOT met",
        )  # fmt: skip
    return shown


def main() -> None:
    """Measure and print; `--out` keeps the figures as JSON."""
    parser = argparse.ArgumentParser(description="how fast the fabricator writes, and how much memory it holds")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the longer run; the shorter has an eighth")
    parser.add_argument("--facilities", default=",".join(FACILITIES), help="with commas between them")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--one", nargs=3, metavar=("FACILITY", "ROWS", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], int(given.one[1]), Path(given.one[2]))))
        return
    found = measure(given.facilities.split(","), [given.rows // 8, given.rows])
    Console(width=120).print(table(found))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
