"""The threads in which plain functions of a hook run: a call that hangs costs one of them, until there are none left.

Everything here happens in the event loop but the functions themselves: a call
is handed to a thread only when one is free for it, so that one which is given
up in time is never begun.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imctl.ratelog import LimitedLogger

__all__ = ["Outcome", "Threads"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call of a hook came to; an error is held rather than raised, whatever it is.

    SystemExit or KeyboardInterrupt in a task or callback would end the event loop, a future refuses
    StopIteration, and CancelledError would look like a cancellation of whoever waits.

    Args:
        value: What it returned. Any: it is checked by who called.
        error: What it raised instead.
    """

    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[Any], Any]
    event: object
    deadline_s: float
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Outcome]


class Threads:
    """The threads of one hook, made as they are needed; they never keep the process from ending.

    A call that is given up and goes on all the same gives its place to
    another thread, until there are `most`: 56 calls of a hook can hang before
    the others have fewer than 8 places left, and 64 before they have none.

    Args:
        name: The hook's, for their names.
        count: Calls at work at a time, without those given up.
        most: Threads, with those given up.
    """

    def __init__(self, name: str, count: int = 8, most: int = 64) -> None:
        self._name = name
        self._log = LimitedLogger(logging.getLogger(__name__))
        self._count = count
        self._most = most
        self._waiting: dict[asyncio.Future[Outcome], _Call] = {}
        self._at_work: set[asyncio.Future[Outcome]] = set()
        self._given_up: set[asyncio.Future[Outcome]] = set()
        self._threads = 0
        # Never holds more calls than there are threads free to take one.
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()

    @property
    def are_stuck(self) -> bool:
        """Whether every thread there may be is held by a call that was given up."""
        return len(self._given_up) >= self._most

    def run(self, function: Callable[[Any], Any], event: object, deadline_s: float) -> asyncio.Future[Outcome]:
        """Return the outcome to come of a call; how many may wait for a thread is the caller's to bound.

        Args:
            function: What to call.
            event: With what.
            deadline_s: When the caller will give it up, in the loop's time; it is not begun after that.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._waiting[outcome] = _Call(function, event, deadline_s, loop, outcome)
        self._hand_out()
        return outcome

    def give_up(self, outcome: asyncio.Future[Outcome]) -> None:
        """No longer wait for a call: one that has not begun is cancelled, another one's outcome still comes."""
        if outcome in self._at_work:
            self._given_up.add(outcome)
            self._hand_out()
        else:
            self._waiting.pop(outcome, None)
            outcome.cancel()

    def close(self) -> None:
        """Let them end; what waits is cancelled, and what is at work is not waited for."""
        for outcome in self._waiting:
            outcome.cancel()
        self._waiting.clear()
        for _ in range(self._threads):
            self._calls.put(None)
        self._threads = 0

    def _hand_out(self) -> None:
        while self._waiting and self._has_room():
            outcome = next(iter(self._waiting))
            call = self._waiting.pop(outcome)
            if call.deadline_s <= call.loop.time():
                continue  # its caller is about to give it up
            if len(self._at_work) >= self._threads and not self._start_thread():
                self._waiting = {outcome: call, **self._waiting}
                return
            self._at_work.add(outcome)
            self._calls.put(call)

    def _has_room(self) -> bool:
        return len(self._at_work) < self._most and len(self._at_work) - len(self._given_up) < self._count

    def _start_thread(self) -> bool:
        try:
            threading.Thread(target=self._work, name=f"hook {self._name} {self._threads + 1}", daemon=True).start()
        except RuntimeError as exc:
            # The system's limit; what waits may still get a thread that there is.
            self._log.info("hook %s: no thread beside its %d: %s", self._name, self._threads, exc)
            return False
        self._threads += 1
        return True

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                found = Outcome(call.function(call.event))
            except BaseException as exc:
                found = Outcome(error=exc)
            try:
                call.loop.call_soon_threadsafe(self._ended, call.outcome, found)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del call, found  # not to be kept alive until the next call

    def _ended(self, outcome: asyncio.Future[Outcome], found: Outcome) -> None:
        self._at_work.discard(outcome)
        self._given_up.discard(outcome)
        if not outcome.done():
            outcome.set_result(found)
        self._hand_out()
