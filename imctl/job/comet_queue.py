"""What waits for one comet: in order, bounded, and tried again while the comet cannot be reached.

Pushes of one lane are called in the order they were put, up to a window of
calls without a reply. When the comet cannot be reached, the lane waits until
every call under way has its outcome, puts those that failed back in front in
their order, and tries the first of them alone until it gets through. A push
older than the retry time is then dropped and counted, and so is what comes
while the queue is full.

A record of the bus is held until its pushes are done, and a bus that sends
only so many ahead would stand still for all comets because of one. So a push
for a comet whose process has ended (PeerGoneError) is done at once, and
stays in the queue: whoever was connected to that process when it was pushed
is gone, and who comes back in time gets it all the same.

A comet behind the batched link (or in this process) has one lane, as calls
arrive in order. Unary calls do not: such a comet has many lanes with one call
at a time, and the key or room of a push decides its lane.

A room has one call under way at a comet. What comes for it meanwhile is
gathered into the next one, up to a bound of bytes, so a comet that is busy
writing gets fewer and larger writes instead of a longer queue.

No task and no timer for a push: everything is driven by the futures of the calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from itertools import chain
from typing import Any

from imctl.job.config import JobConfig
from imctl.job.push import Push
from imctl.link.contract import Peer, PeerGoneError, PeerUnavailableError
from imctl.link.methods import BROADCAST_ROOM
from imctl.link.unary import UnaryPeer
from imctl.node import Counters
from imctl.trace import TraceLog
from protocol.trace import Place

__all__ = ["CometQueue"]

logger = logging.getLogger(__name__)

_UNARY_LANES = 32  # goim's routineSize
_FIRST_RETRY_S = 0.02
_MAX_RETRY_S = 1.0
_DEADLINE_EXCEEDED = 4


class CometQueue:
    """All that waits for one comet.

    Args:
        peer: The comet.
        config: Windows, bounds and times.
        counters: The job's; `calls`, `answered` and `retries` go up.
        drops: The job's, by reason.
        traces: The job's.
    """

    def __init__(self, peer: Peer, config: JobConfig, counters: Counters, drops: Counters, traces: TraceLog) -> None:
        self.peer = peer
        self.waiting = 0
        """Pushes not called."""
        self.waiting_bytes = 0
        self.in_flight = 0
        """Calls without an outcome."""
        self.closed = False
        self.slow = False
        """Whether it did not drain in time; then nobody waits for it until it has drained."""
        self.config = config
        self.gathers_rooms = config.room_delay_s > 0 and not config.compat_goim
        self.counters = counters
        self.traces = traces
        self._drops = drops
        self._abandoned = False
        if isinstance(peer, UnaryPeer):
            self._lanes = [_Lane(self, 1) for _ in range(_UNARY_LANES)]
        else:
            self._lanes = [_Lane(self, config.comet_window)]

    def put(self, push: Push) -> None:
        """Call now or when it is its turn; drop it when the queue is full."""
        if self.slow and not self._is_filling():
            self.slow = False
        if self.waiting >= self.config.comet_queue or self.waiting_bytes >= self.config.comet_queue_bytes:
            self.drop(push, "job.comet_queue_full")
            return
        lanes = self._lanes
        (lanes[0] if len(lanes) == 1 else lanes[hash(push.order_key) % len(lanes)]).put(push)

    def is_congested(self) -> bool:
        """Whether it is worth waiting for: half full, and the comet can be reached and was not too slow lately."""
        return self._is_filling() and not self.slow and not any(lane.down for lane in self._lanes)

    def _is_filling(self) -> bool:
        config = self.config
        return self.waiting * 2 > config.comet_queue or self.waiting_bytes * 2 > config.comet_queue_bytes

    def close(self, *, drop: bool) -> None:
        """Call nothing more.

        Args:
            drop: Count what waits as lost, since the comet has left the registry. Else it
                is left undone: its records go to the next job.
        """
        self.closed = True
        self._abandoned = not drop
        for lane in self._lanes:
            lane.close()

    def drop(self, push: Push, reason: str) -> None:
        """Count a push as lost, which is also an end of it."""
        lost = push.released if self._abandoned else push.messages
        if lost:
            self._drops.add(reason, lost)
            self.traces.add(push.traces, Place.DROPPED, server=self.peer.name, reason=reason)
        if not self._abandoned:
            push.done()


class _Lane:
    """Pushes that are called in order."""

    __slots__ = (
        "_blocked",
        "_down_since_s",
        "_failed",
        "_gone",
        "_in_flight",
        "_limit",
        "_loop",
        "_owner",
        "_pumping",
        "_queue",
        "_retry_handle",
        "_retry_s",
        "_rooms",
        "_window",
    )

    def __init__(self, owner: CometQueue, window: int) -> None:
        self._owner = owner
        self._window = window
        # The window, or 1 while the comet has to show that it is back.
        self._limit = window
        self._in_flight = 0
        self._queue: deque[Push] = deque()
        self._failed: list[Push] = []
        # By room with a push in the queue or under way: what has gathered for its next one.
        self._rooms: dict[str, deque[Push]] = {}
        self._blocked = False
        self._pumping = False
        self._down_since_s: float | None = None
        # Whether the comet's process has ended, as far as is known.
        self._gone = False
        self._retry_s = _FIRST_RETRY_S
        self._retry_handle: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def down(self) -> bool:
        """Whether the comet could not be reached when it was last tried."""
        return self._down_since_s is not None

    def put(self, push: Push) -> None:
        push.put_s = self._loop.time()
        owner = self._owner
        owner.waiting += 1
        owner.waiting_bytes += push.size
        if self._gone:
            push.release()
        if push.method is BROADCAST_ROOM and owner.gathers_rooms:
            gathered = self._rooms.get(push.order_key)
            if gathered is not None:
                self._gather(gathered, push)
                return
            self._rooms[push.order_key] = deque()
        self._queue.append(push)
        self._pump()

    def _gather(self, gathered: deque[Push], push: Push) -> None:
        last = gathered[-1] if gathered else None
        if last is None or last.size + push.size > self._owner.config.room_batch_bytes:
            gathered.append(push)
        else:
            last.gather(push)
            # One push in the place of two: its messages and bytes have grown.
            self._owner.waiting -= 1
            self._owner.counters.add("room_gathered", push.messages)

    def _room_is_free(self, push: Push) -> None:
        """After the outcome of a room's push: its next one, if there is one, goes into the queue."""
        if push.method is not BROADCAST_ROOM:
            return
        gathered = self._rooms.get(push.order_key)
        if gathered:
            self._queue.append(gathered.popleft())
        elif gathered is not None:
            del self._rooms[push.order_key]

    def close(self) -> None:
        if self._retry_handle is not None:
            self._retry_handle.cancel()
        self._blocked = True
        self._drop_all()

    def _pump(self) -> None:
        """Call what the window has room for."""
        if self._pumping:
            return
        self._pumping = True
        owner, queue = self._owner, self._queue
        while queue and self._in_flight < self._limit and not self._blocked:
            push = queue.popleft()
            owner.waiting -= 1
            owner.waiting_bytes -= push.size
            owner.in_flight += 1
            owner.counters.values["calls"] += 1
            self._in_flight += 1
            if push.traces:
                owner.traces.add(push.traces, Place.SENT, server=owner.peer.name, messages=push.messages)
            future = owner.peer.call(push.method, push.request())
            if future.done():
                self._answered(push, future)
            else:
                future.add_done_callback(partial(self._answered, push))
        self._pumping = False

    def _answered(self, push: Push, future: asyncio.Future[Any]) -> None:
        owner = self._owner
        owner.in_flight -= 1
        self._in_flight -= 1
        error = PeerUnavailableError("the call was cancelled") if future.cancelled() else future.exception()
        if error is None:
            owner.counters.values["answered"] += 1
            if self._down_since_s is not None:
                self._up()
            push.done()
            self._room_is_free(push)
        elif not isinstance(error, PeerUnavailableError):
            logger.debug("%s refused %s: %s", owner.peer.name, push.method.path, error)
            if self._down_since_s is not None:
                self._up()
            owner.drop(push, "job.comet_error")
            self._room_is_free(push)
        elif error.code == _DEADLINE_EXCEEDED:
            # It was sent and may still be carried out: not sent twice.
            owner.drop(push, "job.comet_timeout")
            self._room_is_free(push)
        elif owner.closed:
            owner.drop(push, "job.comet_unavailable")
            self._room_is_free(push)
        else:
            self._failed.append(push)
            self._blocked = True
            self._gone = isinstance(error, PeerGoneError)
        if self._failed:
            if not self._in_flight:
                self._settle()
        elif owner.closed:
            self._drop_all()  # what has gathered behind it
        elif not self._pumping:
            self._pump()

    def _up(self) -> None:
        self._down_since_s = None
        self._gone = False
        self._limit = self._window
        self._retry_s = _FIRST_RETRY_S

    def _settle(self) -> None:
        """Put what failed back in front, now that nothing is under way, and try later."""
        owner, queue = self._owner, self._queue
        now_s = self._loop.time()
        if self._down_since_s is None:
            self._down_since_s = now_s
        for push in reversed(self._failed):
            queue.appendleft(push)
            owner.waiting += 1
            owner.waiting_bytes += push.size
        self._failed = []
        if owner.closed:
            self._drop_all()
            return
        self._limit = 1
        while queue and now_s - max(queue[0].put_s, self._down_since_s) >= owner.config.comet_retry_s:
            self._drop_first()
        if self._gone:
            self._release_all()
        if queue:
            self._retry_handle = self._loop.call_later(self._retry_s, self._retry)
            self._retry_s = min(self._retry_s * 2, _MAX_RETRY_S)
        else:
            self._blocked = False

    def _retry(self) -> None:
        self._retry_handle = None
        self._blocked = False
        self._owner.counters.values["retries"] += 1
        self._pump()

    def _release_all(self) -> None:
        for push in (*self._queue, *chain.from_iterable(self._rooms.values())):
            if push.released < push.messages:
                push.release()

    def _drop_all(self) -> None:
        while self._queue:
            self._drop_first()

    def _drop_first(self) -> None:
        push = self._queue.popleft()
        self._owner.waiting -= 1
        self._owner.waiting_bytes -= push.size
        self._owner.drop(push, "job.comet_unavailable")
        self._room_is_free(push)
