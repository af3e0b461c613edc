"""`watchkeeper fabricate`: readings of a facility out of a seed, with known anomalies, to try a watch on."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from watchkeeper.errors import BadInputError

if TYPE_CHECKING:
    from tasks.fabricate.run import Run
    from tasks.fabricate.write import Written

START = "2025-01-06"  # a Monday


def fabricate(
    facility: Annotated[str, typer.Argument(help="water (a row a minute), nuclear (30 s) or grid (5 s).")],
    out: Annotated[Path, typer.Option(help="Folder for <facility>.parquet and <facility>.events.json.")],
    days: Annotated[float, typer.Option(help="Length of the run.")] = 28.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same readings.")] = 0,
    start: Annotated[str, typer.Option(help="First row: 2025-01-06 or 2025-01-06T12:00 (UTC).")] = START,
    anomalies: Annotated[
        str, typer.Option(help="none, all, or some: drift,spike,failure,process,attack,cyclic,multi_sensor.")
    ] = "all",
    shift: Annotated[
        str | None, typer.Option(help="The world changes for good: seasonal@DAY, step@DAY or regime@DAY.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier run.")] = False,
) -> None:
    """Make up a water works, a nuclear plant or a piece of the grid: readings with labelled anomalies."""
    from tasks.fabricate.plan import read_kinds
    from tasks.fabricate.run import Run
    from tasks.fabricate.shifts import read_shift
    from tasks.fabricate.write import write
    from watchkeeper.cli.show import console

    kinds = read_kinds(anomalies)
    run = Run(facility, _time(start), days, seed, kinds, None if shift is None else read_shift(shift))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"fabricating {facility}", total=run.blocks)
        written = write(run, out, overwrite, lambda done: bar.update(task, completed=done))
    _show(run, written)


def _show(run: "Run", written: "Written") -> None:
    """Print what was written, and the watch file that reads it."""
    from watchkeeper.cli.show import console

    share = written.anomalous_rows / written.rows
    end = run.start + timedelta(days=run.days)
    console.print(
        f"{written.rows:,} rows × {written.channels} channels, {run.start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; "
        f"{written.anomalies:,} anomalies in {share:.1%} of the rows"
    )
    for path in (written.parquet, written.events):
        console.print(f"  {path}", markup=False, soft_wrap=True)
    if end > datetime.now(UTC):
        console.print("  rows later than now are in the future: a watch takes them in when their time has come")
    console.print(f"a watch on it is a file watches/{run.facility}.toml with")
    # A JSON string is a TOML string, whatever the folder is called.
    folder = json.dumps(str(written.parquet.parent.absolute()), ensure_ascii=False)
    snippet = f'[source]\nkind = "parquet"\nfolder = {folder}\nfiles = "{written.parquet.name}"'
    console.print(snippet, markup=False, soft_wrap=True)


def _time(text: str) -> datetime:
    """Read a time; one without a zone is UTC.

    Raises:
        BadInputError: it is no time.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # too far for a calendar once its zone is taken off
        raise BadInputError(f"--start {text}: not a time; wanted 2025-01-06 or 2025-01-06T12:00") from error
