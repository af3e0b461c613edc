"""The agent: a stateful LSTM-DQN that calls each sample normal or anomalous (DRTA, arXiv 2508.18474).

Deviations from the paper and its public code, each held by a test in tests/models/test_agent.py:

1. The intrinsic reward depends on the action (models/reward.py).
2. A loaded network scores as it did when it was saved.
3. A transition is an index; the successor of row t is row t + 1 (models/replay.py).
4. Training rows only: `train_agent` gets no others, and `training_input` refuses them by type.
5. ε ends small, so λ follows the learnt policy; the last row of a series has no future; scores are advantages, not
   decisions; every feature is read.
6. Label propagation uses a sparse graph and a gate (models/propagate.py).
7. The LSTM runs over long chunks with a carried state, not over 50 rows again for every row (models/recurrence.py).
8. Updates use both actions' rewards, because the next state does not depend on the action; a DQN's usual one-action
   sample throws half of that away.
9. The discount is 0 by default. The future is the same for both actions, so it moves both Q values alike and says
   nothing about the decision; docs/agent.md has the figures.
10. Q starts from the norm of the observation (models/recurrence.py), so that what lies beyond all training rows is not
    called normal by an LSTM whose units are saturated.

The file is longer than the house likes, so that the algorithm can be read from top to bottom in one place.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.agent_config import AgentConfig
from models.member import Member, State
from models.parts import ANOMALOUS, NORMAL, UNKNOWN, TrainPart, require_train
from models.propagate import propagate_labels
from models.query import Interval, Query, Strategy, choose_queries
from models.recurrence import QNetwork, run_series
from models.replay import Indices, Replay, Rows, chunk_index
from models.reward import Coefficient, Extrinsic, episode_reward, total
from models.warm_up import embed_windows, warm_up
from models.windows import Array
from watchkeeper.errors import DataError
from watchkeeper.progress import Progress

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Oracle = Callable[[str, int, int], int]
"""Series, first row, row after the last of a window → 1, 0, or −1 for "not answered" and "do not know"."""


@dataclass(frozen=True)
class Episode:
    """What happened in one episode.

    Attributes:
        number: from 0.
        coefficient: λ after it reacted to this episode.
        epsilon: share of random actions.
        reward: the normalised one that λ reacts to (models/reward.py, `episode_reward`).
        loss: mean over the episode's updates.
        q_gap: mean of |Q(s, anomalous) − Q(s, normal)| over its rollouts.
        labels: windows answered so far.
    """

    number: int
    coefficient: float
    epsilon: float
    reward: float
    loss: float
    q_gap: float
    labels: int


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained agent, its history by episode, and every query made, with its answer (−1: not answered)."""

    agent: "Agent"
    history: tuple[Episode, ...]
    queries: tuple[Query, ...]

    @property
    def unanswered(self) -> tuple[Query, ...]:
        """Queries for people."""
        return tuple(query for query in self.queries if query.answer == UNKNOWN)


