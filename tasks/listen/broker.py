"""A connection to an MQTT broker: a session that the broker keeps, and acknowledgements when we say so."""

import ssl
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.sources.folder import first_line
from watchkeeper.errors import BusyError, DataError, SourceError, WatchError
from watchkeeper.mqtt import MqttSource

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

KEEP_ALIVE_S = 60
TURN_S = 0.2
"""Pause at most between two looks at what was asked of us meanwhile."""
END_S = 10.0
"""How long the last acknowledgements may take to leave."""
BUSY = {"Server unavailable", "Server busy", "Connection rate exceeded", "Quota exceeded", "Server shutting down"}
"""Reasons of a broker that may let us in later; others stay until somebody mends something."""
NO_MQTT_5 = "Unsupported protocol version"
TAKEN_OVER = "Session taken over"

TOPICS_KNOWN = 10_000

Heard = Callable[[str, bytes, int, bool], None]
"""Told of a message: topic, payload, the packet's number or 0, whether it is sent again."""


class Broker:
    """One connection at a time. MQTT 5, for its session that outlasts us, and for `in_flight` (docs/adr/0014-mqtt.md).

    Args:
        source: says where the broker is, and what to subscribe to.
        client_id: names the session.
        heard: told of each message.
        passed_over: told of the packet of each message that was not asked for.

    Raises:
        DataError: the client is not installed.
        WatchError: the variable that holds the password is not set, or there is no file `ca`.
    """

    def __init__(self, source: MqttSource, client_id: str, heard: Heard, passed_over: Callable[[int], None]) -> None:
        try:
            import paho.mqtt.client as mqtt
        except ModuleNotFoundError as error:
            raise DataError(
                f"the client of MQTT is not installed: no module {error.name}; pip install 'watchkeeper[mqtt]'"
            ) from error
        if source.ca is not None and not Path(source.ca).is_file():
            raise WatchError(
                f"source ca: there is no file {source.ca}; wanted the certificates of who signs the broker's"
            )
        self._mqtt, self._source, self._id = mqtt, source, client_id
        self._heard, self._passed_over = heard, passed_over
        self._is_wanted = lru_cache(TOPICS_KNOWN)(self._matches)  # for each message, and topics are few
        self._login = source.login()
        self._client: Client | None = None
        self._said: dict[str, str] = {}
        self._session = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._client is not None

    def connect(self) -> bool:
        """Connect and subscribe.

        Returns:
            Whether the broker had kept our session.

        Raises:
            DataError: the broker does not let us in, or is none that we can speak to.
            SourceError: it cannot be reached, or fails.
        """
        self._said, self._client = {}, self._new_client()
        try:
            self._client.connect(
                *self._source.address, keepalive=KEEP_ALIVE_S, clean_start=False, properties=self._wishes()
            )
            self._wait_for("connected")
            self._subscribe()
            self._wait_for("subscribed")
        except ssl.SSLCertVerificationError as error:
            self._drop()
            raise DataError(
                f"{self._source.url}: {error.verify_message}; set `ca` to the file with the authority's certificate"
            ) from error
        except OSError as error:
            self._drop()
            said = first_line(error) or type(error).__name__
            raise SourceError(f"{self._source.url}: {said}; is the broker up, and reachable from here?") from error
        except (DataError, SourceError):
            self._drop()
            raise
        return self._session

    def turn(self, seconds: float) -> None:
        """Take what the broker sends, for so long at most.

        Raises:
            BusyError: another listener goes on with our session.
            SourceError: the connection is lost.
        """
        if self._client is not None and (code := self._client.loop(seconds)):
            self._drop()
            if TAKEN_OVER in self._said.values():
                raise BusyError(
                    f"another listener took over the session {self._id} at {self._source.url}; "
                    "one listens for a watch: end the other one, or give each a `client_id`"
                )
            said = self._said.get("ended") or self._mqtt.error_string(code).rstrip(".")
            raise SourceError(f"{self._source.url}: {said}")

    def acknowledge(self, packets: Sequence[int]) -> None:
        """Tell the broker of packets that need not be sent again."""
        for packet in packets:
            if self._client is not None:
                self._client.ack(packet, 1)

    def end(self) -> None:
        """Leave: the broker keeps the session."""
        deadline = time.monotonic() + END_S
        while self._client is not None and self._client.want_write() and time.monotonic() < deadline:
            self.turn(TURN_S)
        if self._client is not None:
            self._client.disconnect()
        self._drop()

    def _drop(self) -> None:
        """Let go of the connection, in whatever state it is."""
        connection = self._client.socket() if self._client is not None else None
        if connection is not None:
            connection.close()
        self._client = None

    def _new_client(self) -> "Client":
        mqtt = self._mqtt
        client: Client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            self._id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._source.timeout_s
        if self._login is not None:
            client.username_pw_set(*self._login)
        if self._source.has_tls:
            client.tls_set(self._source.ca)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _wishes(self) -> Any:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        wishes: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # says no types
        wishes.SessionExpiryInterval = self._source.keep_s
        wishes.ReceiveMaximum = self._source.in_flight
        return wishes

    def _subscribe(self) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        # A retained message is the last of its topic, sent again to whoever subscribes: no new reading.
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        if self._client is not None:
            self._client.subscribe([(topic, options) for topic in self._source.topics])

    def _wait_for(self, event: str) -> None:
        """Wait until the broker has answered, and see whether it let us."""
        deadline = time.monotonic() + self._source.timeout_s
        url = self._source.url
        while event not in self._said:
            if time.monotonic() > deadline:
                raise SourceError(f"{url}: no answer within {self._source.timeout_s:g} s; is it an MQTT broker?")
            try:
                self.turn(TURN_S)
            except SourceError as error:
                if event not in self._said:
                    raise SourceError(
                        f"{error} before the broker answered; is it one, and does it want mqtts://?"
                    ) from error
        if not (said := self._said[event]):
            return
        if said == NO_MQTT_5:
            raise DataError(f"{url}: the broker does not speak MQTT 5; another one is needed")
        if said in BUSY:
            raise SourceError(f"{url}: {said}")
        wrong = (
            "`user`, `password`, or the broker's rights" if event == "connected" else "`topics`, or the broker's rights"
        )
        raise DataError(f"{url}: not {event}: {said}; correct {wrong}")

    def _on_connect(self, _client: object, _data: object, flags: Any, reason: Any, _properties: object) -> None:
        self._said["connected"] = str(reason) if reason.is_failure else ""
        self._session = flags.session_present

    def _on_subscribe(
        self, _client: object, _data: object, _mid: object, reasons: Sequence[Any], _more: object
    ) -> None:
        refused = [
            f"{topic}: {reason}"
            for topic, reason in zip(self._source.topics, reasons, strict=True)
            if reason.is_failure
        ]
        self._said["subscribed"] = ", ".join(refused)

    def _on_disconnect(self, _client: object, _data: object, flags: Any, reason: Any, _properties: object) -> None:
        if flags.is_disconnect_packet_from_server:
            self._said["ended"] = str(reason)

    def _on_message(self, _client: object, _data: object, message: "MQTTMessage") -> None:
        packet = message.mid if message.qos else 0
        if message.retain or not self._is_wanted(message.topic):
            self._passed_over(packet)
        else:
            self._heard(message.topic, bytes(message.payload), packet, message.dup)

    def _matches(self, topic: str) -> bool:
        """Tell whether the watch file asks for a topic: a session remembers what an earlier one had subscribed to."""
        return any(self._mqtt.topic_matches_sub(one, topic) for one in self._source.topics)
