"""WebSocket bytes to rows and problems: upgrade, frames with their masks, fragments, and the goim frames inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imctl.decode.items import Kind, Problem, Row, body_note
from imctl.decode.stream import CUT_HINT, Items, StreamWalker
from imctl.decode.tcp import large_note, walk_container
from protocol.errors import UpgradeError
from protocol.frame import HEADER, HEADER_LEN
from protocol.operation import Operation
from protocol.websocket import MAX_UPGRADE_BYTES, MessageDecoder, parse_upgrade

__all__ = ["HTTP_STARTS", "WebSocketWalker"]

_NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_CONTROLS = {8: Kind.CLOSE, 9: Kind.PING, 10: Kind.PONG}
HTTP_STARTS = (b"HTTP/", b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ")
"""How an HTTP head begins. The first byte of each has a reserved bit of WebSocket set, so no frame begins with it."""

_CLOSES = "comet closes the connection on this"
_READ_BUFFER = 8192  # comet's: a client's longer frame closes


@dataclass(frozen=True, slots=True)
class _Head:
    """Head of a WebSocket frame: where its payload begins in the data, and the payload's size; mask b"" for none."""

    opcode: int
    fin: bool
    body: int
    size: int
    mask: bytes

    @property
    def title(self) -> str:
        return f"{_NAMES[self.opcode]} masked" if self.mask else _NAMES[self.opcode]


