"""Messages of a real broker: listened to, killed, restarted, and taken in.

More than 400 lines, because all tests share one listener, with how it is started and waited for.
"""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import PASSWORD, Mosquitto
from servers import program

from tasks.collect import collect
from tasks.inbox import Inbox
from tasks.ingest import ingest
from tasks.listen import listener as listener_module
from tasks.listen.listener import Counts, Listener, client_id_of
from tasks.rows import Rows, read_rows, require_snapshot
from watchkeeper.cli import main
from watchkeeper.errors import DataError, LakeError, SourceError, WatchError
from watchkeeper.lake import Lake
from watchkeeper.watch import Watch

START = datetime(2026, 1, 5, tzinfo=UTC)
SECOND = int(START.timestamp())
PATIENCE_S = 30


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", PASSWORD)


def watch(url: str, **options: Any) -> Watch:
    """A watch of pumps that send JSON with their own clock in seconds."""
    source = {
        "kind": "mqtt", "url": url, "topics": "plant/+", "series": 2, "time": "t", "format": "unix_s",
        "user": "keeper", "password": "$MQTT_PASSWORD", "since": START.isoformat(), "flush_s": 0.1, "late_s": 0.2,
        **options,
    }  # fmt: skip
    return Watch(name="unit", source=source, channels=source.pop("channels", ("a", "b")))


def by_arrival(url: str, **options: Any) -> Watch:
    """The same of messages that are numbers, and bear no clock."""
    return watch(url, time=None, format=None, since="-1h", channels=("value",), **options)


class Listening:
    """A listener in a thread."""

    def __init__(self, lake: Lake, some: Watch, wait: bool = False) -> None:
        self.said: list[str] = []
        self.error: Exception | None = None
        self._ended = threading.Event()
        self._listener = Listener(lake.uri, some, self.said.append, lambda _: None, wait)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._listener.run(self._ended.is_set)
        except Exception as error:  # noqa: BLE001 - given to the test
            self.error = error

    @property
    def counts(self) -> Counts:
        """What it did so far."""
        return self._listener.counts

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        self._ended.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def until(self, done: Callable[["Listening"], bool]) -> None:
        """Wait until something is true of it."""
        deadline = time.monotonic() + PATIENCE_S
        while not done(self):
            assert time.monotonic() < deadline, (self.said, self.counts, self.error)
            assert self._thread.is_alive() or done(self), (self.said, self.error)
            time.sleep(0.01)

    def until_connected(self, times: int = 1) -> None:
        """Wait until it has connected so many times."""
        self.until(lambda one: sum(line.startswith("listening ") for line in one.said) == times)


@contextmanager
def listening(lake: Lake, some: Watch, **options: Any) -> Iterator[Listening]:
    """A listener that is connected, and ends with the block."""
    listener = Listening(lake, some, **options)
    try:
        listener.until_connected()
        yield listener
    finally:
        listener.end()
    assert listener.error is None


def reading(second: int, **channels: float) -> str:
    """A message."""
    return json.dumps({"t": SECOND + second, **channels})


def rows_of(lake: Lake, series: str) -> Rows:
    """What is stored."""
    snapshot = require_snapshot(lake, "unit")
    return read_rows(lake, snapshot, series, snapshot.channels)


def test_what_was_sent_is_stored(lake: Lake, mosquitto: Mosquitto) -> None:
    """To the last bit, of two series, each row once, over several files; then what came since."""
    some = watch(mosquitto.url, in_flight=200)
    values = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    sent = [
        (f"plant/{unit}", reading(row, a=float(a), b=float(b)))
        for row, (a, b) in enumerate(values)
        for unit in ("pump_1", "pump_2")
    ]
    with listening(lake, some) as listener:
        mosquitto.publish(sent[:1000])
        listener.until(lambda one: one.counts.messages == 1000)
        done = ingest(lake.uri, some)
        assert (done.rows, done.quarantined) == (1000, {})
        mosquitto.publish(sent[1000:])
        listener.until(lambda one: one.counts.messages == 1200)
    done = ingest(lake.uri, some)
    assert (done.new_rows, done.quarantined) == (200, {})
    assert listener.counts.files > 1
    for unit in ("pump_1", "pump_2"):
        stored = rows_of(lake, unit)
        assert np.array_equal(stored.values, values)
        assert stored.timestamps.tolist() == [(SECOND + row) * 10**6 for row in range(600)]
    assert ingest(lake.uri, some).new_rows == 0


