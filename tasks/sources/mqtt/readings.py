"""Readings of a series, gathered as numbers: a stretch of time may have millions, and objects take ten times that."""

from array import array

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.sources import Batch
from tasks.sources.folder import TIME
from tasks.sources.long_form import side_by_side
from tasks.sources.mqtt.decode import Reading


class Words:
    """Topics, channels and reasons, which are few, as numbers."""

    def __init__(self) -> None:
        """Begin without a word."""
        self._codes: dict[str | None, int] = {}

    def code(self, word: str | None) -> int:
        """Return the number of a word."""
        return self._codes.setdefault(word, len(self._codes))

    def words(self) -> npt.NDArray[np.object_]:
        """Return the word of each number."""
        return np.array([*self._codes, None], dtype=object)[:-1]


class Readings:
    """The readings of one series, and its messages that cannot be read, in the order of their arrival."""

    def __init__(self, words: Words) -> None:
        """Begin without readings; several series may share their words."""
        self._words = words
        self._times, self._values, self._labels = array("q"), array("d"), array("d")
        self._topics, self._channels, self._reasons = array("i"), array("i"), array("i")

    def add(self, topic: str, time: int, reading: Reading) -> None:
        """Take in a reading.

        Args:
            topic: of its message.
            time: of its message, µs since 1970 UTC.
            reading: of this series.
        """
        self._times.append(time)
        self._values.append(reading.value)
        self._labels.append(reading.label)
        self._topics.append(self._words.code(topic))
        self._channels.append(self._words.code(reading.channel))
        self._reasons.append(self._words.code(reading.reason))

    def batch(self, series: str, channels: tuple[str, ...]) -> Batch:
        """Return the readings, a column for each channel. What was sent twice, by device or broker, counts once."""
        words = self._words.words()
        keep = self._first_ones()
        times, values, labels = (np.array(one)[keep] for one in (self._times, self._values, self._labels))
        table = pa.table(
            {
                "timestamp": pa.array(times).cast(TIME),
                "value": pa.array(values, pa.float64()),
                "label": pa.array(labels, pa.float64()),
            }
        )
        reasons = words[np.array(self._reasons)[keep]]
        channel = pa.DictionaryArray.from_arrays(np.array(self._channels)[keep], pa.array(words, pa.string()))
        whole = Batch(series, series, table, reasons=reasons)
        return side_by_side(whole, channel.cast(pa.string()), "value", channels)

    def _first_ones(self) -> npt.NDArray[np.int64]:
        """Return the places of readings that no reading before is equal to: topic, time, channel and value."""
        values = np.array(self._values)
        values[np.isnan(values)] = np.nan  # one of them, bit by bit
        keys = np.array(self._topics), np.array(self._channels), values.view(np.int64), np.array(self._times)
        order = np.lexsort(keys)  # stable: of equals the first comes first
        new = np.ones(len(order), dtype=bool)
        new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
        return np.sort(order[new])
