"""`watchkeeper`: the commands. What they print is in show.py, how they run flows in run.py."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from watchkeeper import __version__
from watchkeeper.cli import collect, doctor, fabricate, init, label, listen, notify, quarantine, stack
from watchkeeper.errors import BadInputError, WatchkeeperError

app = typer.Typer(
    name="watchkeeper",
    help="Keeps watch over sensor and server time series, and hands the watch to a better model every night.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

INTERRUPTED = 130
"""The exit status that Typer turns Ctrl-C into."""

WatchName = Annotated[str, typer.Option("--watch", "-w", help="The watch: a file in the folder of watches.")]
Until = Annotated[
    str | None,
    typer.Option(help="Leave rows from this time on for later: 2026-01-26 or 2026-01-26T12:00 (UTC)."),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"watchkeeper {__version__}")
        raise typer.Exit


@app.callback()
def settings(
    config: Annotated[Path | None, typer.Option(help="Settings file; default watchkeeper.toml.")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of lake and registry; default .watchkeeper.")] = None,
    lake: Annotated[str | None, typer.Option(help="Lake, file:///… or s3://…; default <home>/lake.")] = None,
    registry: Annotated[str | None, typer.Option(help="Registry, sqlite:///file; default <home>/registry.db.")] = None,
    watches: Annotated[Path | None, typer.Option(help="Folder of watch files; default watches.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of benchmark series ($WATCHKEEPER_DATA).")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, direct or prefect; default auto.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default cpu.")] = None,
    version: Annotated[  # noqa: ARG001 - its callback prints and ends
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take settings from the command line over environment over file over default.

    They become environment variables of this process, so that flows find them however they are run.
    """
    given = {
        "config": config, "home": home, "lake": lake, "registry": registry,
        "watches": watches, "data": data, "engine": engine, "device": device,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            os.environ[f"WATCHKEEPER_{name.upper()}"] = str(value)


@app.command()
def ingest(watch: WatchName, until: Until = None) -> None:
    """Take new rows from the watch's source into the lake."""
    from watchkeeper.cli import run, show

    done = run.ingest(watch, _time(until))
    show.ingested(done)
    if done.refused:
        raise BadInputError(
            f"{len(done.refused)} of the source's files refused, first {done.refused[0].origin}: "
            f"{done.refused[0].reason}; the other files were taken in"
        )


@app.command()
def retrain(watch: WatchName, until: Until = None) -> None:
    """Ingest, train a candidate, judge it beside the champion, promote or refuse it."""
    from watchkeeper.cli import run, show

    show.retrained(run.retrain(watch, until=_time(until)))


@app.command()
def score(watch: WatchName) -> None:
    """Score the rows that the champion has not scored yet, and raise alarms."""
    from watchkeeper.cli import run, show

    show.scored(run.score(watch))


@app.command("check-drift")
def check_drift(
    watch: WatchName,
    follow: Annotated[
        bool, typer.Option("--retrain/--no-retrain", help="Retrain at once when drift asks for it.")
    ] = True,
) -> None:
    """Compare the latest days with the champion's reference; write a report."""
    from watchkeeper.cli import run, show

    check = run.check_drift(watch)
    show.drift(check)
    if check.started and follow and run.is_embedded():
        show.retrained(run.retrain(watch, reason="drift", report=check.report))


@app.command()
def versions(watch: WatchName) -> None:
    """List the watch's versions, the newest first."""
    from watchkeeper.cli import run, show

    show.versions(watch, run.versions(watch))


@app.command()
def rollback(
    watch: WatchName,
    to: Annotated[int | None, typer.Option(help="Version to return to; default the previous champion.")] = None,
    why: Annotated[str, typer.Option(help="Reason, for the audit record.")] = "asked for on the command line",
) -> None:
    """Make an earlier version champion again."""
    from watchkeeper.cli import run, show

    show.decided(run.rollback(watch, to, why))


@app.command()
def backtest(
    watch: WatchName,
    start: Annotated[
        str | None, typer.Option(help="First night, UTC; default when half of the history is there.")
    ] = None,
    until: Until = None,
    every: Annotated[float, typer.Option(min=0.01, help="Hours between two nights.")] = 24.0,
) -> None:
    """Replay the watch's life over its history, night by night, and write one report. Nothing else is changed."""
    from watchkeeper.cli import run, show

    show.backtested(run.backtest(watch, _time(start, "--start"), _time(until), every))


@app.command()
def report(watch: WatchName) -> None:
    """Show the latest evaluation, drift check and decisions, and where their files are."""
    from watchkeeper.cli import run, show

    show.report(watch, run.report(watch))


app.command()(collect.gc)
app.command()(doctor.doctor)
app.command()(fabricate.fabricate)
app.command()(init.init)
app.command()(label.questions)
app.command()(label.answer)
app.command()(label.label)
app.command()(listen.listen)
app.command()(notify.notify)
app.command()(quarantine.quarantine)


@app.command()
def demo() -> None:
    """Tell the whole story on a fabricated plant: train, drift, retrain, roll back."""
    from watchkeeper.cli.demo import tell

    tell()


app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.deploy)


def _time(text: str | None, option: str = "--until") -> datetime | None:
    """Read a time; one without a zone is UTC.

    Raises:
        BadInputError: it is no time.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(f"{option} {text}: not a time; wanted 2026-01-26 or 2026-01-26T12:00") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def main() -> None:
    """Run the command line. Errors end in one line: exit status 2 for bad input, 1 for failure."""
    try:
        app()
    except WatchkeeperError as error:
        text = " ".join(str(error).split())
        Console(stderr=True, highlight=False).print(f"error: {text}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            Console(stderr=True).print("interrupted; run the same command again to go on", style="yellow")
        raise
