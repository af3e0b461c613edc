"""Made-up files of line protocol against a reading of them sign by sign."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.sources import Batch, read_source
from tasks.validate import Before, channels_of, validate
from watchkeeper.records import Refusal
from watchkeeper.sources import LinesSource

NS = 1_767_571_200 * 10**9
SPECIAL = (b",", b"=", b" ")


class BadLineError(Exception):
    """A line is no line protocol, or has no time."""


def by_hand(line: bytes) -> tuple[int, dict[str, float], set[str]]:
    """Read a line sign by sign: its time in µs, its numbers, and which of its fields are texts.

    Raises:
        BadLineError: it cannot be used.
    """
    words, place = head_of(line)
    tags = [split_tag(word) for word in words[1:]]
    if not words[0] or len({name for name, _ in tags}) < len(tags):
        raise BadLineError
    numbers: dict[str, float] = {}
    texts: set[str] = set()
    while True:
        name, place = field_name(line, place)
        if name in numbers or name in texts:
            raise BadLineError
        start = place
        if line[place : place + 1] == b'"':
            place = end_of_text(line, place)
            texts.add(name)
        else:
            while place < len(line) and line[place : place + 1] not in (b",", b" "):
                place += 1
            numbers[name] = number_of(line[start:place])
        following = line[place : place + 1]
        place += 1
        if following != b",":
            break
    if following not in (b" ", b""):
        raise BadLineError
    stamp = line[place:].lstrip(b" \t\0")
    digits = stamp.removeprefix(b"-")
    if not digits or any(sign not in b"0123456789" for sign in digits) or abs(int(stamp)) > 2**62:
        raise BadLineError
    return int(stamp) // 1000, numbers, texts


def head_of(line: bytes) -> tuple[list[bytes], int]:
    """Cut the head at its commas; return its words, and where the fields begin."""
    words, place = [b""], 0
    while place < len(line):
        sign, following = line[place : place + 1], line[place + 1 : place + 2]
        if sign == b"\\" and following in SPECIAL and following:
            words[-1] += sign + following
            place += 1
        elif sign == b",":
            words.append(b"")
        elif sign == b" ":
            while line[place : place + 1] in (b" ", b"\t", b"\0") and place < len(line):
                place += 1
            return words, place
        else:
            words[-1] += sign
        place += 1
    raise BadLineError


def split_tag(word: bytes) -> tuple[str, str]:
    """Cut a tag at its equals sign."""
    cuts = [at for at, sign in enumerate(word) if sign == ord("=") and word[at - 1 : at] != b"\\"]
    if not cuts or cuts[0] in (0, len(word) - 1) or any(cut != cuts[0] + 1 for cut in cuts[1:]):
        raise BadLineError
    return shown(word[: cuts[0]], b",= "), shown(word[cuts[0] + 1 :], b",= ")


def field_name(line: bytes, place: int) -> tuple[str, int]:
    """Return the name of a field, and where its cell begins."""
    name = b""
    while place < len(line):
        sign = line[place : place + 1]
        if sign == b"\\":
            run = len(line[place:]) - len(line[place:].lstrip(b"\\"))
            following = line[place + run : place + run + 1]
            if following in SPECIAL and run % 2 == 0:
                raise BadLineError
            name += line[place : place + run] + (following if following in SPECIAL else b"")
            place += run + (following in SPECIAL)
            continue
        if sign == b"=" and name:
            return shown(name, b',= "'), place + 1
        if sign in SPECIAL:
            raise BadLineError
        name += sign
        place += 1
    raise BadLineError


def shown(name: bytes, hidden: bytes) -> str:
    """Take away the backslashes that hide a sign, from the left."""
    found, place = b"", 0
    while place < len(name):
        if name[place : place + 1] == b"\\" and name[place + 1 : place + 2] and name[place + 1] in hidden:
            place += 1
        found += name[place : place + 1]
        place += 1
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise BadLineError from error


def end_of_text(line: bytes, place: int) -> int:
    """Return the place behind the quote that ends a text."""
    place += 1
    while line[place : place + 1] != b'"':
        place += 2 if line[place : place + 1] == b"\\" else 1
        if place >= len(line):
            raise BadLineError
    return place + 1


def number_of(cell: bytes) -> float:
    """Read a number by Python's own means."""
    word = cell.decode("latin-1")
    if word in ("t", "T", "true", "True", "TRUE"):
        return 1.0
    if word in ("f", "F", "false", "False", "FALSE"):
        return 0.0
    try:
        if word.strip("-.0123456789eE+iu") or word[:1] in ("+", ""):
            raise BadLineError
        if word[-1] in "iu":
            number, lowest = int(word[:-1]), 0 if word[-1] == "u" else -(2**63)
            if not lowest <= number < lowest + 2**64 or (word[-1] == "u" and word[0] == "-"):
                raise BadLineError
        number = int(word[:-1]) if word[-1] in "iu" else float(word)
    except ValueError as error:
        raise BadLineError from error
    if math.isinf(number):
        raise BadLineError
    return float(number)


