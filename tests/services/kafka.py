"""A Kafka broker inside this process: the one librdkafka carries for tests.

It speaks Kafka over TCP on a loopback port, with groups, commits and
idempotent producers, and keeps its records in memory while it is `down`.
"""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path

import confluent_kafka
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

__all__ = ["KafkaBroker"]

_PRODUCER = 0

# This broker takes a group for complete when its leader has synced, and refuses
# members that sync later; real ones wait for the leader. So let the leader be last.
_LEADER_WAITS_S = 0.1
_lead = CoordinatorGroupRebalance._on_join_leader


async def _lead_last(self: CoordinatorGroupRebalance, response: object) -> object:
    await asyncio.sleep(_LEADER_WAITS_S)
    return await _lead(self, response)


CoordinatorGroupRebalance._on_join_leader = _lead_last


def _load() -> ctypes.CDLL:
    package = Path(confluent_kafka.__file__).parent
    # The wheels for Linux and for macOS keep it in different places.
    (library,) = [*package.parent.glob("confluent_kafka.libs/librdkafka-*"), *package.glob(".dylibs/librdkafka*")]
    loaded = ctypes.CDLL(str(library))
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", number, [pointer, text, text, pointer, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


class KafkaBroker:
    """One broker; `stop` and `start` make it go away and come back with what it had."""

    def __init__(self) -> None:
        self._library = _load()
        configuration = self._library.rd_kafka_conf_new()
        error = ctypes.create_string_buffer(512)
        # Else it says on stderr that this client, which is never used, has no servers.
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"0", error, len(error))
        self._client = self._library.rd_kafka_new(_PRODUCER, configuration, error, len(error))
        assert self._client, error.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        self.address = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        # A real one waits 3 s for more members.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.topic = ""
        self.new_topic("goim-push-topic")

    @property
    def url(self) -> str:
        # It answers no fetch before its time, whatever comes meanwhile; real ones do.
        return f"kafka://{self.address}/{self.topic}?session_s=2&fetch_wait_ms=20"

    def new_topic(self, name: str, partitions: int = 3) -> None:
        """Make a topic; it is the one that `url` names from now on."""
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0
        self.topic = name

    def stop(self) -> None:
        """Close all connections, and take no new ones."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def start(self) -> None:
        """Take connections again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def end(self) -> None:
        """Forget everything."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)
