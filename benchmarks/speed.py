"""How fast and how small: environment, agent, VAE and LSTM, each beside a naive form or a peer in the same run.

    OMP_NUM_THREADS=1 python benchmarks/speed.py --out speed.json
    OMP_NUM_THREADS=1 python benchmarks/speed.py --memory 200000,1000000,5000000 --out memory.json

One thread, 38 channels (42 features for the agent: 4 member scores beside them), windows of 50, made-up numbers: speed
does not depend on what they mean. Figures are for each second of processor time, so that a busy machine changes them
little; the table has wall time too. The shipped code is what is timed; the naive forms are in this file and ship
nowhere. `--memory` starts one process for each size and subject, and reports the most memory it ever held.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from memory import made_up, memory, memory_table
from rich.console import Console
from rich.table import Table
from torch import nn

from models import lstm, vae
from models.agent import Agent, train_agent
from models.agent_config import AgentConfig
from models.lstm import Lstm, LstmConfig
from models.recurrence import QNetwork
from models.replay import Replay
from models.reward import total
from models.vae import Vae, VaeConfig
from models.windows import Array, cut_windows

CHANNELS, SCORES, WINDOW, BATCH = 38, 4, 50, 512  # batches of 512 windows were the fastest for the naive forms
FEATURES = CHANNELS + SCORES
console = Console(width=140)


@dataclass(frozen=True)
class Figure:
    """How many of something one form of an operation does.

    Attributes:
        operation: what is done.
        form: how.
        unit: what is counted.
        per_cpu_s: count for each second of processor time.
        per_wall_s: count for each second of the clock.
        naive: this form is the one that ratios of its operation refer to.
        bar: the least `per_cpu_s` wanted; None where there is none.
    """

    operation: str
    form: str
    unit: str
    per_cpu_s: float
    per_wall_s: float
    naive: bool = False
    bar: float | None = None


def measure(
    operation: str,
    form: str,
    unit: str,
    count: float,
    work: Callable[[], object],
    repeats: int = 3,
    naive: bool = False,
    bar: float | None = None,
) -> Figure:
    """Time `work`, which does `count` units, and take the best of a few runs."""
    cpu, wall = [], []
    for _ in range(repeats):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    figure = Figure(operation, form, unit, count / min(cpu), count / min(wall), naive, bar)
    console.print(f"{operation}, {form}: {figure.per_cpu_s:,.0f} {unit} for each CPU-second")
    return figure


def time_first(windows: Array) -> torch.Tensor:
    """Copy windows (n, window, feature) into a tensor (window, n, feature), as LSTMs want them."""
    return torch.from_numpy(np.array(windows.transpose(1, 0, 2), order="C"))


def policy_and_vae() -> tuple[QNetwork, vae.Network]:
    """Untrained networks of the default sizes: what an environment asks for action and reward."""
    torch.manual_seed(0)
    agent, coder = AgentConfig(), VaeConfig()
    return (
        QNetwork(FEATURES, agent.hidden, agent.input_limit),
        vae.Network(WINDOW * CHANNELS, coder.hidden, coder.latent),
    )


@torch.no_grad()
def environment_step(windows: Array, policy: QNetwork, coder: vae.Network) -> tuple[torch.Tensor, torch.Tensor]:
    """Action and reward for windows (n, window, feature): the policy's choice, and the VAE's error as reward."""
    action = policy(time_first(windows))[0][-1].argmax(dim=-1)
    flat = torch.from_numpy(windows[..., :CHANNELS].reshape(len(windows), -1))
    error = (coder.decode(coder.encode(flat)[0]) - flat).square().mean(dim=1)
    unknown = torch.full(error.shape, -1, dtype=torch.int8)
    reward = total(unknown, error, 0.5, AgentConfig().rewards)  # (n, 2)
    return action, reward.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def environment(values: Array) -> list[Figure]:
    """Environment steps: one at a time, over a batch of views."""
    policy, coder = policy_and_vae()
    views = cut_windows(values, WINDOW)
    steps, batches = min(300, len(views)), min(8, len(views) // BATCH)

    def one_at_a_time() -> None:
        for row in range(steps):
            environment_step(views[row : row + 1].copy(), policy, coder)

    def batched() -> None:
        for start in range(0, batches * BATCH, BATCH):
            environment_step(views[start : start + BATCH], policy, coder)

    return [
        measure("environment", "one step at a time", "steps", steps, one_at_a_time, naive=True),
        measure("environment", "batched over views", "steps", batches * BATCH, batched),
    ]


def windowed_update(batch: Callable[[], Array], policy: QNetwork, updates: int) -> Callable[[], None]:
    """Return Q updates window by window, the last output as Q; without a target network, in the naive form's favour."""
    optimiser = torch.optim.Adam(policy.parameters())

    def train() -> None:
        for _ in range(updates):
            q = policy(time_first(batch()))[0][-1]
            loss = nn.functional.huber_loss(q, torch.zeros_like(q))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            optimiser.step()

    return train


