"""Merge the messages of a room that come close together.

A room that has been quiet for `delay_s` sends at once what has come for it;
what comes within `delay_s` of the last batch waits for the end of that time,
or until there is a full batch. So a lone message is not delayed, a stream of
them costs one batch each `delay_s`, and no message waits longer.

With `eager` off it is goim's rule: the first message of a batch starts the
wait, whatever came before. (goim's idle time, after which a room's worker
ends, cannot be seen from outside: here a room is forgotten when it has
nothing to wait for.)

Pure logic: the caller passes the time in, and asks for what is due.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["RoomBatch", "RoomBatcher"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RoomBatch(Generic[T]):
    """Messages of one room that leave together.

    Args:
        room: Room key.
        body: Their frames, in order, one after another.
        sources: What came with each frame, in the same order.
    """

    room: str
    body: bytes
    sources: tuple[T, ...]


class _Room(Generic[T]):
    """What waits for one room, and when it is due."""

    __slots__ = ("due_s", "frames", "size", "sources")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.frames: list[bytes] = []
        self.sources: list[T] = []
        self.size = 0


class RoomBatcher(Generic[T]):
    """See the module.

    Args:
        delay_s: Longest wait of a message.
        max_messages: Messages of a full batch.
        max_bytes: A batch with so many bytes is full.
        eager: Whether a quiet room sends at once.
    """

    def __init__(self, *, delay_s: float, max_messages: int, max_bytes: int, eager: bool = True) -> None:
        self._delay_s = delay_s
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._eager = eager
        self._rooms: dict[str, _Room[T]] = {}
        # Rooms by the time they are due. The wait is the same for all, so each new
        # entry belongs at the end; one whose time is no longer its room's is stale.
        self._order: deque[tuple[float, str]] = deque()
        # Quiet rooms that got a message: due at once, but after all that is ready now.
        self._at_once: list[str] = []

    @property
    def rooms(self) -> int:
        """Rooms that have something to wait for."""
        return len(self._rooms)

    def add(self, room: str, frame: bytes, source: T, now_s: float) -> RoomBatch[T] | None:
        """Take a message; return a batch when it has become full."""
        state = self._rooms.get(room)
        if state is None:
            if self._eager:
                state = _Room(now_s)
                self._at_once.append(room)
            else:
                state = _Room(now_s + self._delay_s)
                self._order.append((state.due_s, room))
            self._rooms[room] = state
        state.frames.append(frame)
        state.sources.append(source)
        state.size += len(frame)
        if len(state.frames) >= self._max_messages or state.size >= self._max_bytes:
            return self._flush(room, state, now_s)
        return None

    def due(self, now_s: float) -> list[RoomBatch[T]]:
        """Return the batches whose time has come, oldest first."""
        batches = []
        order, rooms = self._order, self._rooms
        while order and order[0][0] <= now_s:
            due_s, room = order.popleft()
            state = rooms.get(room)
            if state is None or state.due_s != due_s:
                continue
            if state.frames:
                batches.append(self._flush(room, state, now_s))
            else:
                del rooms[room]
        if self._at_once:
            at_once, self._at_once = self._at_once, []
            for room in at_once:
                state = rooms.get(room)
                # A batch that became full meanwhile has left; the rest of it waits like any other.
                if state is not None and state.frames and state.due_s <= now_s:
                    batches.append(self._flush(room, state, now_s))
        return batches

    def next_due_s(self) -> float | None:
        """Return when to ask due() again, None when nothing waits."""
        order, rooms = self._order, self._rooms
        while order:
            due_s, room = order[0]
            state = rooms.get(room)
            if state is not None and state.due_s == due_s:
                break
            order.popleft()
        if self._at_once:
            return 0.0
        return order[0][0] if order else None

    def flush_all(self) -> list[RoomBatch[T]]:
        """Return everything that waits, and forget all rooms."""
        batches = [_batch(room, state) for room, state in self._rooms.items() if state.frames]
        self._rooms.clear()
        self._order.clear()
        self._at_once.clear()
        return batches

    def _flush(self, room: str, state: _Room[T], now_s: float) -> RoomBatch[T]:
        """Take what waits for a room out, and let the next messages wait for theirs."""
        batch = _batch(room, state)
        if self._eager:
            fresh: _Room[T] = _Room(now_s + self._delay_s)
            self._rooms[room] = fresh
            self._order.append((fresh.due_s, room))
        else:
            del self._rooms[room]
        return batch


def _batch(room: str, state: _Room[T]) -> RoomBatch[T]:
    frames = state.frames
    body = frames[0] if len(frames) == 1 else b"".join(frames)
    return RoomBatch(room, body, tuple(state.sources))
