"""A stateful LSTM that forecasts the next sample of every channel: network, training and scoring in one file.

Deviations from the paper (Malhotra et al., "Long Short Term Memory Networks for Anomaly Detection in Time Series",
ESANN 2015):
1. One step ahead, one layer; the paper stacks two and forecasts several steps.
2. Squared errors divided by the usual ones, per channel; the paper fits a Gaussian to the error vectors.
3. The state is carried over the whole series; the paper does not say how long its sequences are. Training draws long
   chunks, and burns the state in on the rows before each, without gradient, as in R2D2 (Kapturowski et al., 2019).
4. The network forecasts the change from the sample before, so that an untrained one already forecasts persistence.
5. One network is shared by all series of a watch; each series and channel has its own usual error.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.member import FLOOR, DiscountedErrorMember, State
from models.recurrence import BLOCK, Hidden, run_series
from models.windows import Array, with_history
from watchkeeper.errors import BadInputError, DataError
from watchkeeper.progress import Progress

INPUT_LIMIT = 5.0
"""The network sees inputs clipped to ± this many scales, so that one wild channel does not upset all; errors do not."""
LEAST_ROWS = 10
"""A shorter series leaves nothing to learn from after the burn-in."""


@dataclass(frozen=True)
class LstmConfig:
    """Sizes and training of the network.

    Attributes:
        hidden: units of the LSTM.
        chunk: rows of a chunk that are learnt from.
        burn_in: rows before them that warm the state; halved at most where a series is short.
        epochs: drawings of chunks; after each, progress and a record of the history.
        rows_per_epoch: rows run in an epoch, burn-in counted, over all series alike; where there are fewer, each is run
            several times. So training takes the same time, and gives the network the same number of updates, on any
            data: short series were learnt badly with updates in proportion to their length (docs/speed.md).
        batch: chunks in one update.
        learning_rate: of Adam, falling to zero as a half cosine.
    """

    hidden: int = 64
    chunk: int = 256
    burn_in: int = 50
    epochs: int = 12
    rows_per_epoch: int = 220_000
    batch: int = 16
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("hidden", "chunk", "burn_in", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise BadInputError(f"lstm: {name} is at least 1, found {getattr(self, name)}")


class Network(nn.Module):
    """A row to the forecast of the next one: an LSTM, a linear head, and the row itself."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, hidden)
        self.head = nn.Linear(hidden, channels)

    def forward(self, rows: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """Run in order.

        Args:
            rows: float32 (time, batch, channel), scaled.
            hidden: h and c, (batch, hidden) each; None for the zeros at the start of a series.

        Returns:
            Forecast of the row after each, (time, batch, channel); h and c after the last row.
        """
        before = None if hidden is None else (hidden[0].unsqueeze(0), hidden[1].unsqueeze(0))
        rows = rows.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        outputs, (h, c) = self.lstm(rows, before)
        forecast: Tensor = rows + self.head(outputs)
        return forecast, (h.squeeze(0), c.squeeze(0))


def forecast_loss(forecast: Tensor, target: Tensor) -> Tensor:
    """Sum over channels of the logarithm of the mean squared error, so that each channel counts by its relative error.

    Args:
        forecast: (time, batch, channel).
        target: the rows forecast, of the same shape.

    Returns:
        The loss divided by the number of channels; what is forecast exactly counts as an error of FLOOR.

    Source: the Gaussian likelihood with one variance per channel, concentrated: its maximum over the variances leaves
        half the sum of the logarithms (Lütkepohl, "New Introduction to Multiple Time Series Analysis", section 3.4).
    """
    squares = (forecast - target.clamp(-INPUT_LIMIT, INPUT_LIMIT)).square()
    return (squares.mean(dim=(0, 1)) + FLOOR).log().mean()


class Lstm(DiscountedErrorMember):
    """Squared forecast error of each row, per channel, divided by the usual one."""

    name: ClassVar[str] = "lstm"

    def __init__(self, settings: LstmConfig | None = None, device: str = "cpu") -> None:
        self.settings = settings or LstmConfig()
        self.device = torch.device(device)
        self.history: list[dict[str, float]] = []  # by epoch: loss, squared_error
        self._network: Network | None = None
        self._usual: dict[str, Array] = {}  # (channel,)

    def fit(self, parts: Mapping[str, Array], seed: int, progress: Progress | None = None) -> None:
        """Train one network on chunks of all series, then note each series' usual errors.

        Raises:
            DataError: a series has fewer than LEAST_ROWS rows, or the series differ in channels.
        """
        widths = {values.shape[1] for values in parts.values()}
        if len(widths) != 1:
            raise DataError(f"the series of one network need the same channels, found {sorted(widths)} channels")
        for series, values in parts.items():
            if len(values) < LEAST_ROWS:
                raise DataError(f"series {series}: {len(values)} rows, lstm needs at least {LEAST_ROWS}")
        self._train(list(parts.values()), seed, progress)
        self._usual = {}
        for series, values in parts.items():
            total, state = np.zeros(values.shape[1]), None
            for start in range(0, len(values), BLOCK):
                squares, state = self._squares(values[start : start + BLOCK], state)
                total += squares.sum(axis=0, dtype=np.float64)
            self._usual[series] = np.maximum(total / len(values), FLOOR).astype(np.float32)

    def errors(self, series: str, values: Array, state: State | None) -> tuple[Array, State]:
        """Squared forecast error of each row and channel, divided by the usual one."""
        if series not in self._usual or self._usual[series].shape != values.shape[1:]:
            raise DataError(
                f"series {series} with {values.shape[1]} channels was not fitted; fitted are {sorted(self._usual)}"
            )
        out = np.empty_like(values)
        after = state or {}
        for start in range(0, len(values), BLOCK):
            squares, after = self._squares(values[start : start + BLOCK], after or None)
            np.divide(squares, self._usual[series], out=out[start : start + BLOCK])
        return out, after

    def _train(self, parts: list[Array], seed: int, progress: Progress | None) -> None:
        settings = self.settings
        shortest = min(len(values) for values in parts)
        burn_in = min(settings.burn_in, shortest // 2)
        chunk = min(settings.chunk, shortest - burn_in - 1)  # the last row of a chunk is only forecast
        updates = max(1, round(settings.rows_per_epoch / settings.batch / (burn_in + chunk)))  # in an epoch
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the layers draw their first weights from the global generator
            network = Network(parts[0].shape[1], settings.hidden).to(self.device)
        optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs * updates)
        self.history = []
        for epoch in range(settings.epochs):
            chunks = self._draw(parts, updates * settings.batch, burn_in + chunk + 1, rng)
            sums = torch.zeros(2, device=self.device)
            for rows in torch.split(chunks, settings.batch, dim=1):
                with torch.no_grad():
                    _, hidden = network(rows[:burn_in])
                forecast, _ = network(rows[burn_in:-1], hidden)
                loss = forecast_loss(forecast, rows[burn_in + 1 :])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                error = (forecast - rows[burn_in + 1 :]).square().mean()
                sums += torch.stack([loss, error]).detach()
            loss_mean, error_mean = (sums / updates).tolist()
            self.history.append({"epoch": epoch, "loss": loss_mean, "squared_error": error_mean})
            if progress:
                progress((epoch + 1) / settings.epochs, f"epoch {epoch + 1} of {settings.epochs}, loss {loss_mean:.4f}")
        self._network = network.eval()

    def _draw(self, parts: list[Array], count: int, length: int, rng: np.random.Generator) -> Tensor:
        """Copy chunks drawn at random, every start of every series alike: (length, count, channel) on the device."""
        starts = np.cumsum([0, *(len(values) - length + 1 for values in parts)])
        picks = rng.integers(0, starts[-1], count)
        owners = np.searchsorted(starts, picks, side="right") - 1
        drawn = np.empty((length, count, parts[0].shape[1]), np.float32)
        for index, (owner, start) in enumerate(zip(owners, picks - starts[owners], strict=True)):
            drawn[:, index] = parts[owner][start : start + length]
        return torch.from_numpy(drawn).to(self.device)

    def _squares(self, values: Array, state: State | None) -> tuple[Array, State]:
        """Squared forecast error of each row, (time, channel), and the state after the last."""
        if self._network is None:
            raise DataError("the LSTM was not fitted")
        rows = with_history(values, None if state is None else state["row"], 1)
        if state is None:
            h = c = torch.zeros(1, self.settings.hidden, device=self.device)
        else:
            h, c = (torch.from_numpy(state[name]).to(self.device) for name in ("h", "c"))
        forecast, (h, c) = run_series(self._network, torch.tensor(rows[:-1], device=self.device), (h, c))
        squares: Array = np.square(values - forecast.cpu().numpy())
        return squares, {"h": h.cpu().numpy(), "c": c.cpu().numpy(), "row": rows[-1:].copy()}

    def config(self) -> dict[str, Any]:
        """Settings and the series."""
        return {"settings": asdict(self.settings), "series": list(self._usual)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Weights of the network, and usual squared errors of each series."""
        if self._network is None:
            raise DataError("the LSTM was not fitted")
        weights = {f"network.{name}": t.cpu().numpy() for name, t in self._network.state_dict().items()}
        return weights | {f"usual.{series}": usual for series, usual in self._usual.items()}

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the member again, on the CPU."""
        member = cls(LstmConfig(**config["settings"]))
        member._usual = {series: arrays[f"usual.{series}"] for series in config["series"]}
        prefix = "network."
        weights = {n.removeprefix(prefix): torch.tensor(a) for n, a in arrays.items() if n.startswith(prefix)}
        member._network = Network(weights["head.bias"].shape[0], member.settings.hidden)
        member._network.load_state_dict(weights)
        member._network.eval()
        return member
