"""The part of RFC 6455 that goim uses, sans-I/O: upgrade, frames, limits.

A comet's rules are goim's, which differ from the RFC where its clients may
depend on it: text counts as binary, unmasked client frames are taken, a close
frame is answered by closing the socket, and a refused upgrade gets no HTTP
answer. Source: goim pkg/websocket and the recorded dialogues.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections import deque
from dataclasses import dataclass

from protocol.errors import FrameLengthError, HeaderLengthError, UpgradeError, WebSocketError
from protocol.frame import HEADER, HEADER_LEN, MAX_BODY, Frame

__all__ = [
    "PATH",
    "ClientUpgrade",
    "Message",
    "MessageDecoder",
    "ServerDecoder",
    "UpgradeRequest",
    "accept_key",
    "parse_upgrade",
    "serialize_message",
    "serialize_upgrade_response",
]

PATH = "/sub"
MAX_UPGRADE_BYTES = 32768  # goim has no limit but the handshake timer; a 9,000-byte header must pass
MAX_WS_PAYLOAD = 8192  # goim's read buffer: a larger single frame closes the connection
MAX_WS_MESSAGE = 65536  # all fragments of one message; goim has no limit
MAX_WS_CONTROLS = 101  # frames of any kind before a data message completes; one more closes

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_len16 = struct.Struct(">BBH").pack
_len64 = struct.Struct(">BBQ").pack


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept value for a Sec-WebSocket-Key, whatever its length."""
    digest = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """An acceptable upgrade request: its key and its Cookie header, "" when there is none."""

    key: str
    cookie: str


def _check_head(size: int, what: str) -> None:
    """Refuse a head over the limit; of an incomplete one the last three bytes may be part of its end."""
    if size > MAX_UPGRADE_BYTES:
        raise UpgradeError(f"the {what} is over the limit of {MAX_UPGRADE_BYTES} bytes")


def parse_upgrade(head: bytes) -> UpgradeRequest:
    """Return what a request head (without its last empty line) asks for.

    Lines may end in LF alone; the HTTP version, Host, Origin, subprotocols and
    extensions do not matter.

    Raises:
        UpgradeError: anything goim closes the connection for.
    """
    lines = head.decode("latin-1").split("\n")
    request = lines[0].rstrip("\r").split(" ", 2)
    if len(request) != 3:
        raise UpgradeError("the request line is not METHOD PATH VERSION")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.rstrip("\r").partition(":")
        if not colon or not name:
            raise UpgradeError(f"header line {line.rstrip()[:40]!a} is not NAME: VALUE")
        headers.setdefault(name.strip().lower(), value.strip(" \t"))
    if request[0] != "GET":
        raise UpgradeError(f"the method is {request[0][:20]!a}, expected GET")
    if request[1] != PATH:
        raise UpgradeError(f"the path is {request[1][:80]!a}, expected {PATH}")
    if headers.get("sec-websocket-version") != "13":
        raise UpgradeError("Sec-WebSocket-Version is not 13")
    if headers.get("upgrade", "").lower() != "websocket":
        raise UpgradeError("Upgrade is not websocket")
    if "upgrade" not in headers.get("connection", "").lower():
        raise UpgradeError("Connection has no upgrade")
    key = headers.get("sec-websocket-key", "")
    if not key:
        raise UpgradeError("Sec-WebSocket-Key is missing")
    return UpgradeRequest(key, headers.get("cookie", ""))


