"""What only time shows: the handshake and heartbeat limits, and pings on an idle gRPC connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from imctl.conform.case import Case, SilentError, SkipCase
from imctl.conform.connection import Connection, masked
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from imctl.conform.target import split_address
from protocol.bodies import AuthToken
from protocol.operation import Operation

__all__ = ["CASES"]

_HANDSHAKE_S = 30.0
"""Longest handshake timer that is waited for; goim has 5 s, its example file 8 s."""
_HEARTBEAT_S = 25.0
"""Longest heartbeat limit that is waited for; goim's example has 8 min."""
_APART_S = 1.5
_STEP_S = 0.5
_PING_S = 10.0  # goim's keep-alive
_PINGS = 5  # a Go server ends the connection at the fourth


async def _ended_s(lab: Lab, client: Connection, wait_s: float) -> float:
    """Return how long a connection lives from now; what came before its end must be nothing."""
    began_s = time.monotonic()
    seen = await client.to_end(wait_s=wait_s)
    if seen != ["closed"]:
        raise SilentError(client.part, f"got {lab.seen(seen)}", wait_s)
    return time.monotonic() - began_s


async def _chat(client: Connection, data: bytes, every_s: float) -> None:
    while not client.closed:
        client.write(data)
        await asyncio.sleep(every_s)


def _handshake(part: str) -> Callable[[Lab], Awaitable[str]]:
    """Compare a silent client with one that sends much, but no auth: the same timer ends both."""

    async def run(lab: Lab) -> str:
        silent, busy = await lab.connect(part), await lab.connect(part)
        if busy.is_ws:
            await lab.pause(2.0)  # the upgrade does not start the timer anew
            await busy.upgrade()
        beat = frame(Operation.HEARTBEAT)
        chat = asyncio.create_task(_chat(busy, masked(beat) if busy.is_ws else beat, _STEP_S), name="conform chat")
        try:
            lived_s = await asyncio.gather(_ended_s(lab, silent, _HANDSHAKE_S), _ended_s(lab, busy, _HANDSHAKE_S))
        except SilentError as exc:
            return f"{exc.seen or 'open'} after {exc.waited_s:g} s"
        finally:
            chat.cancel()
        apart_s = abs(lived_s[0] - lived_s[1])
        return "both closed at the same time" if apart_s < _APART_S else f"closed {apart_s:.1f} s apart"

    return run


def _heartbeat(part: str) -> Callable[[Lab], Awaitable[str]]:
    """Compare clients that send nothing, operations, and heartbeats: only heartbeats keep a client."""

    async def run(lab: Lab) -> str:
        answer = await lab.http("GET", "/goim/nodes/weighted")
        nodes = (answer.json() or {}).get("data") or {}
        limit_s = nodes.get("heartbeat", 0) * nodes.get("heartbeat_max", 0)
        if not 0 < limit_s <= _HEARTBEAT_S:
            raise SkipCase(f"the heartbeat limit is {limit_s:g} s; tried up to {_HEARTBEAT_S:g} s")
        return await _without_heartbeat(lab, part, limit_s)

    return run


async def _without_heartbeat(lab: Lab, part: str, limit_s: float) -> str:
    silent, busy, beats = [await lab.login(part, name) for name in "abc"]
    began_s = time.monotonic()
    found: dict[str, float] = {}

    async def watch(client: Connection, name: str) -> None:
        try:
            await client.to_end(wait_s=limit_s + _APART_S)
            found[name] = time.monotonic() - began_s
        except SilentError:
            pass

    chats = [
        asyncio.create_task(_chat(client, masked(data) if client.is_ws else data, limit_s / 8), name="conform chat")
        for client, data in ((busy, frame(1000)), (beats, frame(Operation.HEARTBEAT)))
    ]
    try:
        await asyncio.gather(watch(silent, "silent"), watch(busy, "busy"), watch(beats, "beating"))
    finally:
        for chat in chats:
            chat.cancel()
    early = [name for name, lived_s in found.items() if lived_s < limit_s - 0.5]
    return f"closed: {' '.join(sorted(found)) or 'none'}" + (f"; too early: {' '.join(early)}" if early else "")