class Agent(Member):
    """The member: score = Q(s, anomalous) − Q(s, normal). One network for all series."""

    name: ClassVar[str] = "agent"

    def __init__(
        self,
        config: AgentConfig | None = None,
        network: QNetwork | None = None,
        series: Collection[str] = (),
        history: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Put the pieces together; without a network it has to be fitted.

        Args:
            config: the settings.
            network: trained, on the CPU.
            series: the series it was trained on.
            history: of its training, one record for each episode.
        """
        self._config = config or AgentConfig()
        self._network = network
        self._series = tuple(series)
        self.history = history

    def fit(self, parts: Mapping[str, Array], seed: int, progress: Progress | None = None) -> None:
        """Learn without any label: from warm-up's pseudo-labels and the intrinsic reward.

        Args:
            parts: observations of training rows, float32 (time, feature), by series.
            seed: for every random choice made.
            progress: told the share done after each episode.

        Raises:
            DataError: a series is shorter than the window.
        """
        errors = {name: _stand_in_error(values, self._config.error_feature) for name, values in parts.items()}
        config = replace(self._config, label_budget=0)
        found = train_agent(parts, errors, {}, None, config, seed, progress).agent
        self._network, self._series, self.history = found._network, found._series, found.history

    def score(self, series: str, values: Array, state: State | None = None) -> tuple[Scores, State]:
        """Advantage of *anomalous* over *normal* for each row, from that row and the hidden state; see Member."""
        network = self._fitted()
        features = network.lstm.input_size
        if series not in self._series:
            raise DataError(f"series {series} is not known to the agent; known are {', '.join(self._series)}")
        if values.ndim != 2 or values.shape[1] != features:
            raise DataError(
                f"series {series}: the agent learnt from {features} channels and scores together, found {values.shape}"
            )
        zero = torch.zeros(1, network.lstm.hidden_size)
        hidden = (zero, zero) if state is None else (torch.tensor(state["h"][None]), torch.tensor(state["c"][None]))
        # A copy, because PyTorch warns of arrays that are read-only, as parts are.
        q, (h, c) = run_series(network, torch.tensor(values, dtype=torch.float32), hidden)
        advantage = (q[:, 1] - q[:, 0]).numpy().astype(np.float64)
        return advantage, {"h": h[0].numpy(), "c": c[0].numpy()}

    def config(self) -> dict[str, Any]:
        """Settings, series and the number of features, as JSON-able values."""
        return {
            "settings": {**asdict(self._config), "strategy": str(self._config.strategy)},
            "features": self._fitted().lstm.input_size,
            "series": list(self._series),
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights, by their names in the network."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._fitted().state_dict().items()}

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the agent that `config` and `arrays` describe. Nothing is initialised after the weights are in."""
        settings = dict(config["settings"])
        settings["rewards"] = Extrinsic(**settings["rewards"])
        settings["coefficient"] = Coefficient(**settings["coefficient"])
        settings["strategy"] = Strategy(settings["strategy"])
        parsed = AgentConfig(**settings)
        with torch.device("meta"):  # no memory and no random initial weights: there is nothing but what was saved
            network = QNetwork(config["features"], parsed.hidden, parsed.input_limit)
        network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()}, assign=True)
        return cls(parsed, network, config["series"])

    def _fitted(self) -> QNetwork:
        if self._network is None:
            raise DataError("the agent has not been fitted; call fit or train_agent first")
        return self._network


def _stand_in_error(values: Array, feature: int | None) -> Scores:
    if feature is not None:
        return values[:, feature].astype(np.float64)
    norm = np.sqrt(np.square(values, dtype=np.float64).mean(axis=1))
    return np.asarray(norm / max(np.quantile(norm, 0.99), np.finfo(np.float64).tiny))


def training_input(parts: Mapping[str, TrainPart]) -> tuple[dict[str, Array], dict[str, Labels]]:
    """Observations and labels for `train_agent` from parts whose values are observations.

    Raises:
        LeakageError: a part is not a `TrainPart`.
    """
    require_train(parts)
    return {name: part.values for name, part in parts.items()}, {name: part.label for name, part in parts.items()}


def td_targets(
    rewards: torch.Tensor,
    terminal: torch.Tensor,
    online: torch.Tensor,
    target: torch.Tensor,
    *,
    discount: float,
    n_step: int,
    double: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets of both actions: y(a) = r(a) + γ (1 − terminal) V, V = n − 1 greedy rewards and then the target's value.

    Args:
        rewards: (time, batch, 2), of both actions.
        terminal: bool (time, batch), nothing follows this row.
        online: Q of the online network, (time, batch, 2).
        target: Q of the target network, (time, batch, 2).
        discount: γ.
        n_step: at least 1.
        double: select by the online network; otherwise by the target network.

    Returns:
        y (time, batch, 2), and bool (time, batch): rows whose future lies inside the chunk.

    Source: Double DQN (arXiv 1509.06461, equation 4), n-step as in Rainbow (arXiv 1710.02298); the greedy policy may
        stand in for later actions because no action changes a state.
    """
    if not rewards.shape == online.shape == target.shape or terminal.shape != rewards.shape[:2]:
        raise DataError(f"wanted (time, batch, 2) three times, found {rewards.shape}, {online.shape}, {target.shape}")
    if discount == 0:
        return rewards, torch.ones_like(terminal)
    selected = (online if double else target).argmax(dim=-1, keepdim=True)
    greedy = rewards.gather(-1, selected).squeeze(-1)  # (time, batch)
    future = target.gather(-1, selected).squeeze(-1)
    inside = torch.ones_like(terminal)

    def following(here: torch.Tensor) -> torch.Tensor:
        return torch.cat([here[1:], torch.zeros_like(here[:1])])

    goes_on = discount * (~terminal).float()
    for _ in range(n_step - 1):
        future = greedy + goes_on * following(future)
        inside = terminal | following(inside)
    return rewards + (goes_on * following(future)).unsqueeze(-1), terminal | following(inside)


def td_loss(q: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Huber loss of both actions' values, averaged with weights (time, batch); 0 where nothing counts."""
    each = nn.functional.huber_loss(q, y, reduction="none").sum(dim=-1)
    return (weight * each).sum() / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)


