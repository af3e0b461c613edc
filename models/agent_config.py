"""The settings of the agent (models/agent.py), with the defaults that its figures were measured with."""

from dataclasses import dataclass, field

from models.query import Strategy
from models.reward import Coefficient, Extrinsic
from watchkeeper.errors import BadInputError


@dataclass(frozen=True)
class AgentConfig:
    """Everything that can be set.

    Attributes:
        hidden: units of the LSTM.
        input_limit: observations are cut to ± this.
        chunk: rows of a chunk that are learnt from.
        burn_in: rows before them that warm the hidden state.
        episodes: how often the policy is rolled out and λ moves.
        rollouts: chunks rolled out in an episode.
        batch: chunks in a gradient update.
        passes: how often, on average, a row is trained on. With `most_steps` it bounds the cost.
        most_steps: the largest number of rows trained on in all.
        replay_capacity: chunk starts kept.
        learning_rate: of Adam.
        discount: γ.
        n_step: rewards counted before the value of the state that follows takes over.
        double: the online network selects, the target network evaluates (Double DQN).
        target_every: updates from one copy of the online network into the target network to the next.
        epsilon_start, epsilon_end: share of random actions; it falls linearly over the first half of the episodes.
        rewards, coefficient: see models/reward.py.
        people_weight, propagated_weight, pseudo_weight, unlabelled_weight: how much a row counts in the loss and in
            the episode's reward, by where its label comes from.
        anomalous_share, normal_share: shares of a batch drawn around labelled rows.
        window, stride: samples, of the windows that warm-up embeds.
        pseudo_anomalous, pseudo_normal: shares of windows that warm-up labels.
        strategy, label_budget, query_window, query_rounds, query_spacing: active learning (models/query.py); the
            budget is windows in one training, spread over the rounds.
        propagate: whether label propagation is tried.
        error_feature: which feature of the observation holds the error, for `Agent.fit`; None for the norm of the
            observation over its 99 % quantile.
        device: "cpu" or "cuda", for training; scoring is on the CPU.
    """

    hidden: int = 64
    input_limit: float = 10.0
    chunk: int = 256
    burn_in: int = 50
    episodes: int = 24
    rollouts: int = 32
    batch: int = 32
    passes: float = 40.0
    most_steps: int = 7_000_000
    replay_capacity: int = 20_000
    learning_rate: float = 2e-3
    discount: float = 0.0
    n_step: int = 1
    double: bool = True
    target_every: int = 20
    epsilon_start: float = 0.5
    epsilon_end: float = 0.02
    rewards: Extrinsic = field(default_factory=Extrinsic)
    coefficient: Coefficient = field(default_factory=Coefficient)
    people_weight: float = 1.0
    propagated_weight: float = 0.3
    pseudo_weight: float = 0.3
    unlabelled_weight: float = 0.1
    anomalous_share: float = 0.25
    normal_share: float = 0.25
    window: int = 50
    stride: int = 10
    pseudo_anomalous: float = 0.02
    pseudo_normal: float = 0.1
    strategy: Strategy = Strategy.MIXED
    label_budget: int = 50
    query_window: int = 25
    query_rounds: int = 4
    query_spacing: int = 1
    propagate: bool = True
    error_feature: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        counts = ("hidden", "chunk", "burn_in", "episodes", "rollouts", "batch", "n_step", "target_every", "window")
        for name in counts:
            if getattr(self, name) < 1:
                raise BadInputError(f"agent: {name} is at least 1, found {getattr(self, name)}")
        if not 0 <= self.discount < 1 or not 0 <= self.epsilon_end <= self.epsilon_start <= 1:
            raise BadInputError(
                f"agent: wanted 0 <= discount < 1 and 0 <= epsilon_end <= epsilon_start <= 1, "
                f"found {self.discount}, {self.epsilon_end} and {self.epsilon_start}"
            )
        if self.anomalous_share + self.normal_share > 1 or min(self.anomalous_share, self.normal_share) < 0:
            raise BadInputError(f"agent: shares sum to 1 at most, found {self.anomalous_share} and {self.normal_share}")

    def epsilon(self, episode: int) -> float:
        """Share of random actions in an episode, counted from 0."""
        done = min(1.0, 2 * episode / max(self.episodes - 1, 1))
        return (1 - done) * self.epsilon_start + done * self.epsilon_end
