from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from models import lstm as module
from models import recurrence
from models.lstm import INPUT_LIMIT, Lstm, LstmConfig, Network, forecast_loss
from models.recurrence import Hidden
from models.windows import Array
from watchkeeper.errors import BadInputError, DataError

SMALL = LstmConfig(hidden=12, chunk=40, burn_in=10, epochs=4, rows_per_epoch=7_200, batch=4, learning_rate=1e-2)


def waves(rows: int = 600, seed: int = 0, step: float = 0.2) -> Array:
    rng = np.random.default_rng(seed)
    return np.asarray(
        np.sin(np.arange(rows)[:, None] * step + np.arange(3)) + 0.05 * rng.normal(size=(rows, 3)), np.float32
    )


def fitted(values: Array, settings: LstmConfig = SMALL) -> Lstm:
    member = Lstm(settings)
    member.fit({"a": values}, seed=3)
    return member


@pytest.fixture(scope="module")
def member() -> Lstm:
    return fitted(waves())


def test_hand_computed_loss() -> None:
    """Mean squares 0.999 and 9.999 plus the floor are 1 and 10: (ln 1 + ln 10) / 2."""
    forecast = torch.tensor([[[0.999**0.5, 9.999**0.5]]])
    assert forecast_loss(forecast, torch.zeros(1, 1, 2)).item() == pytest.approx(np.log(10) / 2, rel=1e-6)


def test_the_loss_weighs_each_channel_by_its_relative_error() -> None:
    """Halving the error of a quiet channel gains as much as with a loud one; with plain squares it would gain less."""
    target = torch.zeros(50, 2, 2)
    loud, quiet = torch.full((50, 2, 2), 0.4), torch.full((50, 2, 2), 0.4)
    before = torch.stack([loud[..., 0], quiet[..., 0] * 10], dim=-1)
    gains = [
        forecast_loss(before, target) - forecast_loss(before * torch.tensor(factor), target)
        for factor in ([0.5, 1.0], [1.0, 0.5])
    ]
    assert gains[0].item() == pytest.approx(gains[1].item(), rel=0.02)


def test_a_forecast_is_of_the_next_row(member: Lstm) -> None:
    """On waves a trained forecaster beats persistence by far; it starts out as persistence."""
    values = waves()
    errors, _ = member.errors("a", values, None)
    persistence = np.square(np.diff(values, axis=0)).mean(axis=0)
    assert (member.arrays()["usual.a"] < 0.6 * persistence).all()
    np.testing.assert_allclose(errors.mean(axis=0), 1.0, rtol=1e-4)


@pytest.mark.parametrize("owner", [module, recurrence])
def test_scores_equal_an_obvious_pass_row_by_row(
    member: Lstm, monkeypatch: pytest.MonkeyPatch, owner: ModuleType
) -> None:
    """Across the blocks of the member, and across those of the recurrence."""
    monkeypatch.setattr(owner, "BLOCK", 700)
    values = waves(1500)
    errors, _ = member.errors("a", values, None)
    network = member._network
    assert network is not None
    hidden: Hidden | None = None
    with torch.no_grad():
        # at the start of a series the first row stands in for the one before it
        rows = [values[0], *values]
        for row in range(1500):
            out, hidden = network(torch.from_numpy(rows[row]).view(1, 1, 3), hidden)
            forecast = out.numpy().reshape(3)
            expected = (values[row] - forecast) ** 2 / member.arrays()["usual.a"]
            np.testing.assert_allclose(errors[row], expected, rtol=1e-3, atol=1e-4)


def test_the_state_is_carried_and_not_begun_again(member: Lstm) -> None:
    """Decoy: scoring each chunk from an empty state differs."""
    values = waves(300)
    whole, _ = member.score("a", values)
    _, state = member.score("a", values[:150])
    carried, _ = member.score("a", values[150:], state)
    begun, _ = member.score("a", values[150:])
    np.testing.assert_allclose(carried, whole[150:], rtol=1e-3, atol=1e-5)
    assert not np.allclose(begun[:3], whole[150:153], rtol=0.05)
    assert sorted(state) == ["average", "c", "h", "row"]


