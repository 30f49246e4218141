"""The WebSocket upgrade: what is taken, and that what is not is closed without a word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from imctl.conform.case import Case
from imctl.conform.connection import UPGRADE, masked
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from protocol.bodies import AuthToken
from protocol.operation import Operation

__all__ = ["CASES"]

_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_OK = (
    "HTTP/1.1 101 Switching Protocols | Upgrade: websocket | Connection: Upgrade | "
    f"Sec-WebSocket-Accept: {_ACCEPT}; op 8 seq 1"
)
_SHORT_KEY = _OK.replace(_ACCEPT, "zwKd5BnoWxQ6GxTxxSmBSHGHX9M=")
_CLOSED = "closed"
_FILE = "pkg/websocket/server.go Upgrade"


def _with(**changes: str | None) -> bytes:
    """Return the upgrade request with some lines changed: None leaves one out."""
    lines = {
        "line": "GET /sub HTTP/1.1",
        "Host": "127.0.0.1:3102",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Version": "13",
        **changes,
    }
    head = [lines.pop("line") or ""]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in lines.items() if value is not None]
    return "\r\n".join([*head, "", ""]).encode()


# name (of the recording, without `upgrade-`), what it shows, request, what comes
_TABLE: list[tuple[str, str, bytes, str]] = [
    ("auth-ok", "the answer is goim's to the byte", UPGRADE, _OK),
    ("wrong-path", "another path", _with(line="GET / HTTP/1.1"), _CLOSED),
    ("path-with-query", "a query", _with(line="GET /sub?x=1 HTTP/1.1"), _CLOSED),
    ("path-slash", "a slash behind", _with(line="GET /sub/ HTTP/1.1"), _CLOSED),
    ("absolute-uri", "an absolute target", _with(line="GET http://127.0.0.1/sub HTTP/1.1"), _CLOSED),
    ("method-post", "another method", _with(line="POST /sub HTTP/1.1"), _CLOSED),
    ("http-1.0", "HTTP/1.0 is taken", _with(line="GET /sub HTTP/1.0"), _OK),
    ("no-http-version", "an empty version is taken", _with(line="GET /sub "), _OK),
    ("no-upgrade", "no Upgrade", _with(Upgrade=None), _CLOSED),
    ("no-connection", "no Connection", _with(Connection=None), _CLOSED),
    ("no-key", "no key", _with(Sec_WebSocket_Key=None), _CLOSED),
    ("no-version", "no version", _with(Sec_WebSocket_Version=None), _CLOSED),
    ("no-host", "Host may be left out", _with(Host=None), _OK),
    ("version-8", "another version", _with(Sec_WebSocket_Version="8"), _CLOSED),
    ("upgrade-list", "a list in Upgrade", _with(Upgrade="h2c, websocket"), _CLOSED),
    ("upgrade-case", "Upgrade in any case", _with(Upgrade="WebSocket"), _OK),
    ("connection-list", "a list in Connection is taken", _with(Connection="keep-alive, Upgrade"), _OK),
    ("short-key", "a key of any length is taken", _with(Sec_WebSocket_Key="abc"), _SHORT_KEY),
    (
        "subprotocol-extension",
        "subprotocols, extensions, origin and cookie are not answered",
        _with(
            Sec_WebSocket_Protocol="goim, chat",
            Sec_WebSocket_Extensions="permessage-deflate",
            Origin="http://x.example",
            Cookie="SID=1",
        ),
        _OK,
    ),
    ("lf-only", "lines may end in LF alone", UPGRADE.replace(b"\r\n", b"\n"), _OK),
    (
        "lowercase-headers",
        "header names in any case",
        b"".join(
            line if number == 0 else line.partition(b":")[0].lower() + b":" + line.partition(b":")[2]
            for number, line in enumerate(UPGRADE.removesuffix(b"\r\n").splitlines(keepends=True))
        )
        + b"\r\n",
        _OK,
    ),
    ("header-no-colon", "a header without a colon", UPGRADE[:-2] + b"broken\r\n\r\n", _CLOSED),
    ("bad-request-line", "no request line", b"GARBAGE\r\n\r\n", _CLOSED),
    ("long-header", "a header longer than the read buffer is taken", _with(Long="x" * 9000), _OK),
    ("folded-spaces", "space around values", _with(Upgrade="  websocket  "), _OK),
]

_ACCEPTED: Mapping[str, Mapping[str, str]] = {
    "path-with-query": {_OK: "takes a query, where goim closes"},
}


def _sender(request: bytes, *, parts: int = 1) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        connection = await lab.connect("ws")
        cut = len(request) // parts
        for number in range(parts - 1):
            connection.write(request[number * cut : (number + 1) * cut])
            await lab.pause(0.1)
        connection.write(request[(parts - 1) * cut :])
        token = AuthToken(mid=lab.mid(0), key=lab.key("a")).serialize()
        head = await connection.read_head() if parts == 1 else ""
        if head and not head.startswith("HTTP/1.1 101 "):
            return head
        connection.write(masked(frame(Operation.AUTH, token, seq=1)))
        head = head or await connection.read_head()
        return f"{head}; {lab.seen(await connection.take())}" if not connection.closed else head

    return run


def _case(name: str, shows: str, request: bytes, expected: str) -> Case:
    ending = "" if expected != _CLOSED else ": closed without a word"
    return Case(
        f"ws-upgrade.{name}",
        "ws-upgrade",
        f"{shows}{ending}",
        f"ws-sessions.jsonl: upgrade-{name}; {_FILE}",
        ("ws",),
        expected,
        _sender(request),
        _ACCEPTED.get(name, {}),
    )


CASES: list[Case] = [
    *(_case(*row) for row in _TABLE),
    Case(
        "ws-upgrade.split",
        "ws-upgrade",
        "the request may come in pieces",
        "ws-sessions.jsonl: upgrade-split",
        ("ws",),
        _OK,
        _sender(UPGRADE, parts=3),
    ),
]
