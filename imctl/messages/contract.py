"""What the hook for offline messages needs of a backend.

A log keeps three things:

- for each user (mid) a *queue* of messages, numbered 1, 2, 3, ... in the order
  in which they were placed. A number is never used again, also not after the
  message was deleted or the log was closed and opened again. Messages leave
  from the front only: acknowledged and handed to every connection that is
  registered, too old, or over a bound;
- for each registered connection a *cursor*: up to which message of its user's
  queue it has been handed. A connection key has one cursor at most, so one that
  comes back under another user leaves nothing behind under the first. A cursor
  is that of one session: what is said of the session before, under the same
  key and perhaps late, does not touch it;
- for each user and room a *history*: the last pushes, whatever became of them.

Each call is atomic and takes effect in the order in which calls are made, also
between processes that share the log: who places a message gets every cursor
that was open before, and who opens a cursor sees every message placed before.
So between a push and a login one of the two always knows of the other. When a
call has returned, what it did survives the end of this process.

Every call may raise StoreError. Then it has had no effect, unless the error is
that no answer came. A log that is full refuses what would make it larger,
loses nothing, and takes messages again as soon as there is space. Which pushes
can go over the bus it still tells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_MESSAGES",
    "Batch",
    "Cursor",
    "Entry",
    "KeptMessage",
    "Limits",
    "MessageLog",
    "MessageReader",
    "Offer",
    "Placed",
    "Sweep",
    "Waiting",
    "mid_scope",
    "room_scope",
]

MAX_BATCH_MESSAGES = 100
MAX_BATCH_BYTES = 32_768
"""Of bodies, which is what a comet takes at a time; a larger message goes alone."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept.

    Args:
        max_messages: In the queue of one user.
        max_bytes: Of bodies in the queue of one user, and in one history.
        max_age_s: Of a message in a queue.
        history: Pushes in one history; 0 keeps none.
        history_age_s: Of a push in a history.
        delete_taken: Messages leave a queue without an acknowledgement when every registered connection of the user,
            and at least one, has been handed them.
    """

    max_messages: int = 10_000
    max_bytes: int = 10_000_000
    max_age_s: float = 7 * 86_400.0
    history: int = 100
    history_age_s: float = 7 * 86_400.0
    delete_taken: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A push to one user.

    Args:
        mid: To whom.
        operation: Its operation.
        body: Its body.
        time_ms: When, Unix time.
        live: The user's sessions {key: server} that could get it over the bus;
            empty when it has to be kept in any case.
    """

    mid: int
    operation: int
    body: bytes
    time_ms: int
    live: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A push for a history; see mid_scope() and room_scope()."""

    scope: str
    operation: int
    body: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a registered connection is.

    Args:
        mid: Whose connection.
        key: Which.
        server: On which comet.
        epoch: Its session; where that is not known, a number that differs each time the cursor is opened, see ids.py.
        handed: Id of the last message it was handed; 0 for none.
    """

    mid: int
    key: str
    server: str
    epoch: int
    handed: int


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of an offer.

    Args:
        id: Its number in the queue; 0 when it goes over the bus.
        cursors: The user's registered connections; none when it goes over the bus.
        over_count: Messages of the user that were deleted, not acknowledged, because there were too many.
        over_bytes: As above, because they were too large together.
        recorded: False when the log is too full to enter the push in the history; only of one that goes over the bus.
    """

    id: int
    cursors: tuple[Cursor, ...] = ()
    over_count: int = 0
    over_bytes: int = 0
    recorded: bool = True


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message in a queue or a history; `id` counts within it, `time_ms` is Unix time."""

    id: int
    operation: int
    body: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What a connection is to be handed next, in order, within the MAX_BATCH bounds; none when nothing waits."""

    cursor: Cursor
    messages: tuple[KeptMessage, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A user's queue.

    Args:
        mid: Whose.
        messages: How many wait.
        bytes: Of their bodies.
        oldest_ms: When the oldest was pushed, Unix time; None when nothing waits.
        last_id: Number of the last message the user ever got into the queue; 0 for none.
        cursors: Registered connections.
    """

    mid: int
    messages: int
    bytes: int
    oldest_ms: int | None
    last_id: int
    cursors: tuple[Cursor, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one step of cleaning up found.

    Args:
        over_age: Messages that were deleted from queues, not acknowledged, because they were too old.
        cursors: Of each user who was looked at, and for whom something waits.
        behind: Those of them with messages to hand over.
    """

    over_age: int
    cursors: Mapping[int, tuple[Cursor, ...]]
    behind: tuple[Cursor, ...]


def mid_scope(mid: int) -> str:
    """Return the name of a user's history."""
    return f"mid:{mid}"


def room_scope(room: str) -> str:
    """Return the name of a room's history."""
    return f"room:{room}"


class MessageLog(Protocol):
    """Queues, cursors and histories; `url` shows which log, without secrets."""

    url: str

    async def check(self) -> None:
        """Open it if need be, and see that it answers."""

    async def offer(self, offers: Sequence[Offer]) -> Sequence[Placed]:
        """Place each message in its user's queue, or find that it can go over the bus.

        It can when a session of `live` has a cursor and nothing waits for the
        user. Either way it is entered in the user's history, unless it goes
        over the bus and the log is full. Each offer is atomic by itself: after
        an error some may have been placed.
        """

    async def record(self, entry: Entry) -> None:
        """Enter a push in a history."""

    async def open_cursor(self, mid: int, key: str, server: str, *, again: bool, session: int = 0) -> Cursor | None:
        """Note that a connection is registered; return its cursor when there is something to hand it.

        Its cursor begins before the first message that is not acknowledged, except
        that the one of this session goes on where it is. Of a session that is not
        known, 0, it is `again` that says so of one which is open on this server.
        """

    async def close_cursor(self, mid: int, key: str, server: str, *, session: int = 0) -> None:
        """Forget a connection if it is still on this server, and is not another session's; 0 is any."""

    async def drop_cursor(self, cursor: Cursor) -> None:
        """Forget a connection if it has not been registered anew."""

    async def waiting(self, mid: int, key: str, oldest_ms: int) -> Batch | None:
        """Return what to hand a connection next, leaving out what is older than `oldest_ms`; None without a cursor."""

    async def advance(self, cursor: Cursor, handed: int, ignore: Collection[str] = ()) -> bool:
        """Move a cursor; False when it is not any more where `cursor` says, and then nothing changes.

        Connections on the servers `ignore` do not hold up deletion.
        """

    async def acknowledge(self, mid: int, sequence: int) -> int:
        """Acknowledge the messages up to the one with this sequence number, see ids.py; return how many more those are.

        They are deleted, each as soon as all registered connections have been handed it.
        """

    async def history(self, scope: str, limit: int, before: int, oldest_ms: int) -> Sequence[KeptMessage]:
        """Return the last messages of a history, oldest first.

        Args:
            scope: Which history.
            limit: How many at most.
            before: Only those with an id below this one; 0 for all.
            oldest_ms: Only those of this Unix time or later.
        """

    async def queue(self, mid: int) -> Waiting:
        """Return what waits for a user."""

    async def delete(self, mid: int) -> int:
        """Delete a user's queue and history; return how many messages waited. Numbers go on where they were."""

    async def sweep(self, now_ms: int, limit: int, ignore: Collection[str] = ()) -> Sweep:
        """Look at the next users with something in their queue and at the next histories, `limit` of each.

        Deletes what is too old, at most 1,000 messages of one queue or history, and
        what is held back only by connections on the servers `ignore`.
        """

    async def close(self) -> None:
        """Finish what is under way and close."""


@runtime_checkable
class MessageReader(Protocol):
    """What a hook that keeps messages has for readers; every method may raise HookError."""

    async def history(
        self, *, mid: int | None = None, room: str | None = None, limit: int = 20, before: int = 0
    ) -> Sequence[KeptMessage]:
        """Return the last pushes to a user or to a room `type://id`, oldest first; `before` is an id, 0 for the end."""

    async def offline(self, mid: int) -> Waiting:
        """Return what waits for a user."""

    async def delete_offline(self, mid: int) -> int:
        """Delete what is kept of a user, history included; return how many messages waited."""
