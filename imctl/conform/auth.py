"""Auth: which tokens are taken, and what holds before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imctl.conform.case import Case
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from protocol.bodies import AuthToken
from protocol.operation import Operation

__all__ = ["CASES", "TOKENS", "Token"]

_FILE = "internal/logic/conn.go"
_REFUSED = "closed"
_TAKEN = "op 8 seq 1"


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what becomes of it.

    Args:
        name: Of the recording in tcp-sessions, without `auth-`.
        body: Of op 7; MID, KEY and ROOM are replaced by names of the case.
        reply: What logic's Connect replies, in the words of `logic-grpc` cases; "" when it is refused.
        ws: Name of the recording in ws-sessions, "" for none.
    """

    name: str
    shows: str
    body: bytes
    reply: str = ""
    ws: str = ""

    def fill(self, lab: Lab) -> bytes:
        """Return the body with the names of a case."""
        filled = self.body.replace(b"MID", str(lab.mid(0)).encode())
        return filled.replace(b"KEY", lab.key("a").encode()).replace(b"ROOM", lab.room("a").encode())


TOKENS: tuple[Token, ...] = (
    Token(
        "ok-key",
        "a full token",
        b'{"mid":MID,"key":"KEY","room_id":"ROOM","platform":"web","accepts":[1000,1001]}',
        "mid MID0, key conform-a, room conform://a, accepts 1000 1001",
        ws="upgrade-auth-ok",
    ),
    Token(
        "ok-empty-key",
        "no key: logic makes one",
        b'{"mid":MID,"key":"","accepts":[1000]}',
        "mid MID0, key UUID, accepts 1000",
        ws="auth-empty-key",
    ),
    Token("empty-object", "an empty object", b"{}", "mid 0, key UUID"),
    Token("json-null", "null", b"null", "mid 0, key UUID"),
    Token(
        "unknown-fields",
        "names that nobody knows",
        b'{"mid":MID,"key":"KEY","foo":{"a":[1]},"accepts":[1]}',
        "mid MID0, key conform-a, accepts 1",
    ),
    Token("mid-null", "null leaves a default", b'{"mid":null,"key":"KEY"}', "mid 0, key conform-a"),
    Token(
        "mid-zero",
        "mid 0 is anonymous",
        b'{"mid":0,"key":"KEY","room_id":"ROOM","accepts":[1000]}',
        "mid 0, key conform-a, room conform://a, accepts 1000",
    ),
    Token("mid-negative", "a negative mid is anonymous too", b'{"mid":-3,"key":"KEY"}', "mid -3, key conform-a"),
    Token("accepts-null", "accepts may be null", b'{"mid":MID,"key":"KEY","accepts":null}', "mid MID0, key conform-a"),
    Token(
        "case-insensitive",
        "names match in any case",
        b'{"Mid":MID,"Key":"KEY","Room_ID":"ROOM","ACCEPTS":[1]}',
        "mid MID0, key conform-a, room conform://a, accepts 1",
    ),
    Token(
        "duplicate-names",
        "the last of several wins",
        b'{"mid":1,"mid":MID,"key":"no","key":"KEY"}',
        "mid MID0, key conform-a",
    ),
    Token("trailing-space", "white space around", b' \r\n{"mid":MID,"key":"KEY"} \n', "mid MID0, key conform-a"),
    Token(
        "invalid-utf8",
        "bytes that are not UTF-8 become U+FFFD",
        b'{"mid":MID,"key":"KEY\xff"}',
        "mid MID0, key conform-a\ufffd",
    ),
    Token(
        "unicode-key",
        "a key need not be ASCII",
        '{"mid":MID,"key":"KEYключ-é-键"}'.encode(),
        "mid MID0, key conform-aключ-é-键",
    ),
    Token(
        "escaped-key",
        "escapes, half a surrogate pair too",
        b'{"mid":MID,"key":"KEY\\u00e9\\ud83d\\ude00\\ud800"}',
        "mid MID0, key conform-aé😀\ufffd",
    ),
    Token(
        "room-no-scheme",
        "a room without a scheme",
        b'{"mid":MID,"key":"KEY","room_id":"KEY"}',
        "mid MID0, key conform-a, room conform-a",
    ),
    Token("bad-json", "no JSON", b"{bad", ws="auth-bad-json"),
    Token("empty-body", "nothing", b"", ws="auth-empty"),
    Token("json-array", "an array", b"[]"),
    Token("json-number", "a number", b"5"),
    Token("mid-string", "a mid that is a string", b'{"mid":"1","key":"KEY"}', ws="auth-mid-string"),
    Token("mid-float", "a mid of 1.0", b'{"mid":1.0,"key":"KEY"}'),
    Token("mid-exp", "a mid of 1e2", b'{"mid":1e2,"key":"KEY"}'),
    Token("mid-too-big", "a mid over int64", b'{"mid":9223372036854775808,"key":"KEY"}'),
    Token("accepts-int64", "an operation over int32", b'{"mid":5,"key":"KEY","accepts":[2147483648]}'),
    Token("accepts-string", "accepts that are a string", b'{"mid":5,"key":"KEY","accepts":"1000"}'),
    Token("trailing-garbage", "something behind the object", b'{"mid":79,"key":"KEY"}x'),
    Token("key-number", "a key that is a number", b'{"mid":79,"key":5}'),
)


