import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of

from models import vae as module
from models.vae import SquaredError, Vae, VaeConfig, kl_divergence, negative_elbo
from watchkeeper.errors import DataError

SMALL = VaeConfig(window=10, hidden=16, latent=3, epochs=6, windows_per_epoch=600, batch=16)


def waves(rows: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(
        np.sin(np.arange(rows)[:, None] / 5 + np.arange(3)) + 0.1 * rng.normal(size=(rows, 3)), np.float32
    )


def fitted(values: np.ndarray, settings: VaeConfig = SMALL) -> Vae:
    member = Vae(settings)
    member.fit({"a": values}, seed=3)
    return member


def test_kl_divergence_equals_that_of_torch_distributions() -> None:
    mean, log_variance = torch.tensor([[0.5, -2.0]]), torch.tensor([[0.3, -1.0]])
    oracle = kl_of(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros(1, 2), torch.ones(1, 2))).sum()
    assert kl_divergence(mean, log_variance).item() == pytest.approx(oracle.item(), rel=1e-6)


def test_hand_computed_loss() -> None:
    """Errors (1, 2) give ½·5 over width 2; N(1, 1) against N(0, 1) gives ½; half of that counts."""
    error = torch.tensor([1.0, 4.0]).mean()
    loss, reconstruction, kl = negative_elbo(error, torch.ones(1, 1), torch.zeros(1, 1), width=2, beta=0.5)
    assert (reconstruction.item(), kl.item(), loss.item()) == (1.25, 0.25, 1.375)


def layer(n: int, hidden: int, width: int, kind: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = (n, hidden), (width, hidden), (width,), (n, width)
    return [torch.randn(shape, dtype=kind, generator=generator).requires_grad_() for shape in shapes]


def test_the_squared_error_equals_that_of_rebuilt_windows() -> None:
    """Value and every gradient are those of PyTorch's own mean squared error of the rebuilt windows."""
    hidden, weight, bias, target = layer(7, 4, 30, torch.float64)
    found = SquaredError.apply(hidden, weight, bias, target.detach())
    wanted = torch.nn.functional.mse_loss(hidden @ weight.T + bias, target.detach())
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    learnt = (hidden, weight, bias)
    for one, other in zip(torch.autograd.grad(3 * found, learnt), torch.autograd.grad(3 * wanted, learnt), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_the_squared_error_keeps_float32_where_the_fit_is_close() -> None:
    """Where a thousandth of the target is left, value and gradients still agree to a few in a thousand."""
    hidden, weight, bias, target = layer(64, 8, 200, torch.float32)
    rebuilt = hidden @ weight.T + bias
    close = (rebuilt + 1e-3 * rebuilt.std() * target).detach()
    found = SquaredError.apply(hidden, weight, bias, close)
    wanted = torch.nn.functional.mse_loss(rebuilt.double(), close.double())
    assert found.item() == pytest.approx(wanted.item(), rel=0.2)
    learnt = (hidden, weight, bias)
    for one, other in zip(torch.autograd.grad(found, learnt), torch.autograd.grad(wanted, learnt), strict=True):
        assert (one - other).norm() < 5e-3 * other.norm()


def test_training_lowers_the_loss_and_tells_each_epoch() -> None:
    told: list[float] = []
    member = Vae(SMALL)
    member.fit({"a": waves()}, seed=3, progress=lambda share, _words: told.append(share))
    assert told == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    assert [record["epoch"] for record in member.history] == list(range(6))
    assert member.history[-1]["reconstruction"] < 0.7 * member.history[0]["reconstruction"]


def test_an_untrained_network_scores_otherwise_than_the_trained_one() -> None:
    """A loaded network that is initialised again scores like an untrained one; ours must not."""
    values = waves()
    member = fitted(values)
    loaded = Vae.from_arrays(member.config(), member.arrays())
    untrained = fitted(values, VaeConfig(**{**member.config()["settings"], "epochs": 0}))
    score = member.score("a", values)[0]
    assert np.array_equal(loaded.score("a", values)[0], score)
    assert not np.allclose(untrained.score("a", values)[0], score, rtol=0.05)


def test_scores_equal_an_obvious_pass_over_single_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORING_BATCH", 37)
    values = waves(100)
    member = fitted(waves())
    errors, _ = member.errors("a", values, None)
    network = member._network
    assert network is not None
    for row in (9, 50, 99):
        window = torch.from_numpy(values[row - 9 : row + 1].reshape(1, -1).copy())
        with torch.inference_mode():
            rebuilt = network.decode(network.encode(window)[0]).numpy().reshape(10, 3)
        expected = (values[row] - rebuilt[-1]) ** 2 / member.arrays()["usual.a"]
        np.testing.assert_allclose(errors[row], expected, rtol=1e-3, atol=1e-5)


def test_windows_are_drawn_from_every_series() -> None:
    """With one series left out, its own waves of another length would be rebuilt worse."""
    fast = np.asarray(np.sin(np.arange(600)[:, None] * 1.1 + np.arange(3)), np.float32)
    both = Vae(SMALL)
    both.fit({"a": waves(), "b": fast}, seed=3)
    one = Vae(SMALL)
    one.fit({"a": waves()}, seed=3)
    alien = one._squares(fast[9:], module.cut_windows(fast, 10)).mean()
    assert both._squares(fast[9:], module.cut_windows(fast, 10)).mean() < 0.8 * alien


def test_the_epoch_is_capped() -> None:
    settings = VaeConfig(window=10, hidden=4, latent=2, epochs=1, windows_per_epoch=64, batch=64)
    calls: list[int] = []
    member = Vae(settings)
    gather = member._gather
    member._gather = lambda views, counts, picks, out: calls.append(len(picks)) or gather(views, counts, picks, out)  # type: ignore[method-assign,func-returns-value]
    member.fit({"a": waves()}, seed=0)
    assert calls == [64]


def test_the_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fitted(waves())
    assert torch.rand(1) == expected


def test_series_of_different_channels_are_refused() -> None:
    with pytest.raises(DataError, match="same channels"):
        Vae(SMALL).fit({"a": waves(), "b": waves()[:, :2]}, seed=0)
