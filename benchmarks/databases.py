"""How fast rows come in from databases: 20 channels of PostgreSQL, SQLite and VictoriaMetrics, in rows a CPU-second.

    python benchmarks/databases.py [--rows 200000] [--repeats 3] [--out figures.json]

The servers are Debian's, started as the tests start them; their own CPU time is not counted. The floors stand in the
same run: what the driver, or httpx and json, take for the same rows without a use for them. Figures are the best of
the repeats, in CPU time of this process. Peak memory is that of an ingest in a process of its own, over a thousand
rows, over so many, and over four times as many, in stretches of the same length.
"""

import argparse
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "sources"))
from postgres import PASSWORD, Postgres
from range_servers import VictoriaMetrics

from tasks.ingest import ingest
from tasks.sources import Batch, read_source
from watchkeeper.watch import Watch

CHANNELS = tuple(f"c{at:02d}" for at in range(20))
START = datetime(2026, 1, 1, tzinfo=UTC)
STRETCH_S = 20_000
QUERY = f"SELECT t AS timestamp, unit AS series, {', '.join(CHANNELS)} FROM r WHERE t >= :start AND t < :end"  # noqa: S608 - constants


def readings(rows: int, seed: int) -> np.ndarray[Any, Any]:
    """Return a reading a second of each channel."""
    return np.random.default_rng(seed).normal(50, 10, size=(rows, len(CHANNELS))).round(3)


def fill_postgres(server: Postgres, values: np.ndarray[Any, Any]) -> None:
    """Write a table by COPY."""
    columns = ", ".join(f"{name} double precision" for name in CHANNELS)
    lines = "\n".join(
        f"{START + timedelta(seconds=row)}\tpump\t" + "\t".join(map(str, one))
        for row, one in enumerate(values.tolist())
    )
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE r (t timestamptz, unit text, {columns})")
        cursor.copy_expert("COPY r FROM STDIN", io.StringIO(lines))
        cursor.execute("CREATE INDEX ON r (t)")
    connection.close()


def fill_sqlite(file: Path, values: np.ndarray[Any, Any]) -> None:
    """Write the same table, its clock in seconds since 1970."""
    zero = int(START.timestamp())
    with sqlite3.connect(file) as connection:
        connection.execute(f"CREATE TABLE r (t INTEGER PRIMARY KEY, unit, {', '.join(CHANNELS)})")
        marks = ", ".join("?" * (2 + len(CHANNELS)))
        connection.executemany(
            f"INSERT INTO r VALUES ({marks})",  # noqa: S608 - question marks
            ((zero + row, "pump", *one) for row, one in enumerate(values.tolist())),
        )
    connection.close()


def fill_victoria(server: VictoriaMetrics, values: np.ndarray[Any, Any]) -> None:
    """Write a metric a channel."""
    times = [(int(START.timestamp()) + row) * 1000 for row in range(len(values))]
    for at, name in enumerate(CHANNELS):
        for low in range(0, len(times), 100_000):
            part = slice(low, low + 100_000)
            metric = {"__name__": name, "instance": "pump"}
            line = json.dumps({"metric": metric, "values": values[part, at].tolist(), "timestamps": times[part]})
            httpx.post(f"{server.url}/api/v1/import", content=line, timeout=60).raise_for_status()
    httpx.get(f"{server.url}/internal/force_flush").raise_for_status()


def bare_postgres(server: Postgres, rows: int) -> int:
    """Fetch the same rows by the driver alone, as tuples, from a cursor of the server's."""
    connection = server.connect()
    cursor = connection.cursor("bare")
    cursor.execute(QUERY.replace(":start", "%s").replace(":end", "%s"), (START, START + timedelta(seconds=rows)))
    found = 0
    while part := cursor.fetchmany(20_000):
        found += len(part)
    connection.close()
    return found


def bare_sqlite(file: Path, rows: int) -> int:
    """The same of SQLite's."""
    connection = sqlite3.connect(file)
    zero = int(START.timestamp())
    cursor = connection.execute(QUERY, {"start": zero, "end": zero + rows})
    found = 0
    while part := cursor.fetchmany(20_000):
        found += len(part)
    connection.close()
    return found


def bare_victoria(server: VictoriaMetrics, rows: int) -> int:
    """Fetch and decode the same answers, without a use for them."""
    found = 0
    with httpx.Client(timeout=60) as client:
        for low in range(0, rows, 10_000):
            first = int(START.timestamp()) + low
            last = first + min(10_000, rows - low) - 1
            for name in CHANNELS:
                form = {"query": f"last_over_time({name}[1s])", "start": first, "end": last, "step": 1, "nocache": 1}
                (series,) = json.loads(client.post(f"{server.url}/api/v1/query_range", data=form).content)["data"][
                    "result"
                ]
                found += len(series["values"])
    return found // len(CHANNELS)


