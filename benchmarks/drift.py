"""How often the drift check cries wolf, and how soon it finds a change. Prints tables; `--out` writes JSON.

    python benchmarks/drift.py [--checks 200] [--out FILE]

The world is made up: eight channels with a memory of a quarter of an hour to six hours, daily and weekly cycles, skewed
ones among them; the score is the norm of the z-scored sample. It is stationary, so every verdict before a change is a
false one. Floors in the same run: the same distance without calibration, Evidently's default for large samples, and a
two-sample Kolmogorov-Smirnov test at p < 0.05, the last two without matching the hours of the day.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.signal import lfilter
from scipy.stats import ks_2samp

from tasks.drift import DriftRule, judge
from tasks.drift_distance import distance

CHANNELS = [f"channel_{i}" for i in range(8)]
MEMORY_H = (0.25, 1.0, 3.0, 6.0)
MINUTES = 2
PER_DAY = 1440 // MINUTES
REFERENCE_DAYS = 14
SPANS = {"2 days": 2 * PER_DAY, "8 hours": PER_DAY // 3}  # how much of the latest data a check compares
STEPS = {
    "2 days": PER_DAY,
    "8 hours": PER_DAY * 7 // 24,
}  # between checks; 7 hours: the checks meet every hour of the day
CHECKS_A_WORLD = 20
LATEST = 10  # checks after which a change counts as not found
CHANGES = ("nothing (floor)", "shift by 1 σ", "drop-out", "stuck", "variance doubled")

Found = tuple[set[str], bool]
"""The columns that drifted, and the verdict."""


@dataclass(frozen=True)
class Judge:
    """One way to judge drift."""

    name: str
    decide: Callable[[pd.DataFrame, pd.DataFrame, int], Found]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=200, help="checks of a world that does not change")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    worlds = max(1, arguments.checks // CHECKS_A_WORLD)
    console = Console()
    figures = {}
    for span in SPANS:
        still = false_alarms(span, worlds)
        found = {change: time_to_find(span, change, 2 * worlds) for change in CHANGES}
        figures[span] = {"false": still, "found": found}
        console.print(false_table(span, still, worlds * CHECKS_A_WORLD), found_table(span, found, 2 * worlds))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


# The world


def world(seed: int, days: float) -> pd.DataFrame:
    """Make up a stationary world: `timestamp` and float32 channels."""
    rng = np.random.default_rng(seed)
    n = int(days * PER_DAY)
    day = np.arange(n) / PER_DAY
    weekend = (day.astype(int) % 7) >= 5
    columns = {}
    for i, name in enumerate(CHANNELS):
        keep = np.exp(-MINUTES / 60 / MEMORY_H[i % 4])
        start = rng.normal() * keep  # the first sample is a draw from the long run
        noise, _ = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.normal(size=n), zi=[start])
        values = noise + (i % 3) * np.sin(2 * np.pi * (day + rng.random())) - 0.5 * (i // 3) * weekend
        columns[name] = (np.exp(0.6 * values) if i % 4 == 1 else values).astype(np.float32)
    times = pd.date_range("2026-03-02", periods=n, freq=f"{MINUTES}min", tz="UTC", unit="us")  # a Monday
    return pd.DataFrame({"timestamp": times, **columns})


def scored(frame: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Put a champion's score beside the channels: the norm of the sample, z-scored by the reference, gaps at zero."""
    z = (frame[CHANNELS] - reference[CHANNELS].mean()) / reference[CHANNELS].std()
    return frame.assign(score=np.sqrt((z.fillna(0) ** 2).sum(axis=1)).astype(np.float32))


def changed(frame: pd.DataFrame, onset: int, channels: list[str], change: str, reference: pd.DataFrame) -> pd.DataFrame:
    """Change channels from a row on, by the deviations of the reference."""
    changed = frame.copy()
    for name in channels:
        old = frame[name].iloc[onset:].to_numpy()
        mean, sigma = float(reference[name].mean()), float(reference[name].std())
        new = {
            "nothing (floor)": old,
            "shift by 1 σ": old + sigma,
            "drop-out": np.full_like(old, np.nan),
            "stuck": np.full_like(old, old[0]),
            "variance doubled": mean + np.sqrt(2) * (old - mean),
        }[change]
        changed.loc[changed.index[onset:], name] = new.astype(np.float32)
    return changed


# The judges


def watchkeeper(rule: DriftRule) -> Callable[[pd.DataFrame, pd.DataFrame, int], Found]:
    """Judge by the shipped rule."""

    def decide(reference: pd.DataFrame, current: pd.DataFrame, seed: int) -> Found:
        verdict = judge(reference, current, rule, seed)
        return {column.column for column in verdict.columns if column.drifted}, verdict.exceeds

    return decide


def unmatched(drifts: Callable[[np.ndarray, np.ndarray], bool]) -> Callable[[pd.DataFrame, pd.DataFrame, int], Found]:
    """Judge each column by all its rows, whatever their hour; a column without values has drifted."""

    def decide(reference: pd.DataFrame, current: pd.DataFrame, _seed: int) -> Found:
        found = set()
        for name in ("score", *CHANNELS):
            here, there = (frame[name].dropna().to_numpy(dtype=np.float64) for frame in (reference, current))
            if len(there) == 0 or drifts(here, there):
                found.add(name)
        return found, len(found - {"score"}) / len(CHANNELS) >= DriftRule().share

    return decide


