"""A small variational autoencoder on windows: network, loss, training and scoring in one file.

Deviations from the paper (Kingma and Welling, arXiv 1312.6114):
1. The decoder's likelihood is a Gaussian of variance 1, so the reconstruction term is half the squared error.
2. The KL term carries a weight, `beta`, as in Higgins et al., "beta-VAE" (2017).
3. Scoring uses the posterior mean alone, so it is deterministic; the paper draws samples.
4. One network is shared by all series of a watch; the errors are divided per series and channel by the usual ones.
5. Training never rebuilds a window: value and gradient of the squared error come from small products (`SquaredError`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.member import FLOOR, DiscountedErrorMember, State
from models.windows import Array, cut_windows, with_history
from watchkeeper.errors import DataError
from watchkeeper.progress import Progress

SCORING_BATCH = 2048
INPUT_LIMIT = 5.0
"""The network sees inputs clipped to ± this many scales, so that one wild channel does not upset all; errors do not."""


@dataclass(frozen=True)
class VaeConfig:
    """Sizes and training of the network.

    Attributes:
        window: length in samples.
        hidden: units of the one hidden layer of encoder and decoder.
        latent: dimensions of the code.
        beta: weight of the KL term.
        epochs: how often progress and figures are told.
        windows_per_epoch: drawn afresh each epoch from all series alike; where there are fewer, each is drawn several
            times. So training takes the same time, and gives the network the same number of updates, on any data.
        batch: windows in one update.
        learning_rate: of Adam, falling to zero as a half cosine.
    """

    window: int = 50
    hidden: int = 64
    latent: int = 8
    beta: float = 0.01
    epochs: int = 12
    windows_per_epoch: int = 20_000
    batch: int = 512
    learning_rate: float = 2e-3


class Network(nn.Module):
    """Encoder to mean and log-variance of the code, decoder back to the window."""

    def __init__(self, width: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU())
        self.rebuild = nn.Linear(hidden, width)  # linear: `SquaredError` rests on it

    def encode(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, width) to mean and log-variance, (batch, latent) each."""
        hidden = self.encoder(flat)
        return self.mean(hidden), self.log_variance(hidden).clamp(-8.0, 8.0)

    def decode(self, code: Tensor) -> Tensor:
        """Rebuild (batch, width) from (batch, latent)."""
        rebuilt: Tensor = self.rebuild(self.decoder(code))
        return rebuilt

    def squared_error(self, code: Tensor, target: Tensor) -> Tensor:
        """Mean of (decode(code) − target)², without the rebuilt windows; gradients reach all but the target."""
        error: Tensor = SquaredError.apply(self.decoder(code), self.rebuild.weight, self.rebuild.bias, target)  # type: ignore[no-untyped-call] # torch leaves it untyped
        return error


class SquaredError(torch.autograd.Function):
    """Mean squared error of a linear layer, mean (h Wᵀ + b − x)², from products of no more than (width, hidden).

    With n windows x and r = h Wᵀ + b − x, the sum of squares and its gradients are quadratic forms:

        Σ r² = Σ h ∘ (h WᵀW + 2 bW − 2 xW) + Σ x² − 2 b·Σx + n b·b
        r W  = h WᵀW + bW − xW              half the gradient to h
        rᵀ h = W hᵀh + b (Σh)ᵀ − xᵀh        half the gradient to W
        Σ r  = W Σh + n b − Σx              half the gradient to b

    Only xW and xᵀh are as large as the windows: two such products where rebuilding them and going back takes three,
    and no (n, width) array of rebuilt values, errors and gradients goes through memory.

    Source: the normal equations of linear least squares, in parts; sums of float32 differ from the direct form's.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        """Return the mean for hidden (n, hidden), weight (width, hidden), bias (width,) and target (n, width)."""
        cross, shift, total = target @ weight, bias @ weight, target.sum(dim=0)
        back = hidden @ (weight.T @ weight) + shift - cross  # r W
        constant = torch.dot(target.flatten(), target.flatten()) - 2 * (bias @ total) + len(target) * (bias @ bias)
        ctx.save_for_backward(hidden, weight, bias, target, back, total)
        squares = (hidden * (back + shift - cross)).sum() + constant
        return squares.clamp(min=0.0) / target.numel()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients to hidden, weight and bias; a target is given."""
        hidden, weight, bias, target, back, total = ctx.saved_tensors
        factor = 2 * grad / target.numel()
        scaled = hidden * factor
        sums = scaled.sum(dim=0)
        to_weight = torch.addmm(torch.outer(bias, sums), weight, hidden.T @ scaled).addmm_(target.T, scaled, alpha=-1.0)
        return back * factor, to_weight, weight @ sums + (len(target) * bias - total) * factor, None


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, variance) from N(0, 1), in nats, summed over the code: (batch,).

    Source: Kingma and Welling, arXiv 1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)


