"""What brokers say that the real one at hand does not: a process that answers a few bytes."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks.listen.broker import Broker
from watchkeeper.errors import BusyError, DataError, SourceError, WatchkeeperError
from watchkeeper.mqtt import MqttSource

CONNECTED = b"\x20\x03\x00\x00\x00"


@contextmanager
def answering(*answers: bytes) -> Iterator[Broker]:
    """A connection to somebody who answers each packet with some bytes, and hangs up after the last."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            for answer in answers:
                connection.recv(4096)
                connection.sendall(answer)
            connection.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    source = MqttSource(
        kind="mqtt", url=f"mqtt://127.0.0.1:{server.getsockname()[1]}", topics=("a", "b/#"), series=1, timeout_s=1
    )
    broker = Broker(source, "me", lambda *_: None, lambda _: None)
    try:
        yield broker
    finally:
        broker.end()
        server.close()
        thread.join(10)


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        ([b"\x20\x02\x00\x01"], DataError, "the broker does not speak MQTT 5"),
        ([b"\x20\x03\x00\x84\x00"], DataError, "the broker does not speak MQTT 5"),
        ([b"\x20\x03\x00\x86\x00"], DataError, "not connected: Bad user name or password; correct `user`, `password`"),
        ([b"\x20\x03\x00\x89\x00"], SourceError, "Server busy"),
        (
            [CONNECTED, b"\x90\x05\x00\x01\x00\x01\x87"],
            DataError,
            "not subscribed: b/#: Not authorized; correct `topics`",
        ),
        ([b""], SourceError, "no answer within 1 s; is it an MQTT broker?"),
    ],
)
def test_who_does_not_let_us_in_is_told_of(answers: list[bytes], kind: type[WatchkeeperError], said: str) -> None:
    """What is to be mended, and what may pass by itself."""
    with answering(*answers) as broker:
        with pytest.raises(kind) as error:
            broker.connect()
        assert said in str(error.value)
        assert not broker.is_connected


def test_another_one_who_takes_the_session_over_is_told_of() -> None:
    """Brokers that follow the standard say so."""
    with answering(CONNECTED, b"\x90\x05\x00\x01\x00\x01\x01\xe0\x02\x8e\x00") as broker:
        assert broker.connect() is False
        broker.turn(1)
        with pytest.raises(BusyError, match="another listener took over the session me at mqtt://127"):
            broker.turn(1)


def test_a_client_that_is_not_installed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what brings it."""
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(DataError, match=r"is not installed: no module paho.*; pip install 'watchkeeper\[mqtt\]'"):
        Broker(MqttSource(kind="mqtt", url="mqtt://broker", topics="a", series=1), "me", lambda *_: None, print)
