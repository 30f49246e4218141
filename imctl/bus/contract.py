"""What logic and job want of a message bus.

A record is goim's: a key that decides order and a value that is one
serialized goim.logic.PushMsg.

Order: records of one key reach one group in the order they were published.
Delivery: at-least-once to each group. A record that publish() returned for is
kept until it is acknowledged or the bus's stated bound (time, bytes) is
passed; one that was received but not acknowledged when its subscription
closed is delivered again to the next subscriber of the group. A group sees
what is published after its first subscription.
Back-pressure: publish() waits while the bus is full, and raises BusError when
that lasts longer than the backend's limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from imctl.errors import ImctlError

__all__ = ["Bus", "BusError", "Record", "Subscription"]


class BusError(ImctlError):
    """The bus did not take a record, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as a subscriber gets it.

    Args:
        key: What it was published under.
        value: One serialized goim.logic.PushMsg.
        position: The backend's own mark for ack(), opaque to others.
    """

    key: str
    value: bytes
    position: object


class Subscription(Protocol):
    """One member of a consumer group."""

    async def receive(self) -> list[Record]:
        """Wait for at least one record and return all that are ready, at most 1,000."""

    async def ack(self, records: Sequence[Record]) -> None:
        """Say that these are done and need not be delivered again."""

    async def close(self) -> None:
        """Leave the group; what is not acknowledged will be delivered again."""


class Bus(Protocol):
    """A bus; `url` shows which, without secrets."""

    url: str

    async def publish(self, key: str, value: bytes) -> None:
        """Return once the bus holds the record.

        Raises:
            BusError: it was not taken, or it is not known whether it was.
        """

    async def subscribe(self, group: str) -> Subscription:
        """Join a consumer group; each record goes to one member of it."""

    def stats(self) -> dict[str, int]:
        """Return {"published", "delivered", "acked", "waiting", "redelivered", "refused"}."""

    async def close(self) -> None:
        """Close connections and wake waiting subscribers with BusError."""
