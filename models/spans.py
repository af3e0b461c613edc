"""Statistics of the latest rows, at every row, and equal to the last bit wherever a series is cut.

Running sums would carry the rounding of all that came before, and a missing reading for ever. Here each span is put
together from blocks of 1, 2, 4 … rows by the formulas for two halves. So a value depends on the rows of its span alone
and costs the logarithm of the span, squares about the mean do not cancel, and a constant has exactly no spread.

All arrays have time first and end with the latest row: of `rows` rows, a span of n leaves the last rows − n + 1.

Source: T. F. Chan, G. H. Golub, R. J. LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample
variances", for two halves; that the same holds for products and for the row's age is ours.
"""

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.float64]
Block = tuple[Wide, ...]
Join = Callable[[Block, Block, int, int], Block]


def rolling_moments(x: Wide, spans: Collection[int], *, std: bool = False, slope: bool = False) -> dict[int, Block]:
    """Return mean and, where asked for, deviation and slope at every row, by span.

    Args:
        x: float64 (rows, …).
        spans: rows of a span, at least 2 and at most `rows`.
        std: whether the deviation follows, of the rows there are (not of a sample).
        slope: whether deviation and slope follow: of the line of least squares, a row.
    """
    depth = 3 if slope else 2 if std else 1
    start: Block = (x, *(np.zeros_like(x) for _ in range(depth - 1)))
    found = {}
    for n, block in _by_span(start, spans, _join_moments).items():
        done = [block[0]]
        if depth > 1:
            done.append(np.sqrt(block[1] / n))
        if depth > 2:
            done.append(block[2] * (-12.0 / (n * (n * n - 1.0))))
        found[n] = tuple(done)
    return found


def rolling_correlations(x: Wide, y: Wide, spans: Collection[int]) -> dict[int, Wide]:
    """Return Pearson's correlation of x and y at every row, by span; 0 where one of them does not move."""
    nothing = np.zeros_like(x)
    found = {}
    for n, (_, _, xx, yy, xy) in _by_span((x, y, nothing, nothing, nothing), spans, _join_products).items():
        both = np.sqrt(xx) * np.sqrt(yy)
        found[n] = np.clip(np.divide(xy, both, out=np.zeros_like(xy), where=both != 0), -1.0, 1.0)
    return found


def rolling_extremes(x: Wide, spans: Collection[int], *, largest: bool) -> dict[int, Wide]:
    """Return the largest or the smallest of x at every row, by span."""
    pick = np.maximum if largest else np.minimum
    found: dict[int, Wide] = {}
    block, size = x, 1
    for span in sorted(spans):
        while 2 * size <= span:
            block, size = pick(block[size:], block[:-size]), 2 * size
        more = span - size  # the two blocks overlap, which an extreme does not mind
        found[span] = pick(block[more:], block[:-more]) if more else block
    return found


def _by_span(start: Block, spans: Collection[int], join: Join) -> dict[int, Block]:
    """Double blocks, and gather those that the binary form of each span asks for."""
    block, size = start, 1
    found: dict[int, tuple[int, Block]] = {}
    while True:
        for span in spans:
            if span & size:
                rows, gathered = found.get(span, (0, block))
                found[span] = (rows + size, _put_before(gathered, block, rows, size, join) if rows else block)
        if 2 * size > max(spans):
            return {span: gathered for span, (_, gathered) in found.items()}
        block, size = _put_before(block, block, size, size, join), 2 * size


def _put_before(late: Block, early: Block, a: int, b: int, join: Join) -> Block:
    """Join the latest `a` rows with the `b` rows before them."""
    rows = len(early[0]) - a
    return join(tuple(x[-rows:] for x in late), tuple(x[:rows] for x in early), a, b)


def _join_moments(late: Block, early: Block, a: int, b: int) -> Block:
    """Mean; sum of (x − mean)²; sum of (age − its mean) (x − mean), where the latest row has age 0."""
    delta = early[0] - late[0]
    joined = [late[0] + delta * (b / (a + b))]
    if len(late) > 1:
        joined.append(late[1] + early[1] + delta * delta * (a * b / (a + b)))
    if len(late) > 2:
        joined.append(late[2] + early[2] + delta * (a * b / 2))  # mean ages are (a + b) / 2 apart
    return tuple(joined)


def _join_products(late: Block, early: Block, a: int, b: int) -> Block:
    """Two means; three sums of products about them: xx, yy, xy."""
    share = a * b / (a + b)
    dx, dy = early[0] - late[0], early[1] - late[1]
    return (
        late[0] + dx * (b / (a + b)),
        late[1] + dy * (b / (a + b)),
        late[2] + early[2] + dx * dx * share,
        late[3] + early[3] + dy * dy * share,
        late[4] + early[4] + dx * dy * share,
    )
