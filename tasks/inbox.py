"""The inbox: messages as they arrived, written down by a listener, one immutable file each time, until ingest asks.

A message is kept as it came, so that a watch file that misunderstood it can be mended. A file's name says between which
times its messages arrived, and between which they were read as the watch file has it, so that nobody opens those that
cannot hold what is asked for.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from watchkeeper.clock import DAY_US
from watchkeeper.lake import Lake, digest, parquet_bytes

Ints = npt.NDArray[np.int64]

FOLDER = "inbox/{}"
NAME = re.compile(r"/(\d+)_(\d+)_(-?\d+)_(-?\d+)_([0-9a-f]{8})_[0-9a-f]{16}\.parquet$")
AHEAD_US = DAY_US
"""How far the clock of a message may run ahead of its arrival, as in tasks/ingest.py; a later one is no time."""
SCHEMA = pa.schema(
    [
        ("arrival", pa.timestamp("us", tz="UTC")),
        ("topic", pa.string()),
        ("payload", pa.binary()),
        ("packet", pa.int32()),
    ]
)


class Message(NamedTuple):
    """One message.

    Attributes:
        arrival: µs since 1970 UTC; no two messages of a watch arrive at once.
        topic: that it was sent to.
        payload: as it came.
        packet: the number under which the broker waits for its acknowledgement; 0 where it does not wait.
    """

    arrival: int
    topic: str
    payload: bytes
    packet: int


@dataclass(frozen=True)
class InboxFile:
    """A file of messages, as its name tells it.

    Attributes:
        key: in the lake.
        first, last: the arrival of its first and its last message.
        low, high: the earliest and the latest time of its messages, as read by the clock.
        clock: how times were read (tasks/sources/mqtt/decode.py).
    """

    key: str
    first: int
    last: int
    low: int
    high: int
    clock: str

    def latest(self, clock: str) -> int:
        """Return a time that none of its messages is later than, if they are read by this clock."""
        return self.high if clock == self.clock else self.last + AHEAD_US

    def may_hold(self, start: int, end: int, clock: str) -> bool:
        """Tell whether a message may have start <= time < end, if it is read by this clock."""
        return self.latest(clock) >= start and (clock != self.clock or self.low < end)


@dataclass(frozen=True)
class Inbox:
    """The messages of a watch in its lake."""

    lake: Lake = field(repr=False)
    watch: str

    def write(self, messages: Sequence[Message], times: Ints, clock: str) -> InboxFile:
        """Write messages down, and publish them in one step.

        Args:
            messages: in the order of arrival, at least one.
            times: int64 (message,), of each, as read by the clock.
            clock: how they were read, eight hexadecimal digits.
        """
        columns = [pa.array(list(column), kind.type) for column, kind in zip(zip(*messages, strict=True), SCHEMA)]  # noqa: B905 - the same
        data = parquet_bytes(pa.Table.from_arrays(columns, schema=SCHEMA))
        span = f"{messages[0].arrival}_{messages[-1].arrival}_{times.min()}_{times.max()}"
        key = f"{FOLDER.format(self.watch)}/{span}_{clock}_{digest(data)[:16]}.parquet"
        self.lake.put(key, data)
        return described(key)

    def files(self) -> list[InboxFile]:
        """List the files in the order of arrival."""
        found = [described(key) for key in self.lake.list(FOLDER.format(self.watch))]
        return sorted(found, key=lambda file: (file.first, file.key))

    def read(self, files: Iterable[InboxFile]) -> Iterator[list[Message]]:
        """Read files, several at a time, and give the messages of each."""
        for table in self.lake.get_tables(file.key for file in files):
            arrival = table["arrival"].cast(pa.int64()).to_pylist()
            others = (table[name].to_pylist() for name in SCHEMA.names[1:])
            yield [Message(*one) for one in zip(arrival, *others, strict=True)]

    def newest(self, count: int) -> list[Message]:
        """Return at least so many of the newest messages that the broker waited for, or all there are."""
        found: list[Message] = []
        for file in reversed(self.files()):
            if len(found) >= count:
                break
            (messages,) = self.read([file])
            found = [one for one in messages if one.packet] + found
        return found


def described(key: str) -> InboxFile:
    """Return what a key tells.

    Raises:
        ValueError: it is none of an inbox.
    """
    match = NAME.search(key)
    if match is None:
        raise ValueError(f"{key} is no file of an inbox")
    first, last, low, high = (int(one) for one in match.groups()[:4])
    return InboxFile(key, first, last, low, high, match[5])
