"""WebSocket frames after the upgrade: masks, fragments, ping, pong, close, sizes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from imctl.conform.case import Case, SilentError
from imctl.conform.connection import MASK, UPGRADE, masked
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from protocol.bodies import AuthToken
from protocol.frame import HEADER, HEADER_LEN
from protocol.operation import Operation
from protocol.websocket import serialize_message

__all__ = ["CASES"]

_BEAT = frame(Operation.HEARTBEAT, seq=2)
_BEATEN = "op 3 seq 2 online 0"
_SUB = frame(Operation.SUB, b"7,8,9", seq=3)
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FILE = "pkg/websocket/conn.go ReadMessage"


def _part(payload: bytes, opcode: int, *, fin: bool = False, rsv: int = 0) -> bytes:
    """Return one frame of a fragmented message."""
    whole = masked(payload, opcode=opcode)
    return bytes(((0x80 if fin else 0) | rsv << 4 | opcode,)) + whole[1:]


def _long_form(payload: bytes, size: int) -> bytes:
    """Return a frame that gives a short length in `size` bytes, 2 or 8."""
    head = bytes((0x80 | _BINARY, 0x80 | (126 if size == 2 else 127))) + len(payload).to_bytes(size, "big")
    return head + MASK + masked(payload)[6:]


# name, what it shows, recording, what is sent after auth, what comes
_TABLE: list[tuple[str, str, str, bytes, str]] = [
    ("text", "a text message counts as a binary one", "text-frame", masked(_BEAT, opcode=_TEXT), _BEATEN),
    ("unmasked", "frames without a mask are taken", "unmasked-frame", serialize_message(_BEAT), _BEATEN),
    (
        "fragments",
        "a message in fragments, a ping between them",
        "fragmented",
        _part(_BEAT[:5], _BINARY) + _part(_BEAT[5:9], 0) + masked(b"pp", opcode=_PING) + _part(_BEAT[9:], 0, fin=True),
        f"pong 'pp'; {_BEATEN}",
    ),
    (
        "two-fragments",
        "its body is put together",
        "fragmented",
        _part(_SUB[:18], _BINARY) + _part(_SUB[18:], 0, fin=True),
        "op 15 seq 3 '7,8,9'",
    ),
    (
        "lone-continuation",
        "a last continuation without a beginning is a message",
        "lone-continuation",
        masked(_BEAT, opcode=_CONTINUATION),
        _BEATEN,
    ),
    (
        "empty-fragment",
        "a first fragment may be empty",
        "empty-first-fragment",
        _part(b"", _BINARY) + _part(_BEAT, 0, fin=True),
        _BEATEN,
    ),
    ("ping-empty", "an empty ping", "ping-empty", masked(b"", opcode=_PING) + masked(_BEAT), f"pong ''; {_BEATEN}"),
    (
        "ping-and-beat",
        "a ping is answered with its payload",
        "ping",
        masked(b"hello", opcode=_PING) + masked(_BEAT),
        f"pong 'hello'; {_BEATEN}",
    ),
    ("pong", "a pong is ignored", "pong", masked(b"hello", opcode=_PONG) + masked(_BEAT), _BEATEN),
    (
        "close",
        "a close frame is answered by closing, without one",
        "close-frame",
        masked(b"\x03\xe9bye", opcode=_CLOSE),
        "closed",
    ),
    ("close-empty", "so is one without payload", "close-frame-empty", masked(b"", opcode=_CLOSE), "closed"),
    (
        "two-frames",
        "of two goim frames in a message the second is ignored",
        "two-frames-one-message",
        masked(_BEAT + frame(Operation.SUB, b"7", seq=3)),
        _BEATEN,
    ),
    ("cut-frame", "a message shorter than a header closes", "one-frame-two-messages", masked(_SUB[:10]), "closed"),
    ("message-15-bytes", "so does one of 15 bytes", "message-15-bytes", masked(_BEAT[:15]), "closed"),
    ("message-empty", "and an empty one", "message-empty", masked(b""), "closed"),
    ("rsv1", "a reserved bit closes", "frame-rsv1", _part(_BEAT, _BINARY, fin=True, rsv=4), "closed"),
    ("opcode-3", "so does a reserved opcode", "frame-opcode-3", masked(_BEAT, opcode=3), "closed"),
    ("opcode-11", "also of a control frame", "frame-opcode-11", masked(b"", opcode=11), "closed"),
    (
        "frame-9000",
        "a frame over the read buffer closes",
        "frame-ws-frame-9000",
        masked(frame(1000, b"x" * (9000 - HEADER_LEN))),
        "closed",
    ),
    ("len64", "a short length in 64 bits", "frame-len64-form", _long_form(_BEAT, 8), _BEATEN),
    ("len16", "a short length in 16 bits", "frame-len16-form", _long_form(_BEAT, 2), _BEATEN),
    (
        "pings-101",
        "101 frames before a message is complete",
        "pings-101",
        masked(b"", opcode=_PING) * 101 + masked(_BEAT),
        f"101 pongs; {_BEATEN}",
    ),
    ("pings-102", "one more closes", "pings-102", masked(b"", opcode=_PING) * 102 + masked(_BEAT), "closed"),
]

_ACCEPTED: Mapping[str, Mapping[str, str]] = {
    "pings-102": {f"102 pongs; {_BEATEN}": "takes more frames between messages than goim"},
}


def _folded(texts: Sequence[str]) -> list[str]:
    """Return the texts with many pongs as one, and those before a close left out: goim may not have sent them."""
    pongs = [text for text in texts if text == "pong ''"]
    others = [text for text in texts if text != "pong ''"]
    if len(pongs) < 2:
        return list(texts)
    return others if others == ["closed"] else [f"{len(pongs)} pongs", *others]


def _sender(data: bytes) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        client = await lab.login("ws")
        return lab.seen(_folded(await client.exchange(data)))

    return run


async def _pong_at_once(lab: Lab) -> str:
    client = await lab.login("ws")
    client.write(masked(b"hello", opcode=_PING))
    try:
        return lab.seen(await client.take(wait_s=min(1.5, lab.wait_s)))
    except SilentError:
        return f"later: {lab.seen(await client.ask(_BEAT))}"


async def _before_auth(lab: Lab, data: bytes) -> str:
    client = await lab.connect("ws")
    await client.upgrade()
    client.write(data)
    return lab.seen(await client.to_end() if data[0] & 0x0F == _CLOSE else await client.take(2))


async def _ping_before_auth(lab: Lab) -> str:
    token = AuthToken(mid=lab.mid(0), key=lab.key("a")).serialize()
    return await _before_auth(lab, masked(b"hi", opcode=_PING) + masked(frame(Operation.AUTH, token, seq=1)))


async def _close_before_auth(lab: Lab) -> str:
    return await _before_auth(lab, masked(b"\x03\xe8", opcode=_CLOSE))


async def _auth_bytes(lab: Lab) -> str:
    client = await lab.connect("ws")
    client.write(UPGRADE)
    await client.read_head()
    client.request(Operation.AUTH, AuthToken(mid=lab.mid(0), key=lab.key("a")).serialize(), seq=1)
    return await client.raw(18)


async def _half_close(lab: Lab) -> str:
    client = await lab.login("ws")
    client.end_writing()
    return lab.seen(await client.to_end())


async def _body_missing(lab: Lab) -> str:
    client = await lab.login("ws")
    short = HEADER.pack(HEADER_LEN + 4, HEADER_LEN, 1, Operation.SUB, 2)
    seen = await client.exchange(masked(short))
    return "answered with bytes from elsewhere" if seen and seen[0].startswith("op 15") else lab.seen(seen)


def _single(
    name: str,
    shows: str,
    recording: str,
    expected: str,
    run: Callable[[Lab], Awaitable[str]],
    accepted: Mapping[str, str] | None = None,
    *,
    risky: bool = False,
) -> Case:
    source = f"ws-sessions.jsonl: {recording}; {_FILE}"
    return Case(f"ws-wire.{name}", "ws-wire", shows, source, ("ws",), expected, run, accepted or {}, risky=risky)


CASES: list[Case] = [
    *(
        _single(name, shows, recording, expected, _sender(data), _ACCEPTED.get(name))
        for name, shows, recording, data, expected in _TABLE
    ),
    _single(
        "pong-at-once",
        "a pong leaves at once",
        "ping",
        "pong 'hello'",
        _pong_at_once,
        {f"later: pong 'hello'; {_BEATEN}": "goim keeps a pong until it has something else to send"},
    ),
    _single("ping-before-auth", "a ping before auth", "ping-before-auth", "pong 'hi'; op 8 seq 1", _ping_before_auth),
    _single("close-before-auth", "a close frame before auth", "close-frame-before-auth", "closed", _close_before_auth),
    _single(
        "auth-bytes",
        "a reply is one unmasked binary message",
        "upgrade-auth-ok",
        "821000000010001000010000000800000001",
        _auth_bytes,
    ),
    _single("half-close", "a client that ends its half is closed", "tcp-half-close", "closed", _half_close),
    _single(
        "body-missing",
        "a message shorter than its pack length closes",
        "header-only-message-body-missing",
        "closed",
        _body_missing,
        {"answered with bytes from elsewhere": "goim takes the missing bytes from a shared buffer: a memory leak"},
        risky=True,
    ),
]
