"""How fast the agent learns and scores, beside the usual form that unrolls 50 rows again for every row.

    OMP_NUM_THREADS=1 python benchmarks/agent_speed.py --out agent_speed.json

One thread, 38 channels and 4 member scores, LSTM of 64 units, made-up numbers: speed does not depend on what they mean.
Figures are rows for each second of processor time, so a busy machine changes them little.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from models.agent import Agent, train_agent
from models.agent_config import AgentConfig
from models.recurrence import QNetwork
from models.windows import Array, cut_windows

FEATURES, WINDOW, BATCH = 42, 50, 512  # batches of 512 windows were the fastest for the usual form
CONFIG = AgentConfig(label_budget=0, episodes=4, passes=10)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ours(values: Array, agent: Agent) -> dict[str, float]:
    """Rows for each CPU-second of the shipped training and scoring; warm-up, rollouts and replay are in the time."""
    errors = np.abs(values).mean(axis=1)
    training = seconds(lambda: train_agent({"a": values}, {"a": errors}, {}, None, CONFIG, 0))
    unrolled = max(
        1, round(CONFIG.passes * len(values) / CONFIG.episodes / CONFIG.batch / (CONFIG.chunk + CONFIG.burn_in))
    )
    rows = unrolled * CONFIG.episodes * CONFIG.batch * (CONFIG.chunk + CONFIG.burn_in)
    scoring = min(seconds(lambda: agent.score("a", values)) for _ in range(3))
    return {"training_rows_per_cpu_s": rows / training, "scoring_rows_per_cpu_s": len(values) / scoring}


def usual(values: Array, network: QNetwork) -> dict[str, float]:
    """Rows for each CPU-second, if every row needs its own window: windows as states, last output as Q."""
    windows = cut_windows(values, WINDOW)
    optimiser = torch.optim.Adam(network.parameters())
    rng = np.random.default_rng(0)

    def batch() -> torch.Tensor:
        copied = windows[rng.integers(0, len(windows), BATCH)]  # (batch, window, feature)
        return torch.from_numpy(np.ascontiguousarray(copied.transpose(1, 0, 2)))

    def train() -> None:
        for _ in range(8):
            q = network(batch())[0][-1]
            loss = torch.nn.functional.huber_loss(q, torch.zeros_like(q))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            optimiser.step()

    def score() -> None:
        with torch.no_grad():
            for _ in range(8):
                network(batch())[0][-1].numpy()

    return {
        "training_rows_per_cpu_s": 8 * BATCH / min(seconds(train) for _ in range(3)),
        "scoring_rows_per_cpu_s": 8 * BATCH / min(seconds(score) for _ in range(3)),
    }


def latency(values: Array, agent: Agent) -> dict[str, float]:
    """Milliseconds to score one new row with the carried state: half of the calls, and 99 in 100, take no longer."""
    _, state = agent.score("a", values[:100])
    took = []
    for row in values[100:1100]:
        start = time.perf_counter()
        _, state = agent.score("a", row[None], state)
        took.append(1000 * (time.perf_counter() - start))
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=28_000, help="rows of the series")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    values = np.random.default_rng(0).standard_normal((arguments.rows, FEATURES)).astype(np.float32)
    few = replace(CONFIG, passes=0.1)
    agent = train_agent({"a": values}, {"a": np.abs(values).mean(axis=1)}, {}, None, few, 0).agent
    network = QNetwork(FEATURES, CONFIG.hidden, CONFIG.input_limit)
    figures = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "rows": arguments.rows,
        "chunks": ours(values, agent),
        "windows": usual(values, network),
        "one_row": latency(values, agent),
    }
    table = Table(title=f"LSTM-DQN, {FEATURES} features, {CONFIG.hidden} units, one thread: rows for each CPU-second")
    for heading in ("", "training", "scoring"):
        table.add_column(heading, justify="left" if not heading else "right")
    shapes = {"chunks": "long chunks, state carried (shipped)", "windows": f"{WINDOW} rows again for each row (usual)"}
    for key, words in shapes.items():
        table.add_row(words, *(f"{value:,.0f}" for value in figures[key].values()))
    ratios = [figures["chunks"][key] / figures["windows"][key] for key in figures["chunks"]]
    table.add_row("ratio", *(f"{ratio:.0f}×" for ratio in ratios))
    console = Console()
    console.print(table)
    console.print("One row with carried state: p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms".format(**figures["one_row"]))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
