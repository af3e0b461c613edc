"""What a listener holds, through any course of connections, writes and kills: nothing lost, nothing doubled."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tasks.inbox import Message
from tasks.listen.gathered import FULL_BYTES, Gathered

IN_FLIGHT = 4


@dataclass
class Session:
    """A broker's session, as the standard has it: in order, a number each, sent again until it is acknowledged."""

    waiting: list[tuple[int, bytes]] = field(default_factory=list)
    sent: set[int] = field(default_factory=set)
    last: int = 0

    def publish(self, payload: bytes) -> None:
        """Take a message for us."""
        self.last = self.last % 65_535 + 1
        self.waiting.append((self.last, payload))

    def deliver(self, to: Gathered, again: bool, now: int) -> None:
        """Send what may be in flight; after a connection was lost, all that was sent before, again."""
        for packet, payload in self.waiting[:IN_FLIGHT]:
            if again or packet not in self.sent:
                to.take("a", payload, packet, packet in self.sent, now)
                self.sent.add(packet)

    def acknowledged(self, packets: list[int]) -> None:
        """Let go of messages."""
        self.waiting = [one for one in self.waiting if one[0] not in packets]


@given(
    steps=st.lists(
        st.sampled_from(["publish", "deliver", "write", "write, answer lost", "disconnect", "kill"]), max_size=60
    ),
    words=st.lists(st.sampled_from([b"20", b"21"]), min_size=60, max_size=60),
)
def test_every_message_is_written_once(steps: list[str], words: list[bytes]) -> None:
    """Killed or cut off anywhere, with payloads that repeat: the inbox ends with what was published, in order."""
    broker, inbox, published, now = Session(), [], [], 0
    held = Gathered(IN_FLIGHT, [])
    for step, word in zip([*steps, "disconnect", *["write", "deliver"] * 60], words + [b""] * 121, strict=False):
        now += 10
        if step == "publish":
            broker.publish(word)
            published.append(word)
        elif step == "deliver":
            broker.deliver(held, False, now)
        elif step.startswith("write"):
            inbox += held.messages
            packets = held.written()
            if step == "write":
                broker.acknowledged(packets)
            else:
                held.disconnected()
                broker.deliver(held, True, now)
        else:
            held = Gathered(IN_FLIGHT, inbox[-IN_FLIGHT:]) if step == "kill" else held
            held.disconnected()
            broker.deliver(held, True, now)
    assert broker.waiting == []
    assert [message.payload for message in inbox] == published
    assert [message.arrival for message in inbox] == sorted({message.arrival for message in inbox})


def test_a_number_that_comes_back_is_another_message() -> None:
    """Numbers are used again: only what the broker says it sends again is known."""
    held = Gathered(IN_FLIGHT, [Message(1, "a", b"20", 7)])
    held.take("a", b"20", 7, False, 10)
    held.take("a", b"21", 7, True, 11)
    held.take("b", b"20", 7, True, 12)
    held.take("a", b"20", 7, True, 13)
    assert [message.arrival for message in held.messages] == [10, 11, 12]
    assert held.repeated == 1
    assert held.written() == [7, 7, 7, 7]


def test_a_clock_that_is_put_back_does_not_mix_messages_up() -> None:
    """Arrivals ascend, and no two are one."""
    held = Gathered(IN_FLIGHT, [])
    for now in (100, 50, 50, 200):
        held.take("a", b"", 0, False, now)
    assert [message.arrival for message in held.messages] == [100, 101, 102, 200]


def test_it_is_full_before_the_broker_waits_and_before_memory_runs_out() -> None:
    """Half of what is in flight; or so many bytes; what nobody else bounds is dropped in the end, and counted."""
    held = Gathered(IN_FLIGHT, [])
    assert held.is_empty
    held.pass_over(0)
    assert held.is_empty
    held.pass_over(1)
    assert (held.is_empty, held.is_full) == (False, False)
    held.take("a", b"", 2, False, 1)
    assert held.is_full
    assert held.written() == [1, 2]
    assert held.is_empty
    held.take("a", b"x" * FULL_BYTES, 0, False, 2)
    assert held.is_full
    for _ in range(2 * IN_FLIGHT):
        held.take("a", b"", 0, False, 3)
    held.take("a", b"", 3, False, 4)
    assert (held.dropped, len(held.messages)) == (1, 2 * IN_FLIGHT + 1)


def test_what_another_listener_goes_on_with_is_let_go() -> None:
    """But for what the broker does not send again."""
    held = Gathered(IN_FLIGHT, [])
    held.take("a", b"1", 1, False, 1)
    held.take("a", b"2", 0, False, 2)
    held.give_up()
    assert Counter(message.payload for message in held.messages) == {b"2": 1}
    assert held.written() == []
