"""The agent: targets by hand, the corrections of DRTA with decoys, and a small problem that it must learn."""

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.agent import Agent, Trained, td_loss, td_targets, train_agent, training_input
from models.agent_config import AgentConfig
from models.parts import CalibrationPart, HeldOutPart, Part, TrainPart
from models.recurrence import SEGMENT, QNetwork, run_series
from models.warm_up import warm_up
from models.windows import Array
from watchkeeper.errors import BadInputError, DataError, LeakageError

SMALL = AgentConfig(
    hidden=8,
    chunk=60,
    burn_in=10,
    episodes=6,
    rollouts=8,
    batch=8,
    passes=30,
    learning_rate=5e-3,
    window=20,
    label_budget=12,
)
FEATURES = 3


def world(
    rows: int = 1500, seed: int = 0
) -> tuple[dict[str, Array], dict[str, Array], dict[str, npt.NDArray[np.int8]]]:
    """Two series of noise with bursts; the error sees the bursts and also some harmless noise. Truth is third."""
    observations, errors, truth = {}, {}, {}
    for i, name in enumerate(("a", "b")):
        rng = np.random.default_rng(seed * 10 + i)
        values = rng.standard_normal((rows, FEATURES)).astype(np.float32)
        label = np.zeros(rows, np.int8)
        for start in range(100, rows, 200):
            values[start : start + 20, 0] += 4  # the harm
            label[start : start + 20] = 1
            values[start + 100 : start + 110, 1] += 6  # loud and harmless
        norm = np.sqrt(np.square(values).mean(axis=1))
        observations[name], errors[name], truth[name] = values, norm / np.quantile(norm, 0.9), label
    return observations, errors, truth


def trained(seed: int = 0, config: AgentConfig = SMALL) -> Trained:
    observations, errors, truth = world()

    def oracle(series: str, start: int, end: int) -> int:
        return int(truth[series][start:end].any())

    return train_agent(observations, errors, {}, oracle, config, seed)


@pytest.fixture(scope="module")
def agent() -> Agent:
    return trained().agent


# Targets and loss


def test_one_step_double_dqn_by_hand() -> None:
    """Online selects anomalous in row 1 (2 > 1), target evaluates it (10): y = r + 0.5 · 10.

    Decoys: with selector and evaluator swapped the value is 20 or 1, and without Double DQN 20.
    """
    rewards = torch.tensor([[[1.0, -1.0]], [[0.0, 0.0]]])
    online, target = torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]]), torch.tensor([[[0.0, 0.0]], [[20.0, 10.0]]])
    ends = torch.zeros(2, 1, dtype=torch.bool)

    def first(online: torch.Tensor, target: torch.Tensor, double: bool) -> list[float]:
        return td_targets(rewards, ends, online, target, discount=0.5, n_step=1, double=double)[0][0, 0].tolist()

    assert first(online, target, double=True) == [6.0, 4.0]
    assert first(target, online, double=True) == [1.5, -0.5]
    assert first(online, target, double=False) == [11.0, 9.0]


def test_nothing_follows_a_terminal_row() -> None:
    """Correction 5: the last row of a series has its reward and no future; rows before it stop there.

    Decoy: without the mask the last row of one series would look into the first of the next.
    """
    rewards = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1).expand(3, 1, 2)
    q = torch.full((3, 1, 2), 100.0)
    terminal = torch.tensor([False, True, False]).unsqueeze(1)
    y, inside = td_targets(rewards, terminal, q, q, discount=0.5, n_step=2, double=True)
    assert y[:, 0, 0].tolist()[:2] == [1.0 + 0.5 * 2.0, 2.0]
    assert inside[:, 0].tolist() == [True, True, False]
    unmasked, _ = td_targets(rewards, torch.zeros_like(terminal), q, q, discount=0.5, n_step=2, double=True)
    assert unmasked[1, 0, 0] != 2.0


