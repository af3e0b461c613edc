"""What goes wrong and when: each block of days holds every kind of anomaly in its share, in random order and places."""

from dataclasses import dataclass

import numpy as np

from watchkeeper.errors import BadInputError

SHARES = {
    "drift": 0.02,
    "spike": 0.01,
    "failure": 0.005,
    "process": 0.01,
    "attack": 0.005,
    "cyclic": 0.005,
    "multi_sensor": 0.005,
}
"""Per kind of anomaly, its share of the rows."""
LENGTHS = {
    "drift": (60, 400),
    "spike": (1, 5),
    "failure": (20, 120),
    "process": (40, 240),
    "attack": (20, 120),
    "cyclic": (60, 240),
    "multi_sensor": (10, 60),
}
"""Rows of one event, at least and at most; the last of a block may be longer, so that the share is kept."""
APART = 10  # rows between two events, at least


@dataclass(frozen=True)
class Planned:
    """Rows [start, end) of a block in which one kind of anomaly is to happen; `number` within the block."""

    start: int
    end: int
    kind: str
    number: int


def read_kinds(text: str) -> tuple[str, ...]:
    """Read which kinds are wanted: `none`, `all`, or some with commas between them.

    Raises:
        BadInputError: there is no such kind.
    """
    if text in ("none", "all"):
        return tuple(SHARES) if text == "all" else ()
    kinds = tuple(word.strip() for word in text.split(","))
    if unknown := [kind for kind in kinds if kind not in SHARES]:
        raise BadInputError(f"anomalies {unknown[0] or text}: unknown; wanted none, all, or of {', '.join(SHARES)}")
    return kinds


def plan(rows: int, rng: np.random.Generator) -> list[Planned]:
    """Place the anomalies of one block of days.

    Every kind fills its share of the rows to the row. No two touch, and none stands at the block's edge, so that
    neighbours in the next block keep apart too.

    Args:
        rows: of the block.
        rng: what decides.

    Returns:
        By start.
    """
    drawn = [(kind, length) for kind in SHARES for length in _lengths(kind, round(SHARES[kind] * rows), rng)]
    order = [drawn[i] for i in rng.permutation(len(drawn))]
    taken = np.array([length + APART for _, length in order])
    free = rows - APART - int(taken.sum())
    starts = np.sort(rng.integers(0, free, len(order))) + np.concatenate([[0], np.cumsum(taken)[:-1]]) + APART
    return [
        Planned(int(start), int(start) + length, kind, number)
        for number, (start, (kind, length)) in enumerate(zip(starts, order, strict=True))
    ]


def _lengths(kind: str, budget: int, rng: np.random.Generator) -> list[int]:
    """Cut a budget of rows into events; what is too short for one more goes to the last."""
    shortest, longest = LENGTHS[kind]
    lengths: list[int] = []
    while budget >= shortest:
        # Evenly on a logarithmic scale: many short ones, a few long ones.
        length = round(shortest * (longest / shortest) ** rng.random())
        length = budget if budget - length < shortest else length
        lengths.append(length)
        budget -= length
    if budget and lengths:
        lengths[-1] += budget
    return lengths or [budget]