JUDGES = (
    Judge("Watchkeeper", watchkeeper(DriftRule())),
    Judge("… without calibration", watchkeeper(DriftRule(margin=0))),
    Judge("normed Wasserstein > 0.1", unmatched(lambda here, there: distance(here, there) > 0.1)),
    Judge("KS test, p < 0.05", unmatched(lambda here, there: bool(ks_2samp(here, there).pvalue < 0.05))),
)

# The measurements


def false_alarms(span: str, worlds: int) -> dict[str, dict[str, float]]:
    """Count what each judge finds where nothing changes: shares of checks and of columns."""
    rows, step = SPANS[span], STEPS[span]
    first = REFERENCE_DAYS * PER_DAY + rows
    found: dict[str, list[Found]] = {each.name: [] for each in JUDGES}
    twice: dict[str, list[bool]] = {each.name: [] for each in JUDGES}
    for seed in track(range(worlds), description=f"no change, {span}"):
        frame = world(seed, (first + step * CHECKS_A_WORLD) / PER_DAY)
        reference = frame.iloc[: REFERENCE_DAYS * PER_DAY]
        frame = scored(frame, reference)
        past = frame.iloc[: REFERENCE_DAYS * PER_DAY]
        ends = range(first, first + step * CHECKS_A_WORLD, step)
        for each in JUDGES:
            checks = [each.decide(past, frame.iloc[end - rows : end], seed) for end in ends]
            found[each.name] += checks
            twice[each.name] += [earlier[1] and later[1] for earlier, later in pairwise(checks)]
    return {
        name: {
            "verdicts": float(np.mean([exceeds for _, exceeds in checks])),
            "two_in_a_row": float(np.mean(twice[name])),
            "channels": float(np.mean([len(columns - {"score"}) / len(CHANNELS) for columns, _ in checks])),
            "score": float(np.mean(["score" in columns for columns, _ in checks])),
        }
        for name, checks in found.items()
    }


def time_to_find(span: str, change: str, worlds: int) -> dict[str, dict[str, float]]:
    """Count checks from a change until the channel is named, and, with three of eight changed, until the verdict."""
    rows, step = SPANS[span], STEPS[span]
    onset = (REFERENCE_DAYS + 2) * PER_DAY
    channel_after, verdict_after = [], []
    decide = JUDGES[0].decide
    for seed in track(range(worlds), description=f"{change}, {span}"):
        frame = world(1000 + seed, (onset + step * LATEST) / PER_DAY)
        reference = frame.iloc[: REFERENCE_DAYS * PER_DAY]
        one = [CHANNELS[seed % len(CHANNELS)]]
        three = [CHANNELS[(seed + 3 * i) % len(CHANNELS)] for i in range(3)]
        past = scored(reference, reference)
        for channels, after in ((one, channel_after), (three, verdict_after)):
            now = scored(changed(frame, onset, channels, change, reference), reference)
            after.append(LATEST + 1)
            for check in range(1, LATEST + 1):
                end = onset + step * check
                columns, exceeds = decide(past, now.iloc[end - rows : end], seed)
                if exceeds if channels is three else one[0] in columns:
                    after[-1] = check
                    break
    return {"channel": _waits(channel_after), "verdict": _waits(verdict_after)}


def _waits(checks: list[int]) -> dict[str, float]:
    return {
        "first": float(np.mean(np.array(checks) == 1)),
        "second": float(np.mean(np.array(checks) <= 2)),
        "median": float(np.median(checks)),
        "found": float(np.mean(np.array(checks) <= LATEST)),
    }


# The tables


def false_table(span: str, still: dict[str, dict[str, float]], checks: int) -> Table:
    """Lay out the false alarms."""
    table = Table(title=f"Nothing changes: found in {checks} checks of the latest {span}", title_justify="left")
    for heading in ("judge", "verdicts", "two in a row", "channels", "score"):
        table.add_column(heading, justify="left" if heading == "judge" else "right")
    for name, row in still.items():
        table.add_row(name, *(f"{row[key]:.1%}" for key in ("verdicts", "two_in_a_row", "channels", "score")))
    return table


def found_table(span: str, found: dict[str, dict[str, dict[str, float]]], worlds: int) -> Table:
    """Lay out how soon changes are found."""
    every = f"{STEPS[span] * MINUTES / 60:g} h"
    title = f"Watchkeeper, a check of the latest {span} every {every}: {worlds} changes of each kind"
    table = Table(title=title, title_justify="left")
    for heading in ("change", "what", "1st check", "by 2nd", f"by {LATEST}th", "median"):
        table.add_column(heading, justify="left" if heading in ("change", "what") else "right")
    what = {"channel": "one: named", "verdict": "three: verdict"}  # of eight channels
    for change, row in found.items():
        for key, label in what.items():
            waits = row[key]
            shares = (f"{waits[share]:.0%}" for share in ("first", "second", "found"))
            table.add_row(change, label, *shares, f"{waits['median']:g}")
    return table


if __name__ == "__main__":
    main()