def negative_elbo(
    squared_error: Tensor, mean: Tensor, log_variance: Tensor, width: int, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, reconstruction term and KL term, each averaged over the batch and per value of the window.

    The evidence lower bound is E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)); with p(x|z) = N(rebuilt, 1) its first term is
    −½ Σ (x − rebuilt)², up to a constant. What is returned is −(first − beta · second) / width.

    Args:
        squared_error: mean over batch and window, of `Network.squared_error`.
        mean: of the code, (batch, latent).
        log_variance: of the code, (batch, latent).
        width: values of a window.
        beta: weight of the KL term.

    Source: Kingma and Welling, arXiv 1312.6114, equations 3 and 10.
    """
    reconstruction = 0.5 * squared_error
    kl = kl_divergence(mean, log_variance).mean() / width
    return reconstruction + beta * kl, reconstruction, kl


class Vae(DiscountedErrorMember):
    """Error of the newest sample of each window as the network rebuilds it, per channel, divided by the usual one."""

    name: ClassVar[str] = "vae"

    def __init__(self, settings: VaeConfig | None = None, device: str = "cpu") -> None:
        self.settings = settings or VaeConfig()
        self.device = torch.device(device)
        self.history: list[dict[str, float]] = []  # by epoch: loss, reconstruction, kl
        self._network: Network | None = None
        self._usual: dict[str, Array] = {}  # (channel,)

    def fit(self, parts: Mapping[str, Array], seed: int, progress: Progress | None = None) -> None:
        """Train one network on windows of all series, then note each series' usual errors.

        Raises:
            DataError: a series is shorter than one window, or the series differ in channels.
        """
        widths = {values.shape[1] for values in parts.values()}
        if len(widths) != 1:
            raise DataError(f"the series of one network need the same channels, found {sorted(widths)} channels")
        views = {series: cut_windows(values, self.settings.window) for series, values in parts.items()}
        self._train(list(views.values()), seed, progress)
        self._usual = {}
        for series, values in parts.items():
            scored, total = values[self.settings.window - 1 :], np.zeros(values.shape[1])
            for start in range(0, len(scored), SCORING_BATCH):
                rows = slice(start, start + SCORING_BATCH)
                total += self._squares(scored[rows], views[series][rows]).sum(axis=0, dtype=np.float64)
            self._usual[series] = np.maximum(total / len(scored), FLOOR).astype(np.float32)

    def errors(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Squared error of each row as the last of its window, by channel, divided by the usual one."""
        if series not in self._usual or self._usual[series].shape != values.shape[1:]:
            raise DataError(
                f"series {series} with {values.shape[1]} channels was not fitted; fitted are {sorted(self._usual)}"
            )
        before = self.settings.window - 1
        rows = with_history(values, None if state is None else state["rows"], before)
        squares = self._squares(values, cut_windows(rows, self.settings.window))
        return squares / self._usual[series], {"rows": rows[len(rows) - before :].copy()}

    def _train(self, views: list[Array], seed: int, progress: Progress | None) -> None:
        settings = self.settings
        rng = np.random.default_rng(seed)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        width = views[0].shape[1] * views[0].shape[2]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the layers draw their first weights from the global generator
            network = Network(width, settings.hidden, settings.latent).to(self.device)
        optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate, fused=True)
        counts = np.array([len(view) for view in views])
        total, drawn = int(counts.sum()), settings.windows_per_epoch
        updates = settings.epochs * -(-drawn // settings.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
        memory = _empty((settings.batch, *views[0].shape[1:]))  # new for each batch costs a tenth more
        self.history = []
        for epoch in range(settings.epochs):
            order = np.concatenate([rng.permutation(total) for _ in range(-(-drawn // total))])[:drawn]
            sums = np.zeros(3)
            for start in range(0, drawn, settings.batch):
                flat = self._gather(views, counts, order[start : start + settings.batch], memory)
                mean, log_variance = network.encode(flat)
                noise = torch.randn(mean.shape, generator=generator).to(self.device)
                error = network.squared_error(mean + noise * (0.5 * log_variance).exp(), flat)
                terms = negative_elbo(error, mean, log_variance, width, settings.beta)
                optimiser.zero_grad()
                terms[0].backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
                optimiser.step()
                schedule.step()
                sums += len(flat) * np.array([term.item() for term in terms])
            loss, reconstruction, kl = (sums / drawn).tolist()
            self.history.append({"epoch": epoch, "loss": loss, "reconstruction": reconstruction, "kl": kl})
            if progress:
                progress((epoch + 1) / settings.epochs, f"epoch {epoch + 1} of {settings.epochs}, loss {loss:.4f}")
        self._network = network.eval()

    def _gather(
        self, views: list[Array], counts: npt.NDArray[np.int64], picks: npt.NDArray[np.int64], out: Array
    ) -> Tensor:
        """Copy the picked windows, counted over all series, into one batch (batch, width), in the memory of `out`."""
        starts = np.cumsum(counts) - counts
        owners = np.searchsorted(starts, picks, side="right") - 1
        for row, (owner, start) in enumerate(zip(owners.tolist(), (picks - starts[owners]).tolist(), strict=True)):
            out[row] = views[owner][start]
        return self._to_network(out[: len(picks)])

    def _to_network(self, windows: Array) -> Tensor:
        """Flatten a batch and clip it in place: it is the caller's own copy."""
        flat = torch.from_numpy(windows.reshape(len(windows), -1)).clamp_(-INPUT_LIMIT, INPUT_LIMIT)
        return flat.to(self.device)

    def _squares(self, values: Array, windows: Array) -> Array:
        """Squared error of each window's newest sample, (n, channel)."""
        if self._network is None:
            raise DataError("the VAE was not fitted")
        network, channels = self._network, values.shape[1]
        weight, bias = network.rebuild.weight[-channels:], network.rebuild.bias[-channels:]  # of the newest sample
        out = np.empty_like(values)
        with torch.inference_mode():
            for start in range(0, len(windows), SCORING_BATCH):
                stop = min(start + SCORING_BATCH, len(windows))
                code = network.encode(self._to_network(_aligned(windows[start:stop])))[0]
                newest = nn.functional.linear(network.decoder(code), weight, bias)
                out[start:stop] = np.square(values[start:stop] - newest.cpu().numpy())
        return out

    def config(self) -> dict[str, Any]:
        """Settings and the series."""
        return {"settings": asdict(self.settings), "series": list(self._usual)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Weights of the network, and usual squared errors of each series."""
        if self._network is None:
            raise DataError("the VAE was not fitted")
        weights = {f"network.{name}": t.cpu().numpy() for name, t in self._network.state_dict().items()}
        return weights | {f"usual.{series}": usual for series, usual in self._usual.items()}

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the member again, on the CPU."""
        member = cls(VaeConfig(**config["settings"]))
        member._usual = {series: arrays[f"usual.{series}"] for series in config["series"]}
        prefix = "network."
        weights = {n.removeprefix(prefix): torch.tensor(a) for n, a in arrays.items() if n.startswith(prefix)}
        width = weights["encoder.0.weight"].shape[1]
        member._network = Network(width, member.settings.hidden, member.settings.latent)
        member._network.load_state_dict(weights)
        member._network.eval()
        return member


def _empty(shape: tuple[int, ...]) -> Array:
    """Return new memory, aligned as PyTorch's: where NumPy's lies varies, and can change the last bit of a product."""
    memory: Array = torch.empty(shape).numpy()
    return memory


def _aligned(windows: Array) -> Array:
    """Copy a view of windows into such memory."""
    out = _empty(windows.shape)
    out[...] = windows
    return out