# HTTP/2, as far as a ping goes: 9 bytes of head (length, type, flags, stream), then the payload.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
_PING = bytes.fromhex("0000080600000000000102030405060708")
_ACK = bytes.fromhex("000000040100000000")
_GOAWAY, _PING_TYPE, _SETTINGS = 7, 6, 4


def _idle_pings(part: str) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        host, port = split_address(lab.target.address(part) or "")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(_PREFACE)
        answered = 0
        try:
            for _ in range(_PINGS):
                await lab.pause(_PING_S)
                writer.write(_PING)
                async with asyncio.timeout(lab.wait_s):
                    while True:
                        head = await reader.readexactly(9)
                        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                        if head[3] == _SETTINGS and not head[4]:
                            writer.write(_ACK)
                        elif head[3] == _GOAWAY:
                            return f"GOAWAY {int.from_bytes(payload[4:8], 'big')}"
                        elif head[3] == _PING_TYPE and head[4] == 1:
                            break
                answered += 1
        except TimeoutError as exc:
            raise SilentError(part, f"{answered} pings answered", lab.wait_s) from exc
        except (asyncio.IncompleteReadError, ConnectionError):
            return f"closed after {answered} pings"
        finally:
            writer.close()
        return f"{answered} pings answered"

    return run


def _timer(case_id: str, shows: str, source: str, needs: tuple[str, ...], expected: str, run: object) -> Case:
    assert callable(run)
    return Case(case_id, case_id.partition(".")[0], shows, source, needs, expected, run, slow=True, limit_s=120.0)


_STRIKES = {
    "GOAWAY 11": "goim's servers end a connection that is pinged without a call, though its clients do just that"
}


def _pinged(case_id: str, source: str, part: str) -> Case:
    shows = f"an idle connection may be pinged every {_PING_S:g} s, as goim's clients do"
    run, expected = _idle_pings(part), f"{_PINGS} pings answered"
    return Case(
        case_id, case_id.partition(".")[0], shows, source, (part,), expected, run, _STRIKES, True, limit_s=120.0
    )


async def _auth_slowly(lab: Lab) -> str:
    """Auth in the last part of the time that is there in any goim, which the timer must not have ended."""
    client = await lab.connect("tcp")
    await lab.pause(3.0)
    client.request(Operation.AUTH, AuthToken(key=lab.key("a")).serialize(), seq=1)
    seen = await client.take()
    await lab.pause(6.0)  # beyond the handshake timer, which auth has ended
    return lab.seen(seen + await client.ask(frame(Operation.HEARTBEAT)))


CASES: list[Case] = [
    _timer(
        "tcp-timers.handshake",
        "a client that does not authenticate is closed, and other frames do not help",
        "tcp-sessions.jsonl: handshake-timeout-silent, handshake-timeout-chatty",
        ("tcp",),
        "both closed at the same time",
        _handshake("tcp"),
    ),
    _timer(
        "ws-timers.handshake",
        "one timer for upgrade and auth",
        "ws-sessions.jsonl: handshake-timeout-no-request, handshake-timeout-slow-upgrade",
        ("ws",),
        "both closed at the same time",
        _handshake("ws"),
    ),
    _timer(
        "tcp-timers.auth-late",
        "auth may come late, and ends the handshake timer",
        "internal/comet/server_tcp.go",
        ("tcp",),
        "op 8 seq 1; op 3 seq 2 online 0",
        _auth_slowly,
    ),
    _timer(
        "tcp-timers.heartbeat",
        "without op 2 a client is closed after heartbeat x heartbeatMax, whatever else it sends",
        "tcp-sessions.jsonl: heartbeat-timeout-silent, heartbeat-timeout-rearmed, heartbeat-timeout-other-ops",
        ("tcp", "http"),
        "closed: busy silent",
        _heartbeat("tcp"),
    ),
    _timer(
        "ws-timers.heartbeat",
        "so over WebSocket",
        "ws-sessions.jsonl: heartbeat-timeout-silent",
        ("ws", "http"),
        "closed: busy silent",
        _heartbeat("ws"),
    ),
    _pinged("logic-grpc.idle-pings", "internal/logic/grpc/server.go; grpc-go keepalive.EnforcementPolicy", "grpc"),
    _pinged("comet-grpc.idle-pings", "grpc.jsonl: Go job to Go comet, first connection, no calls", "comet_grpc"),
]
