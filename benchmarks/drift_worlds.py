"""Worlds for the drift benchmark: eight channels that do not change unless told to, and what can happen to one."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import lfilter

from tasks.sources.plant import PlantConfig, fabricate

Floats = npt.NDArray[np.float64]

CHANNELS = [f"channel_{i}" for i in range(8)]
MINUTES = 2
PER_DAY = 1440 // MINUTES
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
WINTER = datetime(
    2026, 1, 5, tzinfo=UTC
)  # a Monday four weeks before the plant's coldest day: eight weeks of one season


def remembering(rng: np.random.Generator, n: int, memory_h: float, width: int, tails: bool = False) -> Floats:
    """Draw AR(1) noise of deviation 1, (n, width), driven by normal or by t(3) innovations."""
    keep = np.exp(-MINUTES / 60 / memory_h)
    news = rng.standard_t(3, size=(n, width)) / np.sqrt(3) if tails else rng.normal(size=(n, width))
    start = rng.normal(size=(1, width)) * keep  # the first sample is a draw from the long run
    noise: Floats = lfilter([np.sqrt(1 - keep**2)], [1, -keep], news, axis=0, zi=start)[0]
    return noise


def cycles(rng: np.random.Generator, n: int, weekly: float) -> Floats:
    """Draw daily cycles, amplitude 0, 1 or 2, that swell by `weekly` over the week, and quieter weekends."""
    day = (np.arange(n) / PER_DAY)[:, None]
    phase, number = rng.random(len(CHANNELS)), np.arange(len(CHANNELS))
    swell = 1 + weekly * np.sin(2 * np.pi * (day / 7 + phase))
    weekend = (day.astype(int) % 7) >= 5
    return number % 3 * np.sin(2 * np.pi * (day + phase)) * swell - 0.5 * (number // 3) * weekend


Parts = tuple[Floats, Floats]
"""The usual course and the deviations from it, (time, channel) each."""


def white(rng: np.random.Generator, n: int) -> Parts:
    """No memory at all."""
    return np.zeros((n, 8)), rng.normal(size=(n, 8))


def memory(hours: float) -> Callable[[np.random.Generator, int], Parts]:
    """All channels remember for so many hours."""
    return lambda rng, n: (np.zeros((n, 8)), remembering(rng, n, hours, 8))


def weekly(rng: np.random.Generator, n: int) -> Parts:
    """Daily cycles that swell over the week by 30 %, and a memory of half an hour."""
    return cycles(rng, n, 0.3), remembering(rng, n, 0.5, 8)


def heavy(rng: np.random.Generator, n: int) -> Parts:
    """Heavy tails: t(3) without memory, skewed (log-normal) with half an hour, t(3) innovations with a quarter."""
    plain, tails = rng.standard_t(3, size=(n, 8)) / np.sqrt(3), remembering(rng, n, 0.25, 8, tails=True)
    skewed = np.exp(0.6 * remembering(rng, n, 0.5, 8)) - np.exp(0.18)
    skewed /= np.sqrt((np.exp(0.36) - 1) * np.exp(0.36))
    return np.zeros((n, 8)), np.choose(np.arange(8) % 3, [plain, skewed, tails])


def mixed(rng: np.random.Generator, n: int) -> Parts:
    """Memories of 15 minutes, 1, 3 and 6 hours side by side, daily cycles, weekends."""
    noise = [remembering(rng, n, (0.25, 1.0, 3.0, 6.0)[i % 4], 1) for i in range(8)]
    return cycles(rng, n, 0.0), np.hstack(noise)


def plant(seed: int, days: float, reference_days: int) -> Parts:
    """The fabricated plant with its incidents, unshifted; its course is that of the reference's hours.

    In spring its water warms by more than a standard deviation in six weeks: a change, which would be found as one.
    """
    config = PlantConfig(start=WINTER, seed=seed, interval_s=60 * MINUTES)
    values = fabricate(config, 1, days).table.to_pandas().drop(columns=["timestamp", "label"]).to_numpy(np.float64)
    hour = np.arange(len(values)) % PER_DAY // (PER_DAY // 24)
    known, known_hour = values[: reference_days * PER_DAY], hour[: reference_days * PER_DAY]
    course = np.stack([known[known_hour == each].mean(axis=0) for each in range(24)])[hour]
    return course, values - course


WORLDS = {
    "white noise": white,
    "memory 15 min": memory(0.25),
    "memory 1 h": memory(1.0),
    "memory 3 h": memory(3.0),
    "memory 6 h": memory(6.0),
    "daily and weekly cycles": weekly,
    "heavy tails": heavy,
    "mixed": mixed,
    "plant": None,
}
MEMORIES = {"white noise": 0.0, "memory 15 min": 0.25, "memory 1 h": 1.0, "memory 3 h": 3.0, "memory 6 h": 6.0}


def make(world: str, seed: int, days: float, reference_days: int) -> Parts:
    """Make up one world."""
    draw = WORLDS[world]
    if draw is None:
        return plant(seed, days, reference_days)
    return draw(np.random.default_rng(seed), int(days * PER_DAY))


def frame(values: Floats) -> pd.DataFrame:
    """Write values down as rows, float32."""
    times = pd.date_range(START, periods=len(values), freq=f"{MINUTES}min", unit="us")
    rows = pd.DataFrame(values.astype(np.float32), columns=CHANNELS)
    rows.insert(0, "timestamp", times)
    return rows


def scored(rows: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Put a champion's score beside the channels: the norm of the sample, z-scored by the reference, gaps at zero."""
    channels = [name for name in rows.columns if name != "timestamp"]
    z = (rows[channels] - reference[channels].mean()) / reference[channels].std().replace(0, 1)
    return rows.assign(score=np.sqrt((z.fillna(0) ** 2).sum(axis=1)).astype(np.float32))


CHANGES = ("shift by 1 σ", "drop-out", "stuck", "variance doubled")


def changed(parts: Parts, onset: int, channel: int, change: str) -> Floats:
    """Change one channel from a row on; σ is the deviation from the usual course before."""
    course, off = parts
    values = course + off
    old = off[onset:, channel]
    values[onset:, channel] = {
        "shift by 1 σ": course[onset:, channel] + old + off[:onset, channel].std(),
        "drop-out": np.full_like(old, np.nan),
        "stuck": np.full_like(old, values[onset, channel]),
        "variance doubled": course[onset:, channel] + np.sqrt(2) * old,
    }[change]
    return values
