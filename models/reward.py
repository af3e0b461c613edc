"""The reward of the agent: what people said, what the reconstruction error says, and λ between them.

Every function gives the reward of both actions at once (the last axis: normal, anomalous), because the next state does
not depend on the action: nothing has to be tried to know what it would have brought.
"""

from dataclasses import dataclass

import torch

from watchkeeper.errors import BadInputError


@dataclass(frozen=True)
class Extrinsic:
    """Rewards of the four outcomes, from DRTA (arXiv 2508.18474): a missed anomaly costs most."""

    true_positive: float = 5.0
    true_negative: float = 1.0
    false_positive: float = -1.0
    false_negative: float = -5.0


@dataclass(frozen=True)
class Coefficient:
    """How λ, the weight of the intrinsic reward, follows the episode's reward.

    Attributes:
        start: λ of the first episode.
        low: smallest λ.
        high: largest λ, below 1: see `evidence`.
        rate: α, how far λ moves for one unit of missing reward.
        target: the normalised episode reward aimed at, 1 = everything decided rightly.
    """

    start: float = 0.5
    low: float = 0.1
    high: float = 0.9
    rate: float = 0.2
    target: float = 0.9

    def __post_init__(self) -> None:
        """Refuse bounds under which the error could overrule a label."""
        if not 0 <= self.low <= self.start <= self.high < 1:
            raise BadInputError(
                f"lambda needs 0 <= low <= start <= high < 1, found {self.low}, {self.start} and {self.high}"
            )

    def follow(self, value: float, episode_reward: float) -> float:
        """λ ← clip(λ + α (target − episode reward), low, high): DRTA, the dynamic coefficient.

        Args:
            value: λ of the episode that ended.
            episode_reward: its normalised reward, −1 to 1 (`episode_reward`).
        """
        return min(max(value + self.rate * (self.target - episode_reward), self.low), self.high)


def extrinsic(label: torch.Tensor, outcome: Extrinsic) -> torch.Tensor:
    """Reward of both actions from the labels; an unknown label says nothing.

    Args:
        label: int8, any shape: 1 anomalous, 0 normal, −1 unknown.
        outcome: the four rewards.

    Returns:
        float32 (…, 2), actions normal and anomalous; zero where the label is unknown.
    """
    of_label = torch.tensor(
        [
            [outcome.true_negative, outcome.false_positive],
            [outcome.false_negative, outcome.true_positive],
            [0.0, 0.0],  # label −1, reached by its index from the end
        ],
        device=label.device,
    )
    return of_label[label.long()]


def evidence(error: torch.Tensor) -> torch.Tensor:
    """What an error says about its sample, from −1 (surely normal) to 1 (surely anomalous); 0 at error 1.

    Bounded, so that λ < 1 times it is always less than the smallest step between two extrinsic rewards (2, from TN to
    FP, against 2 λ): the error guides where nobody said anything, and never overrules a label.

    Args:
        error: calibrated reconstruction error, about 1 at a high quantile of normal; below 0 counts as 0.

    Returns:
        The same shape: e − 1 up to error 1, then (e − 1) / (e + 1), which keeps large errors in their order.
    """
    above = error.clamp(min=0.0) - 1.0
    return torch.where(above > 0, above / (above + 2.0), above)


def intrinsic(error: torch.Tensor) -> torch.Tensor:
    """Reward of both actions from the reconstruction error: for *anomalous* and against *normal*, or the reverse.

    A term that is the same for both actions would move both Q values alike and never change a decision, whatever λ.

    Args:
        error: calibrated reconstruction error, any shape.

    Returns:
        float32 (…, 2), actions normal and anomalous.

    Source: DRTA (arXiv 2508.18474) adds the error itself, whatever the action; the dependence on the action is ours.
    """
    says = evidence(error)
    return torch.stack([-says, says], dim=-1)


def total(label: torch.Tensor, error: torch.Tensor, coefficient: float, outcome: Extrinsic) -> torch.Tensor:
    """Extrinsic + λ · intrinsic, for both actions: float32 (…, 2)."""
    return extrinsic(label, outcome) + coefficient * intrinsic(error)


def episode_reward(reward: torch.Tensor, action: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The reward of the actions taken, as a share of the largest that could have been won: −1 to 1.

    Normalised, so that λ's target means the same for long and short episodes and for many and few labels.

    Args:
        reward: float32 (…, 2), of both actions.
        action: int64 (…), the actions taken.
        weight: float32 (…), how much each step counts.

    Returns:
        A scalar; 0 where nothing could be won.
    """
    won = (weight * reward.gather(-1, action.unsqueeze(-1)).squeeze(-1)).sum()
    at_stake = (weight * reward.abs().amax(dim=-1)).sum()
    return won / at_stake.clamp(min=torch.finfo(torch.float32).tiny)
