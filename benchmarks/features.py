"""How fast features are made, beside pandas, and what they bring on labelled series.

    OMP_NUM_THREADS=1 python benchmarks/features.py --out speed.json
    OMP_NUM_THREADS=1 python benchmarks/features.py --data DIR --groups smd,skab,nab --out quality.json

A value is one feature at one row. Speed is in CPU time of the process, the best of the repeats; pandas makes the same
rolling statistics of the same rows in the same run, the slope aside, which it has not. Quality is that of the
combination on the whole test part of each series, fitted on its train file, without labels; DIR is that of
benchmarks/quality.py.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from quality import CALIBRATION, WINDOW, Series, read_series
from rich.console import Console
from rich.table import Table

from models import metrics
from models.detector import Detector, DetectorConfig
from models.features import Features, Recipe
from models.parts import CalibrationPart, TrainPart
from models.scaler import Scaler
from watchkeeper.features import FeatureRule

BAR = 2_000_000  # values a CPU-second
CHANNELS, MINUTE_US = 38, 60_000_000
NAMES = tuple(f"c{number}" for number in range(CHANNELS))
STATISTICS: tuple[Any, ...] = ("mean", "std", "min", "max", "slope")
SPANS = (10, 60, 360)
PAIRS = tuple(pairwise(NAMES))
KINDS: dict[str, FeatureRule] = {
    "rolling": FeatureRule(rolling=STATISTICS, spans=SPANS),
    "rolling without slope": FeatureRule(rolling=STATISTICS[:4], spans=SPANS),
    "correlate": FeatureRule(correlate=PAIRS, spans=SPANS),
    "difference": FeatureRule(difference=(1, 10)),
    "clock in a zone": FeatureRule(clock=("hour", "weekday"), zone="Europe/Berlin"),
    "ratio": FeatureRule(ratio=PAIRS),
    "expressions": FeatureRule(
        expressions={f"e{number}": f"c{number} / (c1 * (c2 - lag(c3, 5)) + 1e-6)" for number in range(4, CHANNELS)}
    ),
}
SETS: dict[str, dict[str, Any]] = {
    "none": {},
    "difference": {"difference": (1,)},
    "rolling": {"rolling": ("mean", "std"), "spans": (60,)},
    "clock": {"clock": ("hour", "weekday")},
}


def measure(rows: int, repeats: int, seed: int) -> dict[str, float]:
    """Return values a CPU-second of each kind, of all with filling and scaling, and of pandas."""
    values = np.random.default_rng(seed).normal(50, 10, (rows, CHANNELS)).astype(np.float32)
    times = 1_700_000_000_000_000 + np.arange(rows, dtype=np.int64) * MINUTE_US
    frame = pd.DataFrame(values)
    ways: dict[str, Callable[[], int]] = {}
    for name, rule in KINDS.items():
        recipe = Recipe(rule, NAMES)
        ways[name] = lambda recipe=recipe: recipe.compute(values, times)[0].size
    fitted = Features.fit(Recipe(KINDS["rolling"], NAMES), {"a": (values, times)})
    ways["rolling, filled and scaled"] = lambda: fitted.append("a", values, values, times)[0].size - values.size
    ways["pandas, rolling without slope"] = lambda: _pandas(frame)
    best = dict.fromkeys(ways, 0.0)
    for _ in range(repeats):  # in turn, so that a busy machine is busy for all
        for name, call in ways.items():
            before = time.process_time()
            made = call()
            best[name] = max(best[name], made / (time.process_time() - before))
    return best


def _pandas(frame: pd.DataFrame) -> int:
    return sum(getattr(frame.rolling(span, min_periods=1), kind)().size for span in SPANS for kind in STATISTICS[:4])


def judge(series: Series, rule: FeatureRule, members: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Return what the combination reaches on a series with these features, and the CPU-seconds that it took."""
    before = time.process_time()
    name, interval_us = series.name, int(series.interval_s * 1e6)
    window = min(WINDOW, len(series.train) // 8)
    cut = len(series.train) - max(int(CALIBRATION * len(series.train)), window) - window
    times = series.times[0] - (len(series.train) - np.arange(len(series.train))) * interval_us
    scaler, features = Scaler.fit({name: series.train[:cut]}), None
    filled, _ = scaler.fill_forward(name, series.train)
    scaled = scaler.transform(name, filled)
    if rule.any():
        recipe = Recipe(rule, tuple(f"c{number}" for number in range(scaled.shape[1])))
        features = Features.fit(recipe, {name: (filled[:cut], times[:cut])})
        scaled, _ = features.append(name, filled, scaled, times)
    unknown, start = np.full(len(scaled), -1, np.int8), cut + window
    train = {name: TrainPart(scaled[:cut], times[:cut], unknown[:cut])}
    calibration = {name: CalibrationPart(scaled[start:], times[start:], unknown[start:])}
    config = DetectorConfig(window, members, 2.0, series.interval_s)
    detector = Detector.fit(scaler, train, calibration, config, seed, features=features)
    said, _ = detector.score(name, series.test, series.times)
    return {
        "vus_pr": float(metrics.vus_pr(series.label, said.score)),
        "best_f1": float(metrics.best_f1(series.label, said.score)[0]),
        "columns": scaled.shape[1],
        "cpu_s": time.process_time() - before,
    }


def bring(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Judge each set of features on each series of the groups, and print means by group."""
    members = tuple(options.members.split(","))
    found: list[dict[str, Any]] = []
    for group in options.groups.split(","):
        names = sorted(path.name.removesuffix(".test.parquet") for path in options.data.glob(f"{group}_*.test.parquet"))
        for series in (read_series(options.data, name) for name in names[: options.limit]):
            for kind, table in SETS.items():
                row = judge(series, FeatureRule(**table), members, options.seed)
                found.append({"group": group, "series": series.name, "features": kind, "seed": options.seed, **row})
    printed = Table(title=f"VUS-PR, mean over series; members {', '.join(members)}", title_justify="left", box=None)
    for heading in ("group", "series", *SETS, "CPU-s none", "CPU-s rolling"):
        printed.add_column(heading, justify="left" if heading == "group" else "right")
    for group in options.groups.split(","):
        rows = [row for row in found if row["group"] == group]

        def mean(kind: str, figure: str, rows: list[dict[str, Any]] = rows) -> float:
            return float(np.nanmean([row[figure] for row in rows if row["features"] == kind]))

        means = [f"{mean(kind, 'vus_pr'):.3f}" for kind in SETS]
        spent = [f"{mean(kind, 'cpu_s'):.1f}" for kind in ("none", "rolling")]
        printed.add_row(group, str(len(rows) // len(SETS)), *means, *spent)
    console.print(printed)
    return found


def main() -> None:
    """Print the table; with --out, write the figures too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="measure quality on the series of this folder instead")
    parser.add_argument("--groups", default="smd,skab,nab")
    parser.add_argument("--limit", type=int, help="series of a group at most")
    parser.add_argument("--members", default="norm,pca,ridge,quiet")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    console = Console(width=130)
    if options.data:
        figures: Any = bring(options, console)
    else:
        figures = measure(options.rows, options.repeats, options.seed)
        table = Table(title=f"{options.rows:,} rows of {CHANNELS} channels", title_justify="left", box=None)
        table.add_column("way")
        table.add_column("values/CPU-s", justify="right")
        for name, figure in figures.items():
            table.add_row(name, f"{figure:,.0f}" + (" MISSED" if figure < BAR and "pandas" not in name else ""))
        console.print(table)
        console.print(f"bar {BAR:,}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
