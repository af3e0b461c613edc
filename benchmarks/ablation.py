"""What each part of the agent brings: one thing changed at a time, on the same detectors, labels and seeds.

    python benchmarks/ablation.py --data DIR --groups smd --labels 0.05 --seeds 1 --out ablation.json

The protocol is that of benchmarks/quality.py: labels from windows of the first half of the test part, figures on its
second half. The first row has no agent. "Gain" is the combination's VUS-PR less that of the same detector without the
agent, paired over series and seeds, with a bootstrap interval over the pairs.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import ask_and_train, fit_series, interval, read_series
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models import metrics
from models.calibration import smooth
from models.detector import AGENT
from models.query import Strategy
from models.reward import Coefficient

NONE = "without the agent"
VARIANTS: dict[str, Mapping[str, Any]] = {
    "as shipped": {},
    "no warm-up": {"pseudo_weight": 0.0},
    "no intrinsic reward": {"coefficient": Coefficient(start=0.0, low=0.0, high=0.0)},
    "λ fixed at 0.5": {"coefficient": Coefficient(start=0.5, low=0.5, high=0.5)},
    "no propagation": {"propagate": False},
    "discount 0.5, Double DQN": {"discount": 0.5},
    "discount 0.5, plain DQN": {"discount": 0.5, "double": False},
    "discount 0.5, 3 steps": {"discount": 0.5, "n_step": 3},
    "windows of 50 rows": {"chunk": 1, "burn_in": 49, "batch": 32 * 64, "most_steps": 150_000},
    "questions by margin alone": {"strategy": Strategy.MARGIN},
    "questions at random": {"strategy": Strategy.RANDOM},
}
"""What is changed. A windowed training pays 50 rows for one, so it gets fewer, at about the same cost."""
console = Console(width=110)


@dataclass(frozen=True)
class Row:
    """One variant on one series with one seed."""

    group: str
    series: str
    seed: int
    variant: str
    labels: float
    asked: int
    positives: int
    agent: float | None
    combination: float
    base: float


def judge(folder: Path, name: str, seed: int, fraction: float, variants: list[str]) -> list[Row]:
    """Train every variant on one series, on one and the same detector."""
    series = read_series(folder, name)
    fitted = fit_series(series, seed)
    half = len(series.label) // 2
    label = series.label[half:]
    said, _ = fitted.detector.score_scaled(name, fitted.test)
    base = metrics.vus_pr(label, said.score[half:])
    rows = [Row(series.group, name, seed, NONE, 0.0, 0, 0, None, base, base)]
    for variant in variants:
        trained = ask_and_train(series, fitted, fraction, seed, VARIANTS[variant])
        positives = sum(query.answer == 1 for query in trained.queries)
        after, _ = fitted.detector.with_agent(trained.agent, fitted.calibration, positives).score_scaled(
            name, fitted.test
        )
        alone = metrics.vus_pr(label, smooth(after.members[AGENT], 0.2)[half:])
        combined = metrics.vus_pr(label, after.score[half:])
        asked = len(trained.queries)
        rows.append(Row(series.group, name, seed, variant, fraction, asked, positives, alone, combined, base))
    return rows


def show(rows: list[Row]) -> None:
    """Print means over series and seeds."""
    table = Table("", "asked", "anomalous", "agent alone", "combination", "gain", "95 %", box=None)
    for variant in dict.fromkeys(row.variant for row in rows):
        own = [row for row in rows if row.variant == variant]
        gains = [row.combination - row.base for row in own]
        low, high = interval(gains)
        alone = [row.agent for row in own if row.agent is not None]
        table.add_row(
            variant,
            f"{np.mean([row.asked for row in own]):.0f}",
            f"{np.mean([row.positives for row in own]):.0f}",
            f"{np.mean(alone):.3f}" if alone else "",
            f"{np.mean([row.combination for row in own]):.3f}",
            f"{np.mean(gains):+.3f}" if variant != NONE else "",
            f"{low:+.3f} to {high:+.3f}" if variant != NONE else "",
        )
    console.print(table)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.train.parquet and NAME.test.parquet")
    parser.add_argument("--groups", default="smd", help="comma-separated")
    parser.add_argument("--series", default="", help="comma-separated names instead of groups")
    parser.add_argument("--labels", type=float, default=0.05, help="share of windows that may be asked about")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--variants", default="", help="comma-separated; default all")
    parser.add_argument("--out", type=Path, help="write the rows as JSON lines")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = sorted(path.name.removesuffix(".test.parquet") for path in given.data.glob("*.test.parquet"))
    wanted = set(filter(None, given.series.split(",")))
    chosen = [n for n in names if (n in wanted if wanted else n.split("_")[0] in given.groups.split(","))]
    variants = list(filter(None, given.variants.split(","))) or list(VARIANTS)
    if not chosen:
        parser.error(f"no series of {given.series or given.groups} in {given.data}")
    if unknown := set(variants) - set(VARIANTS):
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    rows: list[Row] = []
    for name in track(chosen, description="series", console=console):
        for seed in range(given.seeds):
            rows += judge(given.data, name, seed, given.labels, variants)
            if given.out:
                given.out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
