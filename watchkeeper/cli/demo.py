"""The demo: the whole life of a watch, told on a fabricated plant in a folder of its own."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

from watchkeeper.cli import run, show
from watchkeeper.errors import WatchError
from watchkeeper.records import Retrained
from watchkeeper.settings import load_settings
from watchkeeper.sources import PlantSource
from watchkeeper.watch import load_watch

WATCH = "plant"
FOLDER = "demo"
"""Below `home`: the demo never touches what a user has in the lake and registry."""
CHECK_AFTER_DAYS = (8.0, 9.0)
"""Days after the world changed on which drift is checked: two checks in a row are needed."""


def tell() -> None:
    """Tell the story: train, score, drift, retrain, roll back. What an earlier demo left is cleared first."""
    home = load_settings().home / FOLDER
    if home.exists():
        shutil.rmtree(home)
    os.environ.update(WATCHKEEPER_HOME=str(home), WATCHKEEPER_LAKE="", WATCHKEEPER_REGISTRY="")
    os.environ.pop("PREFECT_API_URL", None)  # on a real server, the demo's drift event would retrain the real plant
    source = load_watch(WATCH, load_settings().watches).source
    if not isinstance(source, PlantSource) or source.shift is None:
        raise WatchError(f"watch {WATCH}: the demo needs its source of kind plant with a [source.shift]")
    changed = source.start + timedelta(days=source.shift.after_days)

    show.heading(f"1  Three weeks of a water plant come in (nothing changes before {changed:%Y-%m-%d})")
    show.ingested(run.ingest(WATCH, changed))
    show.heading("2  A first model is trained and judged on days that it has not seen")
    show.retrained(run.retrain(WATCH, "first model", until=changed))
    show.heading("3  The champion keeps watch")
    show.scored(run.score(WATCH))

    show.heading("4  The world changes: another demand, another pump")
    report, started = None, False
    for days in CHECK_AFTER_DAYS:
        show.ingested(run.ingest(WATCH, changed + timedelta(days=days)))
        show.scored(run.score(WATCH))
        check = run.check_drift(WATCH)
        show.drift(check)
        report, started = check.report, check.started
    show.heading("5  The drift event asks for a retrain")
    second: Retrained | None = None
    if started:
        second = run.retrain(WATCH, "drift", report, changed + timedelta(days=CHECK_AFTER_DAYS[-1]))
        show.retrained(second)

    show.heading("6  Any version comes back in one command")
    if second and second.decision.action == "promoted":
        show.decided(run.rollback(WATCH, None, "the demo shows a rollback"))
    else:
        show.console.print("version 1 never left: the candidate was refused, so there is nothing to roll back")
    show.ingested(run.ingest(WATCH, changed + timedelta(days=CHECK_AFTER_DAYS[-1] + 1)))
    show.scored(run.score(WATCH))

    show.heading("What is there now")
    show.versions(WATCH, run.versions(WATCH))
    _signpost(home, report)


def _signpost(home: Path, report: str | None) -> None:
    lake = home / "lake"
    lines = [f"everything lies in   {home}"]
    if report:
        lines.append(f"drift report         {show.path_of(report)}  (open it in a browser, no network needed)")
    command = show.command_name()
    lines += [
        f"audit records        {lake / 'audit' / WATCH}",
        f"scores and alarms    {lake / 'scores' / f'watch={WATCH}'}",
        "",
        "where to go next",
        f"  {command} --home {home} report --watch {WATCH}",
        f"  {command} --home {home} rollback --watch {WATCH} --to 2",
        f"  watches/{WATCH}.toml   every key of a watch file; README.md   a watch over your own data",
    ]
    for line in lines:
        show.console.print(line, markup=False)
