"""How often the drift check cries wolf, and how soon it finds a change in one channel. Prints tables; `--out` as JSON.

    python benchmarks/drift.py [--checks 200] [--days 4] [--reference 14] [--worlds NAME …] [--data DIR] [--out FILE]

Each world holds ten checks of successive current windows that do not overlap, after the reference; no seed of its own
development (0 to 99) is used. Every verdict before a change is a false one. The change begins with the first window.
Floors in the same run, both without hours and without calibration: Evidently's default for large samples (normed
Wasserstein distance over 0.1), and a two-sample Kolmogorov-Smirnov test at p < 0.05, 30 % of the channels each.
"""

import argparse
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats
from drift_worlds import CHANGES, CHANNELS, MEMORIES, PER_DAY, WORLDS, Parts, changed, frame, make, scored
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tasks.drift import DriftRule, judge

FIRST_SEED = 1020
CHECKS_A_WORLD = 10
SHIFTED = (0, 3, 6)
"""Channels that shift in turn, counted from one that goes round with the seed; the other changes take the first."""
RULE = DriftRule()
REAL = {"smd": 8, "asd": 14, "jumpstarter": 10}
"""Groups of real series, and how many days of each are the reference."""
WHEN = ("1st", "by 2nd", "both")
console = Console()
Row = dict[str, float]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=200, help="checks of each world")
    parser.add_argument("--days", type=float, default=4.0, help="length of the current window")
    parser.add_argument("--reference", type=int, default=14, help="days of the reference")
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS), metavar="NAME")
    parser.add_argument("--floors", action="store_true", help="judge by the floors as well")
    parser.add_argument("--data", type=Path, help="folder of real series: their train parts are checked too")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    figures: dict[str, Row] = {}
    for world in given.worlds:
        seeds = range(FIRST_SEED, FIRST_SEED + max(1, given.checks // CHECKS_A_WORLD))
        rows = [one(world, seed, given.days, given.reference, given.floors) for seed in track(seeds, world)]
        figures[world] = {name: float(np.sum([row[name] for row in rows])) for name in rows[0]}
        if world in MEMORIES:
            figures[world]["best possible"] = best_possible(MEMORIES[world], given.days, given.reference)
    if figures:
        title = f"Windows of {given.days:g} days, reference of {given.reference} days"
        console.print(false_table(title, figures), found_table(title, figures))
    real = {name: real_group(given.data, name, days, given.days) for name, days in REAL.items()} if given.data else {}
    if real:
        console.print(real_table(given.days, real))
    if given.out is not None:
        given.out.write_text(json.dumps({"worlds": figures, "real": real}, indent=1) + "\n", encoding="utf-8")


def one(world: str, seed: int, days: float, reference_days: int, floors: bool) -> Row:
    """Check one world ten times as it is, and twice after each change."""
    parts = make(world, seed, reference_days + days * CHECKS_A_WORLD, reference_days)
    onset, length = reference_days * PER_DAY, int(days * PER_DAY)
    rows = frame(parts[0] + parts[1])
    rows = scored(rows, rows.iloc[:onset])
    past = rows.iloc[:onset]
    windows = [rows.iloc[onset + i * length : onset + (i + 1) * length] for i in range(CHECKS_A_WORLD)]
    verdicts = [judge(past, window, RULE) for window in windows]
    exceeds = [verdict.exceeds for verdict in verdicts]
    found: Row = {
        "checks": len(windows),
        "pairs": len(windows) - 1,
        "false": sum(exceeds),
        "false, two in a row": sum(earlier and later for earlier, later in pairwise(exceeds)),
        "named": sum(column.drifted for verdict in verdicts for column in verdict.columns),
        "columns": sum(len(verdict.columns) for verdict in verdicts),
    }
    if floors:
        found["false by Wasserstein > 0.1"] = sum(unmatched(past, window, wasserstein) for window in windows)
        found["false by KS, p < 0.05"] = sum(unmatched(past, window, kolmogorov_smirnov) for window in windows)
    for change in CHANGES:
        places = SHIFTED if change == CHANGES[0] else SHIFTED[:1]
        hits = [found_by(parts, past, length, (seed + place) % len(CHANNELS), change) for place in places]
        found[f"{change}: of"] = len(hits)
        found |= {f"{change}: {when}": sum(hit[i] for hit in hits) for i, when in enumerate(WHEN)}
    return found


def found_by(parts: Parts, past: pd.DataFrame, length: int, channel: int, change: str) -> tuple[bool, bool, bool]:
    """Change a channel and check twice: found by the first check, by the second, by both."""
    onset = len(past)
    seen = (parts[0][: onset + 2 * length], parts[1][: onset + 2 * length])
    now = scored(frame(changed(seen, onset, channel, change)), past)
    hits = []
    for i in range(2):
        verdict = judge(past, now.iloc[onset + i * length : onset + (i + 1) * length], RULE)
        named = {column.column for column in verdict.columns if column.drifted}
        hits.append(verdict.exceeds and CHANNELS[channel] in named)
    return hits[0], any(hits), all(hits)


def best_possible(memory_h: float, days: float, reference_days: float) -> float:
    """Share of shifts by 1 σ in one window found by a test that knows the process, and errs as seldom as the rule may.

    The mean of a window of T hours of an AR(1) process has the variance 2 m/T - 2 (m/T)^2 (1 - e^(-T/m)).
    """

    def variance(hours: float) -> float:
        ratio = memory_h / hours
        return 2 * ratio - 2 * ratio**2 * (1 - math.exp(-1 / ratio)) if ratio > 0 else 1 / (30 * hours)

    error = math.sqrt(variance(24 * days) + variance(24 * reference_days))
    chance = RULE.chance / (2 * (len(CHANNELS) + 1))
    limit = max(RULE.threshold, error * float(scipy.stats.norm.isf(chance / 2)))
    return float(scipy.stats.norm.sf((limit - 1) / error))


def wasserstein(here: np.ndarray, there: np.ndarray) -> bool:
    """Evidently's default for large samples."""
    return bool(scipy.stats.wasserstein_distance(here, there) / here.std() > 0.1)


def kolmogorov_smirnov(here: np.ndarray, there: np.ndarray) -> bool:
    """Evidently's default for small samples."""
    return bool(scipy.stats.ks_2samp(here, there).pvalue < 0.05)


def unmatched(reference: pd.DataFrame, current: pd.DataFrame, drifts: Callable[[np.ndarray, np.ndarray], bool]) -> bool:
    """Judge each channel by all its rows, whatever their hour."""
    hits = [drifts(reference[name].to_numpy(np.float64), current[name].to_numpy(np.float64)) for name in CHANNELS]
    return float(np.mean(hits)) >= RULE.share


def real_group(folder: Path, group: str, reference_days: int, days: float) -> Row:
    """Check the train parts of real series, whose truth nobody knows, and shift every channel of the first window."""
    found = dict.fromkeys(("checks", "verdicts", "two in a row", "shifted", "shifts found"), 0.0)
    for file in sorted(folder.glob(f"{group}*.train.parquet")):
        rows = pd.read_parquet(file)
        rows["timestamp"] = rows["timestamp"].astype("datetime64[us, UTC]")
        day = (rows["timestamp"] - rows["timestamp"].iloc[0]) / pd.Timedelta(days=1)
        rows = scored(rows, rows[day < reference_days])
        past = rows[day < reference_days]
        starts = np.arange(reference_days, day.iloc[-1] - days + 0.01, days)
        windows = [rows[(day >= start) & (day < start + days)] for start in starts]
        exceeds = [judge(past, window, RULE).exceeds for window in windows]
        vary = [name for name in past.columns if name not in ("timestamp", "score") and past[name].std() > 0]
        shift = past[vary].std().astype(np.float32)
        verdict = judge(past, windows[0].assign(**{name: windows[0][name] + shift[name] for name in vary}), RULE)
        found["checks"] += len(exceeds)
        found["verdicts"] += sum(exceeds)
        found["two in a row"] += sum(earlier and later for earlier, later in pairwise(exceeds))
        found["shifted"] += len(vary)
        found["shifts found"] += sum(column.column in vary and column.kind == "values" for column in verdict.columns)
    return found


def false_table(title: str, figures: dict[str, Row]) -> Table:
    """Lay out the false alarms."""
    floors = [name for name in next(iter(figures.values())) if name.startswith("false by")]
    table = Table(title=f"Nothing changes. {title}", title_justify="left")
    for heading in ("world", "checks", "false verdicts", "two in a row", "columns named", *floors):
        table.add_column(heading, justify="left" if heading == "world" else "right")
    for world, row in figures.items():
        cells = [f"{row['checks']:.0f}", f"{row['false']:.0f}", f"{row['false, two in a row']:.0f}"]
        cells.append(f"{row['named']:.0f} of {row['columns']:.0f}")
        table.add_row(world, *cells, *(f"{row[name] / row['checks']:.0%}" for name in floors))
    return table


def found_table(title: str, figures: dict[str, Row]) -> Table:
    """Lay out how soon a change in one channel is found."""
    table = Table(title=f"One channel of eight changes: 1st check / by the 2nd / both. {title}", title_justify="left")
    for heading in ("world", "shifts", *CHANGES, "best possible, 1 σ, 1st"):
        table.add_column(heading, justify="left" if heading == "world" else "right")
    for world, row in figures.items():
        cells = [
            " / ".join(f"{row[f'{change}: {when}'] / row[f'{change}: of']:.0%}" for when in WHEN) for change in CHANGES
        ]
        best = f"{row['best possible']:.0%}" if "best possible" in row else ""
        table.add_row(world, f"{row[f'{CHANGES[0]}: of']:.0f}", *cells, best)
    return table


def real_table(days: float, groups: dict[str, Row]) -> Table:
    """Lay out the checks of real series."""
    table = Table(title=f"Real series, windows of {days:g} days: what truly changed is not known", title_justify="left")
    for heading in ("group", "reference days", "checks", "verdicts", "two in a row", "shifts of 1 σ found, 1st"):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for name, row in groups.items():
        cells = [f"{row[key]:.0f}" for key in ("checks", "verdicts", "two in a row")]
        table.add_row(name, f"{REAL[name]}", *cells, f"{row['shifts found']:.0f} of {row['shifted']:.0f}")
    return table


if __name__ == "__main__":
    main()
