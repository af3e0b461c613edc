"""Labels from people: the questions that wait, answers to them, and events that nobody asked about."""

import csv
import getpass
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.errors import BadInputError
from watchkeeper.questions import WORDS, Answer, Open, Word, give_answers, open_questions

if TYPE_CHECKING:
    from watchkeeper.lake import Lake
    from watchkeeper.records import Snapshot

COLUMNS = ("series", "start", "end", "label")
"""The header of a file of events."""
KEYS: dict[str, Word] = {"a": "anomalous", "n": "normal", "?": "unknown"}
SKIP, QUIT = "s", "q"
TIME = "%Y-%m-%d %H:%M:%S"

WatchName = Annotated[str, typer.Option("--watch", "-w", help="The watch: a file in the folder of watches.")]
Who = Annotated[str | None, typer.Option(help="Who says so; default the name of the account.")]


def questions(watch: WatchName) -> None:
    """List the questions that wait for people, the most wanted first."""
    from watchkeeper.cli import run, show_questions

    lake = run.lake_of(watch)
    show_questions.questions(watch, open_questions(lake, watch), datetime.now(UTC))


def answer(
    watch: WatchName,
    number: Annotated[
        int | None, typer.Argument(help="The question's number; without one, all are gone through.")
    ] = None,
    word: Annotated[str | None, typer.Argument(help="anomalous, normal or unknown.")] = None,
    who: Who = None,
) -> None:
    """Answer questions: one by its number, or all of them in turn with a picture of each."""
    from watchkeeper.cli import run, show_questions

    lake = run.lake_of(watch)
    waiting = open_questions(lake, watch)
    if number is None:
        _go_through(lake, watch, waiting, who)
        return
    if word is None:
        raise BadInputError(f"question {number}: no answer given; wanted {_or(WORDS)} after the number")
    chosen = [found for found in waiting if found.number == number]
    if not chosen:
        listed = f"`watchkeeper questions --watch {watch}` lists those that are"
        raise BadInputError(f"question {number} of watch {watch} is not open; {listed}")
    given = _answer(chosen[0], _word(word, "answer"))
    give_answers(lake, watch, [given], datetime.now(UTC), who)
    show_questions.labelled(watch, [given], len(waiting) - 1)


def label(
    watch: WatchName,
    series: Annotated[str | None, typer.Option(help="The series.")] = None,
    start: Annotated[str | None, typer.Option(help="First time of the stretch, as 2026-01-26T12:00 (UTC).")] = None,
    end: Annotated[str | None, typer.Option(help="Time after its last row.")] = None,
    word: Annotated[str | None, typer.Option("--as", help="anomalous, normal or unknown.")] = None,
    events: Annotated[Path | None, typer.Option("--from", help="CSV of events: series, start, end, label.")] = None,
    who: Who = None,
) -> None:
    """Say what a stretch of a series was, or many at once from a file. The next retrain learns from it."""
    from watchkeeper.cli import run, show_questions

    lake = run.lake_of(watch)
    one = {"--series": series, "--start": start, "--end": end, "--as": word}
    given = [name for name, value in one.items() if value is not None]
    if events is not None:
        if given:
            raise BadInputError(f"--from and {given[0]}: wanted a file of events, or one event in options, not both")
        rows = list(read_events(events))
    else:
        if missing := [name for name, value in one.items() if value is None]:
            raise BadInputError(f"label: {missing[0]} is missing; wanted {', '.join(one)}, or --from FILE")
        rows = [("label", str(series), str(start), str(end), str(word))]
    answers = check(lake, watch, rows)
    give_answers(lake, watch, answers, datetime.now(UTC), who)
    show_questions.labelled(watch, answers, len(open_questions(lake, watch)))


