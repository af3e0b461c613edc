"""Rolling statistics equal obvious loops, and do not know where a series was cut."""

import numpy as np
import pytest

from models.spans import rolling_correlations, rolling_extremes, rolling_moments

SPANS = [2, 3, 7, 8, 20]


def rows(count: int = 60, channels: int = 3, level: float = 5.0) -> np.ndarray:
    return np.random.default_rng(0).normal(level, 2.0, (count, channels))


@pytest.mark.parametrize("level", [0.0, 5.0, 1e6])
def test_moments_equal_a_loop(level: float) -> None:
    """Mean, deviation and slope of each span, also far from zero, where sums of squares would cancel."""
    x = rows(level=level)
    for span, (mean, std, slope) in rolling_moments(x, SPANS, slope=True).items():
        windows = [x[at - span + 1 : at + 1] for at in range(span - 1, len(x))]
        np.testing.assert_allclose(mean, [w.mean(axis=0) for w in windows], rtol=1e-12)
        np.testing.assert_allclose(std, [w.std(axis=0) for w in windows], rtol=1e-7)
        fitted = [np.polyfit(np.arange(span) - (span - 1) / 2, w - level, 1)[0] for w in windows]
        np.testing.assert_allclose(slope, fitted, rtol=1e-6, atol=1e-9)


def test_only_what_is_asked_for_is_there() -> None:
    """Means alone cost no deviations."""
    assert [len(rolling_moments(rows(), [4], std=std, slope=slope)[4]) for std, slope in
            [(False, False), (True, False), (False, True)]] == [1, 2, 3]  # fmt: skip


def test_extremes_equal_a_loop() -> None:
    """Of powers of two and of what lies between."""
    x = rows()
    for largest, pick in ((True, np.max), (False, np.min)):
        for span, found in rolling_extremes(x, SPANS, largest=largest).items():
            wanted = [pick(x[at - span + 1 : at + 1], axis=0) for at in range(span - 1, len(x))]
            assert np.array_equal(found, np.array(wanted))


def test_correlations_equal_numpy() -> None:
    """Pearson's, of each span; a rising and a falling line give 1 and −1."""
    x, y = rows(), rows(level=1e5)[::-1] + 0.5 * rows()
    for span, found in rolling_correlations(x, y, SPANS).items():
        wanted = [
            [np.corrcoef(x[at - span + 1 : at + 1, c], y[at - span + 1 : at + 1, c])[0, 1] for c in range(3)]
            for at in range(span - 1, len(x))
        ]
        np.testing.assert_allclose(found, wanted, atol=1e-7)
    line = np.arange(9.0)
    np.testing.assert_allclose(rolling_correlations(line, 7 - 2 * line, [5])[5], -1.0)


def test_a_constant_has_no_spread_no_slope_and_no_correlation() -> None:
    """Exactly none, at a level that binary fractions do not meet."""
    x = np.full((50, 1), np.float32(0.1), np.float64)
    mean, std, slope = rolling_moments(x, [7], slope=True)[7]
    assert (mean == x[0]).all()
    assert (std == 0).all()
    assert (slope == 0).all()
    assert (rolling_correlations(x, rows(50, 1), [7])[7] == 0).all()


def test_what_is_missing_leaves_with_its_span() -> None:
    """A missing value touches the spans that hold it and none after them, which running sums could not say."""
    x = rows(40, 1)
    x[10] = np.nan
    mean, std, slope = rolling_moments(x, [4], slope=True)[4]
    for found in (mean, std, slope, rolling_extremes(x, [4], largest=True)[4]):
        assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [7, 8, 9, 10]
    running = np.cumsum(x, axis=0)  # the decoy
    assert np.isnan(running[4:] - running[:-4])[-1].all()


def test_a_value_depends_on_its_span_alone_to_the_last_bit() -> None:
    """Rows before the span may be anything."""
    x, other = rows(80), rows(80)
    other[:40] = 1e9
    for span in SPANS:
        for one, two in zip(
            rolling_moments(x, [span], slope=True)[span], rolling_moments(other, [span], slope=True)[span], strict=True
        ):
            assert np.array_equal(one[-(40 - span) :], two[-(40 - span) :])
