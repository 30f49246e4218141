"""A call that waits for a comet: what it carries, and who is to hear of its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from imctl.link.methods import Method
from protocol.pb.comet import BroadcastRoomReq
from protocol.pb.protocol import Proto

__all__ = ["Push"]


class Push:
    """One call to one comet.

    Args:
        method: Which of goim's comet methods.
        request: Its request; several pushes may share one.
        order_key: Pushes with the same key stay in order.
        messages: How many messages are in it; of a push to keys, how many keys it has.
        done: Called once, when the comet has answered or has ended, or the push was dropped.
        traces: Those of the messages that are followed; the request has them too.
    """

    __slots__ = ("_done", "_more", "_request", "messages", "method", "order_key", "put_s", "released", "size", "traces")

    def __init__(
        self,
        method: Method,
        request: Any,
        order_key: str,
        messages: int,
        done: Callable[[], None],
        traces: Sequence[int] = (),
    ) -> None:
        self.method = method
        self.order_key = order_key
        self.messages = messages
        self.released = 0
        """Of the messages, those that nobody else keeps any more."""
        self.size = len(request.proto.body)
        self.put_s = 0.0
        self.traces = traces
        self._request = request
        self._done = done
        self._more: list[Push] | None = None

    def gather(self, later: Push) -> None:
        """Take a later push of the same room into this one, which has not been called yet."""
        if self._more is None:
            self._more = []
        self._more.append(later)
        self.messages += later.messages
        self.released += later.released
        self.size += later.size
        if later.traces:
            self.traces = (*self.traces, *later.traces)

    def request(self) -> Any:
        """Return the request to call with; the one it was made with may be shared and stays as it is."""
        if self._more:
            body = b"".join(push._request.proto.body for push in (self, *self._more))
            proto = Proto(ver=self._request.proto.ver, op=self._request.proto.op, body=body)
            self._request = BroadcastRoomReq(roomID=self._request.roomID, proto=proto)
            if self.traces:
                self._request.traces.extend(self.traces)
            self._done = partial(_all_done, [self._done, *(push._done for push in self._more)])
            self._more = None
        return self._request

    def release(self) -> None:
        """Tell everybody whose message is in it that it is done, before it is."""
        self.done()
        self.released = self.messages

    def done(self) -> None:
        """Tell everybody whose message is in it and who was not told yet."""
        self._tell()
        for push in self._more or ():
            push._tell()

    def _tell(self) -> None:
        done, self._done = self._done, _nothing
        done()


def _all_done(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _nothing() -> None:
    pass
