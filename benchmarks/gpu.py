"""How fast on a GPU: windowed and chunked LSTM-DQN, VAE and LSTM forecaster, in counts for each second of the clock.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --device cpu --small

The first three pairs keep series, replay and sampling on the device: nothing crosses to the host within a loop. The
shipped rows time the members as they are, with what they do on the host. Without a GPU it says so and ends.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from models.agent import td_loss, train_agent
from models.agent_config import AgentConfig
from models.lstm import Lstm, LstmConfig
from models.recurrence import QNetwork, run_series
from models.reward import total
from models.vae import Network, Vae, VaeConfig, negative_elbo

CHANNELS, FEATURES, WINDOW = 38, 42, 50
console = Console(width=140)
Figures = dict[str, float]


class Bench:
    """Rows of one made-up series on the device, and the clock."""

    def __init__(self, device: str, rows: int, updates: int, batch: int) -> None:
        """Fabricate the series.

        Args:
            device: "cuda" or "cpu".
            rows: of the series.
            updates: in one timed run.
            batch: windows in an update; chunks in an update are a tenth of that.
        """
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(0)
        self.rows = torch.randn(rows, FEATURES, device=self.device, generator=self.generator)
        self.error = self.rows.abs().mean(dim=1)
        self.label = torch.full((rows,), -1, dtype=torch.int8, device=self.device)
        self.updates, self.batch = updates, batch
        self.figures: Figures = {}

    def time(self, name: str, count: float, work: Callable[[], object]) -> None:
        """Count for each second, the best of three runs after one to warm up."""
        took = []
        for _ in range(4):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            took.append(time.perf_counter() - start)
        self.figures[name] = count / min(took[1:])
        console.print(f"{name}: {self.figures[name]:,.0f} for each second")

    def wait(self) -> None:
        """Let the device finish what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def draw(self, length: int, count: int) -> Tensor:
        """Row numbers of `count` windows drawn on the device: int64 (length, count)."""
        starts = torch.randint(len(self.rows) - length + 1, (count,), device=self.device, generator=self.generator)
        return starts + torch.arange(length, device=self.device)[:, None]


def step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One gradient step."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
    optimiser.step()


def dqn(bench: Bench, config: AgentConfig) -> None:
    """LSTM-DQN: over windows, a row for each; and over chunks with a carried state."""
    torch.manual_seed(0)
    network = QNetwork(FEATURES, config.hidden, config.input_limit).to(bench.device)
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate)
    chunks = max(1, bench.batch // 10)

    def loss_of(q: Tensor, seen: Tensor) -> Tensor:
        reward = total(bench.label[seen], bench.error[seen], 0.5, config.rewards)
        return td_loss(q, reward, torch.ones_like(bench.error[seen]))

    def train_windows() -> None:
        for _ in range(bench.updates):
            index = bench.draw(WINDOW, bench.batch)
            step(loss_of(network(bench.rows[index])[0][-1:], index[-1:]), optimiser)

    def train_chunks() -> None:
        for _ in range(bench.updates):
            index = bench.draw(config.burn_in + config.chunk, chunks)
            with torch.no_grad():
                _, hidden = network(bench.rows[index[: config.burn_in]])
            seen = index[config.burn_in :]
            step(loss_of(network(bench.rows[seen], hidden)[0], seen), optimiser)

    @torch.no_grad()
    def score_windows() -> None:
        for _ in range(bench.updates):
            network(bench.rows[bench.draw(WINDOW, bench.batch)])

    def score_series() -> None:
        zero = torch.zeros(1, config.hidden, device=bench.device)
        run_series(network, bench.rows, (zero, zero))

    bench.time("LSTM-DQN training, windows: time steps", bench.updates * bench.batch, train_windows)
    bench.time("LSTM-DQN training, chunks: time steps", bench.updates * chunks * config.chunk, train_chunks)
    bench.time("LSTM-DQN scoring, windows: time steps", bench.updates * bench.batch, score_windows)
    bench.time("LSTM-DQN scoring, whole series: time steps", len(bench.rows), score_series)


def vae(bench: Bench, config: VaeConfig) -> None:
    """VAE over windows gathered on the device."""
    torch.manual_seed(0)
    network = Network(WINDOW * CHANNELS, config.hidden, config.latent).to(bench.device)
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate)
    values = bench.rows[:, :CHANNELS].contiguous()

    def windows() -> Tensor:
        index = bench.draw(WINDOW, bench.batch).T  # (batch, window)
        return values[index].flatten(1)

    def train() -> None:
        for _ in range(bench.updates):
            flat = windows()
            mean, log_variance = network.encode(flat)
            noise = torch.randn(mean.shape, device=bench.device, generator=bench.generator)
            error = network.squared_error(mean + noise * (0.5 * log_variance).exp(), flat)
            step(negative_elbo(error, mean, log_variance, flat.shape[1], config.beta)[0], optimiser)

    @torch.no_grad()
    def score() -> None:
        for _ in range(bench.updates):
            flat = windows()
            (network.decode(network.encode(flat)[0]) - flat).square().mean(dim=1)

    bench.time("VAE training: windows", bench.updates * bench.batch, train)
    bench.time("VAE scoring: windows", bench.updates * bench.batch, score)