class WebSocketWalker(StreamWalker):
    """Walks the upgrade and what follows it; see StreamWalker for the arguments."""

    def __init__(self, base: int = 0, *, max_kept: int | None = None, lost: bool = False) -> None:
        super().__init__(base, max_kept=max_kept, lost=lost)
        self._parts: list[tuple[int, bytes]] = []  # offset and payload of the fragments so far
        self._message_at = 0  # where the first of them begins
        self._message_bytes = 0  # of all of them, also of those whose payload is not kept

    def _take(self) -> Items | None:
        left = len(self._data) - self._at
        if not self._ended and left < 8 and self._data[self._at] in b"HGPO":
            return self._wait(8)
        return self._take_http() if self._data.startswith(HTTP_STARTS, self._at) else self._take_frame()

    def _finish(self) -> Items:
        found: Items = super()._finish()
        if self._parts:
            parts, self._parts = self._parts, []
            size = sum(len(payload) for _, payload in parts)
            what = f"a message of {size} bytes so far has no last fragment"
            found.append(Problem(self._message_at, 0, what, "a frame with FIN", CUT_HINT, incomplete=True))
        return found

    def _restart(self, offset: int) -> None:
        super()._restart(offset)
        self._parts = []

    def _find(self, data: bytes, at: int) -> int:
        return _next_message(data, at)

    def _take_http(self) -> Items | None:
        """Take an HTTP request or response."""
        data, position = self._data, self._at
        crlf, lf = data.find(b"\r\n\r\n", position), data.find(b"\n\n", position)
        end = min(found for found in (crlf, lf, len(data)) if found >= 0)
        head, offset = data[position:end], self._base + position
        if end == len(data):
            if not self._ended and len(head) <= MAX_UPGRADE_BYTES:
                return self._wait(len(head) + 1)
            self._pass(len(head))
            return [_cut_problem(offset, len(head), "an HTTP head without its end", "an empty line")]
        size = end - position + (4 if end == crlf else 2)
        self._pass(size)
        is_response = head.startswith(b"HTTP/")
        what, expected = "", "GET /sub with Upgrade, Connection, Sec-WebSocket-Version: 13 and a key"
        if is_response:
            status = head.split(b"\r\n")[0].decode("latin-1")
            if status.split(" ")[1:2] != ["101"]:
                what, expected = f"the upgrade was answered with {status!a}", "101 Switching Protocols"
        else:
            try:
                parse_upgrade(head)
            except UpgradeError as exc:
                what = str(exc)
        if what:
            hint = "" if is_response else "comet closes the connection without an answer"
            return [Problem(offset, size, what, expected, hint)]
        return [Row(Kind.UPGRADE_RESPONSE if is_response else Kind.UPGRADE_REQUEST, offset, size, body=head)]

    def _take_frame(self) -> Items | None:
        """Take one WebSocket frame."""
        data, position = self._data, self._at
        left, offset = len(data) - position, self._base + position
        first = data[position]
        if left >= 2 and (first & 0x70 or first & 0x0F not in _NAMES):
            return self._take_reserved(first)
        head = _frame_head(data, position)
        if head is None:
            if not self._ended:
                return self._wait(left + 1)
            self._pass(left)
            return [_cut_problem(offset, left, f"{left} bytes of a WebSocket frame's head", "the rest of it")]
        end = head.body + head.size
        if self._max_kept is not None and head.size > self._max_kept:
            return self._take_large(head)
        if end > len(data):
            if not self._ended:
                return self._wait(end - position, frame=True)
            self._pass(left)
            what = f"WebSocket frame with {head.size} bytes of payload, and {len(data) - head.body} are here"
            return [_cut_problem(offset, left, what, f"{end - len(data)} bytes more")]
        payload = _unmasked(data[position:end])
        body = self._base + head.body
        self._pass(end - position)
        note = ""
        if head.mask and head.size > _READ_BUFFER:
            note = f"over comet's read buffer of {_READ_BUFFER} bytes: it closes"
        if head.opcode in _CONTROLS:
            return [Row(_CONTROLS[head.opcode], offset, end - position, body=payload, ws=head.title)]
        if head.fin and not self._parts:
            return _message(offset, end - position, [(body, payload)], head.title, note)
        return self._take_fragment(offset, end - position, (body, payload), head, note)

    def _take_reserved(self, first: int) -> Items:
        left, offset = len(self._data) - self._at, self._base + self._at
        what = "a reserved bit is set" if first & 0x70 else f"opcode {first & 0x0F} is reserved"
        hint = f"{_CLOSES}; with compression (permessage-deflate) the first reserved bit is set"
        self._lose()
        if self._ended:
            self._lost = False
            self._pass(left)
        expected = "a frame such as 82 (binary) 7d (125 bytes)"
        return [Problem(offset, left, what, expected, hint if first & 0x40 else "comet closes on this")]

    def _take_large(self, head: _Head) -> Items | None:
        """Take a frame whose payload is not kept: what its goim header says."""
        assert self._max_kept is not None, "no frame is too large without a limit"
        offset, wanted = self._base + self._at, head.body - self._at + HEADER_LEN
        if len(self._data) - self._at < wanted and not self._ended:
            return self._wait(wanted)
        begin = _xor(self._data[head.body : head.body + HEADER_LEN], head.mask)
        size = head.body - self._at + head.size
        self._pass(size)
        note = large_note(head.size, self._max_kept)
        if head.opcode in _CONTROLS:
            return [Row(_CONTROLS[head.opcode], offset, size, ws=head.title, note=note)]
        if self._parts or not head.fin or len(begin) < HEADER_LEN:
            return self._take_fragment(offset, size, (offset, begin), head, note)
        _, _, ver, op, seq = HEADER.unpack_from(begin)
        return [Row(Kind.FRAME, offset, size, 0, ver, op, seq, ws=head.title, note=note)]

    def _take_fragment(self, offset: int, size: int, part: tuple[int, bytes], head: _Head, note: str) -> Items:
        if not self._parts:
            self._message_at, self._message_bytes = offset, 0
        self._message_bytes += head.size
        large = self._max_kept is not None and self._message_bytes > self._max_kept
        if large and self._parts:
            # Of a message that is too large the begin is enough, where its header is.
            self._parts = [(self._parts[0][0], b"".join(payload for _, payload in self._parts)[:HEADER_LEN])]
        else:
            self._parts.append(part)
        found: Items = [Row(Kind.FRAGMENT, offset, size, body=part[1], ws=head.title, note=note)]
        if not head.fin:
            return found
        parts, self._parts = self._parts, []
        if not large:
            return [*found, *_message(self._message_at, 0, parts, f"{len(parts)} fragments", "")]
        begin = parts[0][1]
        if len(begin) >= HEADER_LEN:
            assert self._max_kept is not None, "no message is too large without a limit"
            _, _, ver, op, seq = HEADER.unpack_from(begin)
            about = large_note(self._message_bytes, self._max_kept)
            found.append(Row(Kind.FRAME, self._message_at, 0, 0, ver, op, seq, ws="fragments", note=about))
        return found


