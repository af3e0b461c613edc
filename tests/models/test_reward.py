"""Rewards: golden values, and correction 1: the intrinsic reward depends on the action."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.reward import Coefficient, Extrinsic, episode_reward, evidence, extrinsic, intrinsic, total
from watchkeeper.errors import BadInputError

LABEL = torch.tensor([0, 1, -1], dtype=torch.int8)
errors = st.floats(0, 1e6, width=32)


def same_for_both_actions(error: torch.Tensor) -> torch.Tensor:
    """The wrong form of the public code: the error is added whatever the action."""
    return error.unsqueeze(-1).expand(*error.shape, 2)


def test_extrinsic_reward_is_the_papers_table() -> None:
    """TN +1, FP −1; FN −5, TP +5; nothing where the label is unknown. From DRTA, by hand."""
    assert extrinsic(LABEL, Extrinsic()).tolist() == [[1, -1], [-5, 5], [0, 0]]


def test_intrinsic_reward_speaks_for_anomalous_where_the_error_is_large() -> None:
    """By hand: error 3 gives evidence (3 − 1) / (3 + 1) = 0.5; error 0.25 gives −0.75."""
    assert intrinsic(torch.tensor([3.0, 0.25])).tolist() == [[-0.5, 0.5], [0.75, -0.75]]


def decision_moves_with_lambda(form: torch.Tensor) -> bool:
    """Whether the advantage of *anomalous* on top of a false-alarm label's changes with λ."""
    labelled = extrinsic(LABEL, Extrinsic())
    gaps = [
        (labelled + coefficient * form)[..., 1] - (labelled + coefficient * form)[..., 0] for coefficient in (0.1, 0.9)
    ]
    return bool((gaps[0] != gaps[1]).all())


def test_lambda_changes_decisions() -> None:
    """Correction 1: with a term that is the same for both actions, λ never changes a decision."""
    error = torch.tensor([4.0, 4.0, 4.0])
    assert decision_moves_with_lambda(intrinsic(error))
    assert not decision_moves_with_lambda(same_for_both_actions(error))


@given(errors, st.sampled_from([0, 1]), st.floats(0, 0.99))
def test_a_label_is_never_overruled_by_the_error(error: float, label: int, coefficient: float) -> None:
    """Whatever the error, the best action for a labelled sample is its label."""
    reward = total(torch.tensor([label], dtype=torch.int8), torch.tensor([error]), coefficient, Extrinsic())
    assert int(reward.argmax(dim=-1)) == label


@given(errors, errors)
def test_evidence_keeps_the_order_of_errors(one: float, other: float) -> None:
    """A larger error never says less, and what is said stays within ±1."""
    low, high = evidence(torch.tensor(sorted([one, other]))).tolist()
    assert -1 <= low <= high <= 1


def test_coefficient_follows_the_missing_reward_and_is_clipped() -> None:
    """By hand: 0.5 + 0.2 · (0.9 − 0.4) = 0.6; far from the target it stops at its bounds."""
    coefficient = Coefficient(start=0.5, low=0.1, high=0.9, rate=0.2, target=0.9)
    assert coefficient.follow(0.5, 0.4) == pytest.approx(0.6)
    assert coefficient.follow(0.85, -1.0) == 0.9
    assert coefficient.follow(0.1, 1.0) == 0.1


def test_coefficient_that_could_overrule_a_label_is_refused() -> None:
    """λ of 1 and more is out of bounds."""
    with pytest.raises(BadInputError, match="lambda"):
        Coefficient(high=1.0)


def test_episode_reward_is_a_share_of_what_could_be_won() -> None:
    """By hand: right on the normal sample (+1), wrong on the anomalous one (−5), at stake 6, and with weights."""
    reward = extrinsic(LABEL, Extrinsic())
    action = torch.tensor([0, 0, 1])
    assert float(episode_reward(reward, action, torch.ones(3))) == pytest.approx(-4 / 6)
    assert float(episode_reward(reward, action, torch.tensor([1.0, 0.1, 1.0]))) == pytest.approx(0.5 / 1.5)
    assert float(episode_reward(reward, torch.tensor([0, 1, 0]), torch.ones(3))) == 1.0


def test_episode_reward_without_anything_at_stake_is_zero() -> None:
    """No label and no error: nothing to win, and no division by zero."""
    assert float(episode_reward(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), torch.ones(4))) == 0.0
