"""The discount of channels that have been wrong for long."""

import numpy as np
import pytest

from models.member import MEMORY, discount
from models.windows import Array


def slow_discount(errors: Array) -> np.ndarray:
    """The definition, row by row and channel by channel."""
    out = np.empty(errors.shape)
    for channel in range(errors.shape[1]):
        average = 1.0
        for row in range(len(errors)):
            out[row, channel] = errors[row, channel] / max(1.0, average)
            average += (float(errors[row, channel]) - average) / MEMORY
    return out


def some_errors(rows: int = 500) -> Array:
    errors = np.random.default_rng(0).chisquare(1, size=(rows, 3)).astype(np.float32)
    errors[200:, 1] += 40_000
    return errors


def test_it_equals_an_obvious_loop() -> None:
    errors = some_errors()
    np.testing.assert_allclose(discount(errors, np.ones(3))[0], slow_discount(errors), rtol=1e-5)


@pytest.mark.parametrize("cut", [1, 199, 200, 201, 499])
def test_any_cut_gives_the_same_bits(cut: int) -> None:
    errors = some_errors()
    first, average = discount(errors[:cut], np.ones(3))
    second, last = discount(errors[cut:], average)
    whole, end = discount(errors, np.ones(3))
    assert np.array_equal(np.concatenate([first, second]), whole)
    assert np.array_equal(last, end)


def test_blocks_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = some_errors()
    whole, end = discount(errors, np.ones(3))
    monkeypatch.setattr("models.member.BLOCK", 64)
    blocks, last = discount(errors, np.ones(3))
    assert np.array_equal(blocks, whole)
    assert np.array_equal(last, end)


def test_errors_as_usual_stay_as_they_are_and_the_first_of_a_kind_counts_in_full() -> None:
    errors = some_errors()
    discounted, _ = discount(errors, np.full(3, 0.5))
    assert np.array_equal(discounted[:, [0, 2]], errors[:, [0, 2]])
    assert discounted[200, 1] == errors[200, 1]
    assert discounted[499, 1] < errors[499, 1] / 30
