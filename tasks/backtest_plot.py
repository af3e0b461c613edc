"""The picture of a backtest as inline SVG: who kept watch, alarms a day beside the budget, events, drift."""

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime

from tasks.backtest_judge import Lives
from watchkeeper.clock import to_datetime
from watchkeeper.records import Night

WIDTH, LEFT, RIGHT = 860.0, 150.0, 12.0
STRIP, BARS, DOTS, GAP = 22.0, 130.0, 16.0, 12.0
LIVED, KEPT, FOUND, MISSED = "#1565c0", "#b26a00", "#2e7d32", "#b3261e"
SHADES = ("#cfd8dc", "#eceff1")
"""Of the champions, in turn."""
At = Callable[[datetime], float]
"""Where a time lies, from the left."""


def draw(nights: Sequence[Night], lives: Lives, budget_per_day: float) -> str:
    """Draw the life.

    Returns:
        An SVG element that refers to nothing outside of itself and holds no text from outside.
    """
    begin, end = nights[0].when, nights[-1].when

    def at(time: datetime) -> float:
        return LEFT + (time - begin) / (end - begin) * (WIDTH - LEFT - RIGHT)

    top = 4.0
    parts = [_champions(nights, at, top)]
    top += STRIP + GAP
    parts.append(_alarms(nights, lives, budget_per_day, at, top))
    top += BARS + GAP
    found = sum(seen for _, seen in lives.events)
    parts.append(_text(LEFT - 8, top + 12, f"events, {found} of {len(lives.events)} found", "end"))
    for time, seen in lives.events:
        parts.append(_dot(at(to_datetime(time)), top + 8, FOUND if seen else MISSED))
    top += DOTS + GAP
    parts.append(_text(LEFT - 8, top + 12, "drift found", "end"))
    parts += [_dot(at(night.when), top + 8, MISSED) for night in nights if night.drifted]
    top += DOTS + GAP
    parts.append(_text(LEFT, top + 8, f"{begin:%Y-%m-%d %H:%M}"))
    parts.append(_text(WIDTH - RIGHT, top + 8, f"{end:%Y-%m-%d %H:%M} UTC", "end"))
    size = f'viewBox="0 0 {WIDTH:.0f} {top + 16:.0f}"'
    return f'<svg {size} role="img" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def _champions(nights: Sequence[Night], at: At, top: float) -> str:
    out, last, shade, from_x = _text(LEFT - 8, top + 15, "champion", "end"), None, 0, LEFT
    for before, after in itertools.pairwise(nights):
        x, width = at(before.when), at(after.when) - at(before.when)
        if after.champion != last:
            last, shade, from_x = after.champion, 1 - shade, x
            out += _rect(x, top, width, STRIP, SHADES[shade]) + _text(from_x + 4, top + 15, f"v{last}")
        else:
            out += _rect(x, top, width, STRIP, SHADES[shade])
    return out


def _alarms(nights: Sequence[Night], lives: Lives, budget_per_day: float, at: At, top: float) -> str:
    """Draw two bars a night: alarms a day and series, as lived and of the first version kept."""
    heights = []
    for index in range(1, len(nights)):
        days = (nights[index].when - nights[index - 1].when).total_seconds() / 86_400 * max(lives.series, 1)
        heights.append(lives.alarms[index] / days)
    highest = max(budget_per_day * 1.5, *(float(one.max()) for one in heights))
    out = f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{BARS}" class="frame"/>'
    for index, pair in enumerate(heights, 1):
        x, width = at(nights[index - 1].when), at(nights[index].when) - at(nights[index - 1].when)
        for side, (value, colour) in enumerate(zip(pair, (LIVED, KEPT), strict=True)):
            height = BARS * float(value) / highest
            out += _rect(x + width * (0.12 + 0.4 * side), top + BARS - height, width * 0.36, height, colour)
    level = top + BARS * (1 - budget_per_day / highest)
    out += f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" class="limit"/>'
    out += _text(LEFT - 8, level + 4, f"budget {budget_per_day:g}", "end", "dim")
    out += _text(LEFT - 8, top + 14, f"alarms/day, to {highest:.1f}", "end")
    out += _text(LEFT - 8, top + BARS - 22, "as lived", "end", colour=LIVED)
    return out + _text(LEFT - 8, top + BARS - 6, "first version kept", "end", colour=KEPT)


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" fill-opacity="0.75"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", colour: str = "") -> str:
    style = (f' class="{kind}"' if kind else "") + (f' fill="{colour}"' if colour else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{words}</text>'