def agent_learning(values: Array, config: AgentConfig) -> tuple[list[Figure], Agent]:
    """Updates: windows from a replay of copies, windows by index, and the shipped chunks. Also a trained agent."""
    policy, _ = policy_and_vae()
    views, rng, updates = cut_windows(values, WINDOW), np.random.default_rng(0), 8
    kept = min(len(views) - 1, 4000)
    states, successors = views[:kept].copy(), views[1 : kept + 1].copy()

    def copies() -> Array:
        pick = rng.integers(0, kept, BATCH)
        _ = successors[pick]  # a replay of copies draws the successor with the state
        return states[pick]

    def indices() -> Array:
        return np.asarray(views[rng.integers(0, len(views), BATCH)])

    # Warm-up and rollouts are in the time; questions to people are not. Only rows that are learnt from are counted.
    errors = np.abs(values).mean(axis=1)
    per_update = config.batch * config.chunk
    rounds = round(config.passes * len(values) / config.episodes / config.batch / (config.chunk + config.burn_in))
    learnt = max(1, rounds) * config.episodes * per_update
    trained: list[Agent] = []

    def chunks() -> None:
        trained.append(train_agent({"a": values}, {"a": errors}, {}, None, config, 0).agent)

    name, unit, drawn = "agent training", "time steps", updates * BATCH
    by_copies, by_indices = (windowed_update(batch, policy, updates) for batch in (copies, indices))
    return [
        measure(name, "windows, replay of copies", unit, drawn, by_copies, naive=True),
        measure(name, "windows, replay of indices", unit, drawn, by_indices),
        measure(name, "chunks, state carried (shipped)", unit, learnt, chunks, repeats=2, bar=130_000),
    ], trained[0]