def read_events(file: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """Read a CSV of events as (where, series, start, end, label), none of them checked yet.

    Raises:
        BadInputError: it cannot be read, has another header, a row of another length, or no row.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(text, strict=True)
            header = tuple(name.strip().lower() for name in next(rows, []))
            if sorted(header) != sorted(COLUMNS):
                raise BadInputError(
                    f"{file}: wanted a first line {','.join(COLUMNS)}, found {','.join(header) or 'none'}"
                )
            events = [(rows.line_num, row) for row in rows if row]
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{file}: no CSV: {error}") from error
    if not events:
        raise BadInputError(f"{file}: no events below the first line")
    for line, row in events:
        if len(row) != len(COLUMNS):
            raise BadInputError(f"{file} line {line}: {len(row)} fields, wanted {len(COLUMNS)}: {','.join(COLUMNS)}")
        named = dict(zip(header, (field.strip() for field in row), strict=True))
        yield f"{file} line {line}", named["series"], named["start"], named["end"], named["label"]


def check(lake: "Lake", watch: str, rows: list[tuple[str, str, str, str, str]]) -> list[Answer]:
    """Check events against the data of a watch.

    Raises:
        BadInputError: the first one that does not fit: where it stands, what was found, what was wanted.
    """
    from tasks.rows import require_snapshot

    snapshot = require_snapshot(lake, watch)
    answers = []
    for where, series, start, end, word in rows:
        if series not in snapshot.series:
            close = get_close_matches(series, snapshot.series, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(snapshot.series[:10])}"
            raise BadInputError(f"{where}: watch {watch} has no series {series!r}; {hint}")
        found = Answer(series, _time(start, f"{where}: start"), _time(end, f"{where}: end"), _word(word, where))
        if found.start >= found.end:
            raise BadInputError(f"{where}: start {start} does not lie before end {end}")
        _require_rows(lake, snapshot, found, where)
        answers.append(found)
    return answers


def _require_rows(lake: "Lake", snapshot: "Snapshot", answer: Answer, where: str) -> None:
    """Refuse a stretch that reaches out of the data or has no row in it."""
    from tasks.rows import read_timestamps

    files = [file for file in snapshot.files if file.series == answer.series]
    first, last = min(file.start for file in files), max(file.end for file in files)
    newest = max(files, key=lambda file: file.end)
    step = (newest.end - newest.start) / max(newest.rows - 1, 1)  # an event may end where the next row would lie
    start, end = to_datetime(answer.start), to_datetime(answer.end)
    if start < first or end > last + max(step, last.resolution):
        raise BadInputError(
            f"{where}: {start:{TIME}} to {end:{TIME}} reaches out of the data of {answer.series}, "
            f"which go from {first:{TIME}} to {last:{TIME}} UTC"
        )
    near = tuple(file for file in files if file.start < end and start <= file.end)
    times = read_timestamps(lake, snapshot.model_copy(update={"files": near}), answer.series)
    if not ((times >= answer.start) & (times < answer.end)).any():
        raise BadInputError(f"{where}: {answer.series} has no row from {start:{TIME}} to {end:{TIME}} UTC")


def _go_through(lake: "Lake", watch: str, waiting: list[Open], who: str | None) -> None:
    """Show each question, ask, and write each answer at once: whoever stops half way loses nothing."""
    from watchkeeper.cli import show_questions
    from watchkeeper.cli.picture import picture_of

    given = []
    for place, found in enumerate(waiting, start=1):
        show_questions.question(found, place, len(waiting), picture_of(lake, watch, found.question))
        key = _key(show_questions.ask)
        if key == QUIT:
            break
        if key != SKIP:
            given.append(_answer(found, KEYS[key]))
            give_answers(lake, watch, given[-1:], datetime.now(UTC), who or getpass.getuser())
    show_questions.labelled(watch, given, len(waiting) - len(given))


def _key(ask: Callable[[], str]) -> str:
    """Ask until a known key comes; the end of the input is as good as quitting."""
    while True:
        try:
            key = ask().strip().lower()[:1]
        except EOFError:
            return QUIT
        if key in (*KEYS, SKIP, QUIT):
            return key


def _answer(found: Open, word: Word) -> Answer:
    question = found.question
    return Answer(question.series, to_microseconds(question.start), to_microseconds(question.end), word)


def _word(text: str, where: str) -> Word:
    for word in KEYS.values():
        if text.strip().lower() == word:
            return word
    raise BadInputError(f"{where}: {text!r} is no label; wanted {_or(WORDS)}")


def _time(text: str, where: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(f"{where} {text!r} is not a time; wanted 2026-01-26 or 2026-01-26T12:00") from error
    return to_microseconds(time.replace(tzinfo=UTC) if time.tzinfo is None else time)


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
