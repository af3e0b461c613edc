"""Pictures of events as inline SVG: the channels that made the score, and both scores over their own thresholds."""

import html
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tasks.traces import Trace
from watchkeeper.clock import to_datetime

WIDTH, LEFT, RIGHT = 760.0, 150.0, 12.0
"""Of the picture, and of the margins beside its panels."""
CHANNEL_HEIGHT, SCORE_HEIGHT, GAP = 46.0, 96.0, 10.0
HIGHEST = 5.0
"""Multiples of the threshold beyond which a score is cut: how far above does not matter any more."""
OWN, CHAMPION, EVENT, CHANNEL = "#1565c0", "#b26a00", "#b3261e", "#444444"

Floats = npt.NDArray[np.float64]


def draw(trace: Trace) -> str:
    """Draw one event.

    Returns:
        An SVG element that refers to nothing outside of itself. Names are escaped.
    """
    times = trace.arrays["time"].astype(np.float64)
    begin, span = float(times[0]), max(float(times[-1] - times[0]), 1.0)

    def at(time: float) -> float:
        share = min(max((time - begin) / span, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    x = np.array([at(time) for time in times])
    edges = at(trace.about["start"]), at(trace.about["end"])
    parts, top = [], 4.0
    for index, name in enumerate(trace.about["channels"]):
        values = trace.arrays["values"][:, index].astype(np.float64)
        parts.append(_channel(name, x, values, top))
        top += CHANNEL_HEIGHT + GAP
    parts.append(_scores(trace, x, top))
    bottom = top + SCORE_HEIGHT
    label = (
        f'<rect x="{edges[0]:.1f}" y="4" width="{max(edges[1] - edges[0], 1.5):.1f}" height="{bottom - 4:.1f}" '
        f'fill="{EVENT}" fill-opacity="0.13"/>'
    )
    axis = _text(LEFT, bottom + 16, f"{to_datetime(int(begin)):%Y-%m-%d %H:%M}")
    axis += _text(WIDTH - RIGHT, bottom + 16, f"{to_datetime(int(times[-1])):%Y-%m-%d %H:%M} UTC", "end")
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {bottom + 24:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"{label}{''.join(parts)}{axis}</svg>"
    )


def _channel(name: str, x: Floats, values: Floats, top: float) -> str:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    y = top + CHANNEL_HEIGHT * (1 - (values - low) / max(high - low, 1e-12))
    short = name if len(name) <= 22 else f"{name[:21]}…"
    return (
        _frame(top, CHANNEL_HEIGHT)
        + _text(LEFT - 8, top + 20, short, "end")
        + _text(LEFT - 8, top + 36, f"{low:.4g} to {high:.4g}", "end", "dim")
        + _line(x, y, CHANNEL)
    )


def _scores(trace: Trace, x: Floats, top: float) -> str:
    lines = [("candidate", OWN, trace.arrays["own"])]
    if "champion" in trace.arrays:
        lines.append(("champion", CHAMPION, trace.arrays["champion"]))
    highest = min(HIGHEST, max(1.5, *(float(np.max(values)) for _, _, values in lines)))
    out = _frame(top, SCORE_HEIGHT)
    level = top + SCORE_HEIGHT * (1 - 1 / highest)
    out += f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" class="limit"/>'
    out += _text(LEFT - 8, level + 4, "threshold", "end", "dim")
    for row, (name, colour, values) in enumerate(lines):
        clipped = np.clip(values.astype(np.float64), 0.0, highest)
        out += _line(x, top + SCORE_HEIGHT * (1 - clipped / highest), colour)
        out += f'<text x="{LEFT - 8}" y="{top + 14 + 16 * row:.1f}" text-anchor="end" fill="{colour}">{name}</text>'
    return out


def _frame(top: float, height: float) -> str:
    return f'<rect x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT:.1f}" height="{height}" class="frame"/>'


def _line(x: Floats, y: Floats, colour: str) -> str:
    """Draw a line with holes where values are missing; a value between two holes is a dot."""
    runs = "".join(_run(x[part], y[part]) for part in _present(y))
    return f'<path d="{runs}" fill="none" stroke="{colour}" stroke-width="1.3" stroke-linecap="round"/>'


def _run(x: Floats, y: Floats) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f"M{points}" if len(x) > 1 else f"M{points} {points}"


def _present(values: Floats) -> Iterable[slice]:
    mask = np.concatenate([[False], np.isfinite(values), [False]])
    for start, stop in np.flatnonzero(mask[1:] != mask[:-1]).reshape(-1, 2).tolist():
        yield slice(start, stop)


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{html.escape(words)}</text>'
