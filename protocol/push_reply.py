"""The reply envelope of goim's HTTP push API: {"code", "message", "data"} as JSON.

The HTTP status is 200 also when `code` says that something failed, except for
parameters that cannot be read (400). Source: goim internal/logic/http/result.go.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from protocol.errors import RemoteError
from protocol.golang import dump_json

__all__ = [
    "BAD_REQUEST",
    "CONTENT_TYPE_JSON",
    "CONTENT_TYPE_TEXT",
    "NOT_FOUND_TEXT",
    "OK",
    "OK_BODY",
    "SERVER_ERROR",
    "Reply",
    "ReplyError",
    "dump_reply",
    "parse_reply",
]

OK = 0
BAD_REQUEST = -400
SERVER_ERROR = -500

CONTENT_TYPE_JSON = "application/json; charset=utf-8"
CONTENT_TYPE_TEXT = "text/plain; charset=utf-8"
"""What comes with status 400: JSON under a text type, a quirk of gin clients may know."""
NOT_FOUND_TEXT = "404 page not found"
"""Body of a 404, whose content type is a bare `text/plain`."""
OK_BODY = b'{"code":0,"message":""}'


class ReplyError(RemoteError):
    """What came back is not an envelope."""

    reason = "reply"


@dataclass(frozen=True, slots=True)
class Reply:
    """The envelope of a reply; `code` is 0 when it went well.

    Args:
        code: OK, BAD_REQUEST, SERVER_ERROR.
        message: Free text, "" when it went well.
        data: What was asked for, as json reads it; None when there is none.
    """

    code: int
    message: str
    data: Any = None


def dump_reply(code: int, message: str, data: Any = None, *, has_data: bool = False) -> bytes:
    """Return the JSON of an envelope; `data` is there when it is not None, or when has_data says so.

    Any: what json takes.
    """
    reply = {"code": code, "message": message}
    if has_data or data is not None:
        reply["data"] = data
    return dump_json(reply)


def parse_reply(body: bytes) -> Reply:
    """Return the envelope of a reply's body.

    Raises:
        ReplyError: it is not one; perhaps the server is no goim logic.
    """
    if body == OK_BODY:
        return Reply(OK, "")
    try:
        value = json.loads(body)
        code, message = value["code"], value["message"]
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise ReplyError(f"reply is not goim's envelope: {body[:80]!r}") from exc
    if type(code) is not int or type(message) is not str:
        raise ReplyError(f"reply is not goim's envelope: {body[:80]!r}")
    return Reply(code, message, value.get("data"))