def test_errors_are_not_clipped_though_inputs_are(member: Lstm) -> None:
    values = waves(100)
    values[60:] = 50.0
    errors, _ = member.errors("a", values, None)
    far = (50 - 3 * INPUT_LIMIT) ** 2
    assert (errors[60:] * member.arrays()["usual.a"] > far).all()
    network = Network(3, 4)
    ones = torch.ones(1, 1, 3)
    assert torch.equal(network(INPUT_LIMIT * ones)[0], network(100 * ones)[0])


def test_training_lowers_the_loss_and_tells_each_epoch() -> None:
    told: list[float] = []
    member = Lstm(SMALL)
    member.fit({"a": waves()}, seed=3, progress=lambda share, _words: told.append(share))
    assert told == pytest.approx([(epoch + 1) / 4 for epoch in range(4)])
    assert [record["epoch"] for record in member.history] == list(range(4))
    assert member.history[-1]["loss"] < member.history[0]["loss"] - 0.2
    assert member.history[-1]["squared_error"] < member.history[0]["squared_error"]


@pytest.mark.parametrize("rows", [100, 900])
def test_training_runs_as_many_rows_on_any_data(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    ran: list[int] = []
    forward = Network.forward

    def counted(self: Network, given: torch.Tensor, hidden: Hidden | None = None) -> object:
        ran.append(given.shape[0] * given.shape[1])
        return forward(self, given, hidden)

    monkeypatch.setattr(Network, "forward", counted)
    member = Lstm(LstmConfig(hidden=4, chunk=40, burn_in=10, epochs=2, rows_per_epoch=4000, batch=4))
    member._train([waves(rows), waves(rows)], seed=0, progress=None)
    assert sum(ran) == 2 * 4000


def test_chunks_are_drawn_from_every_row_of_every_series() -> None:
    parts = [np.arange(start, start + rows, dtype=np.float32)[:, None] for start, rows in ((0, 12), (100, 10))]
    drawn = Lstm(SMALL)._draw(parts, 500, 10, np.random.default_rng(0)).numpy()[..., 0]
    assert (np.diff(drawn, axis=0) == 1).all()  # no chunk crosses from one series into the other
    assert set(drawn[0]) == {0.0, 1.0, 2.0, 100.0}


def test_one_network_learns_every_series(member: Lstm) -> None:
    fast = waves(step=1.1)
    both = Lstm(SMALL)
    both.fit({"a": waves(), "b": fast}, seed=3)
    alien, _ = member._squares(fast, None)
    assert both.arrays()["usual.b"].mean() < 0.8 * alien.mean()


def test_an_untrained_network_scores_otherwise_than_the_trained_one(member: Lstm) -> None:
    values = waves()
    loaded = Lstm.from_arrays(member.config(), member.arrays())
    untrained = fitted(values, replace(SMALL, learning_rate=0.0, rows_per_epoch=200))
    score = member.score("a", values)[0]
    assert np.array_equal(loaded.score("a", values)[0], score)
    assert not np.allclose(untrained.score("a", values)[0], score, rtol=0.05)


def test_read_only_rows_are_taken() -> None:
    values = waves()
    values.flags.writeable = False
    fitted(values, replace(SMALL, rows_per_epoch=200)).score("a", values)


def test_the_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fitted(waves(), replace(SMALL, rows_per_epoch=200))
    assert torch.rand(1) == expected


def test_series_of_different_channels_and_short_ones_are_refused() -> None:
    with pytest.raises(DataError, match="same channels"):
        Lstm(SMALL).fit({"a": waves(), "b": waves()[:, :2]}, seed=0)
    with pytest.raises(DataError, match="9 rows"):
        Lstm(SMALL).fit({"a": waves(), "b": waves(9)}, seed=0)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(BadInputError, match="burn_in"):
        LstmConfig(burn_in=0)
