"""A bus on an MQTT 5 broker: `mqtt://HOST:PORT/goim-push-topic` (needs imctl[mqtt]).

A record is a message of QoS 1 on `PREFIX/PARTITION/KEY`; publish() returns
with the broker's acknowledgement. Each group has a session a partition on the
broker, which gathers what comes while no job is connected.

How much it gathers is up to the broker, and some drop silently what is over:
mosquitto needs `max_queued_messages 0` and `max_inflight_messages 0`, and
`persistence true` to keep it through a restart.

Parameters: partitions (4, the same in every URL), timeout_s (5: of a
publish), lease_s (5), window (5000: records sent ahead of their
acknowledgement, a partition), expiry_s (86400: how long a group without
members keeps what comes), keepalive_s (10), and ssl_* for mqtts://.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from imctl.bus.contract import BusError
from imctl.bus.joining import Members
from imctl.bus.mqtt_link import MqttLink, MqttSettings
from imctl.bus.mqtt_member import MqttMember, misfit
from imctl.bus.mqtt_partition import record_topic
from imctl.bus.partition import partition_of
from imctl.bus.tls import tls_context
from imctl.bus.url import parse_bus_url

__all__ = ["MqttBus"]

_NO_SUBSCRIBER = 0x10
_FAILURE = 0x80
_RETRY_S = 0.02
_MAX_WAITING = 50_000
_MAX_WAITING_BYTES = 64 * 1024 * 1024
_WAITING_BYTES = 500
"""Of a message beside its value, about."""


class MqttBus:
    """See the module; connects at the first publish() or subscribe().

    Args:
        url: As in the module's text.

    Raises:
        ConfigError: the URL is not acceptable.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_bus_url(url)
        self._settings = MqttSettings.parse(parsed, tls_context(parsed) if parsed.scheme == "mqtts" else None)
        self.url = parsed.shown
        self._link: MqttLink | None = None
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._publishing = 0
        self._publishing_bytes = 0
        self._misfit = ""
        self._members: Members[MqttMember] = Members()
        self._counts = dict.fromkeys(("published", "delivered", "acked", "redelivered", "refused", "unheard"), 0)

    async def publish(self, key: str, value: bytes) -> None:
        """See Bus.publish; while the broker is away it waits, at most timeout_s."""
        size = len(value) + _WAITING_BYTES
        if self._publishing >= _MAX_WAITING or self._publishing_bytes + size > _MAX_WAITING_BYTES:
            self._counts["refused"] += 1
            raise BusError(f"{self._publishing} records wait for bus {self.url} already")
        self._publishing += 1
        self._publishing_bytes += size
        try:
            await self._publish(key.encode(), value)
        except BusError:
            self._counts["refused"] += 1
            raise
        finally:
            self._publishing -= 1
            self._publishing_bytes -= size
        self._counts["published"] += 1

    async def subscribe(self, group: str) -> MqttMember:
        """See Bus.subscribe."""
        self._members.check_open()
        member = MqttMember(self._settings, group, counts=self._counts)
        return await self._members.join(member)

    def stats(self) -> dict[str, int]:
        """See Bus.stats; `waiting` is what this process has read and not acknowledged.

        Also {"unheard": published while the broker knew no group, "members": of the group at the last look}.
        """
        return {**self._counts, "waiting": self._members.unacked}

    async def close(self) -> None:
        """See Bus.close; what is not acknowledged stays with the broker."""
        await self._members.close()
        if self._link is not None:
            await self._link.stop()

    async def _publish(self, key: bytes, value: bytes) -> None:
        settings = self._settings
        topic = record_topic(settings.prefix, partition_of(key, settings.partitions), key)
        link = self._link or self._start()
        packet = None
        try:
            async with asyncio.timeout(settings.timeout_s):
                while packet is None:
                    if not link.up.is_set():
                        await link.up.wait()
                    if self._misfit:
                        raise BusError(self._misfit)
                    self._members.check_open()
                    try:
                        packet = link.publish(topic, value)
                    except BusError:
                        # The connection was lost a moment ago: nothing was sent.
                        await asyncio.sleep(_RETRY_S)
                done = self._waiting[packet] = asyncio.get_running_loop().create_future()
                code = await done
        except TimeoutError:
            what = "not taken" if packet is None else "it is not known whether the record was taken"
            raise BusError(
                f"bus {self.url}: {link.why or 'no answer'}; {what} within {settings.timeout_s:g} s",
                hint="is the broker running, and the address right?",
            ) from None
        finally:
            if packet is not None:
                self._waiting.pop(packet, None)
        if code >= _FAILURE:
            raise BusError(f"bus {self.url}: refused with MQTT reason 0x{code:02x}")
        if code == _NO_SUBSCRIBER:
            self._counts["unheard"] += 1

    def _start(self) -> MqttLink:
        self._members.check_open()
        self._link = MqttLink(
            self._settings,
            identifier=f"{self._settings.prefix}:publisher-{secrets.token_hex(6)}",
            on_up=self._up,
            on_down=self._down,
            on_message=self._hear,
            on_acknowledged=self._acknowledged,
        )
        self._link.start()
        return self._link

    async def _up(self, kept: bool) -> None:
        assert self._link is not None
        await self._link.subscribe(f"{self._settings.prefix}/partitions")

    def _down(self, code: int) -> None:
        # Sending them again might put them there twice.
        for done in self._waiting.values():
            if not done.done():
                done.set_exception(
                    BusError(f"bus {self.url}: the connection is gone; it is not known whether the record was taken")
                )

    def _acknowledged(self, packet: int, code: int) -> None:
        done = self._waiting.get(packet)
        if done is not None and not done.done():
            done.set_result(code)

    def _hear(self, message: Any) -> None:
        """Any: a message of paho."""
        assert self._link is not None
        self._link.acknowledge(message.mid)
        self._misfit = misfit(self._settings, message.payload)
