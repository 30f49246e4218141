"""What the bodies of goim's own operations mean.

The auth token follows the rules of Go's encoding/json, which goim's clients
have been written against: names match in any case, the last of several wins,
null leaves a default, unknown names are ignored, and a value of another type
is an error. Source: goim internal/logic/conn.go and the recorded dialogues.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from protocol.errors import BodyError

__all__ = [
    "AuthToken",
    "parse_online",
    "parse_operations",
    "parse_room",
    "parse_token",
    "room_key",
    "serialize_online",
    "serialize_operations",
]

_encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps() makes one a call
_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)
_NUMBER = re.compile(rb"([+-]?)0*([0-9]{1,10})")


@dataclass(frozen=True, slots=True)
class AuthToken:
    """The body of op 7.

    Args:
        mid: User id, int64; 0 or less is anonymous: no push by mid.
        key: Connection id; empty lets logic make a UUID.
        room_id: Room key `type://id`; empty is no room.
        platform: Not used by goim.
        accepts: Operations this connection wants from pushes by key, mid and to all.
    """

    mid: int = 0
    key: str = ""
    room_id: str = ""
    platform: str = ""
    accepts: tuple[int, ...] = ()

    def serialize(self) -> bytes:
        """Return the token as compact JSON with goim's names, all of them."""
        return _encode(
            {
                "mid": self.mid,
                "key": self.key,
                "room_id": self.room_id,
                "platform": self.platform,
                "accepts": self.accepts,
            }
        ).encode()


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its members in order."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_Pairs, parse_constant=_refuse_constant).decode


def parse_token(body: bytes) -> AuthToken:
    """Return the auth token of an op 7 body.

    Raises:
        BodyError: not JSON, not an object, or a member of the wrong type.
    """
    try:
        value = _decode(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as exc:
        problem = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise BodyError("auth token", f"not JSON: {problem}") from exc
    if value is None:
        return AuthToken()
    if type(value) is not _Pairs:
        raise BodyError("auth token", f"is a JSON {_json_type(value)}, expected an object")
    mid, key, room_id, platform = 0, "", "", ""
    accepts: tuple[int, ...] = ()
    for name, item in value:
        if item is None:
            if name.casefold() == "accepts":
                accepts = ()  # a list is emptied by null, the others keep what they have
            continue
        match name if name in _FIELDS else name.casefold():
            case "mid":
                mid = _integer("mid", item, _INT64)
            case "key":
                key = _string("key", item)
            case "room_id":
                room_id = _string("room_id", item)
            case "platform":
                platform = _string("platform", item)
            case "accepts":
                accepts = _integers("accepts", item)
    return AuthToken(mid, key, room_id, platform, accepts)


_FIELDS = frozenset({"mid", "key", "room_id", "platform", "accepts"})


def _json_type(value: object) -> str:
    if type(value) is _Pairs:
        return "object"
    return {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}.get(type(value), "null")


def _integer(name: str, item: object, allowed: range) -> int:
    # 1.0 and 1e3 come as float and are refused, as Go does.
    if type(item) is not int or item not in allowed:
        bits = 32 if allowed is _INT32 else 64
        raise BodyError(
            "auth token", f"{name} is {str(item)[:40]!r} ({_json_type(item)}), expected an integer of {bits} bits"
        )
    return item


def _integers(name: str, item: object) -> tuple[int, ...]:
    if type(item) is not list:
        raise BodyError("auth token", f"{name} is a {_json_type(item)}, expected an array of integers")
    return tuple(0 if one is None else _integer(f"{name}[{i}]", one, _INT32) for i, one in enumerate(item))


def _string(name: str, item: object) -> str:
    if type(item) is not str:
        raise BodyError("auth token", f"{name} is a {_json_type(item)}, expected a string")
    if any("\ud800" <= letter <= "\udfff" for letter in item):
        # Half of an escaped surrogate pair; Go puts the replacement character.
        return item.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return item


def parse_operations(body: bytes) -> tuple[int, ...]:
    """Return the operations of an op 14 or 16 body, such as b"1000,1001"; b"" is none.

    Raises:
        BodyError: an element is not a decimal int32; goim then ignores the whole list.
    """
    if not body:
        return ()
    operations = []
    for part in body.split(b","):
        number = _NUMBER.fullmatch(part)
        operation = int(number[1] + number[2]) if number else None
        if operation is None or operation not in _INT32:
            raise BodyError("operation list", f"element {ascii(part[:20])[1:]} is not a decimal int32")
        operations.append(operation)
    return tuple(operations)


def serialize_operations(operations: tuple[int, ...]) -> bytes:
    """Return the body of op 14 or 16."""
    return ",".join(map(str, operations)).encode()


def parse_room(body: bytes) -> str:
    """Return the room key of an op 12 body; "" is no room.

    Raises:
        BodyError: not UTF-8. goim takes such a name, and it then stops every
            room count of that comet, since protobuf refuses it.
    """
    try:
        return body.decode()
    except UnicodeDecodeError as exc:
        raise BodyError("room", f"not UTF-8 at byte {exc.start}") from exc


def parse_online(body: bytes) -> int:
    """Return the room's online count of an op 3 body.

    Raises:
        BodyError: the body is not four bytes.
    """
    if len(body) != 4:
        raise BodyError("heartbeat reply", f"is {len(body)} bytes, expected 4")
    return int.from_bytes(body, "big", signed=True)


def serialize_online(count: int) -> bytes:
    """Return the body of op 3: the count as int32, big-endian."""
    return count.to_bytes(4, "big", signed=True)


def room_key(kind: str, room: str) -> str:
    """Return the room key of a push by type and room, `kind://room` with nothing escaped."""
    return f"{kind}://{room}"
