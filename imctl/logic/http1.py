"""The server's half of HTTP/1.1, as far as an API needs it: bytes cut anywhere -> requests.

Heads and bodies have limits, a body may be chunked, requests may be
pipelined. What two readers could understand differently, and so could hide
one request in another, is refused: a Content-Length beside a
Transfer-Encoding, two different lengths, folded headers, blanks before a
colon. Source: RFC 9112; limits and texts are those of Go's net/http.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from protocol.errors import RemoteError

__all__ = ["CONTINUE", "BodyTooLargeError", "HttpError", "HttpRequest", "RequestDecoder", "serialize_head"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_PHRASES = {
    200: "OK",
    301: "Moved Permanently",
    307: "Temporary Redirect",
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])")
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ABSOLUTE = re.compile(rb"[hH][tT][tT][pP][sS]?://[^/?]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_MAX_CHUNK_LINE = 256
_MAX_TRAILER = 8192
# Longer blocks of headers are not kept for the next request.
_MAX_REMEMBERED = 2048
_SINGLE_HEADERS = frozenset({b"content-length", b"transfer-encoding", b"host"})
_READ_HEADERS = _SINGLE_HEADERS | {b"connection", b"expect"}


class HttpError(RemoteError):
    """A request breaks a rule or a limit; the connection is of no further use.

    Args:
        status: What to answer with.
        problem: What is wrong.
    """

    reason = "http"

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.status} {_PHRASES[self.status]}: {self.problem}"


class BodyTooLargeError(HttpError):
    """A body is over the limit; nobody has read it.

    Args:
        method: Of the request that it belongs to.
        target: Likewise.
        size: Bytes, as far as known.
        limit: Bytes allowed.
    """

    reason = "http_body_too_large"

    def __init__(self, method: str, target: str, size: int, limit: int) -> None:
        super().__init__(413, f"body of {size} bytes is over the limit of {limit} bytes")
        self.method = method
        self.target = target
        self.size = size
        self.limit = limit


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request.

    Args:
        method: As sent, so upper case.
        target: Path and query as sent; bytes over 127 are lone surrogates.
        body: All of it.
        keep_alive: Whether the client may send another on this connection.
    """

    method: str
    target: str
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class _Headers:
    """What the headers of a request say about its body and connection."""

    keep_alive: bool
    length: int
    is_chunked: bool
    expects_continue: bool


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    target: str
    headers: _Headers


