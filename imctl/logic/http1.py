"""The server's half of HTTP/1.1, as far as an API needs it: bytes cut anywhere -> requests.

llhttp parses, as strictly as it does by default: what two readers could
understand differently, and so could hide one request in another, is refused,
and so are methods it does not know and bytes over 127 in a target. Here are
the limits, those of Go's net/http, and the rules for headers that llhttp
leaves to its user.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from protocol.errors import RemoteError
from protocol.trace import TRACE_HEADER

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

_HIGH = re.compile(rb"[\x80-\xff]")
_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)
_TRACE = TRACE_HEADER.lower().encode()
_READ_HEADERS = frozenset({b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", _TRACE})


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
        target: Path and query as sent, so ASCII.
        body: All of it.
        keep_alive: Whether the client may send another on this connection.
        trace: Value of TRACE_HEADER as sent; empty without one.
    """

    method: str
    target: str
    body: bytes
    keep_alive: bool
    trace: str = ""


class RequestDecoder:
    """Turn what a client sent, cut anywhere, into requests.

    Args:
        max_head: Largest request line and headers, in bytes; more is status
            431, and so are as many bytes of chunk sizes or trailers in a row.
            What came in the same feed() as the beginning does not count.
        max_body: Largest body, in bytes; more is BodyTooLargeError, before it
            is read where its length is sent ahead.
    """

    def __init__(self, *, max_head: int = 1 << 20, max_body: int) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._parser = self._new_parser()
        self._complete: deque[HttpRequest] = deque()
        self._error: HttpError | None = None
        self._has_begun = False
        self._has_head = False
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        # Since a request began or had a piece of its body.
        self._bytes_without_body = 0
        self.wants_continue = False
        """Set when a client waits for CONTINUE before it sends a body; whoever sends it sets it back."""

    @property
    def is_within_request(self) -> bool:
        """Whether a request has begun, and is not complete or not taken."""
        return self._has_begun or bool(self._complete)

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection; what comes after an error is thrown away."""
        if self._error is not None:
            return
        self._bytes_without_body += len(data)
        if not self._has_head and not data.isascii():
            data = self._escape_head(data)
        try:
            self._parse(data)
        except HttpParserError as exc:
            # What an on_ method raises comes as the context of llhttp's error.
            cause = exc.__context__
            error = cause if isinstance(cause, HttpError) else HttpError(400, str(exc))
            self._error = error.with_traceback(None)
        else:
            if self._has_begun and self._bytes_without_body > self._max_head:
                self._error = HttpError(431, f"head is over the limit of {self._max_head} bytes")

    def _escape_head(self, data: bytes) -> bytes:
        """Return data with the bytes over 127 of its head as %XX.

        curl sends `room=直播` as it is typed, and Go's server takes it, but
        llhttp does not. A request pipelined behind another in one read is
        not looked at.
        """
        if self._has_begun and data[:3].find(b"\n") >= 0:
            # The end of the head may lie across two reads: what follows a line end here may be a body.
            return data
        head, end, rest = data.partition(b"\r\n\r\n")
        return _HIGH.sub(lambda byte: b"%%%02X" % byte[0][0], head) + end + rest

    def next_request(self) -> HttpRequest | None:
        """Return the oldest complete request, or None until feed() adds more.

        Raises:
            HttpError: the bytes are no request; do not call again.
        """
        if self._complete:
            return self._complete.popleft()
        if self._error is not None:
            raise self._error
        return None

    def _new_parser(self) -> HttpRequestParser:
        parser = HttpRequestParser(self)
        # What follows the last request is thrown away, not refused.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while True:
            try:
                self._parser.feed_data(rest)
                return
            except HttpParserUpgrade as exc:
                # Nothing is upgraded to here, which HTTP allows; Java's client offers h2c in its first request.
                # llhttp leaves such a request after its head, so another is given the head without the offer.
                rest = memoryview(rest)[exc.args[0] :]
                version = self._parser.get_http_version().encode()
                lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._target, version)]
                lines += [b"%b: %b" % header for header in self._headers.items()]
                self._parser = self._new_parser()
                self._parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    # Called from within the parser's feed_data().

    def on_message_begin(self) -> None:
        self._has_begun = True
        self._has_head = False
        self._target = b""
        self._headers = {}
        self._bytes_without_body = 0

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        # Trailers say nothing that is of use.
        if name in _READ_HEADERS and not self._has_head:
            known = self._headers.get(name)
            if known is None:
                self._headers[name] = value
            elif name == b"connection":
                self._headers[name] = known + b"," + value
            else:
                raise HttpError(400, f"two {name.decode()} headers")

    def on_headers_complete(self) -> None:
        self._has_head = True
        headers = self._headers
        version = self._parser.get_http_version()
        if version != "1.1":
            if version != "1.0":
                raise HttpError(400, f"HTTP/{version} is not HTTP/1.1")
        elif b"host" not in headers:
            raise HttpError(400, "no Host header")
        if self._parser.get_method() == b"CONNECT":
            raise HttpError(501, "this is no proxy")
        coding = headers.get(b"transfer-encoding", b"chunked")
        if coding.strip().lower() != b"chunked":
            raise HttpError(501, f"transfer encoding {coding[:40]!r} is not known")
        expect = headers.get(b"expect")
        if expect is not None:
            if expect.strip().lower() != b"100-continue":
                raise HttpError(417, f"expectation {expect[:40]!r} is not known")
            self.wants_continue = True
        self._check_size(int(headers.get(b"content-length", 0)))

    def on_body(self, piece: bytes) -> None:
        self._bytes_without_body = 0
        self._body += piece
        self._check_size(len(self._body))

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return
        method, target = self._method_and_target()
        trace = self._headers.get(_TRACE, b"").decode("latin-1")
        request = HttpRequest(method, target, bytes(self._body), self._parser.should_keep_alive(), trace)
        self._complete.append(request)
        self._body.clear()
        self._has_begun = self._has_head = self.wants_continue = False

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise BodyTooLargeError(*self._method_and_target(), size, self._max_body)

    def _method_and_target(self) -> tuple[str, str]:
        method, target = self._parser.get_method().decode("ascii"), self._target.decode("ascii")
        return method, target if target.startswith("/") else _ABSOLUTE.sub("", target, 1)


def serialize_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """Return a status line and headers, the blank line included; header values must be one line of ASCII."""
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("ascii")
