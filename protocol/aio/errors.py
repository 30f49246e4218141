"""What can go wrong with a connection, beyond what can be wrong with its bytes."""

from __future__ import annotations

from protocol.errors import RemoteError, WireError

__all__ = ["AuthRefusedError", "ConnectError", "ConnectionClosedError", "ReplyTimeoutError"]


class ConnectError(WireError):
    """A comet cannot be reached.

    Args:
        address: `host:port` that was tried.
        problem: Why not.
    """

    reason = "connect"

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(address, problem)
        self.address = address
        self.problem = problem

    def __str__(self) -> str:
        return f"cannot connect to {self.address}: {self.problem}"


class ConnectionClosedError(RemoteError):
    """The connection is closed.

    Args:
        why: Who closed it, or what broke.
    """

    reason = "closed"

    def __init__(self, why: str = "the server closed it") -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"connection closed: {self.why}"


class AuthRefusedError(ConnectionClosedError):
    """The server closed before its auth reply: goim's way, and its only one, to refuse a token."""

    reason = "auth_refused"

    def __str__(self) -> str:
        return f"auth refused: {self.why}"


class ReplyTimeoutError(WireError, TimeoutError):
    """The server did not answer in time.

    Args:
        what: What it did not answer.
        timeout_s: How long was waited.
        note: What else is known, such as that nobody takes received frames.
    """

    reason = "reply_timeout"

    def __init__(self, what: str, timeout_s: float, note: str = "") -> None:
        super().__init__(what, timeout_s, note)
        self.what = what
        self.timeout_s = timeout_s
        self.note = note

    def __str__(self) -> str:
        return f"no answer to {self.what} within {self.timeout_s:g} s{f' ({self.note})' if self.note else ''}"