@given(st.integers(1, 4), st.integers(3, 9), st.sampled_from([0.3, 0.9]), st.booleans(), st.integers(0, 99))
def test_n_step_targets_equal_the_loop(n_step: int, time: int, discount: float, double: bool, seed: int) -> None:
    """Oracle: the sum written out for each row, stopping at terminal rows and refusing to look out of the chunk."""
    rng = np.random.default_rng(seed)
    rewards, online, target = (torch.from_numpy(rng.normal(size=(time, 2, 2))).float() for _ in range(3))
    terminal = torch.from_numpy(rng.random((time, 2)) < 0.2)
    y, inside = td_targets(rewards, terminal, online, target, discount=discount, n_step=n_step, double=double)
    selector = (online if double else target).argmax(dim=-1)
    for b in range(2):
        for t in range(time):
            total, known = 0.0, True
            for k in range(1, n_step + 1):
                if terminal[t + k - 1, b]:
                    break
                if t + k == time:
                    known = False
                    break
                best = selector[t + k, b]
                total += discount**k * float((rewards if k < n_step else target)[t + k, b, best])
            assert bool(inside[t, b]) == known
            if known:
                assert y[t, b].tolist() == pytest.approx((rewards[t, b] + total).tolist(), abs=1e-5)


def test_discount_moves_both_actions_alike() -> None:
    """What γ adds is the same for both actions, so it says nothing about the decision."""
    rng = np.random.default_rng(0)
    rewards, q = (torch.from_numpy(rng.normal(size=(9, 4, 2))).float() for _ in range(2))
    y, _ = td_targets(rewards, torch.zeros(9, 4, dtype=torch.bool), q, q, discount=0.9, n_step=3, double=True)
    assert torch.allclose(y[..., 1] - y[..., 0], rewards[..., 1] - rewards[..., 0], atol=1e-5)


def test_loss_is_a_weighted_huber_by_hand() -> None:
    """Errors 0.5 and 3 cost 0.125 and 2.5; a row of weight 0 costs nothing."""
    q = torch.tensor([[[0.5, 3.0]], [[9.0, 9.0]]])
    assert float(td_loss(q, torch.zeros(2, 1, 2), torch.tensor([[2.0], [0.0]]))) == pytest.approx(2.625)
    assert float(td_loss(q, torch.zeros(2, 1, 2), torch.zeros(2, 1))) == 0.0


# The member


def test_agent_tells_harm_from_noise(agent: Agent) -> None:
    """On unseen series: better than a random row and than the error, which the harmless bursts mislead."""
    observations, errors, truth = world(seed=1)
    rng = np.random.default_rng(0)
    for name, values in observations.items():
        score, _ = agent.score(name, values)
        harm = truth[name] == 1

        def hit_rate(of: npt.NDArray[np.floating], harm: npt.NDArray[np.bool_] = harm) -> float:
            return float(harm[np.argsort(-of)[: harm.sum()]].mean())

        assert hit_rate(score) > hit_rate(errors[name]) + 0.1
        assert hit_rate(score) > hit_rate(rng.random(len(score))) + 0.3


def scores_alike(one: Agent, other: Agent) -> bool:
    values = world(seed=3)[0]["a"]
    return bool((one.score("a", values)[0] == other.score("a", values)[0]).all())


def test_loaded_agent_scores_as_it_did(agent: Agent) -> None:
    """Correction 2, to the bit, through JSON. Decoy: a network that is initialised after loading does not."""
    config = json.loads(json.dumps(agent.config()))
    loaded = Agent.from_arrays(config, agent.arrays())
    assert scores_alike(agent, loaded)
    assert loaded.config() == agent.config()
    initialised_again = Agent(SMALL, QNetwork(FEATURES, SMALL.hidden, SMALL.input_limit), ["a"])
    assert not scores_alike(agent, initialised_again)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 3 * SEGMENT), min_size=1, max_size=4), st.integers(0, 9))
