"""The agent's training as curves: λ, ε, reward, loss, Q gap and answers over the episodes of one training.

python benchmarks/agent_curves.py --data DIR --series smd_machine_1_2 --labels 0.05 --plot agent_curves.png
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from quality import ask_and_train, fit_series, read_series
from rich.console import Console
from rich.table import Table

from models.agent import Episode

CURVES = {
    "coefficient": "λ",
    "epsilon": "ε",
    "reward": "reward, as a share",
    "loss": "loss",
    "q_gap": "mean Q gap",
    "labels": "answers",
}
console = Console()


def draw(history: Sequence[Episode], title: str, file: Path) -> None:
    """Draw one panel a curve."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex=True, layout="constrained")
    for axis, (name, words) in zip(axes.ravel(), CURVES.items(), strict=True):
        axis.plot([episode.number + 1 for episode in history], [getattr(episode, name) for episode in history])
        axis.set_title(words)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("episode")
    figure.suptitle(title)
    figure.savefig(file, dpi=100)


def main() -> None:
    """Train once, print and draw."""
    parser = argparse.ArgumentParser(description="the curves of one training of the agent")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--series", default="smd_machine_1_2")
    parser.add_argument("--labels", type=float, default=0.05, help="share of the windows of the first half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the episodes as JSON lines")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    series = read_series(given.data, given.series)
    trained = ask_and_train(series, fit_series(series, given.seed), given.labels, given.seed)
    table = Table("episode", *CURVES.values(), box=None)
    for episode in trained.history:
        table.add_row(str(episode.number + 1), *(f"{getattr(episode, name):.3g}" for name in CURVES))
    console.print(table)
    if given.out:
        lines = [json.dumps(asdict(episode)) + "\n" for episode in trained.history]
        given.out.write_text("".join(lines), encoding="utf-8")
    if given.plot:
        draw(trained.history, f"{given.series}, {given.labels:.0%} of the windows asked about", given.plot)


if __name__ == "__main__":
    main()