def test_what_is_sent_while_nobody_listens_is_kept(lake: Lake, mosquitto: Mosquitto) -> None:
    """The broker keeps it for the session, and a listener that comes back has it all."""
    some = watch(mosquitto.url)
    with listening(lake, some):
        pass
    mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(500)])
    with listening(lake, some) as listener:
        listener.until(lambda one: one.counts.messages == 500)
    assert ingest(lake.uri, some).rows == 500
    assert rows_of(lake, "a").values[:, 0].tolist() == list(range(500))


KILLS_ITSELF = """
import os, signal, sys
from tasks.listen.gathered import Gathered
from watchkeeper.cli import main
from watchkeeper.lake import Lake

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

when = sys.argv.pop(1)
if when == "before the write":
    Lake.put = die
elif when == "before the acknowledgement":
    Gathered.written = die
main()
"""


def write(some: Watch, folder: Path) -> None:
    """Write the watch file."""
    folder.mkdir(exist_ok=True)
    source = some.source.model_dump(exclude_none=True, exclude_unset=True)
    lines = [
        f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value)}" for key, value in source.items()
    ]
    text = [f"channels = {json.dumps(list(some.channels))}", "[source]", *lines]
    (folder / "unit.toml").write_text("\n".join(text))


def typed(lake: Lake, some: Watch, folder: Path, *before: str) -> "subprocess.Popen[str]":
    """`watchkeeper listen` on a watch, in a process of its own."""
    write(some, folder)
    return subprocess.Popen(
        [sys.executable, *(before or ("-m", "watchkeeper")), "listen", "--watch", "unit"],
        env={
            **os.environ,
            "WATCHKEEPER_LAKE": lake.uri,
            "WATCHKEEPER_WATCHES": str(folder),
            "WATCHKEEPER_HOME": str(folder),
        },
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("clock", [watch, by_arrival])
@pytest.mark.parametrize("when", ["before the write", "before the acknowledgement"])
def test_a_killed_listener_loses_nothing_and_doubles_nothing(
    lake: Lake, mosquitto: Mosquitto, tmp_path: Path, when: str, clock: Callable[..., Watch]
) -> None:
    """The broker sends again what has no acknowledgement; what was written before is known, with either clock."""
    some = clock(mosquitto.url)
    with listening(lake, some):
        pass
    payloads = [reading(row, a=row, b=1) if clock is watch else str(row) for row in [*range(50), 7]]
    mosquitto.publish([("plant/a", payload) for payload in payloads])
    killed = typed(lake, some, tmp_path / "watches", "-c", KILLS_ITSELF, when)
    assert killed.wait(PATIENCE_S) == -signal.SIGKILL
    killed.stdout.close()
    written = 0 if when == "before the write" else 51
    assert sum(map(len, Inbox(lake, "unit").read(Inbox(lake, "unit").files()))) == written
    with listening(lake, some) as listener:
        listener.until(lambda one: one.counts.messages + one.counts.repeated == 51)
        mosquitto.publish([("plant/a", reading(99, a=99, b=1) if clock is watch else "99")])
    assert listener.counts.repeated == written
    time.sleep(0.3)  # longer than late_s
    done = ingest(lake.uri, some)
    assert done.quarantined == {}
    expected = [*range(50), 99] if clock is watch else [*range(50), 7, 99]  # the same reading twice is one reading
    assert rows_of(lake, "a").values[:, 0].tolist() == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_time_again_and_again(lake: Lake, tmp_path: Path, seed: int) -> None:
    """While messages without a clock come in, and the broker keeps all: each is there once in the end, in order."""
    (tmp_path / "broker").mkdir()
    mosquitto = Mosquitto(tmp_path / "broker", queue=0)
    mosquitto.start()
    try:
        _kill_while_messages_come(lake, mosquitto, tmp_path, seed)
    finally:
        mosquitto.stop()


def _kill_while_messages_come(lake: Lake, mosquitto: Mosquitto, tmp_path: Path, seed: int) -> None:
    draw, count = np.random.default_rng(seed), 4000
    some = by_arrival(mosquitto.url, in_flight=40)
    with listening(lake, some):
        pass
    sent = threading.Event()

    def send() -> None:
        for low in range(0, count, 20):
            mosquitto.publish([("plant/a", str(value % 7)) for value in range(low, low + 20)])
            time.sleep(0.05)
        sent.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    killed = 0
    while not sent.is_set():
        process = typed(lake, some, tmp_path / "watches")
        try:
            assert "listening" in process.stdout.readline()
            time.sleep(draw.uniform(0, 0.6))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        killed += 1
    sender.join()
    inbox = Inbox(lake, "unit")
    with listening(lake, some) as listener:
        listener.until(lambda _: sum(map(len, inbox.read(inbox.files()))) >= count)
        time.sleep(1)  # for one too many
    values = [int(message.payload) for messages in inbox.read(inbox.files()) for message in messages]
    assert killed > 5
    assert values == [value % 7 for value in range(count)]


def test_a_broker_that_is_restarted_is_found_again(lake: Lake, mosquitto: Mosquitto) -> None:
    """It is said in one line, and what came before and after is there once."""
    some = watch(mosquitto.url)
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(20)])
        mosquitto.end()
        listener.until(lambda one: any("connection lost" in line for line in one.said))
        mosquitto.start()
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(20, 40)])
        listener.until_connected(2)
        listener.until(lambda one: one.counts.messages == 40)
    assert sum("trying again" in line for line in listener.said) <= 2
    assert listener.said[-1] == f"listening again to plant/+ at {mosquitto.url}"
    assert ingest(lake.uri, some).rows == 40


