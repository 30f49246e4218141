"""Everything that can be wrong with bytes on goim's wire.

LocalError is our misuse of this package; RemoteError means that the peer broke
a rule. Each keeps its data as attributes and has a short `reason`, the name
under which nodes count it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BatchError",
    "BodyError",
    "FrameLengthError",
    "HeaderLengthError",
    "LocalError",
    "RemoteError",
    "UpgradeError",
    "WebSocketError",
    "WireError",
]


class WireError(Exception):
    """Base of all errors of this package."""

    reason: ClassVar[str] = "wire_error"


class LocalError(WireError):
    """We tried to send or do something the protocol does not allow."""

    reason = "local_error"


class RemoteError(WireError):
    """The peer sent something the protocol does not allow."""

    reason = "remote_error"


class FrameLengthError(RemoteError):
    """A pack length is over the limit, or so far below zero that goim's arithmetic wraps.

    Args:
        pack_len: What the header says.
        limit: Largest pack length accepted, in bytes.
    """

    reason = "frame_length"

    def __init__(self, pack_len: int, limit: int | None) -> None:
        super().__init__(pack_len, limit)
        self.pack_len = pack_len
        self.limit = limit

    def __str__(self) -> str:
        if self.limit is None or self.pack_len < 0:
            return f"frame length {self.pack_len} is not possible"
        return f"frame length {self.pack_len} is over the limit of {self.limit} bytes"


class HeaderLengthError(RemoteError):
    """A header length is not 16."""

    reason = "header_length"

    def __init__(self, header_len: int) -> None:
        super().__init__(header_len)
        self.header_len = header_len

    def __str__(self) -> str:
        return f"header length is {self.header_len}, expected 16"


class BatchError(RemoteError):
    """The body of an op 9 container is not whole frames.

    Args:
        offset: Where in the body the bad frame begins.
        problem: What is wrong with it.
    """

    reason = "batch"

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(offset, problem)
        self.offset = offset
        self.problem = problem

    def __str__(self) -> str:
        return f"batch is broken at offset {self.offset}: {self.problem}"


class BodyError(RemoteError):
    """A body is not what its operation asks for.

    Args:
        what: Which body, such as `auth token`.
        problem: What is wrong with it.
    """

    reason = "body"

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(what, problem)
        self.what = what
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


class UpgradeError(RemoteError):
    """A WebSocket upgrade request or response is not acceptable."""

    reason = "upgrade"


class WebSocketError(RemoteError):
    """A WebSocket frame breaks a rule or a limit."""

    reason = "websocket"
