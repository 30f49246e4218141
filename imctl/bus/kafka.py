"""A bus on Kafka, as goim's own: `kafka://HOST:PORT,HOST:PORT/goim-push-topic` (needs imctl[kafka]).

Topic, key, value, partition and consumer group are goim's, so Go logics and
jobs can share it. Offsets are committed when everything before them is
acknowledged: a record is delivered again, not lost, when its job dies.

Parameters: timeout_s (10: of a publish), session_s (10: a member that was not
heard of for so long is dead), acks (all, 1), idempotence (on, off; off for
brokers before 0.11, or without the right to it: a record may then be there twice
after an outage), compression (none, gzip, snappy, lz4, zstd), fetch_wait_ms (500: how long a
broker that has nothing new may hold back an answer), sasl (PLAIN,
SCRAM-SHA-256, SCRAM-SHA-512; when the URL has a user), and ssl_* for kafka+ssl://.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imctl.bus.contract import BusError
from imctl.bus.ending import ended
from imctl.bus.joining import Members
from imctl.bus.partition import partition_of
from imctl.bus.tls import tls_context
from imctl.bus.url import BusUrl, parse_bus_url
from imctl.errors import ConfigError

try:
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError
except ImportError as exc:
    raise ConfigError("bus kafka:// needs the package aiokafka", hint="pip install 'imctl[kafka]'") from exc

if TYPE_CHECKING:
    from imctl.bus.kafka_member import KafkaMember

__all__ = ["KafkaBus", "KafkaSettings"]

_CLOSE_S = 3.0
_RETRY_S = 0.25
_BATCH_BYTES = 256 * 1024
_MAX_WAITING = 50_000
_MAX_WAITING_BYTES = 64 * 1024 * 1024
_MAX_RECORD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """What the URL says.

    Args:
        shown: The URL without secrets.
        topic: Where records go.
        timeout_s: Longest wait of a publish().
        session_s: Kafka's session timeout.
        fetch_wait_ms: How long a broker holds back the answer to a fetch while it has nothing.
        client: Arguments of every client of aiokafka. Any: theirs.
        producer: Further ones of its producer.
    """

    shown: str
    topic: str
    timeout_s: float
    session_s: float
    fetch_wait_ms: int
    client: dict[str, Any]
    producer: dict[str, Any]

    def reason(self, error: KafkaError) -> str:
        """Return what went wrong, as people may read it."""
        text = str(error)
        if "Unable to bootstrap" in text:  # then a list of socket addresses as Python shows them
            return f"no broker answers at {', '.join(self.client['bootstrap_servers'])}"
        return text or type(error).__name__


def _settings(url: BusUrl) -> KafkaSettings:
    hosts = [f"[{host}]:{port or 9092}" if ":" in host else f"{host}:{port or 9092}" for host, port in url.hosts]
    client: dict[str, Any] = {"bootstrap_servers": hosts or ["127.0.0.1:9092"], "retry_backoff_ms": 100}
    tls = url.scheme == "kafka+ssl"
    if tls:
        client["ssl_context"] = tls_context(url)
    mechanism = url.choice("sasl", ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"))
    if url.username is not None:
        client |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": url.username,
            "sasl_plain_password": url.password or "",
        }
    layers = ("SASL_SSL" if tls else "SASL_PLAINTEXT") if url.username is not None else ("SSL" if tls else "PLAINTEXT")
    client["security_protocol"] = layers
    acks = url.choice("acks", ("all", "1"))
    idempotent = url.choice("idempotence", ("on", "off")) == "on" and acks == "all"
    compression = url.choice("compression", ("none", "gzip", "snappy", "lz4", "zstd"))
    settings = KafkaSettings(
        shown=url.shown,
        topic=url.path or "goim-push-topic",
        timeout_s=url.number("timeout_s", 10.0, 0.05, 600),
        session_s=url.number("session_s", 10.0, 1, 600),
        fetch_wait_ms=url.whole("fetch_wait_ms", 500, 1, 60_000),
        client=client,
        producer={
            "acks": "all" if acks == "all" else 1,
            "enable_idempotence": idempotent,
            "compression_type": None if compression == "none" else compression,
        },
    )
    url.done()
    return settings


class KafkaBus:
    """See the module; connects at the first publish() or subscribe().

    Args:
        url: As in the module's text.

    Raises:
        ConfigError: the URL is not acceptable.
    """

    def __init__(self, url: str) -> None:
        self._settings = _settings(parse_bus_url(url))
        self.url = self._settings.shown
        self._opening = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._members: Members[KafkaMember] = Members()
        self._why = ""
        self._publishing = 0
        self._publishing_bytes = 0
        self._counts = dict.fromkeys(("published", "delivered", "acked", "redelivered", "refused"), 0)
        # Given back by members of this process: what is delivered once more.
        self._returned: set[tuple[int, int]] = set()

    async def publish(self, key: str, value: bytes) -> None:
        """See Bus.publish; while Kafka is away it waits, at most timeout_s."""
        settings = self._settings
        if len(value) + len(key) > _MAX_RECORD_BYTES - 512:
            self._counts["refused"] += 1
            raise BusError(f"a record of {len(value)} bytes is over the bus's bound of {_MAX_RECORD_BYTES} bytes")
        producer: AIOKafkaProducer | None = None
        if self._publishing >= _MAX_WAITING or self._publishing_bytes + len(value) > _MAX_WAITING_BYTES:
            self._counts["refused"] += 1
            raise BusError(f"{self._publishing} records wait for bus {self.url} already")
        self._publishing += 1
        self._publishing_bytes += len(value)
        acknowledged: asyncio.Future[object] | None = None
        try:
            async with asyncio.timeout(settings.timeout_s):
                producer = self._producer or await self._open_producer()
                acknowledged = await producer.send(settings.topic, value, key=key.encode())
                # Who gives up here does not take the others' record out of the batch.
                await asyncio.shield(acknowledged)
        except TimeoutError:
            self._counts["refused"] += 1
            # What was sent before Kafka went may be taken when it is back.
            what = "it is not known whether the record was taken" if acknowledged else self._why or "not taken"
            hint = "are the brokers running, and the addresses right?"
            if "UnknownError" in self._why and settings.producer["enable_idempotence"]:
                hint = "a broker that has no idempotent producers needs idempotence=off in the URL"
            raise BusError(f"bus {self.url}: no answer within {settings.timeout_s:g} s; {what}", hint=hint) from None
        except KafkaError as exc:
            self._counts["refused"] += 1
            await self._let_go_of_a_broken(producer)
            raise BusError(f"bus {self.url}: {settings.reason(exc)}") from exc
        except BusError:
            self._counts["refused"] += 1
            raise
        finally:
            self._publishing -= 1
            self._publishing_bytes -= len(value)
            if acknowledged is not None and not acknowledged.done():
                acknowledged.add_done_callback(_look_at)
        self._counts["published"] += 1

    async def subscribe(self, group: str) -> KafkaMember:
        """See Bus.subscribe; takes as long as the group needs to deal out its partitions."""
        from imctl.bus.kafka_member import KafkaMember

        self._members.check_open()
        member = KafkaMember(self._settings, group, counts=self._counts, returned=self._returned)
        return await self._members.join(member)

    def stats(self) -> dict[str, int]:
        """See Bus.stats; `waiting` is what this process has read and not acknowledged."""
        return {**self._counts, "waiting": self._members.unacked}

    async def close(self) -> None:
        """See Bus.close; what is not acknowledged stays in Kafka."""
        await self._members.close()
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _open_producer(self) -> AIOKafkaProducer:
        async with self._opening:
            while self._producer is None:
                self._members.check_open()
                settings = self._settings
                producer = AIOKafkaProducer(
                    **settings.client,
                    **settings.producer,
                    partitioner=_partition,
                    max_request_size=_MAX_RECORD_BYTES,
                    max_batch_size=_BATCH_BYTES,
                    request_timeout_ms=max(1000, int(settings.timeout_s * 1000)),
                )
                try:
                    await producer.start()
                except KafkaError as exc:
                    await _stop(producer)
                    self._why = self._settings.reason(exc)
                    await asyncio.sleep(_RETRY_S)
                except BaseException:
                    await _stop(producer)
                    raise
                else:
                    self._producer = producer
                    self._why = ""
            return self._producer

    async def _let_go_of_a_broken(self, producer: AIOKafkaProducer | None) -> None:
        """After some errors aiokafka's sender ends, and every further send() fails: the next one gets a new one."""
        if self._producer is not producer or producer is None:
            return
        sender: Any = producer._sender
        if sender.sender_task.done():
            self._producer = None
            await _stop(producer)


def _partition(key: bytes, partitions: Sequence[int], available: Sequence[int]) -> int:
    """Choose as goim does, among all partitions, whether they have a leader now or not."""
    return partition_of(key, len(partitions))


def _look_at(abandoned: asyncio.Future[object]) -> None:
    """Take the outcome of a record that nobody waits for any more; else asyncio complains of an error not seen."""
    if not abandoned.cancelled():
        abandoned.exception()


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop a producer, also one that cannot deliver what it has, which its own stop() waits for without end."""
    if not await ended(producer.stop(), within_s=_CLOSE_S):
        producer._message_accumulator.fail_all(KafkaError("the bus is closed"))
        await ended(producer.client.close(), within_s=_CLOSE_S)
        await ended(producer._sender.close(), within_s=_CLOSE_S)
