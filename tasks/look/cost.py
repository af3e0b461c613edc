"""What a retrain and a day of scoring cost, by the size of the data. The constants are those of benchmarks/cost.py."""

from dataclasses import dataclass

# For nothing at all, for each channel, for each row, and for each reading times the samples of a window.
TRAIN_S = (9.75, 0.125, 9.10e-6, 6.02e-8)
"""CPU-seconds of a retrain. The first one is mostly the program's start."""
SCORE_S = (0.0568, 0.00326, 3.28e-6, 8.17e-9)
"""CPU-seconds of scoring, on top of the program's start."""
MEMORY_MIB = (727.0, 1.75, 0.0, 5.12e-7)
"""MiB that a retrain holds at most."""


@dataclass(frozen=True)
class Cost:
    """An estimate, for one core of the machine that docs/init.md names.

    Attributes:
        train_s: CPU-seconds of a retrain.
        memory_mib: the most memory that it holds.
        score_day_s: CPU-seconds that scoring the rows of a day takes.
    """

    train_s: float
    memory_mib: float
    score_day_s: float


def cost_of(rows: int, channels: int, window: int, day_rows: float) -> Cost:
    """Estimate what the default members and the agent cost.

    Args:
        rows: of all series.
        channels: of a row.
        window: samples that a member sees at once.
        day_rows: rows that a day brings, of all series.
    """
    return Cost(
        train_s=_sum(TRAIN_S, rows, channels, window),
        memory_mib=_sum(MEMORY_MIB, rows, channels, window),
        score_day_s=_sum(SCORE_S, day_rows, channels, window),
    )


def _sum(constants: tuple[float, float, float, float], rows: float, channels: int, window: int) -> float:
    base, channel, row, window_reading = constants
    return base + channel * channels + row * rows + window_reading * rows * channels * window
