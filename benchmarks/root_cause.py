"""Root cause: is a channel that was truly anomalous among the top contributions of a detected event?

    python benchmarks/root_cause.py --data DIR --groups smd,asd --out root_cause.json

DIR holds NAME.interpretation.json beside the series: the channels that were anomalous in each range of rows. An event
is detected when an alarm lies inside; its contributions are the mean over its alarm rows. Floors in the same run:
channels drawn at random, and the channels with the largest absolute scaled value.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from quality import fit_series, read_series
from rich.console import Console
from rich.table import Table

TOP = (1, 3, 5)
console = Console()


@dataclass(frozen=True)
class Hits:
    """How often a true channel stood among the top k of the detected events of one series."""

    series: str
    events: int
    detected: int
    row: str
    top: int
    hits: float


def hits_of(folder: Path, name: str, seed: int) -> list[Hits]:
    """Fit one series and count."""
    series = read_series(folder, name)
    columns = pq.ParquetFile(folder / f"{name}.test.parquet").schema_arrow.names
    channels = [column for column in columns if column not in ("timestamp", "label")]
    about = json.loads((folder / f"{name}.interpretation.json").read_text(encoding="utf-8"))
    fitted = fit_series(series, seed)
    scored, _ = fitted.detector.score_scaled(name, fitted.test)
    found: dict[tuple[str, int], float] = {(row, k): 0.0 for row in ("random", "z", "contributions") for k in TOP}
    detected = 0
    segments = [segment for segment in about["segments"] if segment["channels"]]
    for segment in segments:
        rows = slice(segment["start"], segment["end"])
        alarm = scored.alarm[rows]
        if not alarm.any():
            continue
        detected += 1
        true = {channels.index(channel) for channel in segment["channels"] if channel in channels}
        ranked = {
            "z": np.abs(fitted.test[rows][alarm]).mean(axis=0),
            "contributions": scored.contributions[rows][alarm].mean(axis=0),
        }
        for k in TOP:
            found["random", k] += 1 - math.comb(len(channels) - len(true), k) / math.comb(len(channels), k)
            for row, values in ranked.items():
                found[row, k] += bool(true & set(_top(values, k)))
    return [Hits(name, len(segments), detected, row, k, value) for (row, k), value in found.items()]


def _top(values: npt.NDArray[np.floating], k: int) -> list[int]:
    return [int(index) for index in np.argsort(-values, kind="stable")[:k]]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="hit rate of the true channels among the top contributions")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--groups", default="smd", help="comma-separated; 'all' takes every series that is interpreted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the rows as JSON lines")
    given = parser.parse_args()
    torch.set_num_threads(1)
    groups = set(given.groups.split(","))
    names = sorted(path.name.removesuffix(".interpretation.json") for path in given.data.glob("*.interpretation.json"))
    chosen = [name for name in names if "all" in groups or name.split("_", maxsplit=1)[0] in groups]
    if not chosen:
        parser.error(f"no interpreted series of {given.groups} in {given.data}")
    rows = [hits for name in chosen for hits in hits_of(given.data, name, given.seed)]
    table = Table(title="true channel among the top k of a detected event", title_justify="left", box=None)
    for name in ("series", "events", "detected", "row", *(f"top {k}" for k in TOP)):
        table.add_column(name, justify="left" if name in ("series", "row") else "right")
    for name in (*chosen, "all"):
        own = [hits for hits in rows if name in (hits.series, "all")]
        for row in ("random", "z", "contributions"):
            per_k = [[hits for hits in own if hits.row == row and hits.top == k] for k in TOP]
            events, detected = (sum(getattr(hits, what) for hits in per_k[0]) for what in ("events", "detected"))
            shares = [f"{sum(hits.hits for hits in of_k) / max(detected, 1):.0%}" for of_k in per_k]
            table.add_row(name, str(events), str(detected), row, *shares)
    console.print(table)
    if given.out:
        given.out.write_text("".join(json.dumps(asdict(hits)) + "\n" for hits in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
