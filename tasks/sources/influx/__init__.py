"""InfluxDB: points of one stretch of time, gathered series by series. Each version speaks a language of its own."""

from contextlib import AbstractContextManager

from tasks.sources.databases import Ask
from watchkeeper.influx import InfluxSource


def open_influx(source: InfluxSource, channels: tuple[str, ...]) -> AbstractContextManager[Ask]:
    """Connect, and give what asks.

    Raises:
        DataError: the database does not let us in, has no such measurement or field, or its client is not installed.
        SourceError: it cannot be reached, or fails.
        WatchError: a variable that the watch file names is not set.
    """
    if source.version == 1:
        from tasks.sources.influx.v1 import open_v1

        return open_v1(source, channels)
    if source.version == 2:
        from tasks.sources.influx.v2 import open_v2

        return open_v2(source, channels)
    from tasks.sources.influx.v3 import open_v3

    return open_v3(source, channels)
