"""Draw the pictures of docs/fabricate.md. Run: `python -m benchmarks.fabricate_pictures [folder]`, default docs/img."""

import io
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tasks.fabricate.anomalies import Event
from tasks.fabricate.plan import SHARES
from tasks.fabricate.run import FACILITIES, Run, pieces
from tasks.fabricate.shifts import KINDS, Shift

INK, GHOST, LABELLED, SHIFTED = "#1f4e79", "#9a9a9a", "#fbd3c0", "#d1e5f0"
START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
SEED = 7
DPI = 75  # keeps a picture below 60 kB
UNITS = {
    "_l_min": ", L/min", "_mm_s": ", mm/s", "_pct": ", %", "_bar": ", bar",
    "_c": ", °C", "_mw": ", MW", "_kv": ", kV", "_a": ", A", "_hz": ", Hz",
}  # fmt: skip
WEEK = {
    "water": ("tank_main_flow_rate_l_min", "tank_main_level_pct", "pump_1_vibration_mm_s", "tank_main_quality_pct"),
    "nuclear": (
        "reactor_1_power_output_mw", "reactor_1_outlet_temperature_c",
        "coolant_a_flow_rate_l_min", "turbine_1_vibration_mm_s",
    ),
    "grid": (
        "substation_1_power_output_mw", "generator_1_current_l1_a",
        "substation_1_voltage_l1_kv", "substation_1_frequency_hz",
    ),
}  # fmt: skip


def title(channel: str) -> str:
    """Write a channel's name with its unit for people."""
    unit = next(end for end in UNITS if channel.endswith(end))
    return channel.removesuffix(unit).replace("_", " ") + UNITS[unit]


def made(run: Run) -> tuple[pa.Table, list[Event]]:
    """Make a whole run."""
    parts = list(pieces(run))
    return pa.concat_tables([part.table for part in parts]), [event for part in parts for event in part.events]


def draw(axes: Axes, x: np.ndarray, y: np.ndarray, name: str, color: str = INK) -> None:
    """Draw one line in a quiet plot."""
    axes.plot(x, y, color=color, lw=0.8)
    axes.set_xlim(x[0], x[-1])
    axes.set_title(name, fontsize=8, loc="left", pad=3)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)


