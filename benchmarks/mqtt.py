"""How fast messages come in from an MQTT broker: through the listener into the inbox, and from there by ingest.

    python benchmarks/mqtt.py [--messages 50000] [--repeats 3] [--out figures.json]

A message is a JSON object with a clock and five channels. The broker is Debian's mosquitto, which holds all messages
before a run begins, so that neither its own CPU time nor the sender's is counted. The floor is paho alone, which takes
the same messages and acknowledges them by itself. Figures are the best of the repeats, in CPU time of this process.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "sources"))
from mosquitto import PASSWORD, Mosquitto
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tasks.ingest import ingest
from tasks.listen.listener import Listener
from watchkeeper.watch import Watch

START_S = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
CHANNELS = tuple("abcde")
UNITS = 10


def watch_of(broker: Mosquitto, in_flight: int) -> Watch:
    """Return the watch that listens."""
    source = {
        "kind": "mqtt", "url": broker.url, "topics": "plant/+", "series": 2, "time": "t", "format": "unix_s",
        "user": "keeper", "password": "$MQTT_PASSWORD", "since": "2026-01-01", "client_id": "speed",
        "in_flight": in_flight,
    }  # fmt: skip
    return Watch(name="speed", source=source, channels=CHANNELS)


def publish(broker: Mosquitto, messages: int) -> None:
    """Let the broker hold so many messages for the session."""
    broker.publish(
        (f"plant/{row % UNITS}", json.dumps({"t": START_S + row // UNITS} | dict.fromkeys(CHANNELS, row / 7)))
        for row in range(messages)
    )


def listen(watch: Watch, lake: str, messages: int) -> None:
    """Listen until so many messages are written."""
    listener = Listener(lake, watch, lambda _: None, lambda _: None)
    listener.run(lambda: listener.counts.messages >= messages)


def bare(broker: Mosquitto, messages: int, in_flight: int) -> None:
    """Take so many messages with paho alone."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "speed", protocol=mqtt.MQTTv5)
    client.username_pw_set("keeper", PASSWORD)
    taken = [0]

    def count(*_: object) -> None:
        taken[0] += 1

    client.on_message = count
    wishes = Properties(PacketTypes.CONNECT)
    wishes.SessionExpiryInterval = 3600
    wishes.ReceiveMaximum = in_flight
    client.connect("127.0.0.1", broker.port, clean_start=False, properties=wishes)
    while taken[0] < messages:
        client.loop(1)
    while client.want_write():
        client.loop(1)
    client.disconnect()


def measure(messages: int, repeats: int, in_flight: int) -> dict[str, float]:
    """Return messages a CPU-second of each way."""
    spent: dict[str, list[float]] = {"paho alone": [], "listen": [], "ingest": []}

    def timed(way: str, work: Callable[[], object]) -> None:
        before = time.process_time()
        work()
        spent[way].append(time.process_time() - before)

    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder), queue=0)
        broker.start()
        try:
            watch = watch_of(broker, in_flight)
            for repeat in range(repeats):
                lake = Path(folder, str(repeat)).as_uri()
                first = Listener(lake, watch, lambda _: None, lambda _: None)
                began = time.monotonic()
                first.run(lambda began=began: time.monotonic() > began + 1)  # makes the session
                publish(broker, messages)
                timed("listen", lambda lake=lake: listen(watch, lake, messages))
                timed("ingest", lambda lake=lake: _take_in(lake, watch, messages))
                publish(broker, messages)
                timed("paho alone", lambda: bare(broker, messages, in_flight))
        finally:
            broker.stop()
    return {way: messages / min(times) for way, times in spent.items()}


def _take_in(lake: str, watch: Watch, messages: int) -> None:
    done = ingest(lake, watch)
    if done.rows != messages or done.quarantined:
        raise SystemExit(f"{done.rows:,} rows came in of {messages:,} messages: {done}")


def main() -> None:
    """Print the table; with --out, write the figures too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    os.environ["MQTT_PASSWORD"] = PASSWORD
    figures = measure(options.messages, options.repeats, options.in_flight)
    table = Table(title=f"{options.messages:,} messages", title_justify="left", box=None)
    table.add_column("way")
    table.add_column("messages/CPU-s", justify="right")
    for way, figure in figures.items():
        table.add_row(way, f"{figure:,.0f}")
    Console().print(table)
    if options.out:
        about = {"messages": options.messages, "in_flight": options.in_flight, "channels": len(CHANNELS)}
        options.out.write_text(json.dumps(about | {"messages_per_cpu_s": figures}, indent=1))


if __name__ == "__main__":
    main()
