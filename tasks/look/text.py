"""Text files: one hand and one set of columns for all of them, and the parts of them that are looked at."""

import codecs
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.look import Choice
from tasks.look.columns import find_columns
from tasks.look.dialect import Dialect, find_dialect
from tasks.look.place import File, Place, read_head, read_stretch, several_kinds, starts_like_utf16
from tasks.look.roles import Columns, is_truth
from tasks.sources.folder import bad_name
from watchkeeper.errors import DataError
from watchkeeper.sources import CsvSource

HEAD = 2**18
"""Bytes of a file that show its hand and its columns."""
MOST_FILES = 50
"""So many files are looked into at most, spread over all of them."""
BUDGET = 24 * 2**20
"""Bytes of text that are tried out in all."""
LEAST = 2**18
"""Bytes of each file that are tried out at least."""


@dataclass(frozen=True)
class Sample:
    """Parts of the files, in folders of their own, to be read by the real source.

    Attributes:
        folders: each holds, in folders with a number, one stretch of each file.
        share: which share of the bytes they hold.
        about: what was looked at, in words.
    """

    folders: tuple[Path, ...]
    share: float
    about: str


def spread(files: Sequence[File], most: int = MOST_FILES) -> list[File]:
    """Return so many files at most, the first and the last among them."""
    if len(files) <= most:
        return list(files)
    return [files[round(at * (len(files) - 1) / (most - 1))] for at in range(most)]


def look_into(place: Place, choice: Choice) -> tuple[Dialect, Columns]:
    """Find the hand and the columns of a place's text files.

    Raises:
        DataError: they are not readable, or not all of one kind.
    """
    hands: dict[object, list[tuple[File, Dialect]]] = defaultdict(list)
    failed: list[str] = []
    for file in spread(place.found):
        try:
            head, whole, _ = read_head(file, HEAD)
        except DataError as error:
            failed.append(str(error))
            continue
        try:
            dialect = find_dialect(head, whole=whole)
        except DataError as error:
            failed.append(f"{file.name} {error}")
            continue
        if not whole and not file.packing and not starts_like_utf16(head):
            dialect = _with_end(file, dialect)
        # A label may stand in some files alone; without a header, columns are known by their places.
        names = (
            frozenset(name for name in dialect.names if not is_truth(name, choice)) if dialect.header else dialect.names
        )
        hands[names, dialect.delimiter, dialect.skip].append((file, dialect))
    if not hands:
        raise DataError(failed[0] + (f"; {len(failed) - 1} more cannot be used either" if len(failed) > 1 else ""))
    if len(hands) > 1:
        raise several_kinds(place, [([file.name for file, _ in kind], kind[0][1].names) for kind in hands.values()])
    ((*found,),) = hands.values()
    found.sort(key=lambda one: -len(one[1].names))  # those with a label first
    main = _merged([dialect for _, dialect in found])
    try:
        columns = find_columns(main, choice, [dialect for _, dialect in found[1:]])
    except DataError as error:
        raise DataError(f"{found[0][0].name} {error}") from error
    if columns.series is None:
        refusals = [bad_name(Path(file.name).name.split(".")[0], file.name) for file, _ in found]
        if all(refusals) and refusals[0]:
            raise DataError(f"{found[0][0].name}: {refusals[0].reason}")
    return main, replace(columns, notes=(*columns.notes, *failed[:3]))


