"""Files of line protocol: which measurement, tags and fields they hold, and what their timestamps count."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.look import Choice
from tasks.look.place import File, Place, read_head, read_stretch
from tasks.look.roles import LEAKS, SURE_LABEL, Columns, some
from tasks.look.text import spread
from tasks.sources.lines.grammar import name_of, number_of, read_line, stripped
from tasks.sources.lines.grammar import read_head as head_of
from tasks.validate import RESERVED
from watchkeeper.errors import DataError
from watchkeeper.sources import LinesSource

MOST_FILES = 20
"""So many files are looked into at most, spread over all of them."""
PROBES, PROBE = 64, 2**12
"""An export has one field after another: so many places of a large file are looked at, so many bytes at each."""
UNITS = {"s": 1e11, "ms": 1e14, "us": 1e17}
"""Below what a timestamp counts in the unit; 1e11 s is the year 5138, 1e11 ms is 1973."""


@dataclass
class _Measurement:
    """What the lines of a measurement have.

    Attributes:
        lines: how many there are.
        tags: values of each tag.
        tagged: lines with each tag.
        numbers: values of each field that are numbers.
        texts: fields that hold texts.
        stamps: timestamps.
    """

    lines: int = 0
    tags: dict[str, set[str]] = field(default_factory=dict)
    tagged: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, set[float]] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    stamps: list[int] = field(default_factory=list)

    def add(self, tags: dict[str, str], fields: list[tuple[bytes, bytes]], stamp: bytes) -> None:
        """Take in a line."""
        self.lines += 1
        self.tagged.update(tags.keys())
        for tag, word in tags.items():
            self.tags.setdefault(tag, set()).add(word)
        for key, cell in fields:
            name, number = name_of(key).decode("utf-8", "replace"), number_of(cell)
            if number is None:
                self.texts.add(name)
            else:
                self.numbers.setdefault(name, set()).add(number)
        if stamp.removeprefix(b"-").isdigit():
            self.stamps.append(abs(int(stamp[:20])))


def look_into(place: Place, choice: Choice) -> tuple[Columns, dict[str, Any]]:
    """Find what a watch on a place's lines would take in.

    Returns:
        Its fields as columns, and the keys of the source that are not about fields.

    Raises:
        DataError: they are no lines with numbers and times, or what they hold leaves a choice.
    """
    if choice.timestamp or choice.format or choice.zone or choice.start:
        raise DataError(f"{place.folder}: lines of line protocol have their own clock; that option is for CSV alone")
    found: dict[str, _Measurement] = {}
    for file in spread(place.found, MOST_FILES):
        for line in _lines(file):
            read = read_line(line)
            head = head_of(read[0]) if read else None
            if read is not None and head is not None:
                found.setdefault(head[0], _Measurement()).add(head[1], read[1], read[2])
    if not found:
        raise DataError(f"{place.found[0].name} holds no line of line protocol, as pump,unit=a flow=1.5 1767571200")
    names = sorted(found) if choice.table is None else [name for name in found if name == choice.table]
    if len(names) != 1:
        raise DataError(f"{place.folder} holds the measurements {some(sorted(found))}; choose one with --table")
    (name,) = names
    held = found[name]
    if not held.stamps:
        raise DataError(f"{place.folder}: no line of {name} has a timestamp, so nobody knows when it was written")
    series, notes = _series(held, choice)
    keys: dict[str, Any] = {
        "kind": "lines",
        "folder": place.folder,
        "files": place.files,
        "precision": _precision(held.stamps),
        "measurement": name,
        "series": series[0] if len(series) == 1 else series,
    }
    columns = _columns(held, choice)
    return Columns(**{**columns.__dict__, "series": ", ".join(series) or None, "notes": notes}), keys


def _lines(file: File) -> Iterator[bytes]:
    """Give lines of a file's head, and of places all over a large one that is not packed."""
    head, whole, _ = read_head(file, PROBES * PROBE)
    parts = [head if whole else head[: head.rfind(b"\n") + 1]]
    if not whole and not file.packing:
        parts = [head[: head.rfind(b"\n", 0, PROBE) + 1]]
        parts += [read_stretch(file, round(file.size * at / PROBES), PROBE) for at in range(1, PROBES)]
    for part in parts:
        for line in map(stripped, part.split(b"\n")):
            if line and not line.startswith(b"#"):
                yield line


def _precision(stamps: list[int]) -> str:
    usual = float(np.median(np.array(stamps, dtype=np.float64)))
    return next((unit for unit, end in UNITS.items() if usual < end), "ns")


def _series(held: _Measurement, choice: Choice) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tags that name the series: those that differ, and that all lines have (and what should be known)."""
    if choice.series is not None:
        if choice.series not in held.tags:
            raise DataError(f"no tag is called {choice.series}; there are {some(sorted(held.tags)) or 'none'}")
        return (choice.series,), ()
    differ = [tag for tag in sorted(held.tags) if len(held.tags[tag]) > 1]
    left = [tag for tag in differ if held.tagged[tag] < held.lines]
    notes = [
        f"tag {tag} is missing in some lines, so it names no series; name it in `series` or `where`" for tag in left
    ]
    return tuple(tag for tag in differ if tag not in left), tuple(notes)


def _columns(held: _Measurement, choice: Choice) -> Columns:
    binary = {name for name, values in held.numbers.items() if values <= {-1.0, 0.0, 1.0}}
    if choice.label is not None and choice.label not in binary:
        raise DataError(f"field {choice.label} is no label: wanted one of numbers 0, 1 and −1")
    sure = (name for name in sorted(binary) if SURE_LABEL.fullmatch(name))
    label = choice.label or next(sure, None)
    ignored = dict.fromkeys(sorted(held.texts - held.numbers.keys()), "holds words")
    for name in sorted(held.numbers):
        if LEAKS.fullmatch(name):
            ignored[name] = "tells where the anomalies are"
        elif name != label and SURE_LABEL.fullmatch(name):
            ignored[name] = "is called like a label, but is none, or not the one that is used"
    channels = [name for name in sorted(held.numbers) if name not in ignored and name != label]
    if not channels:
        raise DataError("no field holds numbers beside the label")
    rename = {name: f"{name}_reading" for name in channels if name in RESERVED or name in ("timestamp", "label")}
    final = tuple(rename.get(name, name) for name in channels)
    return Columns(time=(), clock=None, label=label, channels=final, ignored=ignored, rename=rename)


def source_of(keys: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the keys of the source that differ from their defaults, as a watch file has them."""
    keys = keys | {"label": columns.label, "rename": dict(columns.rename), "ignore": tuple(columns.ignored)}
    usual = {name: field.default for name, field in LinesSource.model_fields.items()}
    return {name: value for name, value in keys.items() if value not in (None, (), {}) and value != usual.get(name)}
