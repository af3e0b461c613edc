"""Looking at data that nobody has described yet: what a watch file on it would have to say.

Pure cores find the hand of a text (dialect.py), its clock (clocks.py), what its columns are (columns.py) and its rhythm
(rhythm.py). Nothing is believed that a trial with the real source (trial.py) does not bear out.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Choice:
    """What a person has said about the data, so that it is not looked for.

    Attributes:
        files: a pattern, where the place is a folder or a bucket.
        table: where it is a database.
        timestamp: the columns of the clock, joined by a blank.
        format: of the clock, as in a watch file.
        zone: of a clock that names none.
        label: the column of the label.
        series: the column that names the series.
        start: of a made-up clock.
        interval_s: of the made-up clock.
    """

    files: str | None = None
    table: str | None = None
    timestamp: tuple[str, ...] = ()
    format: str | None = None
    zone: str | None = None
    label: str | None = None
    series: str | None = None
    start: datetime | None = None
    interval_s: float | None = None