class RequestDecoder:
    """Turn what a client sent, cut anywhere, into requests.

    Args:
        max_head: Largest request line and headers, in bytes; more is status 431.
        max_body: Largest body, in bytes; more is BodyTooLargeError, before it is read.
    """

    def __init__(self, *, max_head: int = 1 << 20, max_body: int) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._buffer = bytearray()
        self._scanned = 0
        self._head: _Head | None = None
        self._chunks = bytearray()
        self._in_trailer = False
        self.wants_continue = False
        """Set when a client waits for CONTINUE before it sends a body; whoever sends it sets it back."""

    @property
    def is_within_request(self) -> bool:
        """Whether a request has begun and is not complete."""
        return self._head is not None or bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._buffer += data

    def next_request(self) -> HttpRequest | None:
        """Return the oldest complete request, or None until feed() adds more.

        Raises:
            HttpError: the bytes are no request; do not call again.
        """
        head = self._head
        if head is None:
            head = self._read_head()
            if head is None:
                return None
            self._head = head
        body = self._read_chunks(head) if head.headers.is_chunked else self._read_body(head.headers.length)
        if body is None:
            return None
        self._head = None
        self.wants_continue = False
        return HttpRequest(head.method, head.target, body, head.headers.keep_alive)

    def _read_head(self) -> _Head | None:
        buffer = self._buffer
        # Blank lines before a request are to be ignored, RFC 9112 section 2.2.
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
        if max(end, self._scanned) > self._max_head:
            raise HttpError(431, f"head is over the limit of {self._max_head} bytes")
        if end < 0:
            return None
        line, _, block = bytes(buffer[:end]).partition(b"\r\n")
        del buffer[: end + 4]
        self._scanned = 0
        return self._parse_head(line, block)

    def _parse_head(self, line: bytes, block: bytes) -> _Head:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise HttpError(400, f"request line {line[:60]!r} is not HTTP/1.1")
        method, target, minor = match.groups()
        if not target.startswith(b"/"):
            absolute = _ABSOLUTE.match(target)
            if absolute is not None:
                target = target[absolute.end() :]
        # A publisher sends the same headers again and again.
        parse = _parse_headers if len(block) <= _MAX_REMEMBERED else _parse_headers.__wrapped__
        headers = parse(block, minor == b"1")
        head = _Head(method.decode(), target.decode("utf-8", "surrogateescape"), headers)
        if headers.length > self._max_body:
            raise BodyTooLargeError(head.method, head.target, headers.length, self._max_body)
        self.wants_continue = headers.expects_continue
        return head

    def _read_body(self, length: int) -> bytes | None:
        if not length:
            return b""
        buffer = self._buffer
        if len(buffer) < length:
            return None
        body = bytes(buffer[:length])
        del buffer[:length]
        return body

    def _read_chunks(self, head: _Head) -> bytes | None:
        buffer = self._buffer
        while not self._in_trailer:
            end = buffer.find(b"\r\n", 0, _MAX_CHUNK_LINE)
            if end < 0:
                if len(buffer) >= _MAX_CHUNK_LINE:
                    raise HttpError(400, "chunk size line is too long")
                return None
            match = _CHUNK_SIZE.fullmatch(buffer, 0, end)
            if match is None:
                raise HttpError(400, f"chunk size is {bytes(buffer[: min(end, 40)])!r}")
            size = int(match[1], 16)
            if not size:
                del buffer[: end + 2]
                self._in_trailer = True
                break
            total = len(self._chunks) + size
            if total > self._max_body:
                raise BodyTooLargeError(head.method, head.target, total, self._max_body)
            start, stop = end + 2, end + 2 + size
            if len(buffer) < stop + 2:
                return None
            if buffer[stop : stop + 2] != b"\r\n":
                raise HttpError(400, "chunk is longer than its size says")
            self._chunks += buffer[start:stop]
            del buffer[: stop + 2]
        return self._end_chunks()

    def _end_chunks(self) -> bytes | None:
        # Trailers say nothing that is of use here; they end with a blank line.
        buffer = self._buffer
        end = -2 if buffer.startswith(b"\r\n") else buffer.find(b"\r\n\r\n", 0, _MAX_TRAILER)
        if end == -1:
            if len(buffer) >= _MAX_TRAILER:
                raise HttpError(431, "trailers are too long")
            return None
        del buffer[: end + 4]
        body = bytes(self._chunks)
        self._chunks.clear()
        self._in_trailer = False
        return body


@lru_cache(maxsize=512)
def _parse_headers(block: bytes, is_1_1: bool) -> _Headers:
    headers: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n") if block else ():
        name, colon, value = line.partition(b":")
        if not colon or not _HEADER_NAME.fullmatch(name):
            raise HttpError(400, f"header {line[:60]!r} is not `name: value`")
        name = name.lower()
        if name in _READ_HEADERS:
            value = value.strip(b" \t")
            known = headers.setdefault(name, value)
            if known != value:
                if name in _SINGLE_HEADERS:
                    raise HttpError(400, f"two different {name.decode()} headers")
                headers[name] = known + b"," + value
    if is_1_1 and b"host" not in headers:
        raise HttpError(400, "no Host header")
    options = headers.get(b"connection", b"").lower()
    keep_alive = b"close" not in options if is_1_1 else b"keep-alive" in options
    expect = headers.get(b"expect", b"").lower()
    if expect not in (b"", b"100-continue"):
        raise HttpError(417, f"expectation {expect[:40]!r} is not known")
    length, is_chunked = _body_framing(headers.get(b"content-length"), headers.get(b"transfer-encoding"))
    return _Headers(keep_alive, length, is_chunked, bool(expect))


def _body_framing(length: bytes | None, coding: bytes | None) -> tuple[int, bool]:
    if coding is not None:
        if length is not None:
            raise HttpError(400, "Content-Length beside Transfer-Encoding")
        if coding.lower() != b"chunked":
            raise HttpError(501, f"transfer encoding {coding[:40]!r} is not known")
        return 0, True
    if length is None:
        return 0, False
    if not _LENGTH.fullmatch(length):
        raise HttpError(400, f"Content-Length is {length[:40]!r}")
    return int(length), False


def serialize_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """Return a status line and headers, the blank line included; header values must be one line of ASCII."""
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("ascii")