def test_chunks_score_as_the_whole(lengths: list[int], seed: int) -> None:
    """Whatever the chunks, and also for an LSTM that hardly forgets, where every guess of a state is wrong."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = QNetwork(FEATURES, 8, 10.0)
    with torch.no_grad():
        network.lstm.bias_ih_l0[8:16] = 6.0  # the forget gate: it keeps 99.8 % of the cell at each step
    keeper = Agent(SMALL, network, ["a"])
    values = np.random.default_rng(seed).standard_normal((sum(lengths), FEATURES)).astype(np.float32)
    whole, _ = keeper.score("a", values)
    pieces, state = [], None
    for chunk in np.split(values, np.cumsum(lengths)[:-1]):
        piece, state = keeper.score("a", chunk, state)
        pieces.append(piece)
    assert np.concatenate(pieces) == pytest.approx(whole, abs=2e-5)


def test_segments_score_as_steps_in_order() -> None:
    """Oracle: the network run over all rows in order. Decoy: segments whose guessed states nobody checks."""
    torch.manual_seed(0)
    network = QNetwork(FEATURES, 8, 10.0)
    with torch.no_grad():
        network.lstm.bias_ih_l0[8:16] = 6.0
        values = torch.randn(6 * SEGMENT + 7, FEATURES)
        hidden = (torch.zeros(1, 8), torch.zeros(1, 8))
        in_order = network(values.unsqueeze(1), hidden)[0].squeeze(1)
        segments, (h, c) = run_series(network, values, hidden)
        unchecked = torch.cat([network(piece.unsqueeze(1))[0].squeeze(1) for piece in values.split(SEGMENT)])
        _, (h_end, c_end) = network(values.unsqueeze(1), hidden)
    assert torch.allclose(segments, in_order, atol=2e-5)
    assert torch.allclose(h, h_end, atol=2e-5)
    assert torch.allclose(c, c_end, atol=2e-4)
    assert not torch.allclose(unchecked, in_order, atol=2e-3)


def test_a_network_that_forgets_is_run_again_for_few_rows_only() -> None:
    """All rows once, and the first ones of each segment again; one that never forgets is run again in full."""
    counted: list[int] = []

    def rows_run(forget_gate: float) -> float:
        torch.manual_seed(0)
        network = QNetwork(FEATURES, 8, 10.0)
        with torch.no_grad():
            network.lstm.bias_ih_l0[8:16] = forget_gate
            network.register_forward_hook(lambda _, inputs, __: counted.append(inputs[0].shape[0] * inputs[0].shape[1]))
            counted.clear()
            run_series(network, torch.randn(8 * SEGMENT, FEATURES), (torch.zeros(1, 8), torch.zeros(1, 8)))
        return sum(counted) / (8 * SEGMENT)

    assert 1.0 < rows_run(0.0) < 1.2
    assert rows_run(12.0) > 2.0


def test_the_future_does_not_change_the_past(agent: Agent) -> None:
    values = world(seed=4)[0]["a"]
    changed = values.copy()
    changed[900:] += 5
    before, after = (agent.score("a", v)[0] for v in (values, changed))
    assert before[:900] == pytest.approx(after[:900], abs=2e-5)
    assert (before[900:] != after[900:]).all()


def features_read(score: npt.NDArray[np.float64], changed: list[npt.NDArray[np.float64]]) -> int:
    return sum(bool((score != other).any()) for other in changed)


def test_every_feature_is_read(agent: Agent) -> None:
    """Correction 5: the public multivariate variant reads one channel; the decoy does too."""
    values = world(seed=5)[0]["a"][:100]

    def one_channel(values: Array) -> Array:
        return np.repeat(values[:, :1], FEATURES, axis=1)

    moved = [values + np.eye(FEATURES, dtype=np.float32)[i] for i in range(FEATURES)]
    assert features_read(agent.score("a", values)[0], [agent.score("a", v)[0] for v in moved]) == FEATURES
    reads_one = [agent.score("a", one_channel(v))[0] for v in (values, *moved)]
    assert features_read(reads_one[0], reads_one[1:]) == 1


def test_scores_are_advantages_not_decisions(agent: Agent) -> None:
    """Correction 5: areas under curves need an order of all samples; decisions have two values."""
    score, _ = agent.score("a", world()[0]["a"])
    assert len(np.unique(score)) > 0.99 * len(score)
    assert len(np.unique(score > 0)) == 2


def test_input_is_not_changed_and_may_be_read_only(agent: Agent) -> None:
    values = world()[0]["a"] * 100  # far beyond the input limit
    before = values.copy()
    values.flags.writeable = False
    assert np.isfinite(agent.score("a", values)[0]).all()
    assert (values == before).all()


def test_fit_without_labels_follows_the_error() -> None:
    """The member's own contract: no label, no question, and still an order like the error's."""
    observations, errors, _ = world()
    agent = Agent(SMALL)
    agent.fit(observations, 0)
    score, _ = agent.score("a", observations["a"])
    assert np.corrcoef(score, errors["a"])[0, 1] > 0.5


def test_use_before_fit_and_wrong_features_are_refused(agent: Agent) -> None:
    with pytest.raises(DataError, match="not been fitted"):
        Agent().score("a", np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match="stranger is not known"):
        agent.score("stranger", np.zeros((3, FEATURES), np.float32))
    with pytest.raises(DataError, match="learnt from 3 channels"):
        agent.score("a", np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match="shorter than one window"):
        Agent(SMALL).fit({"a": np.zeros((19, 2), np.float32)}, 0)


# Training


def test_training_is_reproducible_to_the_bit() -> None:
    one, same, other = trained(1), trained(1), trained(2)
    assert one.history == same.history
    assert one.queries == same.queries
    assert all((one.agent.arrays()[k] == v).all() for k, v in same.agent.arrays().items())
    assert not scores_alike(one.agent, other.agent)


def test_training_leaves_global_randomness_alone() -> None:
    before = torch.random.get_rng_state()
    trained()
    assert torch.equal(before, torch.random.get_rng_state())


def test_history_tells_each_episode() -> None:
    """ε falls to a small end (correction 5), λ stays in bounds and follows the rule from episode to episode."""
    history = trained().history
    rule, value = SMALL.coefficient, SMALL.coefficient.start
    assert [episode.number for episode in history] == list(range(SMALL.episodes))
    for episode in history:
        value = rule.follow(value, episode.reward)
        assert episode.coefficient == value
    assert history[0].epsilon == SMALL.epsilon_start
    assert history[-1].epsilon == SMALL.epsilon_end <= 0.05
    assert all(np.isfinite(episode.loss) and episode.q_gap >= 0 for episode in history)
    assert history[-1].labels == SMALL.label_budget


def policy_is_heard(config: AgentConfig) -> bool:
    """Whether the reward that λ reacts to ends nearer to a perfect policy's (1) than to a random one's (0)."""
    return trained(config=config).history[-1].reward > 0.5


def test_lambda_reacts_to_the_learnt_policy() -> None:
    """Correction 5: at an ε that ends at 0.99, the reward is a coin's whatever was learnt."""
    assert policy_is_heard(SMALL)
    random = AgentConfig(**{**vars(SMALL), "epsilon_start": 1.0, "epsilon_end": 0.99})
    assert not policy_is_heard(random)


