"""goim's operations and what a comet does with each.

Source: goim api/protocol/operation.go and internal/comet/operation.go.
"""

from __future__ import annotations

import enum
from difflib import get_close_matches

from protocol.errors import LocalError

__all__ = [
    "MESSAGES_ACK",
    "Operation",
    "Request",
    "operation_name",
    "operation_number",
    "reply_operation",
    "request_of",
]

MESSAGES_ACK = 100
"""A client has received kept messages up to the id in `seq`. Not goim's: one of the application's numbers, used by the
message store that comes with this project."""


class Operation(enum.IntEnum):
    """Operations with a meaning of their own; every other number belongs to the application."""

    HANDSHAKE = 0
    HANDSHAKE_REPLY = 1
    HEARTBEAT = 2
    HEARTBEAT_REPLY = 3
    SEND_MSG = 4
    SEND_MSG_REPLY = 5
    DISCONNECT_REPLY = 6
    AUTH = 7
    AUTH_REPLY = 8
    RAW = 9  # container of whole frames, only from a server
    PROTO_READY = 10  # never on the wire
    PROTO_FINISH = 11  # never on the wire
    CHANGE_ROOM = 12
    CHANGE_ROOM_REPLY = 13
    SUB = 14
    SUB_REPLY = 15
    UNSUB = 16
    UNSUB_REPLY = 17


class Request(enum.Enum):
    """What a frame of an authenticated client asks of comet."""

    HEARTBEAT = enum.auto()  # answered by op 3 with the room's online count
    CHANGE_ROOM = enum.auto()  # answered by op 13, the body echoed
    SUBSCRIBE = enum.auto()  # answered by op 15, the body echoed
    UNSUBSCRIBE = enum.auto()  # answered by op 17, the body echoed
    RECEIVE = enum.auto()  # for logic; answered by the same op with an empty body


_REQUESTS = {
    Operation.HEARTBEAT: Request.HEARTBEAT,
    Operation.CHANGE_ROOM: Request.CHANGE_ROOM,
    Operation.SUB: Request.SUBSCRIBE,
    Operation.UNSUB: Request.UNSUBSCRIBE,
}

_REPLIES: dict[int, int] = {
    Operation.HEARTBEAT: Operation.HEARTBEAT_REPLY,
    Operation.CHANGE_ROOM: Operation.CHANGE_ROOM_REPLY,
    Operation.SUB: Operation.SUB_REPLY,
    Operation.UNSUB: Operation.UNSUB_REPLY,
}

_NAMES = {int(operation): operation.name.lower() for operation in Operation}
_NUMBERS = {name: op for op, name in _NAMES.items()}


def request_of(op: int) -> Request:
    """Return what an operation from an authenticated client asks for; unknown ones are for logic."""
    return _REQUESTS.get(op, Request.RECEIVE)  # type: ignore[call-overload, no-any-return]  # IntEnum keys match ints


def reply_operation(op: int) -> int:
    """Return the operation of a comet's answer to an authenticated client; a second op 7 is echoed as others are."""
    return _REPLIES.get(op, op)


def operation_name(op: int) -> str:
    """Return goim's name of an operation in lower case, or `op <n>` for an application's own."""
    return _NAMES.get(op, f"op {op}")


def operation_number(text: str) -> int:
    """Return the operation that a person means by a number or by goim's name, in any case, `-` or `_` between words.

    Raises:
        LocalError: it is neither, or the number has more than 32 bits.
    """
    name = text.strip().replace("-", "_")
    if name.lower() in _NUMBERS:
        return _NUMBERS[name.lower()]
    try:
        op = int(text)
    except ValueError:
        close = get_close_matches(name.lower(), _NUMBERS, 1)
        expected = f"is {close[0]} meant?" if close else f"expected a number, or one of {', '.join(_NUMBERS)}"
        raise LocalError(f"{text!r} is no operation; {expected}") from None
    if not -(2**31) <= op < 2**31:
        raise LocalError(f"operation {op} does not fit into 32 bits")
    return op