def agent_scoring(values: Array, agent: Agent) -> list[Figure]:
    """Scores: window by window, in chunks, and one row at a time as it comes in."""
    policy, _ = policy_and_vae()
    views = cut_windows(values, WINDOW)
    batches = min(8, len(views) // BATCH)

    @torch.no_grad()
    def windows() -> None:
        for start in range(0, batches * BATCH, BATCH):
            policy(time_first(views[start : start + BATCH]))[0][-1].numpy()

    _, state = agent.score("a", values[:100])

    def stream() -> None:
        carried = state
        for row in values[100:600]:
            _, carried = agent.score("a", row[None], carried)

    name, unit, count = "agent scoring", "time steps", batches * BATCH
    return [
        measure(name, "windows", unit, count, windows, naive=True),
        measure(name, "one row as it comes (shipped)", unit, len(values[100:600]), stream),
        measure(name, "whole series (shipped)", unit, len(values), lambda: agent.score("a", values), bar=500_000),
    ]


def autoencoder(values: Array, epochs: int) -> list[Figure]:
    """VAE training and scoring of windows, beside PyOD's AutoEncoder, or a loop over windows without PyOD."""
    config = VaeConfig(window=WINDOW, epochs=epochs, windows_per_epoch=min(20_000, len(values)))
    member = Vae(config)
    views = cut_windows(values, WINDOW)
    trained = epochs * config.windows_per_epoch

    def train() -> None:
        member.fit({"a": values}, 0)

    def score() -> None:
        member.score("a", values)

    figures = [
        measure("vae training", "batches of 512 (shipped)", "windows", trained, train, repeats=2, bar=9_000),
        measure("vae scoring", "batches of 2048 (shipped)", "windows", len(values), score, bar=35_000),
    ]
    return figures + (pyod_rows(views, epochs) or window_by_window(views))


def pyod_rows(views: Array, epochs: int) -> list[Figure]:
    """PyOD's AutoEncoder with layers like ours on the same windows; empty where PyOD is not installed."""
    try:
        # PyOD is no dependency: not there in most environments, and without types where it is
        from pyod.models.auto_encoder import AutoEncoder  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        console.print("PyOD is not installed: a loop over single windows stands in")
        return []
    flat, figures = views.reshape(len(views), -1), list[Figure]()
    for size in (32, BATCH):  # its default, and ours
        peer = AutoEncoder(hidden_neuron_list=[64, 32], epoch_num=epochs, batch_size=size, random_state=0, verbose=0)
        form, naive, fit, score = f"PyOD, batches of {size}", size == BATCH, peer.fit, peer.decision_function
        # its fit ends with a pass of scoring over the training windows, as ours does
        trained = epochs * len(flat)
        figures += [
            measure("vae training", form, "windows", trained, partial(fit, flat), repeats=2, naive=naive),
            measure("vae scoring", form, "windows", len(flat), partial(score, flat), repeats=2, naive=naive),
        ]
    return figures


def window_by_window(views: Array) -> list[Figure]:
    """The same network, one window at a time."""
    _, coder = policy_and_vae()
    optimiser, some = torch.optim.Adam(coder.parameters()), views[:200]

    def train() -> None:
        for window in some:
            flat = torch.from_numpy(window.reshape(1, -1).copy())
            mean, log_variance = coder.encode(flat)
            noisy = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            error = coder.squared_error(noisy, flat)
            loss, _, _ = vae.negative_elbo(error, mean, log_variance, flat.shape[1], 0.01)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            optimiser.step()

    @torch.no_grad()
    def score() -> None:
        for window in some:
            flat = torch.from_numpy(window.reshape(1, -1).copy())
            (coder.decode(coder.encode(flat)[0]) - flat).square().mean().item()

    return [
        measure("vae training", "one window at a time", "windows", len(some), train, naive=True),
        measure("vae scoring", "one window at a time", "windows", len(some), score, naive=True),
    ]


def forecaster(values: Array, settings: LstmConfig) -> list[Figure]:
    """LSTM forecaster: long chunks with carried state, beside 50 rows again for every row."""
    member, unit = Lstm(settings), "time steps"
    updates = max(1, round(settings.rows_per_epoch / settings.batch / (settings.chunk + settings.burn_in)))
    learnt = updates * settings.batch * settings.chunk * settings.epochs

    def fit() -> None:
        member.fit({"a": values}, 0)

    figures = [
        measure("lstm training", "chunks, state carried (shipped)", unit, learnt, fit, repeats=2),
        measure("lstm scoring", "whole series (shipped)", unit, len(values), lambda: member.score("a", values)),
    ]
    network, batches = lstm.Network(CHANNELS, settings.hidden), 4
    optimiser = torch.optim.Adam(network.parameters())
    views, rng = cut_windows(values, WINDOW + 1), np.random.default_rng(0)

    def forecast() -> tuple[torch.Tensor, torch.Tensor]:
        rows = time_first(views[rng.integers(0, len(views), BATCH)])
        return network(rows[:-1])[0][-1:], rows[-1:]

    def train() -> None:
        for _ in range(batches):
            loss = lstm.forecast_loss(*forecast())
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            optimiser.step()

    @torch.no_grad()
    def score() -> None:
        for _ in range(batches):
            ahead, row = forecast()
            (ahead - row).square().numpy()

    return [
        *figures,
        measure("lstm training", "windows", unit, batches * BATCH, train, naive=True),
        measure("lstm scoring", "windows", unit, batches * BATCH, score, naive=True),
    ]


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


def speed_table(figures: list[Figure]) -> Table:
    """One row for each form, with its ratio to the naive form of the same operation."""
    naive = {figure.operation: figure.per_cpu_s for figure in figures if figure.naive}
    table = Table(title=f"one thread, {CHANNELS} channels, windows of {WINDOW}", title_justify="left", box=None)
    for heading in ("operation", "form", "unit", "per CPU-second", "per second", "ratio", "bar"):
        table.add_column(heading, justify="left" if heading in ("operation", "form", "unit") else "right")
    for figure in sorted(figures, key=lambda one: list(naive).index(one.operation)):
        bar = (
            "" if figure.bar is None else f"{figure.bar:,.0f} {'met' if figure.per_cpu_s >= figure.bar else 'NOT met'}"
        )
        table.add_row(
            figure.operation, figure.form, figure.unit, f"{figure.per_cpu_s:,.0f}", f"{figure.per_wall_s:,.0f}",
            f"{figure.per_cpu_s / naive[figure.operation]:.1f}×", bar,
        )  # fmt: skip
    return table


def main() -> None:
    """Measure, print tables, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=28_000, help="rows of the series")
    parser.add_argument(
        "--small", action="store_true", help="a few seconds, to see that it runs; the figures mean little"
    )
    parser.add_argument("--memory", metavar="ROWS,ROWS", help="measure peak memory at these sizes instead of speed")
    parser.add_argument("--subjects", default="agent,vae,lstm,detector", help="of --memory")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    machine = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    if given.memory:
        found = memory([int(rows) for rows in given.memory.split(",")], given.subjects.split(","))
        console.print(memory_table(found))
        results: dict[str, object] = {"memory_gib": found}
    else:
        results = speed(given.rows, given.small)
    if given.out:
        given.out.write_text(json.dumps(machine | results, indent=2) + "\n", encoding="utf-8")


def speed(rows: int, small: bool) -> dict[str, object]:
    """Time everything."""
    rows = 2_000 if small else rows
    values = made_up(rows, FEATURES)
    channels = np.ascontiguousarray(values[:, :CHANNELS])
    config = replace(AgentConfig(), label_budget=0, passes=2.0 if small else AgentConfig().passes)
    figures = environment(values)
    learning, agent = agent_learning(values, config)
    figures += learning + agent_scoring(values, agent)
    figures += autoencoder(channels, epochs=1 if small else 4)
    figures += forecaster(channels, LstmConfig(epochs=1 if small else 6))
    console.print(speed_table(figures))
    one_row = latency(values, agent)
    console.print("agent, one row with carried state: p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms".format(**one_row))
    entry, copied = Replay(1000).nbytes / 1000, 2 * 4 * WINDOW * FEATURES
    console.print(f"replay: {entry:.0f} bytes a transition (bar 16); copies of state and successor take {copied:,}")
    return {
        "rows": rows, "figures": [asdict(figure) for figure in figures], "one_row": one_row,
        "replay_bytes_a_transition": entry,
    }  # fmt: skip


if __name__ == "__main__":
    main()
