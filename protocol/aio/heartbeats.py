"""The heartbeats that a client sends by itself, and what it makes of a server that answers none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from protocol.aio.errors import ConnectionClosedError
from protocol.frame import Frame
from protocol.operation import Operation

__all__ = ["Heartbeats"]

_LAST_LOOK_S = 0.05


class Heartbeats:
    """Sends one at an interval; when the next is due, and nothing at all came since the last, the server is given up.

    Args:
        interval_s: Time between two; None sends none.
        send: Sends one and returns its sequence.
        is_reading: Whether the client takes what comes; while it does not, silence means nothing.
        give_up: Ends the connection.
    """

    def __init__(
        self,
        interval_s: float | None,
        *,
        send: Callable[[], int],
        is_reading: Callable[[], bool],
        give_up: Callable[[ConnectionClosedError], None],
    ) -> None:
        self.heard = False
        """Something came since the last one was due."""
        self._interval_s = interval_s
        self._send = send
        self._is_reading = is_reading
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered: tuple[int, int] | None = None

    def start(self) -> None:
        """Begin with the first interval."""
        if self._interval_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self.due)

    def stop(self) -> None:
        """Send no more. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take(self, frame: Frame) -> bool:
        """Return whether a frame is the answer to one of these heartbeats."""
        if (frame.op, frame.seq) != self._unanswered:
            return False
        self._unanswered = None
        return True

    def due(self) -> None:
        """Send the next one, unless the server seems to be gone."""
        if self._is_mute():
            # The timers of a process that stood still are due before its sockets are read, where the answer may wait.
            self._timer = asyncio.get_running_loop().call_later(_LAST_LOOK_S, self._look_again)
            return
        self.heard = False
        if self._unanswered is None:
            self._unanswered = (Operation.HEARTBEAT_REPLY, self._send())
        self.start()

    def _is_mute(self) -> bool:
        # While anything comes, the answer may just be behind it.
        return self._unanswered is not None and not self.heard and self._is_reading()

    def _look_again(self) -> None:
        if self._is_mute():
            self._give_up(ConnectionClosedError(f"no answer to a heartbeat within {self._interval_s:g} s"))
        else:
            self.due()