def serialize_upgrade_response(request: UpgradeRequest) -> bytes:
    """Return the 101 response, byte for byte goim's."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(request.key)}\r\n\r\n"
    ).encode("latin-1")


def serialize_message(payload: bytes, *, opcode: int = _BINARY, mask: bytes | None = None) -> bytes:
    """Return one unfragmented WebSocket frame; `mask` is four bytes for a client, None for a server."""
    size = len(payload)
    flag = 0 if mask is None else 0x80
    if size < 126:
        head = bytes((0x80 | opcode, flag | size))
    elif size < 65536:
        head = _len16(0x80 | opcode, flag | 126, size)
    else:
        head = _len64(0x80 | opcode, flag | 127, size)
    if mask is None:
        return head + payload
    return head + mask + _apply_mask(payload, mask)


def _apply_mask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if mask == b"\0\0\0\0" or not size:
        return payload
    # One operation on big integers is far cheaper than a loop over bytes.
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


@dataclass(frozen=True, slots=True)
class Message:
    """One complete WebSocket message or control frame: opcode (1, 2, 8, 9, 10) and payload."""

    opcode: int
    payload: bytes


class MessageDecoder:
    """Turn bytes after the upgrade, cut anywhere, into messages.

    Args:
        max_payload: Largest payload of one frame, in bytes; None for no limit.
        max_message: Largest message over all its fragments, in bytes; None for no limit.
        max_controls: Most frames without a complete data message between; None for no limit.
    """

    __slots__ = ("_at", "_controls", "_fragments", "_max_controls", "_max_message", "_max_payload", "_rest")

    def __init__(
        self, *, max_payload: int | None = None, max_message: int | None = None, max_controls: int | None = None
    ) -> None:
        self._rest = b""
        self._at = 0  # where in _rest the next frame begins: cutting _rest for each would copy it for each
        self._fragments: bytes | None = None
        self._controls = 0
        self._max_payload = max_payload
        self._max_message = max_message
        self._max_controls = max_controls

    @property
    def buffered(self) -> int:
        """Bytes held of incomplete frames and messages."""
        return len(self._rest) - self._at + len(self._fragments or b"")

    def feed(self, data: bytes) -> None:
        """Add the bytes of one read."""
        self._rest = self._rest[self._at :] + data if self._rest else data
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the oldest complete message or control frame, or None until feed() adds more.

        Raises:
            WebSocketError: a reserved bit or opcode, or a limit is passed; the
                decoder is then of no further use.
        """
        while (frame := self._next_frame()) is not None:
            fin, opcode, payload = frame
            if opcode in (_CLOSE, _PING, _PONG):
                self._count_control()
                return Message(opcode, payload)
            whole = payload if self._fragments is None else self._fragments + payload
            if self._max_message is not None and len(whole) > self._max_message:
                raise WebSocketError(f"message is over the limit of {self._max_message} bytes")
            if fin:
                self._fragments = None
                self._controls = 0
                return Message(opcode or _BINARY, whole)
            self._fragments = whole
            self._count_control()
        return None

    def _count_control(self) -> None:
        self._controls += 1
        if self._max_controls is not None and self._controls > self._max_controls:
            raise WebSocketError(f"more than {self._max_controls} frames without a complete message")

    def _next_frame(self) -> tuple[bool, int, bytes] | None:
        data, start = self._rest, self._at
        have = len(data)
        if have < start + 2:
            return None
        first, second = data[start], data[start + 1]
        opcode = first & 0x0F
        if first & 0x70:
            raise WebSocketError("a reserved bit is set")
        if 3 <= opcode <= 7 or opcode >= 11:
            raise WebSocketError(f"opcode {opcode} is reserved")
        size, at = second & 0x7F, start + 2
        if size == 126:
            if have < start + 4:
                return None
            size, at = int.from_bytes(data[at : at + 2], "big"), start + 4
        elif size == 127:
            if have < start + 10:
                return None
            size, at = int.from_bytes(data[at : at + 8], "big"), start + 10
        if self._max_payload is not None and size > self._max_payload:
            raise WebSocketError(f"frame payload of {size} bytes is over the limit of {self._max_payload}")
        masked = second & 0x80
        body = at + 4 if masked else at
        end = body + size
        if have < end:
            return None
        payload = data[body:end]
        if masked:
            payload = _apply_mask(payload, data[at:body])
        if end == have:
            self._rest, self._at = b"", 0
        else:
            self._at = end
        return bool(first & 0x80), opcode, payload


