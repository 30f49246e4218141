"""From bytes to rows and problems: which transport it is, then frame by frame.

Unlike the decoders of `protocol`, which end a connection at the first bad
byte, this one explains it and goes on where frames begin again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from imctl.decode.items import Kind, Problem, Report, Row, body_note
from imctl.decode.ws import WebSocketWalker
from protocol.frame import HEADER, HEADER_LEN, MAX_BODY
from protocol.operation import Operation

__all__ = ["Walk", "decode", "walk"]

_PROBE_BYTES = 65536
_FROM_CLIENT = frozenset(
    {Operation.HEARTBEAT, Operation.AUTH, Operation.CHANGE_ROOM, Operation.SUB, Operation.UNSUB, Operation.SEND_MSG}
)
_INT32_MIN = -(2**31)
_HEADER_LEN_BYTES = HEADER_LEN.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Walk:
    """Some input that is being explained.

    Args:
        transport: `tcp` or `ws`.
        size: Bytes of input.
        items: Rows and problems by offset, each made when it is asked for; can be gone through once.
    """

    transport: str
    size: int
    items: Iterator[Row | Problem]


def walk(data: bytes, *, ws: bool | None = None) -> Walk:
    """Explain bytes of a connection between a client and a comet, one direction or a mix of both.

    Args:
        data: TCP or WebSocket bytes, from the start of a frame on.
        ws: Whether they are of WebSocket; None finds out.
    """
    if ws is None:
        ws = _is_websocket(data)
    items = _walk_ws(data) if ws else _walk_tcp(data, 0, 0, len(data))
    return Walk("ws" if ws else "tcp", len(data), items)


def decode(data: bytes, *, ws: bool | None = None) -> Report:
    """Explain bytes as walk() does, all of them at once."""
    found = walk(data, ws=ws)
    return Report(found.transport, found.size, tuple(found.items))


def _is_websocket(data: bytes) -> bool:
    if data.startswith((b"GET ", b"HTTP/1.")):
        return True
    head = data[:_PROBE_BYTES]
    return _understood(_walk_ws(head)) > _understood(_walk_tcp(head, 0, 0, len(head)))


def _understood(items: Iterable[Row | Problem]) -> int:
    """Return how many bytes are in rows; fragments, which random bytes make up easily, do not count."""
    return sum(
        item.size for item in items if isinstance(item, Row) and not item.depth and item.kind is not Kind.FRAGMENT
    )


def _walk_ws(data: bytes) -> Iterator[Row | Problem]:
    return WebSocketWalker(data, _walk_container).walk()


def _walk_container(body: bytes, offset: int) -> list[Row | Problem]:
    """Walk the frames in an op 9 body that begins at this offset of the input."""
    items = _walk_tcp(body, offset, 1, len(body))
    return [replace(item, depth=1) if isinstance(item, Problem) else item for item in items]


def _walk_tcp(data: bytes, base: int, depth: int, end: int) -> Iterator[Row | Problem]:
    """Walk frames back to back; `base` is where the data begins in the input."""
    position = 0
    while position < end:
        left = end - position
        if left < HEADER_LEN:
            yield Problem(
                base + position,
                left,
                f"{left} byte{'s' * (left > 1)} left, too few for a header",
                f"{HEADER_LEN} bytes",
                "the input may have been cut here",
                incomplete=True,
            )
            return
        pack_len, header_len, ver, op, seq = HEADER.unpack_from(data, position)
        size = max(pack_len, HEADER_LEN)
        if header_len != HEADER_LEN or pack_len < _INT32_MIN + HEADER_LEN:
            following = _next_header(data, position, end)
            yield _bad_header(data[position:following], base, position, following, end, pack_len, header_len)
            position = following
            continue
        if size > left:
            following = _next_header(data, position, end)
            if following < end:
                what = f"pack length {pack_len} reaches over a frame that begins at offset {base + following}"
                hint = f"was it meant to be {following - position}? goim would wait for more bytes"
                expected = "the length of header and body together"
                yield Problem(base + position, following - position, what, expected, hint)
                position = following
                continue
            yield _incomplete(base + position, left, pack_len, op)
            return
        body = data[position + HEADER_LEN : position + size]
        inner, about = _container(op, body, base + position + HEADER_LEN, depth)
        note = "; ".join(filter(None, [_length_note(pack_len, op), about, body_note(op, body)]))
        yield Row(Kind.FRAME, base + position, size, depth, ver, op, seq, body, note=note, inner=len(inner))
        yield from inner
        position += size


def _container(op: int, body: bytes, offset: int, depth: int) -> tuple[list[Row | Problem], str]:
    """Return the frames in an op 9 frame met outside WebSocket, and a note when it holds none."""
    if op != Operation.RAW or not body:
        return [], ""
    if depth:
        return [], "op 9 of an application"
    inner = _walk_container(body, offset)
    if any(isinstance(item, Problem) for item in inner):
        return [], "op 9 of an application: its body is no frames"
    return inner, "over TCP comet sends the frames of a container without it"


def _length_note(pack_len: int, op: int) -> str:
    if pack_len < HEADER_LEN:
        return f"pack length {pack_len}: goim reads it as an empty body"
    if pack_len > MAX_BODY + HEADER_LEN and op in _FROM_CLIENT:
        return f"body over {MAX_BODY} bytes: comet closes on it"
    return ""


def _next_header(data: bytes, position: int, end: int) -> int:
    """Return where frames begin again after a bad one, the end when they do not."""
    at = data.find(_HEADER_LEN_BYTES, position + 5, end)
    while at >= 0:
        start = at - 4
        following = start + int.from_bytes(data[start:at], "big", signed=True)
        fits = following - start >= HEADER_LEN and following <= end
        if fits and _HEADER_LEN_BYTES.startswith(data[following + 4 : min(following + 6, end)]):
            return start
        at = data.find(_HEADER_LEN_BYTES, at + 1, end)
    return end


def _incomplete(offset: int, left: int, pack_len: int, op: int) -> Problem:
    hint = "the input may have been cut here"
    if pack_len > MAX_BODY + HEADER_LEN and op in _FROM_CLIENT:
        hint = f"comet takes at most {MAX_BODY + HEADER_LEN} from a client and closes"
    what = f"frame of pack length {pack_len}, and {left} bytes are here"
    return Problem(offset, left, what, f"{pack_len - left} bytes more", hint, incomplete=True)


def _bad_header(
    bad: bytes, base: int, position: int, following: int, end: int, pack_len: int, header_len: int
) -> Problem:
    if header_len != HEADER_LEN:
        what, expected = f"header length is {header_len}", f"{HEADER_LEN} (00 10) at offset {base + position + 4}"
    else:
        what, expected = f"pack length {pack_len} is not possible", f"at least {HEADER_LEN} at offset {base + position}"
    hint = _guess(bad) or "comet closes the connection on this"
    if following < end:
        hint += f"; frames begin again at offset {base + following}"
    return Problem(base + position, following - position, what, expected, hint)


def _guess(bad: bytes) -> str:
    """Say what bytes that are no frame may be."""
    if bad.startswith(b"PRI * HTTP/2"):
        return "this is HTTP/2, such as gRPC between nodes"
    if bad.startswith((b"GET ", b"POST ", b"HTTP/")):
        return "this is HTTP; is it WebSocket (--ws), or logic's HTTP port?"
    if bad[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") and bad[1:2] == b"\x03":
        return "this is TLS: what is inside cannot be read here"
    if bad[4:6] == HEADER_LEN.to_bytes(2, "little"):
        return "the numbers are little-endian; goim's are big-endian"
    if bad[0] & 0x70 == 0 and bad[0] & 0x0F in (1, 2, 8, 9, 10):
        return "this may be WebSocket (--ws)"
    return ""