def _token_case(token: Token, part: str) -> Case:
    async def run(lab: Lab) -> str:
        connection = await lab.connect(part)
        if connection.is_ws:
            await connection.upgrade()
        connection.request(Operation.AUTH, token.fill(lab), seq=1)
        return lab.seen(await connection.take())

    recording = token.ws if part == "ws" else f"auth-{token.name}"
    return Case(
        f"{part}-auth.{token.name}",
        f"{part}-auth",
        f"token: {token.shows}: {'taken' if token.reply else 'closed without a word'}",
        f"{part}-sessions.jsonl: {recording}; {_FILE}",
        (part,),
        _TAKEN if token.reply else _REFUSED,
        run,
    )


async def _op_before_auth(lab: Lab, part: str) -> str:
    connection = await lab.connect(part)
    if connection.is_ws:
        await connection.upgrade()
    for op, body in ((2, b""), (1000, b"hi"), (12, b"live://q"), (8, b"")):
        connection.request(op, body, seq=op)
    connection.request(Operation.AUTH, AuthToken(mid=lab.mid(0), key=lab.key("a")).serialize(), seq=5)
    return lab.seen(await connection.take() + await connection.ask(frame(Operation.HEARTBEAT, seq=6)))


async def _with_the_next(lab: Lab, part: str) -> str:
    connection = await lab.connect(part)
    if connection.is_ws:
        await connection.upgrade()
    token = AuthToken(mid=lab.mid(0), key=lab.key("a")).serialize()
    connection.send(frame(Operation.AUTH, token, seq=1), frame(1000, b"x", seq=2))
    return lab.seen(await connection.settle())


def _both(name: str, shows: str, recording: str, expected: str, run: Callable[[Lab, str], Any]) -> list[Case]:
    def bound(part: str) -> Callable[[Lab], Any]:
        return lambda lab: run(lab, part)

    return [
        Case(
            f"{part}-auth.{name}",
            f"{part}-auth",
            shows,
            f"{part}-sessions.jsonl: {recording}",
            (part,),
            expected,
            bound(part),
        )
        for part in ("tcp", "ws")
    ]


CASES: list[Case] = [
    *(_token_case(token, "tcp") for token in TOKENS),
    *(_token_case(token, "ws") for token in TOKENS if token.ws),
    *_both(
        "op-before-auth",
        "frames before auth are swallowed, and auth then works",
        "op-before-auth",
        "op 8 seq 5; op 3 seq 6 online 0",
        _op_before_auth,
    ),
    *_both(
        "op-with-auth",
        "a frame in the same write as auth is answered after it",
        "several-frames-one-write",
        "op 8 seq 1; op 1000 seq 2",
        _with_the_next,
    ),
]
