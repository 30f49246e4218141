"""Timers by the thousand for the price of one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from sim.run.clocks import monotonic_ns

__all__ = ["SLOT_NS", "DelayWheel", "Receiver"]

SLOT_NS = 1_000_000
"""What is due within one of these leaves together, at its end: never early, and at most so much late."""


class Receiver(Protocol):
    """Takes bytes whose time has come."""

    def release(self, data: bytes) -> None:
        """Take them, in the order in which they were due."""


class DelayWheel:
    """Keeps bytes until they are due, whosever they are.

    Everybody in a room gets a message in the same instant, and with the same
    delay gets it on in the same instant too: one timer serves all of them, and
    keeping a chunk costs an append.

    Args:
        clock: The time in ns.
        call_later: Calls something after so many seconds; by default the running loop's. It may be a little early.
    """

    def __init__(
        self,
        clock: Callable[[], int] = monotonic_ns,
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle] | None = None,
    ) -> None:
        self._clock = clock
        self._call_later = call_later or (lambda delay_s, call: asyncio.get_running_loop().call_later(delay_s, call))
        self._slots: dict[int, deque[tuple[Receiver, bytes]]] = {}
        self._order: list[int] = []  # the slots there are, as a heap
        self._timer: asyncio.TimerHandle | None = None
        self._armed: int | None = None  # the slot that the timer is for

    def add(self, due_ns: int, receiver: Receiver, data: bytes) -> None:
        """Release bytes when they are due; those of one slot in the order they were added."""
        number = -(-due_ns // SLOT_NS)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = deque()
            heappush(self._order, number)
            if self._armed is None or number < self._armed:
                self._arm()
        slot.append((receiver, data))

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed = None
        self._slots.clear()
        self._order.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = self._order[0]
        # In whole milliseconds, as uvloop counts: less would only wake it again and again.
        wait = max(-(-(self._armed * SLOT_NS - self._clock()) // 1_000_000), 0)
        self._timer = self._call_later(wait / 1000, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._armed = -1  # nothing is earlier: the end of this arms it
        now = self._clock() // SLOT_NS  # once: what becomes due meanwhile must not keep the sockets waiting
        try:
            while self._order and self._order[0] <= now:
                number = self._order[0]
                slot = self._slots[number]
                while slot:
                    receiver, data = slot.popleft()
                    receiver.release(data)
                if self._order and self._order[0] == number:
                    heappop(self._order)
                    self._slots.pop(number, None)
        finally:  # also when a receiver failed: the others' bytes are still here
            self._armed = None
            if self._order:
                self._arm()
