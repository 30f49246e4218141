"""The server's half of HTTP/1.1, as far as an API needs it: bytes cut anywhere -> requests.

llhttp parses, as strictly as it does by default: what two readers could
understand differently, and so could hide one request in another, is refused.
Here are the limits, and the rules for headers that llhttp leaves to its user.
Limits are those of Go's net/http.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

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

_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)


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
        target: Path and query as sent.
        body: All of it.
        keep_alive: Whether the client may send another on this connection.
    """

    method: str
    target: str
    body: bytes
    keep_alive: bool


class RequestDecoder:
    """Turn what a client sent, cut anywhere, into requests.

    Args:
        max_head: Largest request line and headers, in bytes, and as much of
            chunk sizes and trailers in a row; more is status 431. What came
            in the feed() in which a head began or ended does not count.
        max_body: Largest body, in bytes; more is BodyTooLargeError. A body
            that comes with its length is refused before it is read.
    """

    def __init__(self, *, max_head: int = 1 << 20, max_body: int) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._parser = HttpRequestParser(_Events(self))
        self._complete: deque[HttpRequest] = deque()
        self._error: HttpError | None = None

