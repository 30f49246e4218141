"""One member of a group on MQTT.

A partition of a group is a session of the broker with a fixed client
identifier: it gathers records while nobody is connected to it, and who
connects gets those that were not acknowledged first. One connection a session
is MQTT's own rule. So $share, which gives a record to any member and so keeps
no order, is not needed.

Which member connects to which is agreed on by retained messages
`PREFIX/members/GROUP/MEMBER`: {"holds": [partitions]}, renewed while the
member lives and removed by its will when it dies. A member connects to what
is its share and what no other says to hold.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from aiomqtt import Will

from imctl.bus.contract import BusError, Record
from imctl.bus.ending import ended, kept_up
from imctl.bus.inbox import Inbox
from imctl.bus.mqtt_link import MqttLink, MqttSettings
from imctl.bus.mqtt_partition import Entry, MqttPartition

__all__ = ["MqttMember", "misfit"]

logger = logging.getLogger(__name__)

_LOOK_S = 0.2
_CLOSE_S = 2.0


class MqttMember:
    """See the module; `MqttBus.subscribe` makes one.

    Args:
        settings: Of the bus.
        group: Its consumer group.
        counts: The bus's.
    """

    def __init__(self, settings: MqttSettings, group: str, *, counts: dict[str, int]) -> None:
        self.closed = False
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._settings = settings
        self._group = quote(group, safe="")
        self._counts = counts
        self._inbox = Inbox()
        self._presences = f"{settings.prefix}/members/{self._group}/"
        self._misfit = ""
        # When a member was last heard of, and what it holds.
        self._others: dict[str, tuple[float, frozenset[int]]] = {}
        self._partitions: dict[int, MqttPartition] = {}
        self._known = asyncio.Event()
        self._changed = asyncio.Event()
        self._announced_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._control = MqttLink(
            settings,
            identifier=f"{settings.prefix}:{self.name}",
            will=Will(self._presences + self.name, b"", qos=1, retain=True),
            on_up=self._up,
            on_message=self._hear,
        )

    @property
    def unacked(self) -> int:
        """Records read and not acknowledged."""
        return sum(partition.unacked for partition in self._partitions.values())

    async def join(self) -> None:
        """Find the others and connect to our share; raises BusError."""
        settings = self._settings
        self._control.start()
        try:
            async with asyncio.timeout(settings.timeout_s):
                await self._hear_of_others()
                if self._misfit:
                    raise BusError(self._misfit)
                await self._share_out()
                for partition in list(self._partitions.values()):
                    await partition.link.up.wait()
        except TimeoutError:
            links = [self._control, *(partition.link for partition in self._partitions.values())]
            why = next((link.why for link in links if link.why), "no answer")
            raise BusError(
                f"bus {settings.shown}: {why}",
                hint="is the broker running, the address right, and MQTT 5 spoken there?",
            ) from None
        self._task = kept_up(self._look_after(), f"mqtt member {self.name}")

    async def _hear_of_others(self) -> None:
        """Return when the other members are known; TimeoutError once it is plain that the broker takes nobody."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._known, self._control.failing)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waiting:
                wait.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if not self._known.is_set():
            raise TimeoutError

    async def receive(self) -> list[Record]:
        """See Subscription.receive; waits as long as the broker is away."""
        records = await self._inbox.get()
        for record in records:
            assert isinstance(record.position, Entry)
            record.position.received = True
        self._counts["delivered"] += len(records)
        return records

    async def ack(self, records: Sequence[Record]) -> None:
        """See Subscription.ack; while the broker is away it is remembered, and told when it is back."""
        for record in records:
            entry = record.position
            assert isinstance(entry, Entry)
            if entry.partition.done(entry):
                self._counts["acked"] += 1

    async def close(self, reason: str = "the subscription is closed") -> None:
        """See Subscription.close; safe to call twice. receive() then raises BusError with this reason."""
        if self.closed:
            return
        self.closed = True
        self._inbox.close(reason)
        self._changed.set()
        if self._task is not None:
            await ended(_wait(self._task), within_s=_CLOSE_S)
            self._task.cancel()
            await asyncio.wait((self._task,))
        await asyncio.gather(*(partition.stop() for partition in self._partitions.values()))
        try:
            self._control.publish(self._presences + self.name, b"", retain=True)
        except BusError:
            logger.info("left %s without telling it", self._settings.shown)
        await self._control.stop()

    async def _up(self, kept: bool) -> None:
        await self._control.subscribe(f"{self._settings.prefix}/partitions")
        await self._control.subscribe(self._presences + "+")
        if not self._misfit:
            self._control.publish(f"{self._settings.prefix}/partitions", b"%d" % self._settings.partitions, retain=True)
        # Comes back to us after all that was said before it.
        self._announce()

    def _announce(self) -> None:
        """Say that we live, and what we hold."""
        self._announced_s = asyncio.get_running_loop().time()
        holds = json.dumps({"holds": sorted(self._partitions)}).encode()
        try:
            self._control.publish(self._presences + self.name, holds, retain=True)
        except BusError as exc:
            logger.debug("%s: %s", self._settings.shown, exc)

    def _hear(self, message: Any) -> None:
        """Any: a message of paho."""
        topic, payload = message.topic, message.payload
        self._control.acknowledge(message.mid)
        if topic == f"{self._settings.prefix}/partitions":
            self._misfit = misfit(self._settings, payload)
            return
        name = topic.removeprefix(self._presences)
        if name == self.name:
            if not payload:
                if not self.closed:
                    # The will of our own connection before this one.
                    self._announce()
                return
            self._known.set()
            return
        before = self._others.get(name)
        if not payload:
            self._others.pop(name, None)
            after = None
        else:
            try:
                holds = frozenset(map(int, json.loads(payload)["holds"]))
            except (ValueError, TypeError, KeyError):
                return
            after = self._others[name] = (asyncio.get_running_loop().time(), holds)
        if (before and before[1]) != (after and after[1]):
            self._changed.set()

    async def _look_after(self) -> None:
        while not self.closed:
            self._changed.clear()
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            if self._control.up.is_set() and not self.closed:
                await self._share_out()

    async def _share_out(self) -> None:
        """Give up what is not ours any more, and take what is and nobody holds."""
        now_s = asyncio.get_running_loop().time()
        lease_s = self._settings.lease_s
        for name, (heard_s, _) in list(self._others.items()):
            if heard_s + lease_s < now_s:
                del self._others[name]
        names = sorted((self.name, *self._others))
        self._counts["members"] = len(names)
        ours = {number for number in range(self._settings.partitions) if names[number % len(names)] == self.name}
        changed = False
        for number, partition in list(self._partitions.items()):
            if number not in ours and partition.drain_until_s is None:
                partition.give_up(now_s + 2 * lease_s)
            if partition.drain_until_s is not None and (partition.is_drained or partition.drain_until_s <= now_s):
                del self._partitions[number]
                await partition.stop()
                changed = True
        held = {number for _, holds in self._others.values() for number in holds}
        taken = [
            MqttPartition(
                self._settings,
                self._group,
                number,
                inbox=self._inbox,
                counts=self._counts,
                on_taken_over=self._lose,
            )
            for number in sorted(ours - held - self._partitions.keys())
        ]
        self._partitions.update((partition.number, partition) for partition in taken)
        if changed or taken or now_s - self._announced_s > lease_s / 3:
            self._announce()
        for partition in taken:
            partition.link.start()

    def _lose(self, number: int) -> None:
        """Somebody else has connected to our session, since it does not know of us; let it have it."""
        partition = self._partitions.get(number)
        if partition is not None and partition.drain_until_s is None:
            logger.warning("bus %s: partition %d was taken over", self._settings.shown, number)
            partition.give_up(0.0)
            self._changed.set()


def misfit(settings: MqttSettings, payload: bytes) -> str:
    """Return what is wrong with the number of partitions that is announced; empty when it is ours."""
    if not payload or payload == b"%d" % settings.partitions:
        return ""
    return (
        f"bus {settings.shown}: topic {settings.prefix} has {payload[:9].decode(errors='replace')} partitions, "
        f"not {settings.partitions}"
    )


async def _wait(task: asyncio.Task[None]) -> None:
    await asyncio.wait((task,))