@dataclass(eq=False)
class _Training:
    """The pieces that one training moves."""

    config: AgentConfig
    rows: Rows
    replay: Replay
    online: QNetwork
    target: QNetwork
    optimiser: torch.optim.Adam
    rng: np.random.Generator
    burn_in: int
    chunk: int
    updates: int = 0

    def gather(self, series: Indices, start: Indices) -> torch.Tensor:
        index = chunk_index(self.rows, series, start, self.burn_in, self.chunk)
        return torch.from_numpy(index).to(self.rows.label.device)

    def run(self, network: QNetwork, index: torch.Tensor) -> torch.Tensor:
        """Q (chunk, batch, 2) after a burn-in that no gradient passes."""
        observation = self.rows.observation[index]  # (time, batch, feature)
        with torch.no_grad():
            _, hidden = network(observation[: self.burn_in])
        values: torch.Tensor = network(observation[self.burn_in :], hidden)[0]
        return values

    @torch.no_grad()
    def roll_out(self, coefficient: float, epsilon: float) -> tuple[float, float]:
        """Let the policy act on random chunks and remember them: the episode's reward and the mean Q gap."""
        series, start = self.random_chunks(self.config.rollouts)
        self.replay.add(series, start)
        index = self.gather(series, start)
        q = self.run(self.online, index)
        seen = index[self.burn_in :]
        random = torch.from_numpy(self.rng.integers(0, 2, seen.shape)).to(seen.device)
        explore = torch.from_numpy(self.rng.random(seen.shape) < epsilon).to(seen.device)
        action = torch.where(explore, random, q.argmax(dim=-1))
        reward = total(self.rows.label[seen], self.rows.error[seen], coefficient, self.config.rewards)
        gap = (q[..., 1] - q[..., 0]).abs().mean()
        return float(episode_reward(reward, action, self.rows.weight[seen])), float(gap)

    def update(self, series: Indices, start: Indices, coefficient: float) -> torch.Tensor:
        """One gradient step on a batch of chunks; the loss stays on the device."""
        config, index = self.config, self.gather(series, start)
        q = self.run(self.online, index)
        seen = index[self.burn_in :]
        rewards = total(self.rows.label[seen], self.rows.error[seen], coefficient, config.rewards)
        with torch.no_grad():
            # Without a future the target network has no say, and its pass is saved.
            evaluated = self.run(self.target, index) if config.discount else q
            y, inside = td_targets(
                rewards, self.rows.terminal[seen], q, evaluated,
                discount=config.discount, n_step=config.n_step, double=config.double,
            )  # fmt: skip
        loss = td_loss(q, y, self.rows.weight[seen] * inside)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
        nn.utils.clip_grad_norm_(self.online.parameters(), 1.0)
        self.optimiser.step()
        self.updates += 1
        if self.updates % config.target_every == 0:
            self.target.load_state_dict(self.online.state_dict())
        return loss.detach()

    def random_chunks(self, n: int) -> tuple[Indices, Indices]:
        """Chunk starts, every row of every series equally likely."""
        row = self.rng.integers(0, len(self.rows), n)
        series = np.searchsorted(self.rows.offset, row, side="right") - 1
        return series, row - self.rows.offset[series]

    def remember(self, name: str, starts: npt.NDArray[np.int64]) -> None:
        """Put chunks that hold these rows of a series into the replay buffer, at random places within the chunk."""
        shifted = np.maximum(starts - self.rng.integers(0, self.chunk, len(starts)), 0)
        self.replay.add(np.full(len(starts), self.rows.series.index(name), np.int64), shifted)

    def label(self, name: str, label: Labels, weight: float) -> None:
        """Take over the known labels of a series, int8 (time,), where nothing of more weight is known."""
        span = self.rows.span(name)
        given = torch.from_numpy(label.copy()).to(self.rows.label.device)
        takes = (given != UNKNOWN) & (self.rows.weight[span] <= weight)
        self.rows.label[span] = torch.where(takes, given, self.rows.label[span])
        self.rows.weight[span] = torch.where(takes, weight, self.rows.weight[span])
        self.remember(name, np.flatnonzero(takes.cpu().numpy())[:: self.config.stride])

    def advantage(self) -> dict[str, Scores]:
        """Q(s, anomalous) − Q(s, normal) of all rows, by series."""
        zero = torch.zeros(1, self.config.hidden, device=self.rows.label.device)
        found = {}
        for name in self.rows.series:
            q, _ = run_series(self.online, self.rows.observation[self.rows.span(name)], (zero, zero))
            found[name] = (q[:, 1] - q[:, 0]).cpu().numpy().astype(np.float64)
        return found

    def spread(self, seed: int) -> None:
        """Propagate people's labels to similar windows, where the gate lets them."""
        size, pieces, known = self.config.query_window, [], []
        for name in self.rows.series:
            span = self.rows.span(name)
            start, features = embed_windows(self.rows.observation[span].cpu().numpy(), size, size)
            label = self.rows.label[span].cpu().numpy()
            label = np.where(self.rows.weight[span].cpu().numpy() >= self.config.people_weight, label, UNKNOWN)
            pieces.append(features)
            known.append(label[start[:, None] + np.arange(size)].max(axis=1))  # one anomalous sample makes the window
        result = propagate_labels(np.concatenate(pieces), np.concatenate(known).astype(np.int8), seed=seed)
        if not result.used:
            return
        parts = np.split(result.label, np.cumsum([len(piece) for piece in pieces])[:-1])
        for name, of_windows in zip(self.rows.series, parts, strict=True):
            of_rows = np.full(len(self.rows.label[self.rows.span(name)]), UNKNOWN, np.int8)
            of_rows[: len(of_windows) * size] = np.repeat(of_windows, size)
            self.label(name, of_rows, self.config.propagated_weight)


