"""`watchkeeper quarantine`: what was set aside, by reason, or row by row for one reason."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from watchkeeper.errors import BadInputError

if TYPE_CHECKING:
    import pyarrow as pa

WatchName = Annotated[str, typer.Option("--watch", "-w", help="The watch: a file in the folder of watches.")]


def quarantine(
    watch: WatchName,
    reason: Annotated[str | None, typer.Option(help="Show the rows whose reason has these words in it.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many rows at most, those set aside last first.")] = 20,
) -> None:
    """Show which rows went to quarantine, why, and where they stand in their source."""
    from tasks.quarantine import read_quarantine
    from watchkeeper.cli import run
    from watchkeeper.cli.show import console, path_of

    lake = run.lake_of(watch)
    rows = read_quarantine(lake, watch)
    if not len(rows):
        console.print(f"watch {escape(watch)}: nothing is in quarantine")
        return
    if reason is None:
        console.print(_by_reason(rows))
    else:
        console.print(_of_reason(rows, reason, limit))
    console.print(f"with their readings: {path_of(lake.uri_of(f'quarantine/{watch}'))}", markup=False)


def _by_reason(rows: "pa.Table") -> Table:
    """Return the table of reasons, the most frequent first."""
    table = Table(box=None, pad_edge=False)
    for name in ("rows", "series", "reason", "set aside last", "row", "of (UTC)"):
        table.add_column(name, justify="right" if name in ("rows", "series", "row") else "left")
    reasons = rows["reason"].value_counts().to_pylist()
    for one in sorted(reasons, key=lambda one: (-one["counts"], one["values"])):
        of = _with(rows, [one["values"]])
        series, latest = len(of["series"].unique()), of.slice(0, 1).to_pylist()[0]
        place = (escape(latest["origin"]), str(latest["row"]), _time(latest["timestamp"]))
        table.add_row(f"{one['counts']:,}", f"{series:,}", escape(one["values"]), *place)
    return table


def _of_reason(rows: "pa.Table", words: str, limit: int) -> Table:
    """Return the table of rows whose reason has the words in it.

    Raises:
        BadInputError: there is none.
    """
    known = sorted(rows["reason"].unique().to_pylist())
    chosen = [one for one in known if words.lower() in one.lower()]
    if not chosen:
        raise BadInputError(f"--reason {words}: no row is in quarantine for that; there are: {'; '.join(known)}")
    of = _with(rows, chosen)
    title = f"rows in quarantine: {len(of):,}" + (f"; the last {limit:,}" if len(of) > limit else "")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("series", "origin", "row", "time (UTC)", "reason"):
        table.add_column(name, justify="right" if name == "row" else "left")
    for one in of.slice(0, limit).to_pylist():
        place = (escape(one["origin"]), str(one["row"]), _time(one["timestamp"]))
        table.add_row(escape(one["series"]), *place, escape(one["reason"]))
    return table


def _with(rows: "pa.Table", reasons: Iterable[str]) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.is_in(rows["reason"], pa.array(list(reasons))))


def _time(time: datetime | None) -> str:
    return "none" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"
