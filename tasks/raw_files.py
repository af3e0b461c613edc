"""The raw store: rows of a series into files of one day each, and which times are stored."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.rows import to_table
from tasks.validate import day_of
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.lake import Lake, digest, parquet_bytes
from watchkeeper.records import RawFile

Ints = npt.NDArray[np.int64]
FILE_READINGS = 20_000_000
"""A day with more is spread over several files, 80 MB of readings each: no more is held of a day that is not over."""


class RawWriter:
    """Writes rows of one series, however they are cut: a day's file when its day is over, or full."""

    def __init__(self, lake: Lake, watch: str, series: str, channels: tuple[str, ...]) -> None:
        """Begin without rows."""
        self._lake, self._channels, self._series = lake, channels, series
        self._folder = f"raw/watch={watch}/series={series}"
        self._most = max(1, FILE_READINGS // len(channels))
        self._day = 0
        self._times: list[Ints] = []
        self._values: list[npt.NDArray[np.float32]] = []
        self.files: list[RawFile] = []

    def add(self, times: Ints, values: npt.NDArray[np.float32]) -> None:
        """Take in rows later than all before.

        Args:
            times: int64 (time,), µs since 1970 UTC, strictly ascending.
            values: float32 (time, channel).
        """
        days = day_of(times)
        for start, end in pairwise(np.r_[0, np.flatnonzero(np.diff(days)) + 1, len(days)]):
            if start == end:
                continue
            if days[start] != self._day:
                self.close()
                self._day = int(days[start])
            self._times.append(times[start:end])
            self._values.append(values[start:end])
            while self._held() >= self._most:
                self._write(self._most)

    def close(self) -> None:
        """Write what is held."""
        if self._held():
            self._write(self._held())

    def times_held(self) -> Ints:
        """Return the times of the rows that are not written yet."""
        return np.concatenate([np.empty(0, np.int64), *self._times])

    def _held(self) -> int:
        return sum(len(times) for times in self._times)

    def _write(self, rows: int) -> None:
        times, values = np.concatenate(self._times), np.concatenate(self._values)
        self._times, self._values = [times[rows:]], [values[rows:]]
        stamps = times[:rows]
        data = parquet_bytes(to_table(stamps, values[:rows], self._channels))
        sha256, date = digest(data), f"{to_datetime(stamps[0]):%Y-%m-%d}"
        key = f"{self._folder}/date={date}/{sha256[:32]}.parquet"
        self._lake.put(key, data)
        start, end = to_datetime(stamps[0]), to_datetime(stamps[-1])
        self.files.append(
            RawFile(key=key, series=self._series, date=date, rows=rows, start=start, end=end, sha256=sha256)
        )


class Stock:
    """Which times are stored of each series: files by what they span, read only where somebody asks between."""

    def __init__(self, lake: Lake, files: Iterable[RawFile] = ()) -> None:
        """Begin with some files."""
        self._lake = lake
        self._spans: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        self._newest: dict[str, int] = {}
        for file in files:
            self.add(file)

    def add(self, file: RawFile) -> None:
        """Take in one more file."""
        start, end = to_microseconds(file.start), to_microseconds(file.end)
        self._spans[file.series].append((start, end, file.key))
        self._newest[file.series] = max(end, self._newest.get(file.series, end))

    def newest(self, series: str) -> int | None:
        """Return the newest time of a series, µs since 1970 UTC; None where there is none."""
        return self._newest.get(series)

    def between(self, series: str, first: int, last: int) -> Ints:
        """Return the times of the files that hold any from `first` to `last`, ascending."""
        keys = [key for start, end, key in self._spans[series] if start <= last and end >= first]
        found = [table["timestamp"].cast(pa.int64()).to_numpy() for table in self._lake.get_tables(keys, ["timestamp"])]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
