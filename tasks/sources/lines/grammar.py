"""InfluxDB's line protocol, line by line: what a line is, what its names are, and which numbers its cells mean.

Source: InfluxDB's line protocol reference, https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference.
Where that leaves a doubt, a line is read as InfluxDB 1.6 reads it, or not at all: a field that stands twice, signs
behind the quote that ends a text, and an even number of backslashes before a sign that ends the name of a field (which
InfluxDB takes for one thing and then for another) make it none.
"""

import re

MEASUREMENT = rb"(?:[^, \\]|\\[, ]|\\(?![, ]))+"
TAG_SIGN = rb"(?:[^,= \\]|\\[,= ]|\\(?![,= ]))"
TAG = TAG_SIGN + rb"+=(?:=|" + TAG_SIGN + rb")" + TAG_SIGN + rb"*"
FIELD_NAME = rb"(?:[^,= \\]|(?:\\\\)*+\\[,= ]|\\+(?![,= \\]))+"
CELL = rb'(?:"(?:[^"\\]|\\.)*"|[^, "=\\]+)'
BLANKS = rb" [ \t\0]*+"
FIELD = FIELD_NAME + rb"=" + CELL
HEAD = re.compile(rb"(" + MEASUREMENT + rb")((?:," + TAG + rb")*)", re.DOTALL)
LINE = re.compile(
    rb"(" + HEAD.pattern + rb")" + BLANKS + rb"(" + FIELD + rb"(?:," + FIELD + rb")*)(?:" + BLANKS + rb"([^ ]+))?",
    re.DOTALL,
)
TAGS = re.compile(rb",(" + TAG_SIGN + rb"+)=(=?" + TAG_SIGN + rb"*)", re.DOTALL)
FIELDS = re.compile(rb"(" + FIELD_NAME + rb")=(" + CELL + rb")", re.DOTALL)

FLOAT = re.compile(rb"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WHOLE = re.compile(rb"(-?\d{1,40})i|(\d{1,40})u")
TRUE = ("t", "T", "true", "True", "TRUE")
FALSE = ("f", "F", "false", "False", "FALSE")
_WORDS = {word.encode(): float(word in TRUE) for word in (*TRUE, *FALSE)}


def stripped(line: bytes) -> bytes:
    """Take away what InfluxDB takes away around a line, and the end that another system gives its lines."""
    return line.rstrip(b" \r").lstrip(b" \t\0")


def read_head(head: bytes) -> tuple[str, dict[str, str]] | None:
    """Return the measurement and the tags; None where it is none, or no text."""
    match = HEAD.fullmatch(head)
    if match is None:
        return None
    pairs = TAGS.findall(match[2])
    try:
        tags = {tag_word(tag).decode(): tag_word(word).decode() for tag, word in pairs}
        measurement = name_of(match[1]).decode()
    except UnicodeDecodeError:
        return None
    return (measurement, tags) if len(tags) == len(pairs) else None


def read_line(line: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes] | None:
    """Return head, fields as they are written, and timestamp, which may be empty; None where it is no line."""
    match = LINE.fullmatch(line)
    return (match[1], FIELDS.findall(match[4]), match[5] or b"") if match else None


def name_of(name: bytes) -> bytes:
    """Take away the backslashes that hide a sign in the name of a measurement or a field."""
    return re.sub(rb'\\([,= "])', rb"\1", name) if b"\\" in name else name


def tag_word(word: bytes) -> bytes:
    """Take away the backslashes that hide a sign in the name or the value of a tag."""
    return re.sub(rb"\\([,= ])", rb"\1", word) if b"\\" in word else word


def is_text(cell: bytes) -> bool:
    """Tell whether a cell is a text: it stands in quotes."""
    return cell.startswith(b'"')


def number_of(cell: bytes) -> float | None:
    """Return the number that a cell means; None where it means none."""
    if FLOAT.fullmatch(cell):
        number = float(cell)
        return number if abs(number) < float("inf") else None
    if whole := WHOLE.fullmatch(cell):
        count = int(whole[1] or whole[2])
        return float(count) if (-(2**63) <= count < 2**63 if whole[1] else count < 2**64) else None
    return _WORDS.get(cell)
