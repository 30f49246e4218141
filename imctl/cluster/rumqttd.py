"""The embedded MQTT broker: `python -m imctl.cluster.rumqttd PORT FOLDER`, rumqttd in the package iotcore.

It keeps everything in memory: sessions, retained messages, and of each
partition the last _KEPT_BYTES, whether acknowledged or not.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from pathlib import Path

from imctl.cluster.logs import LOG_FORMAT, LOG_TIME
from protocol.aio.open_files import raise_open_files

__all__ = ["READY", "main", "settings"]

READY = b"takes connections on 127.0.0.1:"
"""Stands in what it logs once it can be used."""

_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENTS = 8
_KEPT_BYTES = _SEGMENT_BYTES * _SEGMENTS
_RECORD_BYTES = 1024 * 1024 + 4096
"""A record of the bus with its topic; rumqttd closes the connection of who sends more."""

log = logging.getLogger("imctl.cluster.rumqttd")


def settings(port: int) -> str:
    """Return rumqttd's TOML. Names and meanings are those of rumqttd 0.20; it has no defaults.

    `max_inflight_count` has to be there and changes nothing: that 100 messages are sent ahead of their acknowledgement,
    no more, is compiled in (up to 65535 tried).
    """
    return f"""\
id = 0

[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 200
max_segment_size = {_SEGMENT_BYTES}
max_segment_count = {_SEGMENTS}

[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = {_RECORD_BYTES}
max_inflight_count = 100
dynamic_filters = true
"""


def main() -> None:
    """Be the broker; ends with exit code 1 when the port is taken."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    raise_open_files()
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, datefmt=LOG_TIME, stream=sys.stdout)
    # It reports every packet as an error: what tracing calls a span of that level.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    log.setLevel(logging.INFO)
    from iotcore import IotCoreBroker

    config = folder / "rumqttd.toml"
    config.write_text(settings(port), encoding="utf-8")
    broker = IotCoreBroker(config_path=str(config))
    try:
        # Looks whether it can have the port, then listens in a thread of its own.
        broker.start()
    except OSError as exc:
        log.error("%s", exc)
        sys.exit(1)
    while not _takes_connections(port):
        time.sleep(0.005)
    log.info("rumqttd %s%d", READY.decode(), port)
    # rumqttd has no end of its own.
    while True:
        signal.pause()


def _takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