def shipped(bench: Bench, small: bool) -> None:
    """Time the members as they ship: sampling and copies between host and device are in the time."""
    values = bench.rows.cpu().numpy()
    channels = np.ascontiguousarray(values[:, :CHANNELS])
    device = str(bench.device)
    coder = Vae(VaeConfig(window=WINDOW, epochs=1 if small else 4), device)
    forecaster = Lstm(LstmConfig(epochs=1 if small else 4), device)
    agent = replace(AgentConfig(device=device), label_budget=0, episodes=4, passes=2.0 if small else 40.0)
    updates = max(1, round(agent.passes * len(values) / 4 / agent.batch / (agent.chunk + agent.burn_in)))
    drawn = coder.settings.epochs * coder.settings.windows_per_epoch
    own = forecaster.settings
    per_epoch = max(1, round(own.rows_per_epoch / own.batch / (own.chunk + own.burn_in)))
    rows = per_epoch * own.batch * own.chunk * own.epochs
    errors = bench.error.cpu().numpy()
    bench.time(
        "shipped agent training: time steps", updates * 4 * agent.batch * agent.chunk,
        lambda: train_agent({"a": values}, {"a": errors}, {}, None, agent, 0),
    )  # fmt: skip
    bench.time("shipped VAE training: windows", drawn, lambda: coder.fit({"a": channels}, 0))
    bench.time("shipped VAE scoring: windows", len(values), lambda: coder.score("a", channels))
    bench.time("shipped LSTM training: time steps", rows, lambda: forecaster.fit({"a": channels}, 0))
    bench.time("shipped LSTM scoring: time steps", len(values), lambda: forecaster.score("a", channels))


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="a few seconds, to see that it runs")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        console.print("there is no GPU here that PyTorch can use: nothing was measured (--device cpu runs it anyway)")
        return
    torch.set_num_threads(1)
    card = torch.cuda.get_device_name() if given.device == "cuda" else "CPU, one thread"
    bench = Bench(given.device, *((4_000, 2, 64) if given.small else (200_000, 50, 4096)))
    dqn(bench, AgentConfig())
    vae(bench, VaeConfig())
    shipped(bench, given.small)
    table = Table(title=f"{card}, torch {torch.__version__}", title_justify="left", box=None)
    table.add_column("operation")
    table.add_column("per second", justify="right")
    for name, value in bench.figures.items():
        table.add_row(name, f"{value:,.0f}")
    console.print(table)
    if given.out:
        found = {"device": card, "torch": torch.__version__, "small": given.small, "per_second": bench.figures}
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