def test_budget_is_never_exceeded_and_no_window_is_asked_twice() -> None:
    """Over two trainings, the second told what the first asked."""
    observations, errors, truth = world()
    calls = list[tuple[str, int, int]]()

    def oracle(series: str, start: int, end: int) -> int:
        calls.append((series, start, end))
        return int(truth[series][start:end].any())

    first = train_agent(observations, errors, {}, oracle, SMALL, 0)
    assert len(first.queries) == len(calls) == SMALL.label_budget
    train_agent(observations, errors, {}, oracle, SMALL, 0, asked=list(calls))
    assert len(set(calls)) == len(calls) == 2 * SMALL.label_budget


def test_no_answer_is_an_answer_that_costs_budget_once_and_goes_to_people() -> None:
    """An oracle that never knows: every query comes back, none is repeated, and nothing was learnt from them."""
    observations, errors, _ = world()
    calls = list[tuple[str, int, int]]()

    def oracle(series: str, start: int, end: int) -> int:
        calls.append((series, start, end))
        return -1

    silent = train_agent(observations, errors, {}, oracle, SMALL, 0)
    assert len(set(calls)) == len(calls) == SMALL.label_budget
    assert silent.unanswered == silent.queries
    assert silent.history[-1].labels == 0
    nobody = train_agent(observations, errors, {}, None, SMALL, 0)
    assert len(nobody.unanswered) == SMALL.label_budget
    assert scores_alike(silent.agent, nobody.agent)


