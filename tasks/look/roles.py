"""What a column may be: its role, the words that give it away, and the record of who is what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.look import Choice
from tasks.look.clocks import Clock
from tasks.sources.cells import MISSING_CELLS

TIME_NAMES = re.compile(r"time_?stamp|date_?time|time|date|datum|zeit|uhrzeit|ts|t|epoch|when|stamp", re.IGNORECASE)
LABEL_NAMES = re.compile(
    r"labels?|(is_?)?(anomaly|anomalous|outlier|attack|fault|faulty)|normal/attack|anomalies|attack_?label|"
    r"ground_?truth|target|zustand|status|class|klasse|state|störung|fehler",
    re.IGNORECASE,
)
SURE_LABEL = re.compile(
    r"labels?|(is_?)?(anomaly|anomalous|outlier|attack)|anomalies|normal/attack|attack_?label|ground_?truth",
    re.IGNORECASE,
)
LEAKS = re.compile(r"change_?points?", re.IGNORECASE)
SERIES_NAMES = re.compile(
    r"series|machine|device|sensor|station|asset|unit|host(name)?|instance|pump|line|site|plant|turbine|node|server|"
    r"id|item_?id|.*[_ -]id|id[_ -].*|maschine|anlage|gerät|linie",
    re.IGNORECASE,
)
CHANNEL_NAMES = re.compile(
    r"channel|tag(_?name)?|variable|metric(_?name)?|parameter|sensor|signal|measurement|field|name|quantity|"
    r"kanal|messgröße|messstelle|attribute|key|point",
    re.IGNORECASE,
)
VALUE_NAMES = re.compile(r"values?|val|reading|wert|messwert|measurement|data|v", re.IGNORECASE)
NORMAL_WORDS = {
    "normal",
    "ok",
    "good",
    "gut",
    "no",
    "false",
    "benign",
    "healthy",
    "none",
    "nein",
    "n",
    "f",
    "0",
    "in ordnung",
}
ANOMALOUS_WORDS = {
    "attack", "a ttack", "anomaly", "anomalous", "abnormal", "fault", "faulty", "bad", "schlecht", "yes", "true", "ja",
    "defekt", "defect", "störung", "fehler", "error", "alarm", "outlier", "broken", "y", "t", "1", "failure",
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """What the columns are.

    Attributes:
        time: columns of the clock; () where it is made up.
        clock: how they tell the time; None where it is made up.
        label, label_words: the label; None where there is none.
        series: the column that names the series; None: the file does.
        channel, value: of the long form.
        channels: the readings' columns, in the order of the file; of the long form, the names in its first rows.
        ignored: each column that is left out, with the reason.
        missing: cells that mean no reading.
        rename: channels whose names Watchkeeper uses itself.
        notes: what a person should know.
    """

    time: tuple[str, ...]
    clock: Clock | None
    label: str | None = None
    label_words: Mapping[str, int] = field(default_factory=dict)
    series: str | None = None
    channel: str | None = None
    value: str | None = None
    channels: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_truth(name: str, choice: Choice) -> bool:
    """Tell whether a column is called like a label, or like what gives the anomalies away."""
    plain = name.strip()
    return bool(SURE_LABEL.fullmatch(plain) or LEAKS.fullmatch(plain)) or name == choice.label


def some(names: Sequence[str]) -> str:
    """Return some names in words."""
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")


def filled(cells: Sequence[str], missing: Sequence[str] = ()) -> list[str]:
    """Return the cells that are not empty, nor one of these marks."""
    return [cell for cell in cells if cell not in MISSING_CELLS and cell not in missing]
