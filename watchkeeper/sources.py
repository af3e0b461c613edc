"""The sources that a watch file may name: where rows come from, and how they are written there."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from watchkeeper.databases import PrometheusSource, SqlSource
from watchkeeper.influx import InfluxSource
from watchkeeper.mqtt import MqttSource
from watchkeeper.table import Table, Words, as_utc, fill, require_zone

UNIX_TIMES = ("unix_s", "unix_ms", "unix_us", "unix_ns")
"""Formats of a clock that counts from 1970 UTC."""
DIRECTIVES = "YymbdHIMSfpz"
"""What may follow a % in the format of a clock."""

BenchmarkFormat = Literal["yahoo_s5", "smd", "wadi", "swat", "skab", "nab", "smap", "msl", "tsb_ad", "ucr"]


class Shift(Table):
    """The plant's world changes after so many days and stays changed."""

    after_days: float = Field(gt=0)
    strength: float = Field(default=1.0, gt=0)


class PlantSource(Table):
    """A fabricated water-treatment plant (tasks/sources/plant.py), for demos and tests."""

    kind: Literal["plant"]
    start: datetime
    days: float = Field(default=21, gt=0)
    seed: int = 0
    lines: int = Field(default=2, ge=1, le=64)
    shift: Shift | None = None

    _start = field_validator("start")(as_utc)


class FolderSource(Table):
    """A folder of files. The series is the file name up to its first dot, unless the source says otherwise."""

    folder: str
    files: str
    zone: str | None = Field(default=None, description="of clocks that name none; None: UTC")
    start: datetime | None = Field(default=None, description="of a made-up clock, for files that have none")
    interval_s: float | None = Field(default=None, gt=0, description="of the made-up clock")

    _zone = field_validator("zone")(require_zone)

    @field_validator("start")
    @classmethod
    def _utc(cls, start: datetime | None) -> datetime | None:
        return start and as_utc(start)

    def path(self) -> Path:
        """Return the folder, with environment variables filled in.

        Raises:
            WatchError: a variable that the folder names is not set.
        """
        return Path(self.place())

    def place(self) -> str:
        """Return the folder, or the bucket's `s3://bucket/prefix`, with environment variables filled in.

        Raises:
            WatchError: a variable that it names is not set.
        """
        return fill(self.folder, f"source folder {self.folder}", f"set it to the folder that holds {self.files}")


class MappedSource(FolderSource):
    """A folder, or a prefix of a bucket, of files whose columns are called as their maker liked."""

    label: str = "label"
    rename: dict[str, str] = Field(default={}, description="what a column is called, and what its channel shall be")
    ignore: tuple[str, ...] = Field(default=(), description="columns to leave out")

    @model_validator(mode="after")
    def _whole_clock(self) -> Self:
        if (self.start is None) != (self.interval_s is None):
            raise ValueError("a made-up clock needs both start and interval_s")
        return self


class ParquetSource(MappedSource):
    """A folder of Parquet files, one series each; a series may be spread over several files.

    The series is the file name up to its first dot: `smd_machine_1_6.train.parquet` is `smd_machine_1_6`.
    """

    kind: Literal["parquet"]
    files: str = "*.parquet"
    timestamp: str = "timestamp"


class CsvSource(MappedSource):
    """A folder of text files with delimiters. docs/data.md explains each key."""

    kind: Literal["csv"]
    files: str = "*.csv"
    form: Literal["wide", "long"] = "wide"
    timestamp: str | tuple[str, ...] = "timestamp"
    format: str | None = Field(default=None, description="of the timestamp; None: ISO 8601")
    label_words: dict[str, Literal[-1, 0, 1]] = Field(default={}, description="what the words of the label mean")
    series: str | None = Field(default=None, description="column that names the series; None: the file's name does")
    channel: str = Field(default="channel", description="long form: the column that names the channel")
    value: str = Field(default="value", description="long form: the column with the reading")
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    skip_lines: int = Field(default=0, ge=0, description="lines before the header")
    columns: tuple[str, ...] = Field(default=(), description="their names, for files without a header")
    missing: tuple[str, ...] = Field(default=(), description="further cells that mean: no reading")

    @field_validator("format")
    @classmethod
    def _readable(cls, format: str | None) -> str | None:
        if format is None or format in UNIX_TIMES:
            return format
        found = re.findall(r"%(.?)", format)
        if not found or any(one not in tuple(DIRECTIVES) for one in found):
            known = " ".join(f"%{one}" for one in DIRECTIVES)
            raise ValueError(f"no time format; it may use {known}, or be one of {', '.join(UNIX_TIMES)}")
        if len(set(found)) < len(found) or "d" not in found or not {"m", "b"} & set(found):
            raise ValueError("no time format; wanted each directive once, and day and month among them")
        return format

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except (LookupError, ValueError) as error:
            raise ValueError("no text encoding; wanted a name like utf-8, latin-1 or utf-16") from error
        return encoding

    @model_validator(mode="after")
    def _clear_signs(self) -> Self:
        if self.delimiter in f'{self.decimal}"\r\n':
            raise ValueError("delimiter, decimal sign, quote and line end must differ")
        if self.start is not None and (self.series is not None or self.form == "long"):
            raise ValueError("a made-up clock is for wide files of one series each")
        return self


class LinesSource(MappedSource):
    """A folder of text files in InfluxDB's line protocol. docs/data.md explains each key."""

    kind: Literal["lines"]
    files: str = "*.lp"
    precision: Literal["s", "ms", "us", "ns"] = Field(default="ns", description="of the timestamps")
    measurement: Words = Field(default=(), description="others are left out; (): all")
    series: Words = Field(default=(), description="tags that name the series; (): the file's name does")
    where: dict[str, str] = Field(default={}, description="what a tag must hold, where a line has it")

    @model_validator(mode="after")
    def _clear(self) -> Self:
        for key in ("zone", "start", "interval_s"):
            if getattr(self, key) is not None:
                raise ValueError(f"lines have their own clock, in UTC: they need no {key}")
        if len({*self.rename.values()}) < len(self.rename):
            raise ValueError("`rename` gives two fields one name")
        return self


class BenchmarkSource(FolderSource):
    """A folder as a benchmark's makers hand it out. docs/data.md says what each looks like."""

    kind: Literal["benchmark"]
    format: BenchmarkFormat
    files: str = "*"


Source = Annotated[
    PlantSource
    | ParquetSource
    | CsvSource
    | LinesSource
    | BenchmarkSource
    | SqlSource
    | PrometheusSource
    | InfluxSource
    | MqttSource,
    Field(discriminator="kind"),
]