def _message(offset: int, size: int, parts: list[tuple[int, bytes]], title: str, note: str) -> Items:
    """Return the items of a whole message: it is one goim frame."""
    payload = b"".join(part for _, part in parts)
    what, expected = _broken(payload)
    if what:
        return [Problem(offset, size, what, expected, _CLOSES)]
    pack_len, _, ver, op, seq = HEADER.unpack_from(payload)
    body = payload[HEADER_LEN : max(pack_len, HEADER_LEN)]
    behind = len(payload) - HEADER_LEN - len(body)
    notes = [note, f"{behind} bytes after the frame: comet ignores them" if behind else "", body_note(op, body)]
    if pack_len < HEADER_LEN:
        notes.append(f"pack length {pack_len}: goim reads it as an empty body")
    inner: Items = []
    if op == Operation.RAW and body:
        # The bytes of a message in several fragments are not in one place; its begin is the nearest to say.
        inner = walk_container(body, parts[0][0] + HEADER_LEN if len(parts) == 1 else offset)
        if "masked" in title and any(isinstance(item, Problem) for item in inner):
            inner = []  # from a client it is no container, only an operation without a meaning
            notes.append("op 9 from a client")
    text = "; ".join(filter(None, notes))
    count = sum(isinstance(item, Row) for item in inner)
    return [Row(Kind.FRAME, offset, size, 0, ver, op, seq, body, title, text, count), *inner]


def _cut_problem(offset: int, size: int, what: str, expected: str) -> Problem:
    return Problem(offset, size, what, expected, CUT_HINT, incomplete=True)


def _broken(payload: bytes) -> tuple[str, str]:
    """Return what is wrong with a message and what was expected, ("", "") when it holds a frame."""
    if len(payload) < HEADER_LEN:
        return f"message of {len(payload)} bytes is shorter than a header", f"at least {HEADER_LEN} bytes"
    pack_len, header_len, *_ = HEADER.unpack_from(payload)
    if header_len != HEADER_LEN:
        return f"header length is {header_len}", f"{HEADER_LEN} (00 10) after the pack length"
    if pack_len < 0:
        return f"pack length {pack_len} is not possible", f"at least {HEADER_LEN}"
    if pack_len > len(payload):
        return f"message of {len(payload)} bytes is shorter than its pack length {pack_len}", "one whole frame"
    return "", ""


def _frame_head(data: bytes, position: int) -> _Head | None:
    """Return the head of the frame at a position, None when it is not complete."""
    if len(data) < position + 2:
        return None
    first, second = data[position], data[position + 1]
    size, at = second & 0x7F, position + 2
    length_bytes = {126: 2, 127: 8}.get(size, 0)
    mask_bytes = 4 if second & 0x80 else 0
    if len(data) < at + length_bytes + mask_bytes:
        return None
    if length_bytes:
        size = int.from_bytes(data[at : at + length_bytes], "big")
    body = at + length_bytes + mask_bytes
    return _Head(first & 0x0F, bool(first & 0x80), body, size, data[body - mask_bytes : body])


def _next_message(data: bytes, at: int) -> int:
    """Return where the next whole frame begins that is a message with one goim frame, -1 when there is none."""
    starts = [_seen for opcode in (b"\x82", b"\x81") for _seen in _places(data, opcode, at)]
    for start in sorted(starts):
        head = _frame_head(data, start)
        if head is None or not HEADER_LEN <= head.size <= len(data) - head.body:
            continue
        pack_len, header_len, *_ = HEADER.unpack(_xor(data[head.body : head.body + HEADER_LEN], head.mask))
        if header_len == HEADER_LEN and pack_len == head.size:
            return start
    return -1


def _places(data: bytes, part: bytes, at: int) -> Iterator[int]:
    while (at := data.find(part, at)) >= 0:
        yield at
        at += 1


def _xor(data: bytes, mask: bytes) -> bytes:
    """Return the few bytes of a payload's begin without their mask."""
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)) if mask else data


def _unmasked(frame: bytes) -> bytes:
    """Return the payload of one complete frame."""
    decoder = MessageDecoder()
    # As a whole binary message, whatever it is: only the payload is asked for.
    decoder.feed(b"\x82" + frame[1:])
    message = decoder.next_message()
    assert message is not None
    return message.payload
