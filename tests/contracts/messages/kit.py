"""Messages offered to a log and handed over from it, in one line each."""

from __future__ import annotations

from imctl.messages.contract import Batch, KeptMessage, MessageLog, Offer

__all__ = ["bodies", "hand_over", "place", "take"]


async def place(
    log: MessageLog, mid: int, *bodies: str, time_ms: int = 1, live: dict[str, str] | None = None
) -> list[int]:
    """Offer messages one after the other; return their ids."""
    return [(await log.offer([Offer(mid, 1000, body.encode(), time_ms, live or {})]))[0].id for body in bodies]


async def take(log: MessageLog, mid: int, key: str = "k", oldest_ms: int = 0) -> Batch:
    batch = await log.waiting(mid, key, oldest_ms)
    assert batch is not None
    return batch


def bodies(messages: Batch | list[KeptMessage]) -> list[str]:
    return [message.body.decode() for message in (messages.messages if isinstance(messages, Batch) else messages)]


async def hand_over(log: MessageLog, mid: int, key: str = "k") -> list[str]:
    """Take everything that waits for a connection and move its cursor."""
    handed: list[str] = []
    while (batch := await take(log, mid, key)).messages:
        assert await log.advance(batch.cursor, batch.messages[-1].id)
        handed += bodies(batch)
    return handed
