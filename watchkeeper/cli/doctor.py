"""`watchkeeper doctor`: one line for each check, with what to do where something is wrong."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from watchkeeper.errors import WatchkeeperError
from watchkeeper.settings import Settings, load_settings
from watchkeeper.watch import Watch, load_watch, watch_names

if TYPE_CHECKING:
    from watchkeeper.doctor import Check
    from watchkeeper.lake import Lake

MARKS = {"ok": "[green]✓[/]", "failed": "[red]✗[/]", "left out": "[dim]–[/]"}
NAME_WIDTH = 18


def doctor(
    watch: Annotated[
        str | None, typer.Option("--watch", "-w", help="One watch; default every watch of the folder of watches.")
    ] = None,
) -> None:
    """Check store, registry, server, device and watches, and say how to mend what is wrong."""
    from watchkeeper.cli import show

    settings = load_settings()
    if watch is not None and watch not in watch_names(settings.watches):
        load_watch(watch, settings.watches)  # says what there is instead
    counts = {"ok": 0, "failed": 0, "left out": 0}
    for check in _checks(settings, [watch] if watch else watch_names(settings.watches)):
        counts[check.state] += 1
        mend = f"; [yellow]to do:[/] {escape(check.mend)}" if check.mend else ""
        show.console.print(f"{MARKS[check.state]} {check.name:<{NAME_WIDTH}} {escape(check.found)}{mend}")
    words = f"{counts['ok']} checks well, {counts['failed']} failed, {counts['left out']} left out"
    show.console.print(words, style="red" if counts["failed"] else "green")
    if counts["failed"]:
        raise typer.Exit(1)


def _checks(settings: Settings, names: list[str]) -> "Iterator[Check]":
    from watchkeeper import doctor as checks
    from watchkeeper.cli import run
    from watchkeeper.doctor_prefect import check_prefect
    from watchkeeper.lake import Lake

    for name, value in run.PREFECT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    store_works = True
    for check in checks.check_store(settings.lake_uri):
        store_works &= check.name != "store" or check.state == "ok"
        yield check
    check, registry = checks.check_registry(settings.registry_uri)
    yield check
    yield from checks.check_disk(settings.home, settings.lake_uri)
    yield checks.check_device(settings.device)
    run.use_server(settings)
    yield from check_prefect(os.environ.get("PREFECT_API_URL", ""), names)
    if not names:
        yield checks.failed(
            "watches", f"no watch files in {settings.watches.absolute()}", "run from the project's folder"
        )
    for name in names:
        try:
            watch = load_watch(name, settings.watches, settings.data)
        except WatchkeeperError as error:
            yield checks.failed(f"{name}: file", str(error))
            continue
        yield checks.ok(f"{name}: file", f"{settings.watches / name}.toml")
        yield _source(watch, Lake(settings.lake_uri))
        if store_works:
            yield checks.check_rows(Lake(settings.lake_uri), name)
            if registry:
                yield checks.check_versions(Lake(settings.lake_uri), registry, name)


def _source(watch: Watch, lake: "Lake") -> "Check":
    """Read as much of the source as it takes to see rows."""
    from tasks.inbox import Inbox
    from tasks.sources import Batch, Stored, read_source
    from watchkeeper import doctor as checks

    name = f"{watch.name}: source"
    try:
        stored = Stored(channels=watch.channels, inbox=Inbox(lake, watch.name))
        first = next(iter(read_source(watch.source, None, stored=stored)), None)
    except WatchkeeperError as error:
        return checks.failed(name, str(error))
    if first is None:
        return checks.left_out(name, f"{watch.source.kind}, no rows")
    if isinstance(first, Batch):
        return checks.ok(name, f"{watch.source.kind}, {len(first.table):,} rows in {first.origin}")
    return checks.failed(name, f"{first.origin}: {first.reason}", "the other files are taken in without it")
