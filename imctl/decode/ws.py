"""WebSocket bytes to rows and problems: upgrade, frames with their masks, fragments, and the goim frames inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imctl.decode.items import Kind, Problem, Row, body_note
from protocol.errors import UpgradeError
from protocol.frame import HEADER, HEADER_LEN
from protocol.operation import Operation
from protocol.websocket import MessageDecoder, parse_upgrade

__all__ = ["WebSocketWalker"]

_NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_CONTROLS = {8: Kind.CLOSE, 9: Kind.PING, 10: Kind.PONG}
_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ")
_CLOSES = "comet closes the connection on this"
_READ_BUFFER = 8192  # comet's: a client's longer frame closes

_Items = list[Row | Problem]


class WebSocketWalker:
    """Walks one input.

    Args:
        data: Bytes from the upgrade, or from a frame after it, on.
        walk_container: Gives the items of an op 9 body at an offset.
    """

    def __init__(self, data: bytes, walk_container: Callable[[bytes, int], _Items]) -> None:
        self._data = data
        self._walk_container = walk_container
        self._items: _Items = []
        self._parts: list[tuple[int, bytes]] = []  # offset and payload of the fragments so far
        self._message_at = 0  # where the first of them begins

    def walk(self) -> Iterator[Row | Problem]:
        """Yield rows and problems by offset, those of a frame once the next is asked for."""
        position = 0
        while position < len(self._data):
            position = self._head(position) if self._is_http(position) else self._frame(position)
            yield from self._items
            self._items.clear()
        if self._parts:
            size = sum(len(payload) for _, payload in self._parts)
            self._incomplete(position, 0, f"a message of {size} bytes so far has no last fragment", "a frame with FIN")
        yield from self._items

    def _is_http(self, position: int) -> bool:
        # Both G and H have a reserved bit set, so no frame begins with them.
        return self._data.startswith((b"HTTP/", *_METHODS), position)

    def _incomplete(self, offset: int, size: int, what: str, expected: str) -> None:
        hint = "the input may have been cut here"
        self._items.append(Problem(offset, size, what, expected, hint, incomplete=True))

    def _head(self, position: int) -> int:
        """Take an HTTP request or response; return where it ends."""
        data = self._data
        crlf, lf = data.find(b"\r\n\r\n", position), data.find(b"\n\n", position)
        end = min(found for found in (crlf, lf, len(data)) if found >= 0)
        head = data[position:end]
        if end == len(data):
            self._incomplete(position, len(head), "an HTTP head without its end", "an empty line")
            return end
        end += 4 if end == crlf else 2
        is_response = head.startswith(b"HTTP/")
        kind = Kind.UPGRADE_RESPONSE if is_response else Kind.UPGRADE_REQUEST
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
            self._items.append(Problem(position, end - position, what, expected, hint))
        else:
            self._items.append(Row(kind, position, end - position, body=head))
        return end

    def _frame(self, position: int) -> int:
        """Take one WebSocket frame; return where the next begins."""
        data = self._data
        left = len(data) - position
        size, at = _payload_size(data, position)
        if size is None:
            self._incomplete(position, left, f"{left} bytes of a WebSocket frame's head", "the rest of it")
            return len(data)
        first, masked = data[position], bool(data[position + 1] & 0x80)
        opcode, fin = first & 0x0F, bool(first & 0x80)
        if first & 0x70 or opcode not in _NAMES:
            what = "a reserved bit is set" if first & 0x70 else f"opcode {opcode} is reserved"
            expected = "a frame such as 82 (binary) 7d (125 bytes)"
            hint = f"{_CLOSES}; with compression (permessage-deflate) the first reserved bit is set"
            self._items.append(
                Problem(position, left, what, expected, hint if first & 0x40 else "comet closes on this")
            )
            return len(data)
        body = at + 4 if masked else at
        end = body + size
        if end > len(data):
            what = f"WebSocket frame with {size} bytes of payload, and {max(len(data) - body, 0)} are here"
            self._incomplete(position, left, what, f"{end - len(data)} bytes more")
            return len(data)
        payload = _unmasked(data[position:end])
        title = f"{_NAMES[opcode]} masked" if masked else _NAMES[opcode]
        note = f"over comet's read buffer of {_READ_BUFFER} bytes: it closes" if masked and size > _READ_BUFFER else ""
        if opcode in _CONTROLS:
            row = Row(_CONTROLS[opcode], position, end - position, body=payload, ws=title)
            self._items.append(row)
        elif fin and not self._parts:
            self._message(position, end - position, [(body, payload)], title, note)
        else:
            self._fragment(position, end - position, (body, payload), title, note, fin=fin)
        return end

    def _fragment(self, position: int, size: int, part: tuple[int, bytes], title: str, note: str, *, fin: bool) -> None:
        if not self._parts:
            self._message_at = position
        self._parts.append(part)
        self._items.append(Row(Kind.FRAGMENT, position, size, body=part[1], ws=title, note=note))
        if fin:
            parts, self._parts = self._parts, []
            self._message(self._message_at, 0, parts, f"{len(parts)} fragments", "")

    def _message(self, offset: int, size: int, parts: list[tuple[int, bytes]], title: str, note: str) -> None:
        """Take a message, whole by now: it is one goim frame."""
        payload = b"".join(part for _, part in parts)
        what, expected = _broken(payload)
        if what:
            self._items.append(Problem(offset, size, what, expected, _CLOSES))
            return
        pack_len, _, ver, op, seq = HEADER.unpack_from(payload)
        body = payload[HEADER_LEN : max(pack_len, HEADER_LEN)]
        behind = len(payload) - HEADER_LEN - len(body)
        notes = [note, f"{behind} bytes after the frame: comet ignores them" if behind else "", body_note(op, body)]
        if pack_len < HEADER_LEN:
            notes.append(f"pack length {pack_len}: goim reads it as an empty body")
        inner: _Items = []
        if op == Operation.RAW and body:
            # The bytes of a message in several fragments are not in one place; its begin is the nearest to say.
            inner = self._walk_container(body, parts[0][0] + HEADER_LEN if len(parts) == 1 else offset)
            if "masked" in title and any(isinstance(item, Problem) for item in inner):
                inner = []  # from a client it is no container, only an operation without a meaning
                notes.append("op 9 from a client")
        text = "; ".join(filter(None, notes))
        count = sum(isinstance(item, Row) for item in inner)
        self._items.append(Row(Kind.FRAME, offset, size, 0, ver, op, seq, body, title, text, count))
        self._items += inner


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


def _payload_size(data: bytes, position: int) -> tuple[int | None, int]:
    """Return the payload length and where the mask or payload begins; None when the head is not complete."""
    if len(data) < position + 2:
        return None, position
    second = data[position + 1]
    size, at = second & 0x7F, position + 2
    length_bytes = {126: 2, 127: 8}.get(size, 0)
    if len(data) < at + length_bytes + (4 if second & 0x80 else 0):
        return None, position
    if length_bytes:
        size = int.from_bytes(data[at : at + length_bytes], "big")
    return size, at + length_bytes


def _unmasked(frame: bytes) -> bytes:
    """Return the payload of one complete frame."""
    decoder = MessageDecoder()
    # As a whole binary message, whatever it is: only the payload is asked for.
    decoder.feed(b"\x82" + frame[1:])
    message = decoder.next_message()
    assert message is not None
    return message.payload
