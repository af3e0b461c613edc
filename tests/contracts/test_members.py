"""The contract of a member, for every member of the registry, and the detector's own share of it.

A new member joins by its line in models/members.py and a maker in MAKERS here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.agent import Agent
from models.agent_config import AgentConfig
from models.iforest import IForest
from models.lstm import Lstm, LstmConfig
from models.member import Member, State
from models.members import MEMBERS, member_class
from models.norm import Norm
from models.pca import Pca
from models.quiet import Quiet
from models.ridge import Ridge
from models.vae import Vae, VaeConfig
from models.windows import Array
from watchkeeper.errors import DataError

WINDOW, ROWS = 12, 400


def made_up(channels: int, rows: int = ROWS, seed: int = 0) -> Array:
    """Fabricate a series: waves of different phase and a little noise, float32 (rows, channels), scaled."""
    rng = np.random.default_rng(seed)
    phase = np.arange(channels) / channels
    waves = np.sin(np.arange(rows)[:, None] / 7 + 2 * np.pi * phase)
    return np.asarray(waves + 0.2 * rng.normal(size=(rows, channels)), dtype=np.float32)


def small_agent() -> Agent:
    """A small agent. Clean waves hold no anomaly for warm-up to find, so its pseudo-labels count for less here."""
    return Agent(
        AgentConfig(
            hidden=16, chunk=60, burn_in=10, episodes=12, passes=60, batch=8, learning_rate=5e-3,
            window=WINDOW, stride=4, pseudo_weight=0.1,
        )
    )  # fmt: skip


MAKERS: dict[str, Callable[[], Member]] = {
    "agent": small_agent,
    "iforest": lambda: IForest(WINDOW, trees=50),
    "lstm": lambda: Lstm(LstmConfig(hidden=16, chunk=60, burn_in=10, epochs=6, rows_per_epoch=8000, batch=8)),
    "norm": Norm,
    "pca": lambda: Pca(WINDOW),
    "quiet": lambda: Quiet(WINDOW),
    "ridge": Ridge,
    "vae": lambda: Vae(VaeConfig(window=WINDOW, hidden=16, latent=3, epochs=3, windows_per_epoch=800, batch=64)),
}
"""An unfitted, small member for each name of the registry."""


def break_down(name: str, values: Array, channels: list[int]) -> None:
    """Put in what a member is there for: a spike at row 300, or for `quiet` channels that stick up to it."""
    if name == "quiet":
        values[302 - WINDOW : 304, channels] = values[302 - WINDOW, channels]
    else:
        values[300, channels] += 12


Fitted = tuple[Member, dict[str, Array]]


@pytest.fixture(scope="module", params=sorted(MEMBERS))
def fitted(request: pytest.FixtureRequest) -> Fitted:
    member = MAKERS[request.param]()
    parts = {"a": made_up(4, seed=1), "b": made_up(4, seed=2)}
    member.fit(parts, seed=7)
    return member, parts


def in_chunks(member: Member, values: Array, cuts: list[int]) -> npt.NDArray[np.float64]:
    """Score with carried state, in chunks that end at the cuts."""
    state: State | None = None
    scores = []
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        score, state = member.score("a", values[start:stop], state)
        scores.append(score)
    return np.concatenate(scores)


def test_every_member_of_the_registry_is_tested() -> None:
    assert set(MAKERS) == set(MEMBERS)
    assert all(member_class(name).name == name for name in MEMBERS)


def test_scores_are_finite_one_for_each_row(fitted: Fitted) -> None:
    member, _ = fitted
    score, _ = member.score("a", made_up(4, 123, seed=3))
    assert score.shape == (123,)
    assert score.dtype == np.float64
    assert np.isfinite(score).all()


def test_scores_stay_finite_on_extreme_and_constant_rows(fitted: Fitted) -> None:
    member, _ = fitted
    for level in (0.0, 30.0, -30.0):
        assert np.isfinite(member.score("a", np.full((40, 4), level, np.float32))[0]).all()


def test_input_is_left_as_it_was(fitted: Fitted) -> None:
    member, parts = fitted
    values = made_up(4, seed=3)
    before = values.copy()
    values.flags.writeable = False
    member.score("a", values)
    member.contributions("a", values)
    assert np.array_equal(values, before)
    assert np.array_equal(parts["a"], made_up(4, seed=1))


def test_the_same_seed_gives_the_same_scores(fitted: Fitted) -> None:
    member, parts = fitted
    again = MAKERS[member.name]()
    again.fit(parts, seed=7)
    values = made_up(4, seed=3)
    assert np.array_equal(again.score("b", values)[0], member.score("b", values)[0])


def test_a_saved_member_scores_as_before_to_the_last_bit(fitted: Fitted) -> None:
    member, _ = fitted
    arrays = {name: array.copy() for name, array in member.arrays().items()}
    loaded = member_class(member.name).from_arrays(member.config(), arrays)
    values = made_up(4, seed=3)
    assert np.array_equal(loaded.score("a", values)[0], member.score("a", values)[0])


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(1, 199), jump=st.floats(-30, 30, width=32))
def test_a_change_in_the_future_never_changes_a_past_score(fitted: Fitted, at: int, jump: float) -> None:
    member, _ = fitted
    values = made_up(4, 200, seed=3)
    changed = values.copy()
    changed[at:] += np.float32(jump)
    before, after = member.score("a", values)[0], member.score("a", changed)[0]
    assert np.array_equal(before[:at], after[:at])


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 149), unique=True, max_size=6).map(sorted))
def test_chunks_with_carried_state_score_as_the_whole(fitted: Fitted, cuts: list[int]) -> None:
    member, _ = fitted
    values = made_up(4, 150, seed=3)
    np.testing.assert_allclose(in_chunks(member, values, cuts), member.score("a", values)[0], rtol=2e-4, atol=1e-5)


def test_an_unknown_series_is_refused_by_name(fitted: Fitted) -> None:
    member, _ = fitted
    with pytest.raises(DataError, match="stranger"):
        member.score("stranger", made_up(4))


def test_other_channels_are_refused(fitted: Fitted) -> None:
    member, _ = fitted
    with pytest.raises(DataError, match="channels"):
        member.score("a", made_up(5))


def test_contributions_are_not_negative_and_name_the_channel_that_broke(fitted: Fitted) -> None:
    member, _ = fitted
    values = made_up(4, seed=3)
    break_down(member.name, values, [2])
    contributions = member.contributions("a", values)
    if contributions is None:
        pytest.skip(f"{member.name} has no contributions")
    assert contributions.shape == values.shape
    assert contributions.dtype == np.float32
    assert (contributions >= 0).all()
    assert contributions[300].argmax() == 2


def test_a_plain_break_scores_above_all_else(fitted: Fitted) -> None:
    member, _ = fitted
    values = made_up(4, seed=3)
    break_down(member.name, values, [0, 1, 2, 3])
    score = member.score("a", values)[0]
    assert 300 <= score.argmax() < 300 + WINDOW


@pytest.mark.parametrize("name", sorted(set(MEMBERS) - {"norm"}))
def test_a_series_shorter_than_a_window_is_refused_at_fit(name: str) -> None:
    member = MAKERS[name]()
    with pytest.raises(DataError, match=r"short|rows"):
        member.fit({"a": made_up(4, 3)}, seed=0)


def test_configurations_are_json(fitted: Fitted) -> None:
    import json

    config: dict[str, Any] = fitted[0].config()
    assert json.loads(json.dumps(config)) == config