def test_a_broker_that_forgot_us_is_told_of(lake: Lake, mosquitto: Mosquitto) -> None:
    """Then messages may be lost, and since when is said."""
    some = watch(mosquitto.url)
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", reading(0, a=1, b=0))])
        listener.until(lambda one: one.counts.messages == 1)
        mosquitto.stop()  # without writing down what it knows
        mosquitto.start()
        listener.until_connected(2)
    assert "it kept no session of ours: what was sent after 20" in listener.said[-1]


def test_a_lake_that_fails_makes_messages_wait(
    lake: Lake, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay unacknowledged until they are written; it is said once that it fails, and once that it goes on."""
    some, put, failures = watch(mosquitto.url), Lake.put, iter(range(3))

    def failing(self: Lake, key: str, data: bytes) -> None:
        if next(failures, None) is not None:
            raise LakeError("no room left on the disk")
        put(self, key, data)

    monkeypatch.setattr(Lake, "put", failing)
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(20)])
        listener.until(lambda one: one.counts.messages == 20)
    assert [line for line in listener.said if "listening" not in line] == [
        "no room left on the disk; trying again, and acknowledging nothing until then",
        "the lake is written again",
    ]
    assert ingest(lake.uri, some).rows == 20


def test_the_broker_is_not_kept_waiting(lake: Lake, mosquitto: Mosquitto) -> None:
    """Where as many messages wait as it sends ahead, they are written before their time."""
    some = watch(mosquitto.url, flush_s=60, late_s=61, in_flight=100)
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(500)])
        listener.until(lambda one: one.counts.messages >= 400)
    assert ingest(lake.uri, some).rows == listener.counts.messages


def test_retained_messages_are_no_new_readings(lake: Lake, mosquitto: Mosquitto) -> None:
    """What a topic said last is not said again to us; one that is sent to be retained while we listen counts once."""
    some = by_arrival(mosquitto.url)
    mosquitto.publish([("plant/a", "1")], retain=True)
    for value in (2, 3):
        with listening(lake, some) as listener:
            mosquitto.publish([("plant/a", str(value))], retain=True)
            listener.until(lambda one: one.counts.messages == 1)
    time.sleep(0.3)  # longer than late_s
    ingest(lake.uri, some)
    assert rows_of(lake, "a").values[:, 0].tolist() == [2, 3]


def test_other_topics_are_another_session(lake: Lake, mosquitto: Mosquitto) -> None:
    """Where they overlap with what the old one was subscribed to, messages would come twice."""
    with listening(lake, by_arrival(mosquitto.url, topics="plant/#")):
        pass
    some = by_arrival(mosquitto.url)
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", "1"), ("plant/a", "2")])
        listener.until(lambda one: one.counts.messages == 2)
    time.sleep(0.3)  # longer than late_s
    assert ingest(lake.uri, some).rows == 2


def test_topics_that_a_session_remembers_are_passed_over(lake: Lake, mosquitto: Mosquitto) -> None:
    """Of one that a watch file names, too: acknowledged, so that they do not come again, and not kept."""
    with listening(lake, watch(mosquitto.url, client_id="mine")):
        pass
    other = watch(mosquitto.url, client_id="mine", topics="other/+")
    with listening(lake, other) as listener:
        mosquitto.publish([("plant/a", "1"), ("other/a", "2")])
        listener.until(lambda one: (one.counts.passed_over, one.counts.messages) == (1, 1))
    with listening(lake, other) as listener:
        mosquitto.publish([("other/a", "3")])
        listener.until(lambda one: one.counts.messages == 1)
    assert (listener.counts.passed_over, listener.counts.repeated) == (0, 0)


def test_messages_without_a_receipt_are_taken_too(lake: Lake, mosquitto: Mosquitto) -> None:
    """Of quality of service 0: while we listen."""
    some = watch(mosquitto.url)
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(20)], qos=0)
        listener.until(lambda one: one.counts.messages == 20)
    assert ingest(lake.uri, some).rows == 20


def test_what_cannot_be_read_is_set_aside_once(lake: Lake, mosquitto: Mosquitto) -> None:
    """With its reason; rows and quarantine add up to the messages, however often ingest asks."""
    some = watch(mosquitto.url, late_s=3600)
    now = int(time.time())
    bad = {
        "payload is neither a number nor a JSON object": ["{", b"\xff", "[1]", "on", "[" * 100_000],
        "timestamp is missing": ['{"a": 1}', "17"],
        "timestamp cannot be read": ['{"a": 1, "t": "noon"}', '{"a": 1, "t": [1]}'],
        "timestamp is in the future": [f'{{"a": 1, "t": {now + 200_000}}}'],
        "timestamp lies before `since`": ['{"a": 1, "t": 0}'],
        "reading is no number": [f'{{"a": "x", "t": {now - 5000}}}', f'{{"a": {{}}, "t": {now - 5001}}}'],
        "payload has no reading of a channel": [f'{{"c": 1, "t": {now - 5002}}}'],
        "channel has two readings at this time": [f'{{"a": 2, "t": {now - 7200}}}'],
        "reading is infinite": [f'{{"a": 1e999, "t": {now - 5003}}}'],
    }
    good = [f'{{"a": 1, "t": {now - 7200}}}', f'{{"b": null, "t": {now - 7100}}}']
    wrong = [("plant/a", payload) for payloads in bad.values() for payload in payloads]
    with listening(lake, some) as listener:
        mosquitto.publish([*[("plant/a", one) for one in good], *wrong, ("plant/", good[0])])
        listener.until(lambda one: one.counts.messages == len(good) + len(wrong) + 1)
    time.sleep(0.3)
    later = watch(mosquitto.url, late_s=0.2)
    done = ingest(lake.uri, later)
    counts = {reason: len(payloads) for reason, payloads in bad.items()} | {"series is missing or no name": 1}
    assert done.quarantined == counts
    assert done.rows == len(good)
    assert ingest(lake.uri, some).quarantined == {}


def test_a_watch_file_that_was_wrong_is_mended(lake: Lake, mosquitto: Mosquitto) -> None:
    """Messages are kept as they came: with the clock read as it is meant, all come in."""
    wrong, right = watch(mosquitto.url, time="time"), watch(mosquitto.url)
    with listening(lake, wrong) as listener:
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(20)])
        listener.until(lambda one: one.counts.messages == 20)
    time.sleep(0.3)  # longer than late_s
    with pytest.raises(DataError, match="no usable row"):
        ingest(lake.uri, wrong)
    assert ingest(lake.uri, right).rows == 20


def test_messages_go_once_no_ingest_can_ask_for_them(lake: Lake, mosquitto: Mosquitto, fresh_database: Path) -> None:
    """Not before they are taken in, nor while they are young; what may come late, or be held, stays; no row changes."""
    every, hold = {"every_s": 60, "late_s": 120}, {"gap": "hold", "hold_s": 180}
    some = watch(mosquitto.url, **every, **hold)

    def publish(*minutes: int) -> None:
        for minute in minutes:  # a file each
            with listening(lake, some) as listener:
                mosquitto.publish([("plant/a", reading(60 * minute, a=minute, b=0))])
                listener.until(lambda one: one.counts.messages == 1)

    def collected(hours: float = 0) -> int:
        before = len(Inbox(lake, "unit").files())
        collect(lake.uri, f"sqlite:///{fresh_database}", some, older_than_hours=hours)
        return before - len(Inbox(lake, "unit").files())

    publish(0, 1, 3, 10)
    assert collected() == 0
    ingest(lake.uri, some, START + timedelta(minutes=8))
    assert rows_of(lake, "a").values[:, 0].tolist() == [0, 1, 1, 3, 3, 3, 3]
    assert collected(hours=1) == 0
    assert collected() == 1  # the newest row is of 6 min; of 2 min late and 3 min held, 1 min may be asked for again
    ingest(lake.uri, some, START + timedelta(minutes=15))
    assert rows_of(lake, "a").values[:, 0].tolist() == [0, 1, 1, 3, 3, 3, 3, 10, 10, 10, 10]
    assert collected() == 2
    publish(11)
    done = ingest(lake.uri, some, START + timedelta(minutes=15))
    assert done.quarantined == {"late: differs from what is stored for its time": 3}
    other = Watch(name="unit", source={"kind": "plant", "start": START})
    collect(lake.uri, f"sqlite:///{fresh_database}", other, older_than_hours=0)
    assert len(Inbox(lake, "unit").files()) == 2


def test_readings_of_other_topics_share_a_bin(lake: Lake, mosquitto: Mosquitto) -> None:
    """A topic a channel, which never speak at once: in bins they are one row."""
    some = watch(mosquitto.url, topics="plant/+/+", channel=3, value="v", every_s=60, channels=("a", "b"))
    with listening(lake, some) as listener:
        mosquitto.publish(
            (f"plant/pump/{channel}", json.dumps({"t": SECOND + 60 * minute + second, "v": minute + second}))
            for minute in range(5)
            for channel, seconds in (("a", (1, 3)), ("b", (2,)), ("other", (4,)))
            for second in seconds
        )
        listener.until(lambda one: one.counts.messages == 20)
    assert ingest(lake.uri, some, START + timedelta(minutes=5)).rows == 5
    assert rows_of(lake, "pump").values.tolist() == [[minute + 2, minute + 2] for minute in range(5)]


def test_who_comes_in_vain_is_told_why(lake: Lake, mosquitto: Mosquitto, unused_port: int) -> None:
    """In one line each, without the password."""
    with pytest.raises(DataError, match=r"nothing was heard yet of plant/.; start `watchkeeper listen --watch unit`"):
        ingest(lake.uri, watch(mosquitto.url))
    nobody = Listening(lake, watch(f"mqtt://127.0.0.1:{unused_port}"))
    wrong = Listening(lake, watch(mosquitto.url, user="somebody"))
    for one in (nobody, wrong):
        one.until(lambda one: one.error is not None)
    assert isinstance(nobody.error, SourceError)
    assert "is the broker up, and reachable from here?" in str(nobody.error)
    assert isinstance(wrong.error, DataError)
    assert "not connected: Not authorized; correct `user`, `password`" in str(wrong.error)
    with pytest.raises(WatchError, match="MQTT_OTHER is not set"):
        Listening(lake, watch(mosquitto.url, password="$MQTT_OTHER"))  # noqa: S106 - a variable's name
    with pytest.raises(WatchError, match="there is no file /nowhere"):
        Listening(lake, watch("mqtts://127.0.0.1", ca="/nowhere"))
    with pytest.raises(WatchError, match=r"its source is plant, .*; only mqtt is listened to"):
        Listening(lake, Watch(name="unit", source={"kind": "plant", "start": START}))


def test_a_watch_needs_its_channels(lake: Lake, mosquitto: Mosquitto) -> None:
    """Not every message has all of them; those that were heard are told."""
    some = watch(mosquitto.url, channels=())
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", '{"t": 1, "flow": 1, "hot": true, "inner": {"x": 1}, "s": ""}')])
        listener.until(lambda one: one.counts.messages == 1)
    with pytest.raises(
        WatchError, match=r"needs `channels` in the watch file; the newest messages have flow, hot, inn"
    ):
        ingest(lake.uri, some)


def test_a_listener_may_wait_for_its_broker(lake: Lake, mosquitto: Mosquitto) -> None:
    """With --wait it tries again from the start."""
    mosquitto.end()
    waiting = Listening(lake, watch(mosquitto.url), wait=True)
    waiting.until(lambda one: bool(one.said))
    mosquitto.start()
    waiting.until_connected()
    waiting.end()
    assert waiting.error is None
    assert "Connection refused" in waiting.said[0]


def test_two_listeners_of_one_session_lose_nothing(
    lake: Lake, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker throws out the one that was there; each wonders aloud, and no message is lost or doubled."""
    monkeypatch.setattr(listener_module, "PAUSES_S", (0.1,))
    some, inbox = watch(mosquitto.url), Inbox(lake, "unit")
    with listening(lake, some) as first, listening(lake, some):
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(50)])
        first.until(lambda one: any("does another listener use the session watchkeeper-unit-" in s for s in one.said))
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(50, 100)])
        # Each may have written some of them.
        first.until(lambda _: len({one.payload for many in inbox.read(inbox.files()) for one in many}) == 100)
    assert ingest(lake.uri, some).rows == 100


