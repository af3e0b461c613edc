"""Draw the pictures of docs/plant.md. Run: `python -m benchmarks.plant_pictures [folder]`, default docs/img."""

import io
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tasks.sources.plant import CHANNELS, FAULT_CHANNELS, Fabricated, PlantConfig, PlantEvent, Shift, fabricate

TITLES = {
    "temperature_c": "temperature, °C",
    "pressure_bar": "pressure, bar",
    "flow_in_l_min": "flow in, L/min",
    "flow_out_l_min": "flow out, L/min",
    "level_pct": "tank level, %",
    "pump_speed_rpm": "pump speed, rpm",
    "vibration_mm_s": "vibration, mm/s",
    "quality_pct": "quality, %",
}
INK, GHOST = "#1f4e79", "#9a9a9a"
WEEKEND, LABELLED, SHIFTED = "#dfe8d8", "#fbd3c0", "#d1e5f0"  # shades
CONFIG = PlantConfig(datetime(2026, 3, 2, tzinfo=UTC), seed=7)  # a Monday
DAY = CONFIG.rows_per_day
DPI = 85  # keeps a picture below 150 kB


def canvas(rows: int, height_in: float) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Open a picture of rows × 2 plots."""
    figure = Figure(figsize=(11, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    places = [(2 * row + 1, 2 * row + 2) for row in range(rows)]
    return figure, [(figure.add_subplot(rows, 2, a), figure.add_subplot(rows, 2, b)) for a, b in places]


def dress(axes: Axes, title: str) -> None:
    """Give a plot its title and a quiet grid."""
    axes.set_title(title, fontsize=9, loc="left", pad=3)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)


def save(figure: Figure, title: str, path: Path) -> None:
    """Write one picture."""
    figure.suptitle(title, fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(48).save(path, optimize=True)  # few colours: a quarter of the size
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def draw_week(path: Path) -> None:
    """One normal week in all channels."""
    made = fabricate(replace(CONFIG, anomalies=False), 1, 14)
    figure, grid = canvas(4, 7.5)
    rows = slice(7 * DAY, 14 * DAY, 4)
    days = np.arange(7 * DAY)[::4] / DAY
    for axes, channel in zip([left for left, _ in grid] + [right for _, right in grid], CHANNELS, strict=True):
        axes.axvspan(5, 7, color=WEEKEND, lw=0)
        axes.plot(days, made.table[channel].to_numpy()[rows], color=INK, lw=0.8)
        axes.set_xlim(0, 7)
        axes.set_xticks(range(7), ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
        dress(axes, TITLES[channel])
    save(figure, "A normal week of line_1 (ticks at midnight UTC, weekend shaded)", path)


def pick_examples(made: Fabricated, calm: Fabricated) -> list[tuple[str, PlantEvent, str, str]]:
    """Choose what to show: for each kind its longest event in a given channel, and a channel beside it."""

    def longest(kind: str, channel: str, in_place: bool = False) -> PlantEvent:
        read, true = (table[channel].to_numpy() for table in (made.table, calm.table))
        own = [
            event
            for event in made.events
            if event.kind == kind
            and event.channels[0] == channel
            and event.end + DAY < len(read)  # with its surroundings
            and (kind != "stuck" or bool(abs(read[event.start] - true[event.start]) < 1) == in_place)
        ]
        return max(own, key=lambda event: event.end - event.start)

    return [
        ("spike", longest("spike", "vibration_mm_s"), "vibration_mm_s", "pump_speed_rpm"),
        ("drift", longest("drift", "flow_out_l_min"), "flow_out_l_min", "flow_in_l_min"),
        ("stuck in place", longest("stuck", "flow_in_l_min", in_place=True), "flow_in_l_min", "pump_speed_rpm"),
        ("stuck after a jump", longest("stuck", "pump_speed_rpm"), "pump_speed_rpm", "flow_in_l_min"),
        ("pump_loss", longest("pump_loss", FAULT_CHANNELS[0]), "level_pct", "pump_speed_rpm"),
        ("leak", longest("leak", FAULT_CHANNELS[0]), "level_pct", "flow_in_l_min"),
    ]


def draw_kinds(path: Path) -> None:
    """One example of each kind of anomaly, with what would have been read."""
    made, calm = (fabricate(replace(CONFIG, anomalies=wrong), 1, 730) for wrong in (True, False))
    figure, grid = canvas(6, 11)
    for pair, (name, event, *channels) in zip(grid, pick_examples(made, calm), strict=True):
        around = 45 if event.kind == "spike" else max(100, (event.end - event.start) // 2)
        rows = slice(event.start - around, event.end + around)
        hours = np.arange(-around, event.end - event.start + around) * (CONFIG.interval_s / 3600)
        half = CONFIG.interval_s / 7200  # the shade reaches half an interval to both sides of the labelled rows
        for axes, channel in zip(pair, channels, strict=True):
            for other in made.events:
                if other.start < rows.stop and other.end > rows.start:
                    first, last = hours[
                        np.clip([other.start - rows.start, other.end - 1 - rows.start], 0, len(hours) - 1)
                    ]
                    axes.axvspan(first - half, last + half, color=LABELLED, lw=0)
            axes.plot(hours, calm.table[channel].to_numpy()[rows], color=GHOST, lw=0.8, label="had nothing gone wrong")
            axes.plot(hours, made.table[channel].to_numpy()[rows], color=INK, lw=0.9, label="reading")
            axes.set_xlim(hours[0], hours[-1])
            dress(axes, f"{name}: {TITLES[channel]}")
    grid[0][0].legend(fontsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("hours since the event began", fontsize=8)
    save(figure, "The kinds of anomaly (labelled rows shaded); right: a channel that ought to go with it", path)


def draw_shift(path: Path) -> None:
    """The world before and after a shift, over time and as the relation of two channels."""
    made = fabricate(replace(CONFIG, anomalies=False, shift=Shift(10)), 1, 17)
    figure, grid = canvas(2, 6)
    days = np.arange(3 * DAY, 17 * DAY, 5) / DAY
    for axes, channel in zip((*grid[0], grid[1][0]), ("flow_out_l_min", "temperature_c", "level_pct"), strict=True):
        axes.axvspan(10, 17, color=SHIFTED, lw=0)
        axes.plot(days, made.table[channel].to_numpy()[3 * DAY :: 5], color=INK, lw=0.8)
        axes.set_xlim(3, 17)
        axes.set_xlabel("days since the start", fontsize=8)
        dress(axes, TITLES[channel])
    axes = grid[1][1]
    flow, speed = (made.table[name].to_numpy() for name in ("flow_in_l_min", "pump_speed_rpm"))
    week_before, week_after = slice(3 * DAY, 10 * DAY, 12), slice(-6 * DAY, None, 12)
    axes.plot(flow[week_before], speed[week_before], ".", ms=2, color=GHOST, label="before")
    axes.plot(flow[week_after], speed[week_after], ".", ms=2, color=INK, label="after")
    axes.legend(fontsize=8, markerscale=5)
    axes.set_xlabel(TITLES["flow_in_l_min"], fontsize=8)
    dress(axes, f"{TITLES['pump_speed_rpm']}, against flow in")
    save(figure, "A shift of strength 1 after ten days (shaded)", path)


def main(folder: Path) -> None:
    """Draw all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_week(folder / "plant_week.png")
    draw_kinds(folder / "plant_anomalies.png")
    draw_shift(folder / "plant_shift.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/img"))
