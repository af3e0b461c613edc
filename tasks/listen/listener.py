"""The listener: takes what a broker sends, writes it into the inbox now and then, and only then acknowledges it."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tasks.inbox import Inbox
from tasks.listen.broker import TURN_S, Broker
from tasks.listen.gathered import Gathered
from tasks.sources.mqtt.decode import body_of, clock_of, times_of
from watchkeeper.clock import to_datetime
from watchkeeper.errors import BusyError, DataError, LakeError, SourceError, WatchError
from watchkeeper.lake import Lake, digest_of
from watchkeeper.mqtt import MqttSource
from watchkeeper.watch import Watch

PAUSES_S = (1, 2, 4, 8, 15, 30, 60)
"""Between two tries to connect; the last one again and again."""
STEADY_S = 60.0
"""After so long a connection counts as steady, and the next loss as the first."""
SUSPICIOUS = 3
"""Connections that end sooner, one after the other, look like two listeners who throw one another out."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Counts:
    """What a listener did so far.

    Attributes:
        messages: written into the inbox.
        files: that they were written into.
        repeated: sent again by the broker, and written before.
        passed_over: retained, or of a topic that the watch does not name any more.
        dropped: that the broker does not send again, while the lake could not be written.
    """

    messages: int = 0
    files: int = 0
    repeated: int = 0
    passed_over: int = 0
    dropped: int = 0

    def __str__(self) -> str:
        more = {"sent again": self.repeated, "passed over": self.passed_over, "dropped": self.dropped}
        words = [f"{count:,} {what}" for what, count in more.items() if count]
        return ", ".join([f"{self.messages:,} messages in {self.files:,} files", *words])


def client_id_of(source: MqttSource, watch: str, lake_uri: str) -> str:
    """Return what names the watch's session at the broker: another one for each lake, and the same after a restart.

    Another one, too, for other topics: a session remembers those that it was subscribed to, and where old and new ones
    overlap, each message would come twice.
    """
    if source.client_id is not None:
        return source.client_id
    host = socket.gethostname() if lake_uri.startswith("file:") else ""
    return f"watchkeeper-{watch}-{digest_of([host, lake_uri, sorted(source.topics)])[:8]}"


class Listener:
    """Listens for one watch.

    Args:
        lake_uri: where its inbox lies.
        watch: whose source is MQTT.
        say: told in one line what happens.
        show: told the counts after each file.
        wait: whether to try again also where the broker was never reached, or refuses.

    Raises:
        DataError: the client is not installed.
        WatchError: the watch's source is another one, or a variable or a file that it names is missing.
    """

    def __init__(
        self, lake_uri: str, watch: Watch, say: Say, show: Callable[[Counts], None], wait: bool = False
    ) -> None:
        if not isinstance(watch.source, MqttSource):
            raise WatchError(
                f"watch {watch.name}: its source is {watch.source.kind}, which ingest asks by itself; "
                "only mqtt is listened to"
            )
        self._source, self._say, self._show, self._wait = watch.source, say, show, wait
        self._inbox = Inbox(Lake(lake_uri), watch.name)
        self._clock = clock_of(watch.source)
        written = self._inbox.newest(watch.source.in_flight)
        self._gathered = Gathered(watch.source.in_flight, written)
        self._last = written[-1].arrival if written else None
        self._id = client_id_of(watch.source, watch.name, lake_uri)
        self._broker = Broker(watch.source, self._id, self._take, self._gathered.pass_over)
        self.counts = Counts()
        self._was_connected, self._connected_at = False, 0.0
        self._tries, self._next_try = 0, 0.0
        self._flush_at: float | None = None
        self._trouble = ""
        self._is_lake_down = False

    def run(self, is_ended: Callable[[], bool]) -> None:
        """Listen until asked to end; then write and acknowledge what there is.

        Raises:
            BusyError: another listener took over.
            DataError: the broker does not let us in.
            LakeError: the last messages cannot be written.
            SourceError: the broker cannot be reached, and never was.
        """
        try:
            while not is_ended():
                if self._broker.is_connected:
                    self._turn()
                elif time.monotonic() >= self._next_try:
                    self._connect()
                else:
                    time.sleep(TURN_S)
                if self._is_due():
                    self._try_to_flush()
        except BusyError:
            self._gathered.give_up()
            self._flush()
            raise
        self._flush()
        try:
            self._broker.end()
        except SourceError as error:
            self._say(f"{error}; what was not acknowledged in time comes again")

    def _take(self, topic: str, payload: bytes, packet: int, again: bool) -> None:
        self._gathered.take(topic, payload, packet, again, time.time_ns() // 1000)

    def _turn(self) -> None:
        try:
            self._broker.turn(TURN_S)
        except SourceError as error:
            self._gathered.disconnected()
            if time.monotonic() - self._connected_at > STEADY_S:
                self._tries = 0
            hint = f"; does another listener use the session {self._id}?" if self._tries >= SUSPICIOUS else ""
            self._say(f"connection lost: {error}; trying again{hint}")
            self._trouble = str(error)
            self._pause()

    def _connect(self) -> None:
        try:
            kept = self._broker.connect()
        except (DataError, SourceError) as error:
            self._gathered.disconnected()
            if not self._wait and (isinstance(error, DataError) or not self._was_connected):
                raise
            if str(error) != self._trouble:  # the same again is no news
                self._say(f"{error}; trying again")
            self._trouble = str(error)
            self._pause()
            return
        again = "again " if self._was_connected else ""
        lost = ""
        if self._last is not None and not kept:
            lost = (
                f"; it kept no session of ours: what was sent after {to_datetime(self._last):%Y-%m-%d %H:%M:%S} is lost"
            )
        self._say(f"listening {again}to {', '.join(self._source.topics)} at {self._source.url}{lost}")
        self._was_connected, self._connected_at, self._trouble = True, time.monotonic(), ""

    def _pause(self) -> None:
        self._next_try = time.monotonic() + PAUSES_S[min(self._tries, len(PAUSES_S) - 1)]
        self._tries += 1

    def _is_due(self) -> bool:
        if self._gathered.is_empty:
            self._flush_at = None
            return False
        now = time.monotonic()
        if self._flush_at is None:
            self._flush_at = now + self._source.flush_s
        return now >= self._flush_at or (self._gathered.is_full and not self._is_lake_down)

    def _try_to_flush(self) -> None:
        """Write and acknowledge; where the lake cannot be written, hold what there is and try again later."""
        try:
            self._flush()
        except LakeError as error:
            if not self._is_lake_down:
                self._say(f"{error}; trying again, and acknowledging nothing until then")
            self._is_lake_down = True
            self._flush_at = time.monotonic() + self._source.flush_s

    def _flush(self) -> None:
        messages = self._gathered.messages
        if messages:
            times, _ = times_of(messages, [body_of(message.payload) for message in messages], self._source)
            self._inbox.write(messages, times, self._clock)
            self._last = messages[-1].arrival
        # From here on the messages are safe, whether the broker hears of it or not.
        self._broker.acknowledge(self._gathered.written())
        self._flush_at = None
        if self._is_lake_down:
            self._say("the lake is written again")
            self._is_lake_down = False
        self.counts = Counts(
            messages=self.counts.messages + len(messages),
            files=self.counts.files + bool(messages),
            repeated=self._gathered.repeated,
            passed_over=self._gathered.passed_over,
            dropped=self._gathered.dropped,
        )
        self._show(self.counts)
