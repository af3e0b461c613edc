"""What a listener holds: messages that are not yet written, and packets that the broker waits to hear of."""

from collections.abc import Iterable

from tasks.inbox import Message

FULL_BYTES = 16_000_000
"""So much of payloads is held at most, whatever the number of messages."""


class Gathered:
    """Messages in the order of arrival, and acknowledgements in the order in which the broker wants them.

    The broker sends again what it has no acknowledgement of, under the same packet number and marked as sent again.
    Such a message is not kept a second time: the first time that it arrived counts.

    Args:
        in_flight: how many messages the broker sends ahead of their acknowledgement.
        written: the newest messages of the inbox, whose acknowledgements may have been lost.
    """

    def __init__(self, in_flight: int, written: Iterable[Message]) -> None:
        self._in_flight = in_flight
        # An ordered set; of those written, as many as the broker may still wait for.
        self._known = dict.fromkeys(_sent(message) for message in written if message.packet)
        self._packets: list[int] = []
        self._bytes, self._last = 0, 0
        self.messages: list[Message] = []
        self.repeated = self.passed_over = self.dropped = 0

    def take(self, topic: str, payload: bytes, packet: int, again: bool, now: int) -> None:
        """Take a message.

        Args:
            topic: of the message.
            payload: of the message.
            packet: its number; 0 where the broker waits for no acknowledgement.
            again: whether the broker says that it sends it again.
            now: µs since 1970 UTC.
        """
        if packet:
            self._packets.append(packet)
        if again and (packet, topic, payload) in self._known:
            self.repeated += 1
        elif not packet and len(self.messages) >= 2 * self._in_flight:
            self.dropped += 1  # nobody bounds these but us, while the lake cannot be written
        else:
            self._last = max(now, self._last + 1)  # a clock that is put back does not mix the order up
            self.messages.append(Message(self._last, topic, payload, packet))
            self._bytes += len(payload)
            if packet:
                self._known[packet, topic, payload] = None

    def pass_over(self, packet: int) -> None:
        """Take a message that nobody asked for, which is acknowledged and not kept."""
        self.passed_over += 1
        if packet:
            self._packets.append(packet)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write, nor to acknowledge."""
        return not self.messages and not self._packets

    @property
    def is_full(self) -> bool:
        """Whether it is time to write: before the broker has to wait, or memory runs out."""
        return max(len(self._packets), len(self.messages)) >= self._in_flight // 2 or self._bytes >= FULL_BYTES

    def written(self) -> list[int]:
        """Let go of the messages, which are written now, and return the packets to acknowledge."""
        packets, self._packets, self.messages, self._bytes = self._packets, [], [], 0
        for old in list(self._known)[: -self._in_flight]:
            del self._known[old]
        return packets

    def disconnected(self) -> None:
        """Forget whom to answer: packet numbers hold for one connection, and what waits is sent again on the next."""
        self._packets = []

    def give_up(self) -> None:
        """Let go of what the broker gives to somebody else now."""
        self._packets = []
        self.messages = [message for message in self.messages if not message.packet]


def _sent(message: Message) -> tuple[int, str, bytes]:
    return message.packet, message.topic, message.payload
