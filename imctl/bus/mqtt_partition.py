"""One partition of a group: a session that the broker keeps, whoever is connected to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from imctl.bus.contract import Record
from imctl.bus.inbox import Inbox
from imctl.bus.mqtt_link import MqttLink, MqttSettings

__all__ = ["Entry", "MqttPartition", "record_topic"]

_TAKEN_OVER = 0x8E
_TOLD = 1000


def record_topic(prefix: str, partition: int, key: bytes) -> str:
    """Return the topic of a record; its last level is the key, percent-encoded."""
    return f"{prefix}/{partition}/{quote(key, safe='')}"


class Entry:
    """A record that the broker has sent and that it was not told about."""

    __slots__ = ("done", "packet", "partition", "received", "value")

    def __init__(self, partition: MqttPartition, packet: int, value: bytes) -> None:
        self.partition = partition
        self.packet = packet
        self.value = value
        self.received = False
        self.done = False


class MqttPartition:
    """Reads one partition.

    Acknowledgements leave in the order of the messages, as MQTT wants it, so
    what is done early waits for those before it. After a lost connection the
    broker sends again what it was not told about; what we still know of that
    is not delivered twice.

    Args:
        settings: Of the bus.
        group: The consumer group.
        number: Of the partition.
        inbox: Where its records go.
        counts: The bus's.
        on_taken_over: Called when somebody else has connected to the session.
    """

    def __init__(
        self,
        settings: MqttSettings,
        group: str,
        number: int,
        *,
        inbox: Inbox,
        counts: dict[str, int],
        on_taken_over: Callable[[int], None],
    ) -> None:
        self.number = number
        self.drain_until_s: float | None = None
        """Set while it is being given up."""
        self._filter = f"{settings.prefix}/{number}/#"
        self._levels = len(settings.prefix) + len(str(number)) + 2
        self._inbox = inbox
        self._counts = counts
        self._on_taken_over = on_taken_over
        self._order: deque[Entry] = deque()
        # Acknowledged a moment ago: the broker may not have heard of it when the connection broke.
        self._told: deque[Entry] = deque(maxlen=_TOLD)
        # Of lost connections, by packet identifier.
        self._before: dict[int, Entry] = {}
        self.link = MqttLink(
            settings,
            identifier=f"{settings.prefix}:{group}:{number}",
            session=True,
            on_up=self._up,
            on_down=self._down,
            on_message=self._take,
        )

    @property
    def unacked(self) -> int:
        """Records received, and not acknowledged by the job."""
        return sum(1 for entry in self._order if not entry.done)

    @property
    def is_drained(self) -> bool:
        """Whether the job has acknowledged all that it has received."""
        return not any(entry.received and not entry.done for entry in (*self._order, *self._before.values()))

    def done(self, entry: Entry) -> bool:
        """Take an acknowledgement; False when there was one."""
        if entry.done:
            return False
        entry.done = True
        order = self._order
        while order and order[0].done:
            told = order.popleft()
            self.link.acknowledge(told.packet)
            self._told.append(told)
        return True

    def give_up(self, until_s: float) -> None:
        """Deliver nothing more; what was not received stays with the broker."""
        self.drain_until_s = until_s
        self._inbox.discard(lambda record: _entry(record).partition is self)

    async def stop(self) -> None:
        """Disconnect; the broker keeps the session."""
        await self.link.stop()
        self._inbox.discard(lambda record: _entry(record).partition is self)

    async def _up(self, kept: bool) -> None:
        if not kept:
            self._before.clear()
        await self.link.subscribe(self._filter)

    def _down(self, code: int) -> None:
        self._before.update((entry.packet, entry) for entry in (*self._told, *self._order))
        self._told.clear()
        self._order.clear()
        if code == _TAKEN_OVER:
            self._on_taken_over(self.number)

    def _take(self, message: Any) -> None:
        """Any: a message of paho."""
        if self._before:
            known = self._before.pop(message.mid, None)
            if message.dup and known is not None and known.value == message.payload:
                self._order.append(known)
                if known.done:
                    known.done = False
                    self.done(known)
                return
        entry = Entry(self, message.mid, message.payload)
        self._order.append(entry)
        if self.drain_until_s is not None:
            return
        if message.dup:
            self._counts["redelivered"] += 1
        key = unquote_to_bytes(message._topic[self._levels :]).decode(errors="replace")
        self._inbox.put([Record(key, message.payload, entry)])


def _entry(record: Record) -> Entry:
    assert isinstance(record.position, Entry)
    return record.position
