"""What a hook can use: the direct way to clients, a hold that all logics share, counters and a log."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Deliverer", "Delivery", "HookContext", "Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message for a client.

    Args:
        operation: Operation it comes under.
        body: Its body.
        seq: Sequence number of its frame, int32; pushes over the bus have 0.
    """

    operation: int
    body: bytes
    seq: int = 0


class Delivery(enum.Enum):
    """What became of messages for one connection."""

    TAKEN = "taken"  # in the client's socket or its bounded queue
    FULL = "full"  # the client is slow; none was taken, try again
    UNKNOWN = "unknown"  # the comet has no such connection (now)
    UNREACHABLE = "unreachable"  # the comet does not answer; they may or may not have been taken


class Deliverer(Protocol):
    """The direct way to one connection, past the bus."""

    async def deliver(self, server: str, key: str, messages: Sequence[Message], *, mid: int = 0) -> Delivery:
        """Send messages in order, all or none, at most 100 and 32 KB of bodies.

        Those with an operation that the client does not accept are passed over. None at all
        asks whether the comet has the connection (TAKEN) or not (UNKNOWN); a Go comet always says TAKEN.
        With a mid it has to be that user's connection, or it is UNKNOWN: a key can change hands.
        """

    async def find(self, server: str, key: str, *, mid: int = 0) -> tuple[Delivery, int]:
        """Ask whether the comet has the connection, as deliver() without messages; return its session as well.

        See ClientEvent.session; 0 when there is none, or the comet does not tell.
        """

    async def sessions(self, mids: Sequence[int]) -> Mapping[int, Mapping[str, str]]:
        """Return {mid: {key: server}} of the users that are online."""

    async def kick(self, server: str, keys: Sequence[str], reason: str, *, sessions: Sequence[int] = ()) -> bool:
        """Close connections; False when the comet could not be reached, or is not one of ours.

        Each is closed that pushes reach. With `sessions`, the one of each key (see ClientEvent.session), it is that
        session alone which ends, even when its comet has not heard yet that it began.
        """


@dataclass(frozen=True, slots=True)
class HookContext:
    """What a hook gets at its start.

    Args:
        name: The hook's name, as `imctl hooks` shows it.
        logic: The name of the logic node it is in.
        deliverer: The direct way to clients.
        hold: `async with hold(name):` keeps others out, in all logics that share the session store, for at most 5 s.
        count: Adds to a counter of the node, `hooks.NAME.` in front.
        drop: Counts something that was lost, `hooks.NAME.` in front.
        logger: For what people should know; never the content of messages or tokens.
    """

    name: str
    logic: str
    deliverer: Deliverer
    hold: Callable[[str], AbstractAsyncContextManager[None]]
    count: Callable[[str, int], None]
    drop: Callable[[str, int], None]
    logger: logging.Logger
