"""A goim client for tests that are not async."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imctl.testing.background import BackgroundLoop
    from protocol.aio import Client
    from protocol.frame import Frame

__all__ = ["GoimClient"]

_RECEIVE_S = 5.0


class GoimClient:
    """A connected client of `protocol.aio`, which lives in a loop of its own; made by GoimCluster.connect().

    Heartbeats go on by themselves, also while the test does something else.

    Args:
        client: Connected and authenticated.
        loop: Where it lives.
    """

    def __init__(self, client: Client, loop: BackgroundLoop) -> None:
        self._client = client
        self._loop = loop

    def __enter__(self) -> GoimClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def queued(self) -> int:
        """Frames received and not yet taken."""
        return self._client.queued

    def receive(self, timeout_s: float = _RECEIVE_S) -> Frame:
        """Return the next frame that was pushed; its message is `.body`, its operation `.op`.

        Raises:
            TimeoutError: none came in time.
            ConnectionClosedError: the server has closed, and every frame before that was taken.
        """
        try:
            return self._loop.run(self._client.receive(timeout_s))
        except TimeoutError as exc:
            raise TimeoutError(f"no frame within {timeout_s:g} s") from exc

    def receive_nothing(self, for_s: float = 0.2) -> None:
        """Return when nothing came in this time.

        Raises:
            AssertionError: a frame came.
        """
        try:
            frame = self._loop.run(self._client.receive(for_s))
        except TimeoutError:
            return
        raise AssertionError(f"a frame came: op {frame.op}, {frame.body!r}")

    def send(self, op: int, body: bytes | str = b"") -> int:
        """Send a frame and return its sequence; what comes back is received like any frame."""
        return self._loop.run(self._client.send(op, _bytes(body)))

    def request(self, op: int, body: bytes | str = b"") -> Frame:
        """Send a frame and return the server's answer to it."""
        return self._loop.run(self._client.request(op, _bytes(body)))

    def heartbeat(self) -> int:
        """Send a heartbeat and return the number of members of the client's room."""
        return self._loop.run(self._client.heartbeat())

    def change_room(self, room: str) -> None:
        """Leave the room and join another, such as `live://1`; "" only leaves."""
        self._loop.run(self._client.change_room(room))

    def subscribe(self, operations: Sequence[int]) -> None:
        """Accept further operations."""
        self._loop.run(self._client.subscribe(operations))

    def unsubscribe(self, operations: Sequence[int]) -> None:
        """Accept some operations no more."""
        self._loop.run(self._client.unsubscribe(operations))

    def close(self) -> None:
        """Close; frames received before can still be taken. Safe to call twice."""
        self._loop.run(self._client.close())


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body