NAMES = st.text(st.sampled_from('abc\\ ,="é'), min_size=1, max_size=4)
CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.integers(-(10**6), 10**6).map(lambda number: f"{number}i"),
    st.sampled_from(
        ["t", "FALSE", "7u", "-7u", "+1", "1.", ".5", "-.5", "nan", "inf", "1e400", "1e39", "0x1", "1_0", '"text"', "-",
         '"a\\"b, =c"', '"\\\\"', '"a"b', "", "9223372036854775808i", "1i2", "--1", "1e", ".", '"', "١", "1\\"]
    ),
)  # fmt: skip
STAMPS = st.one_of(
    st.integers(0, 5).map(lambda second: str(NS + second * 10**9)),
    st.sampled_from(["", "-5", "12:00", "1.5", "99999999999999999999", "+7", "1 2", "--1", "-", "0x10", "007"]),
)
BLANKS = st.sampled_from([" ", " ", " ", " ", "  ", " \t", "\t"])
PAIRS = st.lists(st.tuples(NAMES, CELLS).map("=".join), min_size=1, max_size=3).map(",".join)
HEADS = [
    "m",
    "m,t=1",
    "m,t=1,u=2",
    "m,",
    "m,t",
    "",
    "m\\ x,t=a\\,b",
    "m,t=1,t=1",
    'm,t="x',
    "m\\",
    "m\\\\,t=\\ ",
    "m,\\=t=1",
]
SIMPLE = st.tuples(
    st.just("m"),
    st.one_of(
        st.sampled_from(["a=1", "a=2,b=3i", "b=4", "a=1,b=2", 'a=1,c="x"', 'c="x"', "=1", "a=1,=2", "a=1,a=2"]),
        CELLS.map("a=".__add__),
    ),
    STAMPS,
)
LINES = st.one_of(
    st.tuples(st.sampled_from(HEADS), BLANKS, PAIRS, BLANKS, STAMPS).map("".join),
    SIMPLE.map(" ".join),
    st.text(st.sampled_from('ma,= \\"1\t#\r\0'), max_size=12),
).map(str.encode)  # fmt: skip
MANY = st.lists(SIMPLE.map(" ".join).map(str.encode), min_size=8, max_size=40)
"""So many that lines of a kind become a table."""
BYTES = st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))


def wanted_of(lines: list[bytes]) -> tuple[dict[int, dict[str, float]], int]:
    """Return the rows that lines make, and how many of the lines are part of one."""
    found: list[tuple[int, dict[str, float], set[str]]] = []
    for line in lines:
        try:
            found.append(by_hand(line))
        except BadLineError:
            continue
    numeric = {name for _, numbers, _ in found for name in numbers}
    rows: dict[int, dict[str, float]] = {}
    good = 0
    for us, numbers, texts in found:
        with np.errstate(over="ignore"):
            small = {name: float(np.float32(number)) for name, number in numbers.items()}
        if not small or texts & numeric or any(math.isinf(number) for number in small.values()):
            continue
        if not rows.setdefault(us, {}).keys() & small.keys():
            rows[us] |= small
            good += 1
    return rows, good


def check(lines: list[bytes]) -> None:
    """Read lines as a file and compare with the obvious reading: what is admitted, and how many lines are not."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "p.lp").write_bytes(b"\n".join(lines))
        items: list[Any] = list(read_source(LinesSource(kind="lines", folder=folder), None))
    lines = [line.rstrip(b" \r").lstrip(b" \t\0") for line in lines]
    lines = [line for line in lines if line and not line.startswith(b"#")]
    wanted, good = wanted_of(lines)
    if any(isinstance(item, Refusal) for item in items):
        (refused,) = items
        told = ("holds no line", "has no field that holds numbers", "has no line that can be used", "is UTF-16")
        assert refused.reason.startswith(told)
        assert not wanted or "UTF-16" in refused.reason
        return
    (batch,) = items
    assert isinstance(batch, Batch)
    valid = validate(batch, channels_of(batch), extra_allowed=False, before=Before())
    admitted: dict[int, dict[str, float]] = {}
    for time, values in zip(valid.timestamps.tolist(), valid.values.tolist(), strict=True):
        named = zip(channels_of(batch), values, strict=True)
        admitted[time] = {name: value for name, value in named if not math.isnan(value)}
    assert admitted == wanted
    assert good + len(valid.quarantine) == len(lines)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.lists(LINES, max_size=8), MANY))
def test_any_lines_give_their_good_rows_and_count_the_others(lines: list[bytes]) -> None:
    """The oracle reads sign by sign: no row more, none less, no reading that differs; all lines are accounted for."""
    check(lines)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.lists(st.one_of(LINES, BYTES), max_size=8), MANY))
def test_ten_thousand_files_of_lines(lines: list[bytes]) -> None:
    """The same for long, with any bytes among them."""
    check(lines)
