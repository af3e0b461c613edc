"""What each member brings to the combination without labels: each left out, others added, and errors not discounted.

    python benchmarks/members.py --data DIR --groups smd,fan --out members.json

VUS-PR on the whole test part, means over series by group; the protocol is that of benchmarks/quality.py. All members
are fitted once a series; every row is a combination of the same scores. Random and trivial rows stand beside them.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from quality import BASE, OTHERS, Series, parts_of, read_series
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models import metrics
from models.calibration import Scores, Weights, combine, fit_line, smooth, smooth_fast_and_slow
from models.detector import DetectorConfig
from models.member import DiscountedErrorMember
from models.members import create_member
from watchkeeper.errors import DataError

ALL = (*BASE, *OTHERS)
FAST, SLOW = DetectorConfig.smoothing, DetectorConfig.slow_smoothing
COMBINED = "combination: "
console = Console(width=160)


@dataclass(frozen=True)
class Row:
    """One combination on one series."""

    group: str
    series: str
    seed: int
    row: str
    vus_pr: float


def judge(series: Series, seed: int) -> list[Row]:
    """Fit every member on one series and judge the combinations of their scores."""
    parts = parts_of(series)
    quiet, test = parts.calibration[series.name].values, parts.test
    calibrated: dict[str, Scores] = {}
    frozen: dict[str, Scores] = {}
    found: dict[str, Scores] = {"random": np.random.default_rng(seed).random(len(test))}
    for name in ALL:
        member = create_member(name, parts.window)
        member.fit({series.name: parts.train[series.name].values}, seed)
        before, after = (member.score(series.name, rows)[0] for rows in (quiet, test))
        calibrated[name] = frozen[name] = fit_line(before).calibrate(after)
        found["trivial" if name == "norm" else f"{name} alone"] = after if name == "norm" else smooth(after, 0.2)
        if isinstance(member, DiscountedErrorMember):
            plain = [member.errors(series.name, rows, None)[0].mean(axis=1, dtype=np.float64) for rows in (quiet, test)]
            frozen[name] = fit_line(plain[0]).calibrate(plain[1])
    found[f"{COMBINED}default"] = _combined(calibrated, BASE)
    found[f"{COMBINED}errors not discounted"] = _combined(frozen, BASE)
    for name in BASE:
        found[f"{COMBINED}without {name}"] = _combined(calibrated, tuple(other for other in BASE if other != name))
    for name in OTHERS:
        found[f"{COMBINED}with {name}"] = _combined(calibrated, (*BASE, name))
    return [
        Row(series.group, series.name, seed, row, metrics.vus_pr(series.label, score)) for row, score in found.items()
    ]


def _combined(calibrated: Mapping[str, Scores], members: tuple[str, ...]) -> Scores:
    """Average and smooth as the detector does."""
    mean = combine({name: calibrated[name] for name in members}, Weights.equal(members))
    return smooth_fast_and_slow(mean, FAST, SLOW)[0]


def show(rows: list[Row]) -> None:
    """Print the mean of each row over the series and seeds of each group."""
    groups = list(dict.fromkeys(row.group for row in rows))
    table = Table("", *(f"{group}" for group in groups), "mean", box=None)
    for name in dict.fromkeys(row.row for row in rows):
        means = [np.mean([row.vus_pr for row in rows if (row.row, row.group) == (name, group)]) for group in groups]
        table.add_row(name, *(f"{mean:.3f}" for mean in means), f"{np.mean(means):.3f}")
    console.print(table)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.train.parquet and NAME.test.parquet")
    parser.add_argument("--groups", default="smd", help="comma-separated")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the rows as JSON lines")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = sorted(path.name.removesuffix(".test.parquet") for path in given.data.glob("*.test.parquet"))
    chosen = [name for name in names if name.split("_")[0] in given.groups.split(",")]
    if not chosen:
        parser.error(f"no series of {given.groups} in {given.data}")
    rows: list[Row] = []
    for name in track(chosen, description="series", console=console):
        series = read_series(given.data, name)
        if not (series.label == 1).any():
            console.print(f"{name} left out: no anomaly in its test part", style="yellow")
            continue
        try:
            rows += [row for seed in range(given.seeds) for row in judge(series, seed)]
        except DataError as error:
            console.print(f"{name} left out: {error}", style="yellow")
        if given.out:
            given.out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
