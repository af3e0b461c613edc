"""`watchkeeper gc`: what nothing needs any more goes, and a table says what went and why."""

import re
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from watchkeeper.errors import BadInputError, WatchError
from watchkeeper.settings import load_settings
from watchkeeper.watch import watch_names

if TYPE_CHECKING:
    from tasks.collect import Collected

HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}
AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
SHOWN_NAMES = 4
"""Names shown of one kind; the others are counted."""


def gc(
    watch: Annotated[
        str | None, typer.Option("--watch", "-w", help="The watch: a file in the folder of watches.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every watch of the folder of watches.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; tell what would go.")] = False,
    keep: Annotated[int | None, typer.Option(min=1, help="Newest versions that stay; default [keep] versions.")] = None,
    older_than: Annotated[
        str | None,
        typer.Option(help="Nothing younger goes: 90m, 36h, 2d, 1w; default [keep] grace_hours. 0h: nothing else runs."),
    ] = None,
) -> None:
    """Delete what no version needs any more, and what killed runs left."""
    from watchkeeper.cli import run

    if (watch is None) is not everything:
        raise BadInputError("gc: wanted either --watch NAME or --all")
    hours = None if older_than is None else hours_of(older_than)
    folder = load_settings().watches
    names = watch_names(folder) if watch is None else [watch]
    if not names:
        raise WatchError(f"gc: no watch files in {folder.absolute()}; run from the project's folder")
    for name in names:
        show(run.collect(name, keep, hours, dry_run))


def hours_of(age: str) -> float:
    """Read an age.

    Raises:
        BadInputError: it is none.
    """
    match = AGE.fullmatch(age.strip())
    if match is None:
        raise BadInputError(f"--older-than {age}: not an age; wanted a number and m, h, d or w, such as 36h or 2d")
    return float(match[1]) * HOURS[match[2]]


def show(done: "Collected") -> None:
    """Print what went, or would go: kind, how many, bytes, and why."""
    from watchkeeper.cli.show import console

    if not done.kinds:
        console.print(f"watch {done.watch}: nothing to collect", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("of " + done.watch, "number", "objects", "size", "why"):
        table.add_column(name, justify="right" if name in ("number", "objects", "size") else "left")
    for kind in done.kinds:
        names = f" {', '.join(kind.names[:SHOWN_NAMES])}" if kind.kind == "version" else ""
        more = f" and {len(kind.names) - SHOWN_NAMES} more" if names and len(kind.names) > SHOWN_NAMES else ""
        table.add_row(
            f"{kind.kind}{names}{more}", f"{len(kind.names):,}", f"{kind.objects:,}", size_of(kind.size), kind.why
        )
    console.print(table)
    if done.dry_run:
        console.print("a dry run: nothing was deleted")


def size_of(size: int) -> str:
    """Write a number of bytes for people: powers of ten, as disks are sold."""
    shown = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if shown < 1000:
            return f"{shown:,.0f} {unit}" if unit == "B" else f"{shown:,.1f} {unit}"
        shown /= 1000
    return f"{shown:,.1f} TB"
