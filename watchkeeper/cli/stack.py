"""`watchkeeper up`, `down` and `deploy`: the embedded stack, and the deployments on it or on a team's server."""

import os
import subprocess
import sys
import time
from typing import Annotated

import typer

from watchkeeper.errors import SettingsError, WatchkeeperError
from watchkeeper.settings import Settings, load_settings
from watchkeeper.stack.state import Stack, end, find_running, folder_of, read_stack

Watches = Annotated[
    list[str] | None,
    typer.Option("--watch", "-w", help="A watch to schedule; may be given again. Default: every watch of the folder."),
]


def up(
    watch: Watches = None,
    port: Annotated[int | None, typer.Option(help="Of the Prefect server; default 4200, or a free one.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when everything is up.")] = False,
) -> None:
    """Start a Prefect server, the deployments and a worker on this machine, and keep them up."""
    from watchkeeper.stack.deploy import choose_watches
    from watchkeeper.stack.part import choose_port
    from watchkeeper.stack.supervise import PORT, supervise

    settings = load_settings()
    if stack := find_running(settings.home):
        typer.echo("up already")
        _signpost(settings, stack)
        return
    choose_watches(settings, watch or ())  # a wrong name is told now, not in half a minute
    if port is not None:
        choose_port(port, PORT)
    if detach:
        _detach(settings, watch or [], port)
        return
    supervise(settings, port, watch or [], typer.echo, lambda: _signpost(settings, read_stack(settings.home)))


def down() -> None:
    """End what `up` started, also after a crash."""
    settings = load_settings()
    count = end(settings.home)
    typer.echo(f"ended {count} processes" if count else f"nothing is up in {settings.home.absolute()}")


def deploy(watch: Watches = None) -> None:
    """Put the deployments on the server, scheduled as the watch files say."""
    from watchkeeper.cli.run import use_server
    from watchkeeper.stack.deploy import deploy as put

    settings = load_settings()
    if not use_server(settings):
        raise SettingsError("no Prefect server: set PREFECT_API_URL to a server's, or start one with: watchkeeper up")
    done = put(settings, watch or ())
    for deployment, name, cron in done.schedules:
        typer.echo(f"{deployment:<22}{name:<16}{cron}")
    typer.echo(f"retrain/on-drift      in the work pool {done.pool}")
    for name, reason in done.skipped:
        typer.echo(f"not scheduled: {reason}" if name in reason else f"not scheduled: {name}: {reason}")
    typer.echo(f"deployed on {done.api}")


def _detach(settings: Settings, watches: list[str], port: int | None) -> None:
    """Start the supervisor in a session of its own, and wait until everything is up.

    Raises:
        WatchkeeperError: it ended before.
    """
    from watchkeeper.stack.part import LOOK_S, last_line

    folder = folder_of(settings.home)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "up.log"
    options = [part for watch in watches for part in ("--watch", watch)]
    if port is not None:
        options += ["--port", str(port)]
    with log.open("wb") as output:
        supervisor = subprocess.Popen(  # noqa: S603 - this command
            [sys.executable, "-m", "watchkeeper", "up", *options],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    typer.echo("starting; half a minute the first time")
    while not (stack := find_running(settings.home)):
        if supervisor.poll() is not None:
            raise WatchkeeperError(last_line(log).removeprefix("error: "))
        time.sleep(LOOK_S)
    _signpost(settings, stack)


def _signpost(settings: Settings, stack: Stack | None) -> None:
    if stack is None:
        return
    typer.echo(f"Prefect server      {stack.page}")
    if stack.mlflow:
        typer.echo(f"MLflow              {stack.mlflow}")
    else:
        typer.echo("MLflow              no page: `make mlflow` installs it")
    typer.echo(f"logs and state      {folder_of(settings.home)}")
    typer.echo("commands of this home use it by themselves; for Prefect's own commands:")
    typer.echo(f"  export PREFECT_API_URL={stack.api}")
    typer.echo("end it with Ctrl-C or: watchkeeper down")
