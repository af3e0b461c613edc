"""MQTT: what a listener has written into the inbox, asked for as any database is."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from tasks.inbox import Inbox, described
from tasks.sources import Batch, Stored
from tasks.sources.databases import Ask, asked_from
from tasks.sources.mqtt.decode import body_of, clock_of, numeric_keys, readings_of, times_of
from tasks.sources.mqtt.readings import Readings, Words
from watchkeeper.errors import DataError, WatchError
from watchkeeper.mqtt import MqttSource


@contextmanager
def open_mqtt(source: MqttSource, stored: Stored) -> Iterator[Ask]:
    """Look into the inbox, and give what asks.

    Raises:
        DataError: nobody has listened yet.
        WatchError: the watch file names no channels.
    """
    inbox = stored.inbox
    if inbox is None:
        raise DataError("messages go by and are taken in once: an MQTT watch has no history that could be replayed")
    files, clock = inbox.files(), clock_of(source)
    if not files and not stored.times:
        raise DataError(
            f"nothing was heard yet of {', '.join(source.topics)}; "
            f"start `watchkeeper listen --watch {inbox.watch}` and leave it running"
        )
    if not stored.channels:
        raise WatchError(f'kind = "mqtt" needs `channels` in the watch file{_heard(inbox, source)}')

    def ask(start: int, end: int) -> Iterator[Batch]:
        found: dict[str, Readings] = {}
        words = Words()
        for messages in inbox.read(file for file in files if file.may_hold(start, end, clock)):
            bodies = [body_of(message.payload) for message in messages]
            us, reasons = times_of(messages, bodies, source)
            for reading in readings_of(messages, bodies, reasons, source, stored.channels):
                time = int(us[reading.message])
                if start <= time < end:
                    mine = found.setdefault(reading.series, Readings(words))
                    mine.add(messages[reading.message].topic, time, reading)
        for series, readings in found.items():
            yield readings.batch(series, stored.channels)

    yield ask


def never_asked(
    source: MqttSource, times: Mapping[str, tuple[datetime, datetime]], keys: Iterable[str], now: datetime
) -> Iterator[str]:
    """Give the files of an inbox that no ingest will ask for.

    Args:
        source: as the watch file has it.
        times: of each series the oldest and the newest stored time; nothing stored, nothing given.
        keys: of the files.
        now: aware.
    """
    if times:
        start, clock = asked_from(source, times, now), clock_of(source)
        yield from (key for key in keys if described(key).latest(clock) < start)


def _heard(inbox: Inbox, source: MqttSource) -> str:
    """Say which channels the newest messages have."""
    if source.channel is not None:
        return ""
    bodies = [body_of(message.payload) for messages in inbox.read(inbox.files()[-1:]) for message in messages]
    named = {key for body in bodies if isinstance(body, Mapping) for key in numeric_keys(body)}
    named |= {source.value for body in bodies if isinstance(body, float)}
    own = {source.time, source.label, source.series if isinstance(source.series, str) else None}
    return f"; the newest messages have {', '.join(sorted(named - own)[:12]) or 'none'}"