def test_the_command_listens_once(lake: Lake, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A second one of the same home says that there is one, and ends with status 1."""
    some = watch(mosquitto.url)
    first = typed(lake, some, tmp_path / "watches")
    assert "listening to" in first.stdout.readline()
    second = typed(lake, some, tmp_path / "watches")
    assert second.wait(PATIENCE_S) == 1
    first.send_signal(signal.SIGINT)
    assert first.wait(PATIENCE_S) == 0
    first.stdout.close()
    second.stdout.close()


def test_each_lake_has_a_session_of_its_own(lake: Lake) -> None:
    """And the same one after a restart; a watch file may name it."""
    source = watch("mqtt://broker").source
    names = {client_id_of(source, "a", uri) for uri in (lake.uri, f"{lake.uri}2", "s3://b/x", "s3://b/y")}
    names |= {client_id_of(watch("mqtt://broker", topics="other/+").source, "a", lake.uri)}
    assert len(names) == 5
    assert client_id_of(source, "a", lake.uri) in names
    assert client_id_of(watch("mqtt://broker", client_id="mine").source, "a", lake.uri) == "mine"


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # paho leaves it to the collector
def test_over_tls(lake: Lake, tmp_path: Path) -> None:
    """With the certificate that the watch file names; without, the broker is not trusted."""
    folder = tmp_path / "broker"
    folder.mkdir()
    certificate = folder / "broker.pem"
    subprocess.run(
        [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", folder / "broker.key", "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    server = Mosquitto(folder, tls=True)
    server.start()
    try:
        with listening(lake, watch(server.url, ca=str(certificate))) as listener:
            assert listener.said == [f"listening to plant/+ at {server.url}"]
        stranger = Listening(lake, watch(server.url))
        stranger.until(lambda one: one.error is not None)
    finally:
        server.stop()
    assert isinstance(stranger.error, DataError)
    assert "self-signed certificate; set `ca`" in str(stranger.error)
    stranger.error = None
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_tls_where_the_broker_has_none(lake: Lake, mosquitto: Mosquitto) -> None:
    """It is no answer that could be understood."""
    tls = Listening(lake, watch(mosquitto.url.replace("mqtt:", "mqtts:")))
    tls.until(lambda one: one.error is not None)
    assert isinstance(tls.error, SourceError)
    tls.error = None
    gc.collect()


def test_the_command_ends_well_when_it_is_asked_to(lake: Lake, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """On SIGTERM it writes what it holds, says what it did, and ends with status 0."""
    some = watch(mosquitto.url, flush_s=60, late_s=61)
    process = typed(lake, some, tmp_path / "watches")
    first = process.stdout.readline()
    assert first.endswith(f"  listening to plant/+ at {mosquitto.url}\n")
    mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(20)])
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    held = int(re.search(r"  ended: (\d+) messages in 1 files\n$", said)[1])
    with listening(lake, watch(mosquitto.url)) as listener:  # what had not come yet comes now
        listener.until(lambda one: one.counts.messages == 20 - held)
    assert ingest(lake.uri, some).rows == 20


def test_doctor_looks_into_the_inbox_and_backtest_cannot(
    lake: Lake,
    mosquitto: Mosquitto,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sees rows before the first ingest; the other says in one line why it replays nothing."""
    some = watch(mosquitto.url)
    with listening(lake, some) as listener:
        mosquitto.publish([("plant/a", reading(row, a=row, b=0)) for row in range(20)])
        listener.until(lambda one: one.counts.messages == 20)
    write(some, tmp_path / "watches")
    for name, place in {"LAKE": lake.uri, "WATCHES": tmp_path / "watches", "HOME": tmp_path}.items():
        monkeypatch.setenv(f"WATCHKEEPER_{name}", str(place))
    for command, status in (("doctor", 0), ("backtest", 2)):
        monkeypatch.setattr(sys, "argv", ["watchkeeper", command, "--watch", "unit"])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        assert end.value.code == status, said
        if command == "doctor":
            assert "mqtt, 20 rows in a, 2026-01-05" in said.out
        else:
            assert said.err.count("\n") == 1
            assert "an MQTT watch has no history that could be replayed" in said.err


def test_the_command_tells_a_mistake_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    """Status 1 for a broker that is not there, 2 for a watch that is not MQTT's."""
    (tmp_path / "w.toml").write_text(
        f'[source]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{unused_port}"\ntopics = "a"\nseries = 1'
    )
    (tmp_path / "p.toml").write_text('[source]\nkind = "plant"\nstart = 2026-01-05')
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for name, status, words in (("w", 1, "Connection refused"), ("p", 2, "only mqtt is listened to")):
            monkeypatch.setattr(sys, "argv", ["watchkeeper", "listen", "--watch", name])
            with pytest.raises(SystemExit) as end:
                main()
            assert end.value.code == status
            said = capsys.readouterr().err
            assert words in said
            assert said.count("\n") == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