def read(watch: Watch, rows: int) -> int:
    """Read a source to its end, as ingest does, and return its rows."""
    items = read_source(watch.source, START + timedelta(seconds=rows))
    return sum(len(item.table) for item in items if isinstance(item, Batch))


def take_in(watch: Watch, rows: int) -> int:
    """Ingest into an empty lake."""
    with tempfile.TemporaryDirectory() as lake:
        return ingest(Path(lake).as_uri(), watch, START + timedelta(seconds=rows)).new_rows


def peak_mb(watch: Watch, rows: int) -> float:
    """Return the peak memory of an ingest in a process of its own."""
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); from databases import take_in; "
        "from watchkeeper.watch import Watch; "
        f"take_in(Watch.model_validate_json({watch.model_dump_json(exclude_unset=True)!r}), {rows}); "
        # not ru_maxrss, which begins at what the parent had
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)  # noqa: S603 - our own
    return float(done.stdout.split()[-1]) / 1024


def watches(postgres: Postgres, file: Path, victoria: VictoriaMetrics) -> dict[str, Watch]:
    """Return a watch of each."""
    common = {"since": START.isoformat(), "stretch_s": STRETCH_S, "late_s": 0}
    sources = {
        "postgres": {"kind": "sql", "url": postgres.url, "query": QUERY},
        "sqlite": {"kind": "sql", "url": f"sqlite:///{file}", "query": QUERY, "format": "unix_s"},
        "victoria-metrics": {
            "kind": "prometheus",
            "url": victoria.url,
            "queries": {name: f"last_over_time({name}[1s])" for name in CHANNELS},
            "step_s": 1,
        },
    }
    return {name: Watch(name="speed", source={**common, **source}) for name, source in sources.items()}


def measure(rows: int, repeats: int, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Return rows a CPU-second of each way in, and megabytes."""
    for name in ("postgres", "victoria"):
        (folder / name).mkdir()
    shutil.chown(folder / "postgres", "postgres")
    postgres, victoria = Postgres(folder / "postgres"), VictoriaMetrics(folder / "victoria", filled=False)
    file = folder / "r.db"
    try:
        postgres.start()
        victoria.start()
        values = readings(4 * rows, seed)
        fill_postgres(postgres, values)
        fill_sqlite(file, values)
        fill_victoria(victoria, values[:rows])
        of = watches(postgres, file, victoria)
        ways: dict[str, Callable[[], int]] = {
            "postgres, driver alone": lambda: bare_postgres(postgres, rows),
            "sqlite, driver alone": lambda: bare_sqlite(file, rows),
            "victoria-metrics, httpx and json alone": lambda: bare_victoria(victoria, rows),
        }
        for name, watch in of.items():
            ways[f"{name}, source"] = lambda watch=watch: read(watch, rows)
            ways[f"{name}, ingest"] = lambda watch=watch: take_in(watch, rows)
        spent: dict[str, list[float]] = {way: [] for way in sorted(ways)}
        for _ in range(repeats):  # in turn, so that a busy machine is busy for all
            for way, times in spent.items():
                before = time.process_time()
                found = ways[way]()
                times.append(time.process_time() - before)
                if found != rows:
                    raise SystemExit(f"{way}: {found:,} rows came in of {rows:,}")
        memory = {f"{count:,} rows": peak_mb(of["postgres"], count) for count in (1_000, rows, 4 * rows)}
    finally:
        postgres.stop()
        victoria.stop()
    return {"rows_per_cpu_s": {way: rows / min(times) for way, times in spent.items()}, "postgres_peak_mb": memory}


def main() -> None:
    """Print the tables; with --out, write the figures too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    os.environ["PG_PASSWORD"] = PASSWORD
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        figures = measure(options.rows, options.repeats, options.seed, Path(folder))
    speed = figures["rows_per_cpu_s"]
    table = Table(
        title=f"{options.rows:,} rows of {len(CHANNELS)} channels, rows a CPU-second", title_justify="left", box=None
    )
    for heading in ("way", "rows/CPU-s", "of the floor"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for way, figure in speed.items():
        floor = next(speed[other] for other in speed if other.startswith(way.split(",")[0]) and other.endswith("alone"))
        table.add_row(way, f"{figure:,.0f}", "" if way.endswith("alone") else f"{figure / floor:.0%}")
    Console().print(table)
    for rows, peak in figures["postgres_peak_mb"].items():
        Console().print(f"ingest of {rows} from postgres: {peak:,.0f} MB at the most")
    if options.out:
        options.out.write_text(json.dumps({"rows": options.rows, "channels": len(CHANNELS), **figures}, indent=1))


if __name__ == "__main__":
    main()
