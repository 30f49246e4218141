"""How one node calls another, whatever carries the call.

A call is a goim request message and its reply. It is carried by the batched
link (everything ready in one turn of the event loop leaves as one batch), by
a unary gRPC call (a peer of another make), or directly (same process).

Order: on the batched link and in one process, calls to one peer start in the
order they were made, and handlers that answer at once finish in it. Unary
calls have no order. Delivery: a call that fails with PeerUnavailableError may
or may not have been carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from imctl.errors import ImctlError
from imctl.link.methods import Method

__all__ = ["Handler", "Handlers", "Peer", "PeerError", "PeerGoneError", "PeerUnavailableError"]

Handler = Callable[[Any], Any | Awaitable[Any]]
"""Takes the request message; returns the reply, or an awaitable of it when it must wait.

A handler that returns the reply itself runs inside the batch, with no task
made for it. It reports failure by raising PeerError; any other exception
becomes status UNKNOWN with its text, as a Go handler's error would.
"""

Handlers = Mapping[Method, Handler]


class PeerError(ImctlError):
    """The peer answered with an error.

    Args:
        details: The peer's text.
        code: gRPC status code; 2 is UNKNOWN, what every error of a goim handler is.
    """

    def __init__(self, details: str, code: int = 2) -> None:
        super().__init__(details)
        self.details = details
        self.code = code


class PeerUnavailableError(PeerError):
    """The peer is gone, not reachable, or did not answer in time; code is 14 or 4."""

    def __init__(self, details: str, code: int = 14) -> None:
        super().__init__(details, code)


class PeerGoneError(PeerUnavailableError):
    """The peer's process has ended: its machine answers, and says that nobody listens at the peer's address.

    Whoever was connected to it is not any more. It may come back, and is then another process.
    """


class Peer(Protocol):
    """One other node."""

    name: str
    """Its hostname in the registry, which is the server id of a comet."""

    def call(self, method: Method, request: Any) -> asyncio.Future[Any]:
        """Send a request now and return the future of its reply; never blocks.

        The future ends with PeerError (the peer said no) or
        PeerUnavailableError (gone, or no answer within the peer's time limit).
        """

    async def close(self) -> None:
        """Fail what is waiting with PeerUnavailableError and close the connection."""