def _with_end(file: File, dialect: Dialect) -> Dialect:
    """Add rows of the file's end: they tell day and month apart, and what a label's words are."""
    start = max(HEAD, file.size - HEAD // 2)  # no row twice
    tail = read_stretch(file, start, file.size - start)
    try:
        end = find_dialect(tail, whole=True)
    except DataError:
        return dialect
    rows = tuple(row for row in end.rows if len(row) == len(dialect.names))
    return replace(dialect, rows=dialect.rows + rows) if end.delimiter == dialect.delimiter else dialect


def _merged(dialects: list[Dialect]) -> Dialect:
    """Return the first hand, with what only others show: a decimal comma, letters beyond ASCII."""
    decimal = "," if any(one.decimal == "," for one in dialects) and dialects[0].delimiter != "," else "."
    encodings = Counter(one.encoding for one in dialects)
    encoding = next((one for one in encodings if one != "utf-8"), "utf-8")
    return replace(dialects[0], decimal=decimal, encoding=encoding)


def take_sample(place: Place, dialect: Dialect | None, scratch: Path) -> Sample:
    """Put whole files, where they are small, or some stretches of them into folders of their own.

    Args:
        place: the files.
        dialect: their hand; None: UTF-8, and nothing stands before their lines.
        scratch: an empty folder.

    Raises:
        DataError: a file cannot be read.
    """
    chosen = spread(place.found)
    each = max(LEAST, BUDGET // len(chosen))
    encoding = "utf-8" if dialect is None else dialect.encoding
    wide = encoding.startswith("utf-16")
    folders: dict[str, Path] = {}
    looked, length, whole_files = 0, 0.0, 0
    for number, file in enumerate(chosen):
        in_one = bool(file.packing) or wide or file.size <= each
        head, whole, ratio = read_head(file, each if in_one else each // 2)
        stretches = {"head": head if whole else _whole_lines(head, encoding)}
        if not in_one:
            first = b"" if dialect is None else _preamble(head, dialect)
            stretches["middle"] = first + read_stretch(file, file.size // 2, each // 4)
            stretches["end"] = first + read_stretch(file, file.size - each // 4, each // 4)
        for name, data in stretches.items():
            target = folders.setdefault(name, scratch / name) / f"{number:04d}"
            target.mkdir(parents=True, exist_ok=True)
            (target / Path(file.name.removesuffix(file.packing)).name).write_bytes(data)
            looked += len(data)
        whole_files += whole
        length += file.size * ratio
    length *= place.size / max(1, sum(file.size for file in chosen))
    share = 1.0 if whole_files == len(place.found) else min(1.0, looked / max(1.0, length))
    return Sample(tuple(folders.values()), share, _about(len(place.found), len(chosen), whole_files, looked, share))


def _about(files: int, chosen: int, whole: int, looked: int, share: float) -> str:
    if whole == files:
        return f"all rows of {'the file' if files == 1 else f'all {files:,} files'}"
    where = "the file" if files == 1 else f"{chosen:,} of {files:,} files"
    return f"{looked / 2**20:,.1f} MiB of text from {where}, about {share:.1%} of all"


def _whole_lines(head: bytes, encoding: str) -> bytes:
    if not encoding.startswith("utf-16"):
        return head[: head.rfind(b"\n") + 1] or head
    text = codecs.getincrementaldecoder(encoding)().decode(head)
    return text[: text.rfind("\n") + 1].encode(encoding)


def _preamble(head: bytes, dialect: Dialect) -> bytes:
    """Return the lines that stand before the rows, the header with them."""
    lines = head.split(b"\n")
    at = dialect.skip
    if dialect.header is not None:
        while not lines[at].strip():
            at += 1
        at += 1
    return b"".join(line + b"\n" for line in lines[:at])


def source_of(place: Place, dialect: Dialect, choice: Choice, columns: Columns) -> dict[str, Any]:
    """Return the keys of the source that differ from their defaults, as a watch file has them."""
    keys: dict[str, Any] = {"kind": "csv", "folder": place.folder, "files": place.files}
    if columns.clock is None:
        keys |= {"start": choice.start, "interval_s": choice.interval_s}
    else:
        keys["timestamp"] = columns.time[0] if len(columns.time) == 1 else columns.time
        keys["format"] = columns.clock.format
    keys |= {
        "zone": choice.zone,
        "delimiter": dialect.delimiter,
        "decimal": dialect.decimal,
        "encoding": dialect.encoding,
        "skip_lines": dialect.skip,
        "columns": () if dialect.header is not None else dialect.names,
        "missing": columns.missing,
        "label": columns.label,
        "label_words": dict(columns.label_words),
        "series": columns.series,
        "form": "long" if columns.channel else "wide",
        "channel": columns.channel,
        "value": columns.value,
        "rename": dict(columns.rename),
        "ignore": tuple(columns.ignored),
    }
    usual = {name: field.default for name, field in CsvSource.model_fields.items()}
    return {name: value for name, value in keys.items() if value not in (None, (), {}) and value != usual.get(name)}