class ServerDecoder:
    """A comet's view of one WebSocket client: the upgrade, then one goim frame a message.

    After feed(), take what must be sent with take_output() (the 101 response,
    pongs) and the frames with next_frame(); `cookie` is the upgrade's Cookie
    header, and `closing` says that the client sent a close frame. Bytes after the pack length of a message are ignored,
    as goim does; a message shorter than its pack length closes the
    connection, where goim would read foreign memory.

    Args:
        max_body: Largest body of a goim frame, in bytes.
    """

    __slots__ = ("_error", "_frames", "_max_pack", "_messages", "_output", "_rest", "closing", "cookie", "upgraded")

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.upgraded = False
        self.cookie = ""
        self.closing = False
        self._max_pack = max_body + HEADER_LEN
        self._rest = b""
        self._output = b""
        self._messages = MessageDecoder(
            max_payload=MAX_WS_PAYLOAD, max_message=MAX_WS_MESSAGE, max_controls=MAX_WS_CONTROLS
        )
        self._frames: deque[Frame] | None = None
        self._error: UpgradeError | WebSocketError | FrameLengthError | HeaderLengthError | None = None

    @property
    def buffered(self) -> int:
        """Bytes held of incomplete input."""
        return len(self._rest) + self._messages.buffered

    def feed(self, data: bytes) -> None:
        """Add the bytes of one read; bytes after an error or a close frame are ignored."""
        if self._error is not None or self.closing:
            return
        try:
            if not self.upgraded:
                data = self._upgrade(data)
            if self.upgraded:
                self._read_messages(data)
        except (UpgradeError, WebSocketError, FrameLengthError, HeaderLengthError) as exc:
            # Without its frames, which hold whoever has fed this.
            self._error = exc.with_traceback(None)

    def next_frame(self) -> Frame | None:
        """Return the oldest frame, or None until feed() adds more.

        Raises:
            UpgradeError, WebSocketError, FrameLengthError, HeaderLengthError:
                the client broke a rule; frames before that are returned first.
        """
        if self._frames:
            frame = self._frames.popleft()
            if not self._frames:
                self._frames = None
            return frame
        if self._error is not None:
            raise self._error
        return None

    def take_output(self) -> bytes:
        """Return the bytes that must be sent now, b"" when there are none."""
        output, self._output = self._output, b""
        return output

    def _upgrade(self, data: bytes) -> bytes:
        """Read the request head; return the bytes behind it."""
        self._rest += data
        crlf, lf = self._rest.find(b"\r\n\r\n"), self._rest.find(b"\n\n")
        if crlf < 0 and lf < 0:
            _check_head(len(self._rest) - 3, "request")
            return b""
        if lf < 0 or 0 <= crlf < lf:
            head, behind = self._rest[:crlf], self._rest[crlf + 4 :]
        else:
            head, behind = self._rest[:lf], self._rest[lf + 2 :]
        _check_head(len(head), "request")
        self._rest = b""
        request = parse_upgrade(head)
        self.cookie = request.cookie
        self.upgraded = True
        self._output += serialize_upgrade_response(request)
        return behind

    def _read_messages(self, data: bytes) -> None:
        self._messages.feed(data)
        while (message := self._messages.next_message()) is not None:
            if message.opcode == _CLOSE:
                self.closing = True
                return
            if message.opcode == _PING:
                self._output += serialize_message(message.payload, opcode=_PONG)
            elif message.opcode != _PONG:
                if self._frames is None:
                    self._frames = deque()
                self._frames.append(self._parse(message.payload))

    def _parse(self, payload: bytes) -> Frame:
        if len(payload) < HEADER_LEN:
            raise WebSocketError(f"message of {len(payload)} bytes is shorter than a header")
        pack_len, header_len, ver, op, seq = HEADER.unpack_from(payload)
        if pack_len > self._max_pack or pack_len < 0:
            raise FrameLengthError(pack_len, self._max_pack)
        if header_len != HEADER_LEN:
            raise HeaderLengthError(header_len)
        if pack_len > len(payload):
            raise WebSocketError(f"message of {len(payload)} bytes is shorter than its pack length {pack_len}")
        return Frame(ver, op, seq, payload[HEADER_LEN:pack_len])


class ClientUpgrade:
    """A client's half of the upgrade.

    Args:
        host: Value of the Host header, such as 127.0.0.1:3102.
        key: 16 random bytes; this package has no random source of its own.
        cookie: Value of a Cookie header, which comet hands to logic; "" for none.
    """

    __slots__ = ("_key", "_rest", "request")

    def __init__(self, host: str, key: bytes, *, cookie: str = "") -> None:
        self._key = base64.b64encode(key).decode()
        self._rest = b""
        cookie_line = f"Cookie: {cookie}\r\n" if cookie else ""
        self.request = (
            f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {self._key}\r\nSec-WebSocket-Version: 13\r\n{cookie_line}\r\n"
        ).encode("latin-1")

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes of the response; return what follows it once it is complete, else None.

        Raises:
            UpgradeError: not a 101, or the accept value is wrong.
        """
        self._rest += data
        head, end, behind = self._rest.partition(b"\r\n\r\n")
        _check_head(len(head) if end else len(head) - 3, "response")
        if not end:
            return None
        self._rest = b""
        lines = head.decode("latin-1").split("\r\n")
        if lines[0].split(" ")[1:2] != ["101"]:
            raise UpgradeError(f"the response is {lines[0][:80]!a}, expected a 101")
        fields = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        if headers.get("sec-websocket-accept") != accept_key(self._key):
            raise UpgradeError("Sec-WebSocket-Accept does not match the key")
        return behind
