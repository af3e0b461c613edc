"""Lines of line protocol, written to a real InfluxDB 1 and read as a file: both make the same of them."""

import re
import uuid

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from influxdb import InfluxDB

from tasks.sources.lines.parser import Parser
from watchkeeper.sources import LinesSource

NS = 1_767_571_200 * 10**9
Kept = tuple[int, dict[str, float | str]]
"""The time of a point in µs, and what its fields hold."""

NAMES = st.text(st.sampled_from('ab\\ ,="é'), min_size=1, max_size=5)
SIGNS = ["a", "b", "é", "\\", "\\\\", "\\,", "\\=", "\\ ", '\\"', '"', " ", "="]
FIELD_NAMES = st.lists(st.sampled_from(SIGNS), min_size=1, max_size=4).map("".join)
"""Without a bare comma: InfluxDB counts commas and equals signs, and takes what comes out even for fields."""
NUMBERS = [
    "1", "-2.5", "1e3", "1.", ".5", "-.5e-2", "+1", "7i", "-7i", "007", "0x10", "1_0", "nan", "inf", "-inf", "1e400",
    "9223372036854775807i", "9223372036854775808i", "1i2", "1.0i", "--1", "1e", ".", "-", "i", "1ee5", "1e5e5", "1\t",
    "t", "T", "true", "True", "TRUE", "tRUE", "f", "FALSE", "False", "no", "1 ", "1\\",
]  # fmt: skip
TEXTS = ['"x"', '"a, b=c"', '"a\\"b"', '"\\\\"', '"\\', '"', '"x', '""', '"a=1,b=2 5"', '"x"y']
CELLS = st.one_of(st.sampled_from(["1", "-2.5", "7i", "t", '"x"']), st.sampled_from(NUMBERS + TEXTS))
FIELDS = st.lists(st.tuples(FIELD_NAMES, CELLS), min_size=1, max_size=3).map(
    lambda pairs: ",".join(f"{at}{name}={cell}" for at, (name, cell) in enumerate(pairs))
)
TAGS = st.lists(st.tuples(NAMES, NAMES).map("=".join), max_size=2).map(lambda tags: "".join(f",{tag}" for tag in tags))
EVEN = re.compile(r"(?<!\\)(\\\\)+=")
"""Backslashes before the end of a field's name: where the name ends, InfluxDB tells in two ways."""
BEHIND = re.compile(r'="(?:[^"\\]|\\.)*"[^, ]')
"""Signs behind the quote that ends a text, which InfluxDB takes for a part of it."""
MEASUREMENTS = ["", "", "a", "\\ ", "\\,", "\\=", "=", '"', '\\"', "\\", "\\a", "#", ","]
"""Without two backslashes before a sign: InfluxDB writes those points, and then finds them no more."""
BLANKS = st.sampled_from([" "] * 6 + ["  ", " \t", "\t"])
STAMPS = st.sampled_from([f"{NS}"] * 6 + [f"-{NS}", "007", "1.5", "+5", "--5", "-", "5 6", "5,", "9" * 20, "x"])
LINES = st.one_of(
    st.tuples(st.sampled_from(MEASUREMENTS), TAGS, BLANKS, FIELDS, BLANKS, STAMPS).map("".join),
    st.text(st.sampled_from('ma,= \\"1\t#ti'), max_size=14).map(
        lambda text: text.replace("\\\\", "\\") + f" a=1 {NS}"  # see MEASUREMENTS
    ),
)


def kept_by_influx(server: InfluxDB, lines: list[str]) -> dict[int, Kept]:
    """Write each line alone, with a measurement of its own; return what is kept of those that leave anything."""
    database = f"d{uuid.uuid4().hex}"
    # A query for each: one for all would take the fields of a name for one, of one type.
    query = ";".join(f"SELECT *::field FROM /^m{at}x/" for at in range(len(lines)))  # noqa: S608 - numbers
    with server.client() as client:
        client.post("/query", data={"q": f"CREATE DATABASE {database}"})
        for at, line in enumerate(lines):
            client.post("/write", params={"db": database}, content=f"m{at}x{line}".encode())
        answer = client.post("/query", data={"db": database, "q": query, "epoch": "ns"}).raise_for_status().json()
        client.post("/query", data={"q": f"DROP DATABASE {database}"})
    found = {}
    for at, result in enumerate(answer["results"]):
        for series in result.get("series", []):
            (row,) = series["values"]
            fields = {name: cell for name, cell in zip(series["columns"], row, strict=True) if cell is not None}
            found[at] = int(fields.pop("time")) // 1000, fields
    return found


def kept_by_parser(line: str) -> Kept | None:
    """Parse a line alone; a text is kept as "text"."""
    parser = Parser(LinesSource(kind="lines", folder="."), "x")
    part = parser.parse([line.encode()], 0)
    if part.reasons.tolist() != [""]:
        return None
    fields: dict[str, float | str] = {parser.fields[code]: "text" for code in part.text_field}
    fields |= {parser.fields[code]: value for code, value in zip(part.field, part.value.tolist(), strict=True)}
    return int(part.us[0]), fields


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, min_size=20, max_size=60))
def test_a_line_means_what_influxdb_keeps_of_it(influxdb: InfluxDB, lines: list[str]) -> None:
    """Each field, each number, each time; what one refuses the other does too, but for what grammar.py tells."""
    influx = kept_by_influx(influxdb, lines)
    for at, line in enumerate(lines):
        ours, kept = kept_by_parser(f"m{at}x{line}"), influx.get(at)
        if kept and ours is None:
            assert BEHIND.search(line) or EVEN.search(line), line
            continue
        if kept:
            cells = kept[1].items()
            numbers = {name: "text" if isinstance(cell, str) else float(np.float32(cell)) for name, cell in cells}
            kept = kept[0], numbers
        assert ours == kept, line