def test_an_impossible_answer_is_refused() -> None:
    observations, errors, _ = world()
    with pytest.raises(DataError, match="oracle answers"):
        train_agent(observations, errors, {}, lambda *_: 7, SMALL, 0)


def test_progress_is_told_after_each_episode() -> None:
    observations, errors, _ = world()
    shares, words = list[float](), list[str]()

    def progress(share: float, line: str) -> None:
        shares.append(share)
        words.append(line)

    train_agent(observations, errors, {}, None, SMALL, 0, progress)
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert all("reward" in line for line in words)


def parts_of(kind: type[Part]) -> Mapping[str, Part]:
    observations, _, truth = world(300)
    clock = np.arange(300, dtype=np.int64)
    return {name: kind(values, clock, truth[name]) for name, values in observations.items()}


def test_held_out_rows_are_refused_at_the_door() -> None:
    """Correction 4, by type: only training parts become training input, with their own rows and labels."""
    observations, labels = training_input(parts_of(TrainPart))  # type: ignore[arg-type]
    assert observations["a"].shape == (300, FEATURES)
    assert labels["a"].sum() > 0
    for kind in (Part, CalibrationPart, HeldOutPart):
        with pytest.raises(LeakageError, match="wanted TrainPart"):
            training_input(parts_of(kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "setting", [{"chunk": 0}, {"discount": 1.0}, {"epsilon_end": 0.9}, {"anomalous_share": 0.8, "normal_share": 0.3}]
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(BadInputError, match="agent: "):
        AgentConfig(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", [{"discount": 0.9, "n_step": 3}, {"discount": 0.5, "double": False}])
def test_other_forms_of_the_target_train_too(setting: dict[str, float]) -> None:
    config = AgentConfig(**{**vars(SMALL), **setting})
    assert np.isfinite(trained(config=config).history[-1].loss)


def test_beyond_everything_seen_is_more_anomalous_than_the_usual(agent: Agent) -> None:
    """One row far outside of what training held, where the LSTM's units are saturated and cannot tell it apart."""
    values = world(seed=6)[0]["a"][:90]  # before the first burst
    values[50] += 100
    score, _ = agent.score("a", values)
    assert score.argmax() == 50


def test_labels_given_at_the_start_are_learnt() -> None:
    """The harmless bursts look worst to the error; with labels the agent ranks harm above them, without it cannot."""
    observations, errors, truth = world()
    config = AgentConfig(**{**vars(SMALL), "label_budget": 0})

    def harm_first(labels: Mapping[str, npt.NDArray[np.int8]]) -> float:
        score, _ = train_agent(observations, errors, labels, None, config, 0).agent.score("a", observations["a"])
        loud = observations["a"][:, 1] > 4
        return float(score[truth["a"] == 1].mean() - score[loud & (truth["a"] == 0)].mean())

    assert harm_first(truth) > harm_first({}) + 1


def test_pseudo_labels_made_before_are_those_made_here() -> None:
    observations, errors, _ = world()
    before = warm_up(observations, window=SMALL.window, stride=SMALL.stride, anomalous=0.02, normal=0.1, seed=0)
    given, made = (train_agent(observations, errors, {}, None, SMALL, 0, pseudo=p) for p in (before, None))
    assert given.history == made.history
