"""The watch file of what was found: every line with its reason, to be edited by a person."""

import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tasks.look.found import Channel, Found
from watchkeeper.errors import DataError
from watchkeeper.settings import first_problem
from watchkeeper.watch import NAME, LabelRule, SplitRule, Watch

COLUMN = 34
"""Where the comments begin, where the line is not longer."""
WIDTH = 118
LARGE_MIB = 4096.0
"""A retrain that needs more memory is told how to need less."""
LITERAL = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f]*[^']")
"""What may stand between the quotes of a string of several lines."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
MEANINGS = {
    "folder": "where the files lie",
    "files": "which of them: a pattern",
    "url": "of the database; a password is the name of a variable: postgresql://me:$PASSWORD@host/database",
    "version": "of InfluxDB",
    "database": "of the server",
    "precision": "what the timestamps count, by their size",
    "measurement": "whose fields are the channels",
    "user": "who asks",
    "password": "the variable that holds it",
    "step_s": "seconds between two rows",
    "query": "what is asked for each stretch of time; columns are named as the channels shall be",
    "since": "where the first ingest begins: the oldest row",
    "stretch_s": "seconds that one query asks for",
    "start": "of a made-up clock: the files have none",
    "interval_s": "seconds from row to row of the made-up clock",
    "zone": "of clocks that name none",
    "delimiter": "between two cells",
    "decimal": "of the readings",
    "encoding": "of the text; by default utf-8",
    "skip_lines": "lines before the header, or before the rows where `columns` names them",
    "columns": "names of the columns: the header has none, names one twice or lacks one",
    "missing": "cells that mean no reading, beside the usual ones",
    "label": "column that says what is anomalous: 1, normal: 0, or nothing",
    "label_words": "what its words mean: 1 anomalous, 0 normal, -1 unknown",
    "series": "column that names the series; without this key the file's name does",
    "form": "a reading a row; those of one moment are put side by side",
    "channel": "column that names the channel of a reading",
    "value": "column with the reading",
    "rename": "Watchkeeper uses these names itself",
}

KINDS = {
    "csv": "text with delimiters: docs/data.md has every key",
    "influxdb": "InfluxDB: docs/data.md has every key",
    "prometheus": "Prometheus' API, of VictoriaMetrics too: docs/data.md has every key",
    "sql": "a database that SQLAlchemy knows: docs/data.md has every key",
    "lines": "InfluxDB's line protocol: docs/data.md has every key",
    "parquet": "Parquet files, one series each: docs/data.md has every key",
    "benchmark": "a folder as a benchmark's makers hand it out: docs/data.md",
}


def name_for(place: str) -> str:
    """Return what a watch on a place may be called: its letters without marks, all else as _."""
    plain = unicodedata.normalize("NFKD", place).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")
    return plain[:60] if NAME.fullmatch(plain[:60]) else "watch"


def quoted(text: str) -> str:
    """Return a string as TOML writes it, whatever is in it.

    Raises:
        DataError: it is no text, so that no file can hold it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{text!r} is no text, so no watch file can name it; rename it") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def as_toml(value: Any) -> str:
    """Return a value as TOML writes it, in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(as_toml(one) for one in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(name)} = {as_toml(one)}" for name, one in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    return f"{value}"


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else quoted(name)


def write_watch(found: Found, name: str) -> str:
    """Return the watch file.

    Raises:
        DataError: what was found makes no valid watch.
    """
    lines = [*_head(found, name), *_top(found), *_source(found), *_rules(found)]
    text = "\n".join(lines) + "\n"
    try:
        Watch(name=name, **tomllib.loads(text))
    except ValidationError as error:
        raise DataError(f"what was found makes no watch: {first_problem(error)}") from error
    return text


def _comment(text: str) -> list[str]:
    """Return a text as comment lines. Control characters, which comments may not hold, are shown as escapes."""
    clean = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    lines, line = [], "#"
    for word in clean.split(" "):
        if len(line) + 1 + len(word) > WIDTH and line != "#":
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]


def _line(key: str, value: Any, why: str) -> list[str]:
    """Return a key with its comment beside it, or above it where the line would be too long."""
    if isinstance(value, str) and "\n" in value and LITERAL.fullmatch(value) and "'''" not in value:
        return [*_comment(why), f"{_key(key)} = '''\n{value}'''"]
    text = f"{_key(key)} = {as_toml(value)}"
    beside = _comment(why)
    if len(beside) == 1 and len(f"{text + ' ':<{COLUMN}}{beside[0]}") <= WIDTH:
        return [f"{text + ' ':<{COLUMN}}{beside[0]}"]
    return [*beside, text]


def _head(found: Found, name: str) -> list[str]:
    about = "" if found.whole else "about "
    text = [
        f"{name}: made by `watchkeeper init`, which looked at {found.about}. Read it, mend what is wrong, and run",
        f"`watchkeeper retrain --watch {name}`. watches/plant.toml has every key with its meaning.",
    ]
    lines = [line for one in text for line in _comment(one)]
    lines.append("#")
    lines += _comment(
        f"{about}{found.rows:,} rows, series: {found.series_count:,}, channels: {len(found.channels):,}, "
        f"{found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC"
    )
    lines += _comment(told_rhythm(found))
    lines += _comment(told_labels(found))
    if found.quarantined:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in list(found.quarantined.items())[:4])
        lines += _comment(f"rows that would go to quarantine, of those looked at: {reasons}")
    lines += _comment(told_cost(found))
    for note in found.notes:
        lines += _comment(f"note: {note}")
    return lines


def span(seconds: float) -> str:
    """Return a time span in the unit that people would use."""
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} s" if seconds >= 1 else f"{seconds * 1000:.4g} ms"


def told_rhythm(found: Found) -> str:
    """Say how far apart rows are, and what is missing between them."""
    rhythm = found.rhythm
    if not rhythm.interval_s:
        return "no series has two rows: how far apart they are is unknown"
    steps = f"a row every {span(rhythm.interval_s)}"
    if not rhythm.regular:
        steps += f", nine of ten steps between {span(rhythm.low_s)} and {span(rhythm.high_s)}"
    gaps = "no gap"
    if rhythm.gaps:
        gaps = (
            f"{rhythm.gaps:,} gap{'s' if rhythm.gaps > 1 else ''} (steps of more than 2.5 usual ones), the longest "
            f"{span(rhythm.longest_gap_s)}; nothing is filled in: a window is so many rows"
        )
    return f"{steps}; {gaps}"


def told_labels(found: Found) -> str:
    """Say what labels there are."""
    if not found.labelled:
        return "no labels: the agent asks people, see `watchkeeper questions`"
    share = found.anomalous / found.labelled
    return f"labels on {found.labelled:,} of the rows looked at, {found.anomalous:,} of them anomalous ({share:.2%})"


def told_cost(found: Found) -> str:
    """Say what it costs."""
    cost = found.cost
    return (
        f"about {cost.train_s:,.0f} CPU-seconds and {cost.memory_mib / 1024:.1f} GiB for a retrain, "
        f"{max(cost.score_day_s, 0.1):,.1f} CPU-seconds to score a day's {found.day_rows:,.0f} rows (docs/init.md)"
    )


def _top(found: Found) -> list[str]:
    plan = found.suggestion
    lines = ["", *_line("window", plan.window, f"samples that a member sees at once: {plan.window_why}")]
    lines += _line("members", plan.members, f"what scores beside the agent, {plan.members_why}")
    if not plan.trainable:
        lines += _comment("there are too few rows to train yet: no series can be split. Ingest more first")
    lines += ["channels = ["]
    return [*lines, *(line for one in found.channels for line in _channel(one)), "]"]


def _channel(channel: Channel) -> list[str]:
    told = "no reading" if channel.missing == 1 else f"{channel.low:.6g} to {channel.high:.6g}"
    if channel.low == channel.high:
        told = f"always {channel.low:.6g}: kept, because it counts when it moves one day; else list it in `ignore`"
    if 0 < channel.missing < 1:
        told += f"; {channel.missing:.1%} missing"
    text = f"    {quoted(channel.name)},"
    return [f"{text:<{COLUMN}}{line}" for line in _comment(told)]


def _source(found: Found) -> list[str]:
    lines = ["", "[source]"]
    columns = found.columns
    clock = None if columns is None else columns.clock
    for key, value in found.source.items():
        if key == "ignore" and columns is not None:
            lines += ["ignore = ["]
            for name in value:
                text = f"    {quoted(name)},"
                lines += [f"{text:<{COLUMN}}{line}" for line in _comment(columns.ignored[name])]
            lines += ["]"]
            continue
        if key == "queries":
            continue
        why = MEANINGS.get(key) or KINDS.get(str(value), "")
        if key == "timestamp":
            why = "column of the clock" if isinstance(value, str) else "columns of the clock, joined by a blank"
        elif key == "format":
            why = "as its makers hand it out" if columns is None else "how its times are written"
            why += f": {clock.why}" if clock and clock.why else ""
        lines += _line(key, value, why)
    if "series" in found.source and found.source["kind"] in ("influxdb", "lines", "prometheus"):
        lines = [re.sub("column that names the series.*", "what names the series", line) for line in lines]
    if "queries" in found.source:
        lines += ["", "[source.queries]  # a channel each: one series for each value of `series`; a counter's rate"]
        lines += [line for name, query in found.source["queries"].items() for line in _line(name, query, "PromQL")]
    if clock is not None and not clock.aware and "zone" not in found.source:
        lines += _comment(
            'zone = "Europe/Berlin"  # the clock names no zone: it is taken as UTC; if it is local, say where'
        )
    return lines


def _rules(found: Found) -> list[str]:
    plan = found.suggestion
    lines = ["", "[split]  # shares of the rows, by time: what is left before these two is for training"]
    split = SplitRule()
    lines += _line("calibration", split.calibration, "common scale and threshold come from here")
    lines += _line("held_out", split.held_out, "figures come from here, and nothing else does")
    if found.cost.memory_mib > LARGE_MIB and found.rows:
        days = max(1.0, (found.end - found.start).total_seconds() / 86_400 * LARGE_MIB / found.cost.memory_mib)
        why = f"only the latest so many days: keeps a retrain near {LARGE_MIB / 1024:.0f} GiB of memory"
        lines += _comment(f"history_days = {days:.3g}  # {why}")
    lines += ["", "[alarms]", *_line("budget_per_day", plan.alarms, plan.alarms_why)]
    lines += ["", "[labels]"]
    lines += _line("budget", LabelRule().budget, "windows that the agent may ask people about in one retrain")
    if found.labelled:
        lines += _line("imported", "known", 'the labels train the agent; "oracle": they answer its questions instead')
    lines += ["", "[agent]"]
    why = "learns from labels" if plan.agent else "too few rows to learn from; set it when there are more"
    lines += _line("enabled", plan.agent, why)
    lines += ["", "[drift]", *_line("days", plan.drift_days, plan.drift_why)]
    return lines
