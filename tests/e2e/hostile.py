"""Peers that mean harm: bytes near enough to each protocol to get past its first look, from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

from protocol.frame import pack_frame
from protocol.websocket import serialize_message
from tests.imctl.comet.raw import MASK, UPGRADE

__all__ = ["KINDS", "Attack", "attack_of"]

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CLIENT_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(243)

_INTS = (-(2**31), -1, 0, 1, 2, 15, 16, 17, 4112, 4113, 65536, 2**31 - 1)
_OPS = (-1, 0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 14, 16, 17, 1000, 2**31 - 1)
_TOKENS = (b"", b"{}", b"null", b"[", b'{"mid":"1"}', b'{"key":"\\ud800"}', b'{"accepts":[1e3]}', b'{"a":' * 700)


@dataclass(frozen=True, slots=True)
class Attack:
    """What one peer does.

    Args:
        pieces: What it sends, each in a write of its own.
        ending: How it leaves: `close`, `reset`, `half` (it shuts its writing side and reads to the end), or `read`.
        tls: It shakes hands first.
    """

    pieces: tuple[bytes, ...]
    ending: str
    tls: ssl.SSLContext | None = None

    async def run(self, address: str) -> None:
        """Do it; what the other side does about it is its affair."""
        host, port = address.rsplit(":", 1)
        # uvloop's transports have a RuntimeError for what is closed already.
        with contextlib.suppress(OSError, RuntimeError):
            reader, writer = await asyncio.open_connection(
                host, int(port), ssl=self.tls, server_hostname="127.0.0.1" if self.tls else None
            )
            with contextlib.suppress(OSError, RuntimeError):
                for piece in self.pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                if self.ending == "half" and self.tls is None:
                    writer.write_eof()
                    while await reader.read(65536):
                        pass
                elif self.ending == "read":
                    await reader.read(1)
            if self.ending == "reset" or self.tls is not None:
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _token(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return rng.choice(_TOKENS)
    token: dict[str, object] = {"mid": rng.choice((-1, 0, 1, 2, 3)), "key": f"hostile-{rng.randrange(6)}"}
    if rng.random() < 0.7:
        token["room_id"] = rng.choice(("live://1", "live://2", "", "x" * 3000))
    if rng.random() < 0.7:
        token["accepts"] = [rng.choice(_OPS) for _ in range(rng.randrange(4))]
    return json.dumps(token).encode()


def _frame(rng: random.Random) -> bytes:
    op = rng.choice(_OPS)
    body = rng.choice(
        (b"", b"live://1", b"live://2", b"1000,1001", b"1,,2", b"\xff\xfe", b"9" * 4000, rng.randbytes(40))
    )
    if op == 7 or rng.random() < 0.3:
        op, body = 7, _token(rng)
    if rng.random() < 0.15:
        return struct.pack(">ihhii", rng.choice(_INTS), rng.choice((16, 16, 16, 0, -1)), 1, op, -1) + body
    return pack_frame(op, body, ver=rng.choice((-1, 0, 1)), seq=rng.choice(_INTS))


def _tcp(rng: random.Random) -> bytes:
    return b"".join(_frame(rng) for _ in range(rng.randrange(1, 12)))


def _ws_frame(rng: random.Random) -> bytes:
    if rng.random() < 0.6:
        return serialize_message(_frame(rng), opcode=rng.choice((1, 2)), mask=MASK)
    payload = rng.choice((b"", b"x", rng.randbytes(125), rng.randbytes(200), _frame(rng)))
    first = rng.choice((0x80, 0, 0xC0, 0xA0, 0x90)) | rng.choice((0, 1, 2, 3, 8, 9, 10, 11, 15))
    size = rng.choice((len(payload), len(payload), 0, 5, 2**63, 2**64 - 1))
    head = bytes((first, rng.choice((0x80, 0)) | 127)) + struct.pack(">Q", size)
    return head + MASK + payload


def _ws(rng: random.Random) -> bytes:
    upgrade = UPGRADE
    if rng.random() < 0.3:
        cut = rng.randrange(len(upgrade))
        put = rng.choice((b"", b"\0", b"\r\n", b"\n\n", b" ", b"Cookie: \xff\r\n", rng.randbytes(9), b"a" * 40_000))
        upgrade = upgrade[:cut] + put + upgrade[cut + rng.randrange(3) :]
    return upgrade + b"".join(_ws_frame(rng) for _ in range(rng.randrange(12)))


_LINES = (
    b"Content-Length: 4",
    b"Content-Length: +4",
    b"Content-Length: 99999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding:\x0bchunked",
    b"Expect: 100-continue",
    b"Expect: miracles",
    b"Connection: close",
    b"Connection: Upgrade",
    b"Upgrade: h2c",
    b"Content-Type: application/json",
    b"Content-Type: application/x-www-form-urlencoded",
    b"Content-Encoding: gzip",
    b" folded",
    b": nameless",
    b"X: " + b"y" * 9000,
    b"X-Imctl-Trace: zz",
)
_BODIES = (
    b"",
    b"hi!!",
    b"4\r\nhi!!\r\n0\r\n\r\n",
    b"-1\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"[" * 3000,
    b"env=%zz&appid=&hostname=%ff&zone=&addrs=x&status=9&metadata={",
    b"GET /goim/online/total HTTP/1.1\r\nHost: x\r\n\r\n",
)


def _http(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    requests = []
    for _ in range(rng.randrange(1, 5)):
        lines = [b"Host: x", *rng.sample(_LINES, rng.randrange(4))]
        rng.shuffle(lines)
        method = rng.choice(("GET", "POST", "POST", "HEAD", "OPTIONS", "BREW"))
        version = rng.choice(("1.1", "1.1", "1.1", "1.0", "2.0"))
        query = rng.choice(
            ("", "?operation=1&mids=1", "?type=x&limit=-1", "?env=dev&appid=goim.comet&hostname=h", "?%zz=\0")
        )
        head = f"{method} {rng.choice(targets)}{query} HTTP/{version}\r\n".encode()
        requests.append(head + b"\r\n".join(lines) + b"\r\n\r\n" + rng.choice(_BODIES))
    return b"".join(requests)


def _logic(rng: random.Random) -> bytes:
    # None that a client of the room would get.
    return _http(rng, ("/goim/push/keys", "/goim/push/mids", "/goim/online/top", "/imctl/stats", "/", "*", "//"))


def _registry(rng: random.Random) -> bytes:
    paths = ("register", "renew", "cancel", "set", "fetch", "fetchs", "fetch/all", "poll", "polls", "nodes", "nope")
    return _http(rng, tuple(f"/discovery/{path}" for path in paths))


def _grpc(rng: random.Random) -> bytes:
    frames = []
    for _ in range(rng.randrange(6)):
        payload = rng.randbytes(rng.randrange(30))
        size = rng.choice((len(payload), len(payload), 0, 2**24 - 1))
        head = size.to_bytes(3, "big") + bytes((rng.randrange(12), rng.randrange(256)))
        frames.append(head + rng.choice((0, 1, 2, 3, 2**31)).to_bytes(4, "big") + payload)
    return H2_PREFACE[: rng.choice((3, 24, 24, 24))] + b"".join(frames)


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "tcp": _tcp,
    "ws": _ws,
    "tls": _tcp,
    "wss": _ws,
    "logic.http": _logic,
    "registry.http": _registry,
    "logic.grpc": _grpc,
    "grpc": _grpc,
}


def attack_of(kind: str, rng: random.Random, tls: ssl.SSLContext) -> Attack:
    """Return what a peer of a listener does; sometimes it takes the listener for another one."""
    shakes_hands = kind in ("tls", "wss") and rng.random() < 0.7
    speaks = kind if rng.random() < 0.85 else rng.choice(list(KINDS))
    data = CLIENT_HELLO[: rng.randrange(200)] if rng.random() < 0.05 else KINDS[speaks](rng)
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data) + 1)]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
    pieces = tuple(data[start:end] for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True))
    # Of gRPC, half-open for minutes is by its own rules.
    endings = ("close", "reset") if "grpc" in kind else ("close", "reset", "half")
    return Attack(pieces, rng.choice(endings), tls if shakes_hands else None)
