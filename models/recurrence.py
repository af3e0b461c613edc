"""A stateful LSTM over series of any length: one row at a time, in chunks, or whole, with the same result.

A long series is scored in segments side by side, because one step after another wastes a processor. Each segment starts
from a guessed state, and no guess is trusted: a segment whose start turns out to differ from the end of the one before
is run again from there. An LSTM that forgets needs hardly any repeats; one that never forgets costs what one pass in
order costs, and is as right.
"""

import torch
from torch import nn

SEGMENT = 256  # rows: 28,000 rows make a batch of 109, wide enough for one processor
LEAD = 64  # rows run before a segment to guess its state
BLOCK = 512 * SEGMENT  # rows run side by side: bounds the memory, and wider batches are no faster
TOLERANCE = 1e-6  # largest difference between a segment's start and its predecessor's end, the noise of float32 sums

SLOPE = 0.25
"""What a norm of one scale adds to Q(anomalous) and takes from Q(normal), before anything is learnt."""

Hidden = tuple[torch.Tensor, torch.Tensor]


class QNetwork(nn.Module):
    """Observations to the values of both actions: an LSTM, a linear head, and the norm as a first opinion."""

    def __init__(self, features: int, hidden: int, limit: float) -> None:
        """Build it with PyTorch's own initial weights.

        Args:
            features: of an observation.
            hidden: units of the LSTM.
            limit: observations are cut to ±limit: a channel that leaves everything seen in training must not drive
                the hidden state anywhere it never was.
        """
        super().__init__()
        self.limit = limit
        self.lstm = nn.LSTM(features, hidden)
        self.head = nn.Linear(hidden, 2)

    def forward(self, observation: torch.Tensor, hidden: Hidden | None = None) -> tuple[torch.Tensor, Hidden]:
        """Run in order.

        Args:
            observation: float32 (time, batch, feature).
            hidden: h and c, (batch, hidden) each; None for the zeros at the start of a series.

        Returns:
            Q values float32 (time, batch, 2), actions normal and anomalous; h and c after the last row.
        """
        before = None if hidden is None else (hidden[0].unsqueeze(0), hidden[1].unsqueeze(0))
        observation = observation.clamp(-self.limit, self.limit)
        outputs, (h, c) = self.lstm(observation, before)
        # Units of an LSTM saturate: all samples beyond those of training would look alike. The norm keeps them apart.
        norm = observation.square().mean(dim=-1, keepdim=True).sqrt()
        values: torch.Tensor = self.head(outputs) + norm * torch.tensor([-SLOPE, SLOPE], device=norm.device)
        return values, (h.squeeze(0), c.squeeze(0))


@torch.no_grad()
def run_series(network: nn.Module, observation: torch.Tensor, hidden: Hidden) -> tuple[torch.Tensor, Hidden]:
    """Run one series, long ones in segments side by side.

    Args:
        network: with the arguments and results of `QNetwork.forward`, and an output of any width.
        observation: float32 (time, feature), at least one row.
        hidden: h and c before the first row, (1, hidden) each.

    Returns:
        Outputs float32 (time, output), Q values for a `QNetwork`; and h and c after the last row.
    """
    outputs = []
    for start in range(0, len(observation), BLOCK):
        block, hidden = _run_block(network, observation[start : start + BLOCK], hidden)
        outputs.append(block)
    return torch.cat(outputs), hidden


def _run_block(network: nn.Module, observation: torch.Tensor, hidden: Hidden) -> tuple[torch.Tensor, Hidden]:
    count = len(observation) // SEGMENT
    if count < 2:
        values, hidden = network(observation.unsqueeze(1), hidden)
        return values.squeeze(1), hidden
    rest = observation[count * SEGMENT :]
    side_by_side = observation[: count * SEGMENT].view(count, SEGMENT, -1).transpose(0, 1)  # (segment, count, feature)
    _, (h_lead, c_lead) = network(side_by_side[-LEAD:, :-1])
    h, c = torch.cat([hidden[0], h_lead]), torch.cat([hidden[1], c_lead])  # (count, hidden)
    values, (h_end, c_end) = network(side_by_side, (h, c))  # (segment, count, output)
    while True:
        h_true, c_true = torch.cat([hidden[0], h_end[:-1]]), torch.cat([hidden[1], c_end[:-1]])
        off = torch.maximum((h_true - h).abs().amax(dim=1), (c_true - c).abs().amax(dim=1))
        todo = torch.nonzero(off > TOLERANCE).squeeze(1)
        if not len(todo):
            break
        h[todo], c[todo] = h_true[todo], c_true[todo]
        values[:, todo], (h_end[todo], c_end[todo]) = network(side_by_side[:, todo], (h[todo], c[todo]))
    values = values.transpose(0, 1).reshape(count * SEGMENT, -1)
    hidden = h_end[-1:], c_end[-1:]
    if len(rest):
        tail, hidden = network(rest.unsqueeze(1), hidden)
        values = torch.cat([values, tail.squeeze(1)])
    return values, hidden
