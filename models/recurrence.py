"""A stateful LSTM over series of any length: one row at a time, in chunks, or whole, with the same result.

A long series is scored in segments side by side, because one step after another wastes a processor. Each segment starts
from zeros, and no such guess is trusted: its first rows are run again from the end of the segment before, until the
states agree with those of the first run. An LSTM that forgets needs few rows for that; one that never forgets takes
as many steps as one pass in order, wider ones, and is as right.
"""

import torch
from torch import nn

PIECE = 64  # rows between two looks at whether states agree
SEGMENT = 8 * PIECE  # rows: 28,000 rows make a batch of 54; wider batches cost more rows run again
BLOCK = 256 * SEGMENT  # rows run side by side: bounds the memory, and wider batches are no faster
TOLERANCE = 1e-6  # largest difference between states that agree, the noise of float32 sums

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
    pieces = torch.split(side_by_side, PIECE)  # each (piece, count, feature)
    start = torch.zeros(2, count, hidden[0].shape[1], device=observation.device)  # h and c
    start[:, :1] = torch.stack(hidden)
    outputs, ends, state = [], [], start
    for piece in pieces:
        output, after = network(piece, (state[0], state[1]))
        outputs.append(output)
        ends.append(state := torch.stack(after))
    while True:
        before = torch.cat([start[:, :1], ends[-1][:, :-1]], dim=1)
        todo = _differ(before, start)
        if not len(todo):
            break
        start[:, todo] = state = before[:, todo]
        for piece, output, end in zip(pieces, outputs, ends, strict=True):
            output[:, todo], after = network(piece[:, todo], (state[0], state[1]))
            state = torch.stack(after)
            other = _differ(state, end[:, todo])
            end[:, todo] = state
            todo, state = todo[other], state[:, other]
            if not len(todo):
                break
    values = torch.cat(outputs)  # (segment, count, output)
    hidden = ends[-1][0, -1:], ends[-1][1, -1:]
    values = values.transpose(0, 1).reshape(count * SEGMENT, -1)
    if len(rest):
        tail, hidden = network(rest.unsqueeze(1), hidden)
        values = torch.cat([values, tail.squeeze(1)])
    return values, hidden


def _differ(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return which of the states, (h and c, count, hidden) each, do not agree: int64 (n,)."""
    return torch.nonzero((one - other).abs().amax(dim=(0, 2)) > TOLERANCE).squeeze(1)
