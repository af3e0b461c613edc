"""`watchkeeper init`: looks at data that lies somewhere, and writes a watch file on it with the reason of each line."""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from watchkeeper.errors import BadInputError, DataError
from watchkeeper.settings import load_settings
from watchkeeper.table import as_utc
from watchkeeper.watch import NAME

if TYPE_CHECKING:
    from tasks.look.found import Found


def init(
    place: Annotated[
        str,
        typer.Argument(
            help="A file, a folder or s3://bucket/prefix of Parquet, CSV or line protocol, a benchmark's folder, "
            "or a database's URL."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call the watch; default: what the place is called.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a watch file that is there.")] = False,
    print_: Annotated[bool, typer.Option("--print", help="Print the watch file instead of writing it.")] = False,
    files: Annotated[str | None, typer.Option(help='Which files of a folder: a pattern, as "pump_*.csv".')] = None,
    table: Annotated[
        str | None, typer.Option(help="Which table of a database, measurement of InfluxDB, or metrics (a pattern).")
    ] = None,
    timestamp: Annotated[
        list[str] | None, typer.Option(help="Column of the clock; twice for date and time in two columns.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="How its times are written: %d.%m.%Y %H:%M, unix_ms …; iso for ISO 8601.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Zone of a clock that names none, as Europe/Berlin.")] = None,
    label: Annotated[str | None, typer.Option(help="Column that says what is anomalous.")] = None,
    series: Annotated[str | None, typer.Option(help="Column that names the series.")] = None,
    start: Annotated[str | None, typer.Option(help="First row of files without a clock: 2026-01-05T00:00.")] = None,
    interval: Annotated[float | None, typer.Option(help="Seconds from row to row of files without a clock.")] = None,
) -> None:
    """Look at data and write a watch file on it, commented line by line."""
    from tasks.look import Choice
    from tasks.look.look import look
    from tasks.look.writer import name_for, write_watch

    if (start is None) != (interval is None) or (interval is not None and interval <= 0):
        raise BadInputError("a made-up clock needs both --start and --interval, and the interval is above 0")
    choice = Choice(files, table, tuple(timestamp or ()), format, zone, label, series, _time(start), interval)
    if name is not None and not NAME.fullmatch(name):
        raise BadInputError(f"--name {name}: a name holds letters, digits, '_', '-' and '.'")
    folder = load_settings().watches
    _refuse_existing(folder, name, force or print_)
    found = look(place, choice, datetime.now(UTC))
    called = name or name_for(found.name)
    text = write_watch(found, called)
    if print_:
        typer.echo(text, nl=False)
        return
    _refuse_existing(folder, called, force)
    path = folder / f"{called}.toml"
    _write(path, text)
    _show(found, path, called)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise BadInputError(f"--start {text}: not a time; wanted 2026-01-05 or 2026-01-05T12:00") from error


def _refuse_existing(folder: Path, name: str | None, allowed: bool) -> None:
    if name is not None and not allowed and (folder / f"{name}.toml").exists():
        raise BadInputError(f"{folder / name}.toml is there already; give --name, or --force to replace it")


def _write(path: Path, text: str) -> None:
    """Write beside the name and move into place, so that no half of a file is ever there."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror}; name another folder with --watches") from error


def _show(found: "Found", path: Path, name: str) -> None:
    """Print what was found, and what to do next."""
    from tasks.look.writer import told_cost, told_labels, told_rhythm
    from watchkeeper.cli.show import console

    about = "" if found.whole else "about "
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    plan = found.suggestion
    names = ", ".join(found.series[:4]) + (" …" if found.series_count > 4 else "")
    channels = ", ".join(one.name for one in found.channels[:6]) + (" …" if len(found.channels) > 6 else "")
    rows = {
        "looked at": found.about,
        "rows": f"{about}{found.rows:,}, {found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC",
        "series": f"{found.series_count:,}: {names}",
        "channels": f"{len(found.channels):,}: {channels}",
        "rhythm": told_rhythm(found),
        "labels": told_labels(found),
        "window": f"{plan.window} samples: {plan.window_why}",
        "cost": told_cost(found),
    }
    if found.quarantined:
        rows["quarantine"] = "; ".join(f"{reason}: {count:,}" for reason, count in found.quarantined.items())
    if found.columns is not None and found.columns.ignored:
        rows["left out"] = ", ".join(f"{one or '(no name)'} ({why})" for one, why in found.columns.ignored.items())
    for at, note in enumerate(found.notes):
        rows[f"note{' ' * at}"] = note
    for what, words in rows.items():
        table.add_row(what.strip(), "".join(char if char.isprintable() else "�" for char in words))
    console.print(table, markup=False, soft_wrap=False)
    console.print(f"wrote {path}; read it, then run", markup=False)
    console.print(f"  watchkeeper {_where(path)}retrain --watch {name}", markup=False)


def _where(path: Path) -> str:
    """Return the option that names the folder of watches, where the default would not find it."""
    return "" if path.parent == Path("watches") or "WATCHKEEPER_WATCHES" in os.environ else f"--watches {path.parent} "