def canvas(rows: int, columns: int, height_in: float) -> tuple[Figure, list[list[Axes]]]:
    """Open a picture of rows × columns plots."""
    figure = Figure(figsize=(10, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [
        [figure.add_subplot(rows, columns, row * columns + column + 1) for column in range(columns)]
        for row in range(rows)
    ]


def save(figure: Figure, name: str, path: Path) -> None:
    """Write one picture."""
    figure.suptitle(name, fontsize=10)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(24).save(path, optimize=True)  # few colours: a quarter of the size
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def draw_weeks(path: Path) -> None:
    """A normal week of each facility."""
    figure, grid = canvas(4, 3, 6.5)
    for column, (facility, channels) in enumerate(WEEK.items()):
        table, _ = made(Run(facility, START, 7, SEED, ()))
        every = table.num_rows // 700
        days = np.arange(table.num_rows)[::every] * (FACILITIES[facility].interval_s / 86400)
        for row, channel in enumerate(channels):
            grid[row][column].axvspan(5, 7, color="#dfe8d8", lw=0)
            draw(grid[row][column], days, table[channel].to_numpy()[::every], title(channel))
    save(figure, "A normal week from Monday on (days; weekend shaded)", path)


def pick(events: Sequence[Event], kind: str) -> list[Event]:
    """Choose the longest event of each form of a kind, by the form's name."""
    longest: dict[str, Event] = {}
    for event in sorted(events, key=lambda event: event.end - event.start):
        if event.kind == kind:
            longest[event.form] = event
    return [longest[form] for form in sorted(longest)]


def draw_kind(kind: str, path: Path) -> None:
    """One kind of anomaly in each facility: two channels of it, with what would have been read."""
    figure, grid = canvas(2, 3, 3.6)
    for column, facility in enumerate(FACILITIES):
        run = Run(facility, START, 60 if facility != "grid" else 12, SEED)
        (table, events), (calm, _) = made(run), made(Run(facility, START, run.days, SEED, ()))
        forms = pick(events, kind)
        event = forms[column % len(forms)]
        spread = np.array([channel.spread for channel in FACILITIES[facility].channels])
        names = [channel.name for channel in FACILITIES[facility].channels]
        around = 30 if kind == "spike" else max(40, (event.end - event.start) // 2)
        rows = slice(max(0, event.start - around), event.end + around)
        read, true = (np.stack([t[name].to_numpy()[rows] for name in names], axis=1) for t in (table, calm))
        moved = (np.abs(read - true).mean(axis=0) / spread)[[names.index(name) for name in event.channels]]
        shown = [event.channels[i] for i in np.argsort(-moved)]
        # What moves most; below it, another that moves, of another quantity if there is one, or else one that does not.
        others = [name for name in shown if title(name).split(",")[1] != title(shown[0]).split(",")[1]] or shown[1:]
        neighbours = [name for name in names if name.split("_")[0] == shown[0].split("_")[0] and name not in shown]
        minutes = np.arange(rows.start - event.start, rows.stop - event.start) * (FACILITIES[facility].interval_s / 60)
        for axes, name in zip((grid[0][column], grid[1][column]), (shown[0], (others or neighbours)[0]), strict=True):
            half = (minutes[1] - minutes[0]) / 2
            for other in events:
                if other.start < rows.stop and other.end > rows.start:
                    ends = (np.array([other.start, other.end]) - event.start) * (2 * half) - half
                    axes.axvspan(*np.clip(ends, minutes[0], minutes[-1]), color=LABELLED, lw=0)
            at = names.index(name)
            axes.plot(minutes, true[:, at], color=GHOST, lw=0.8)
            draw(axes, minutes, read[:, at], f"{facility}, {event.form}: {title(name)}")
    save(figure, f"{kind} (labelled rows shaded; grey: had nothing gone wrong; minutes since it began)", path)


def draw_shifts(path: Path) -> None:
    """The three shifts of a water works, over time and as the relation of two channels."""
    figure, grid = canvas(3, 3, 5.4)
    old, _ = made(Run("water", START, 40, SEED, ()))
    every, day = 30, 1440
    days = np.arange(old.num_rows)[::every] / day
    for column, kind in enumerate(KINDS):
        new, _ = made(Run("water", START, 40, SEED, (), Shift(kind, 12)))
        for row, channel in enumerate(("tank_main_level_pct", "tank_main_temperature_c")):
            axes = grid[row][column]
            axes.axvspan(12, 40, color=SHIFTED, lw=0)
            axes.plot(days, old[channel].to_numpy()[::every], color=GHOST, lw=0.6)
            draw(axes, days, new[channel].to_numpy()[::every], f"{kind}@12: {title(channel)}")
        axes, (x, y) = grid[2][column], ("pump_1_flow_rate_l_min", "pump_1_pressure_bar")
        for rows, color in ((slice(0, 12 * day, 29), GHOST), (slice(32 * day, None, 29), INK)):
            axes.plot(new[x].to_numpy()[rows], new[y].to_numpy()[rows], ".", ms=2, color=color)
        axes.set_title(f"{title(y)}, against its flow", fontsize=8, loc="left", pad=3)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    save(figure, "Shifts after twelve days (shaded; grey: without it; below: grey before, blue after; days)", path)


def main(folder: Path) -> None:
    """Draw all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_weeks(folder / "fabricate_weeks.png")
    for kind in SHARES:
        draw_kind(kind, folder / f"fabricate_{kind}.png")
    draw_shifts(folder / "fabricate_shifts.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/img"))
