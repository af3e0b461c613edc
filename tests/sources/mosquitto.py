"""An MQTT broker for tests, and somebody who publishes."""

import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import paho.mqtt.client as mqtt
from servers import Server, free_port, program

PASSWORD = "p@ss/w:'rd"  # noqa: S105 - of a server that lives as long as a test
PACKAGE = "mosquitto"
CONFIG = """
user root
listener {port} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
persistence true
persistence_location {folder}/
max_queued_messages {queue}
"""
TLS = """
certfile {folder}/broker.pem
keyfile {folder}/broker.key
"""


class Mosquitto(Server):
    """A broker that knows one user, and keeps sessions when it is asked to end."""

    def __init__(self, folder: Path, tls: bool = False, queue: int = 1000) -> None:
        port = free_port()
        config, passwords = folder / "mosquitto.conf", folder / "passwords"
        config.write_text((CONFIG + (TLS if tls else "")).format(folder=folder, port=port, queue=queue))
        command = [program("mosquitto", PACKAGE), "-c", str(config)]
        subprocess.run(
            [program("mosquitto_passwd", PACKAGE), "-b", "-c", passwords, "keeper", PASSWORD],
            check=True,
            capture_output=True,
        )
        super().__init__(command, port, folder / "log")
        self.url = f"mqtt{'s' if tls else ''}://127.0.0.1:{port}"

    def end(self) -> None:
        """Ask it to end, as an operator does: it writes down what it knows of sessions."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    def publish(self, messages: Iterable[tuple[str, str | bytes]], qos: int = 1, retain: bool = False) -> None:
        """Publish messages, in order, and wait until the broker has them."""
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(1000)
        client.username_pw_set("keeper", PASSWORD)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        for sent in [client.publish(topic, payload, qos, retain) for topic, payload in messages]:
            sent.wait_for_publish(30)
        client.disconnect()
        client.loop_stop()