def train_agent(
    observations: Mapping[str, Array],
    errors: Mapping[str, npt.NDArray[np.floating]],
    labels: Mapping[str, Labels],
    oracle: Oracle | None,
    config: AgentConfig,
    seed: int,
    progress: Progress | None = None,
    asked: Collection[Interval] = (),
    pseudo: Mapping[str, Labels] | None = None,
) -> Trained:
    """Train an agent: episodes of rollouts and updates, with questions to the oracle between them.

    Args:
        observations: float32 (time, feature) of training rows only (`training_input` holds that), by series.
        errors: calibrated reconstruction error (time,), about 1 at a high quantile of normal, by series.
        labels: int8 (time,), what is known so far, by series; a series may be absent.
        oracle: answers queries; None asks nobody, and all queries come back unanswered.
        config: the settings.
        seed: for every random choice; the same input and seed give the same bits on one machine.
        progress: told the share done after each episode.
        asked: windows asked before, in rows of these arrays; none is asked again.
        pseudo: what models/warm_up.py gave for these observations; None makes it here.

    Returns:
        The agent, its history and its queries.

    Raises:
        DataError: the arrays do not fit together, or a series is shorter than the window.

    Source: DRTA (arXiv 2508.18474), algorithm 1, with the deviations listed at the head of this file.
    """
    training = _start(observations, errors, labels, pseudo, config, seed)
    steps = min(config.passes * len(training.rows), config.most_steps)
    updates = max(1, round(steps / config.episodes / config.batch / (training.chunk + training.burn_in)))
    rounds = np.linspace(config.episodes // 4, 3 * config.episodes // 4, config.query_rounds).astype(int)
    coefficient, history, queries = config.coefficient.start, [], list[Query]()
    for number in range(config.episodes):
        turns = int((rounds <= number).sum())  # the budget is released in equal parts
        if turns > 0 and (budget := config.label_budget * turns // config.query_rounds - len(queries)) > 0:
            queries += _ask(training, oracle, budget, [*asked, *((q.series, q.start, q.end) for q in queries)], seed)
        epsilon = config.epsilon(number)
        reward, gap = training.roll_out(coefficient, epsilon)
        coefficient = config.coefficient.follow(coefficient, reward)
        strata, shares = (
            training.replay.strata(training.rows, training.chunk),
            (config.anomalous_share, config.normal_share),
        )
        losses = [
            training.update(*training.replay.sample(config.batch, strata, shares, training.rng), coefficient)
            for _ in range(updates)
        ]
        answered = sum(query.answer != UNKNOWN for query in queries)
        loss = float(torch.stack(losses).mean())
        history.append(Episode(number, coefficient, epsilon, reward, loss, gap, answered))
        if progress is not None:
            progress((number + 1) / config.episodes, f"reward {reward:.2f}, loss {loss:.3f}, λ {coefficient:.2f}")
    agent = Agent(config, training.online.cpu(), training.rows.series, [asdict(episode) for episode in history])
    return Trained(agent, tuple(history), tuple(queries))


def _start(
    observations: Mapping[str, Array],
    errors: Mapping[str, npt.NDArray[np.floating]],
    labels: Mapping[str, Labels],
    pseudo: Mapping[str, Labels] | None,
    config: AgentConfig,
    seed: int,
) -> _Training:
    """Build the networks and fill the replay buffer from warm-up and from the labels there are."""
    rows = Rows.of(observations, errors, labels, config.device)
    rows.weight.fill_(config.unlabelled_weight)
    shortest = int(np.diff(rows.offset).min())
    if shortest < config.window:
        raise DataError(f"a series of {shortest} rows is shorter than one window of {config.window} samples")
    burn_in = min(config.burn_in, shortest // 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        online = QNetwork(rows.observation.shape[1], config.hidden, config.input_limit).to(config.device)
    target = copy.deepcopy(online)
    training = _Training(
        config, rows, Replay(config.replay_capacity), online, target,
        torch.optim.Adam(online.parameters(), lr=config.learning_rate), np.random.default_rng(seed),
        burn_in, min(config.chunk, shortest - burn_in),
    )  # fmt: skip
    if pseudo is None:
        pseudo = warm_up(
            observations, window=config.window, stride=config.stride,
            anomalous=config.pseudo_anomalous, normal=config.pseudo_normal, seed=seed,
        )  # fmt: skip
    for name, label in pseudo.items():
        training.label(name, label, config.pseudo_weight)
    for name, label in labels.items():
        training.label(name, label, config.people_weight)
    return training


def _ask(training: _Training, oracle: Oracle | None, budget: int, asked: list[Interval], seed: int) -> list[Query]:
    """Choose windows, ask, take over the answers, and spread them."""
    config = training.config
    chosen = choose_queries(
        training.advantage(), budget=budget, window=config.query_window, asked=asked, strategy=config.strategy,
        spacing=config.query_spacing, seed=seed + len(asked),
    )  # fmt: skip
    if oracle is None:
        return chosen
    answered = [replace(query, answer=oracle(query.series, query.start, query.end)) for query in chosen]
    for query in answered:
        if query.answer not in (UNKNOWN, NORMAL, ANOMALOUS):
            raise DataError(f"the oracle answers 1, 0 or −1, found {query.answer} for {query.series} {query.start}")
        span = training.rows.span(query.series)
        label = np.full(span.stop - span.start, UNKNOWN, np.int8)
        label[query.start : query.end] = query.answer
        training.label(query.series, label, config.people_weight)
    if config.propagate:
        training.spread(seed)
    return answered
