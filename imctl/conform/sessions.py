"""A key that connects twice, a client that goes, a client that does not read, and counts across the cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from imctl.conform.case import Case, SilentError
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from protocol.operation import Operation

__all__ = ["CASES"]

_BEAT = Operation.HEARTBEAT
_COUNTED_S = 45.0
"""A count may be so old: comets report each 10 s, logic adds up each 10 s, and asks a reply for the sum."""


def _replaced(first: str, second: str) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        old = await lab.login(first, room_id=lab.room("r"))
        new = await lab.login(second, room_id=lab.room("r"))
        return f"old: {lab.seen(await old.to_end())}; new: {lab.seen(await new.ask(frame(_BEAT)))}"

    return run


async def _replaced_then_push(lab: Lab) -> str:
    old = await lab.login("tcp", accepts=(1000,))
    new = await lab.login("tcp", accepts=(1000,), room_id=lab.room("r"))
    await old.to_end()
    await lab.pause(0.5)  # goim's comet tells logic of the old connection's end about now
    await lab.push("keys", b"x", operation=1000, keys=lab.key("a"))
    await lab.push("room", b"last", operation=1001, type=f"conform{lab.tag}", room="r")
    seen: list[str] = []
    while not seen or "last" not in seen[-1]:
        seen += await new.take(wait_s=10.0)
        if new.closed:
            break
    return lab.seen(seen)


async def _key_free_again(lab: Lab) -> str:
    first = await lab.login("tcp", accepts=(1000,))
    await first.close()
    await lab.pause(0.5)
    again = await lab.login("tcp", accepts=(1000,))
    await lab.push("keys", b"x", operation=1000, keys=lab.key("a"))
    return lab.seen(await again.take(wait_s=10.0))


async def _until_counted(lab: Lab, look: Callable[[], Awaitable[Any]], wanted: Any) -> str:
    """Ask until the answer is what is wanted; the text is the last answer."""
    ends_s = time.monotonic() + _COUNTED_S
    while True:
        found = await look()
        if found == wanted or time.monotonic() > ends_s:
            return lab.plain(json.dumps(found, ensure_ascii=False, sort_keys=True))
        await lab.pause(0.5)


async def _cluster_count(lab: Lab) -> str:
    clients = [await lab.login("tcp", name, room_id=lab.room("r")) for name in "abc"]

    async def look() -> str:
        return lab.seen(await clients[0].ask(frame(_BEAT)))

    return await _until_counted(lab, look, "op 3 seq 2 online 3")


async def _online_room(lab: Lab) -> str:
    for name in "ab":
        await lab.login("tcp", name, room_id=lab.room("r"))

    async def look() -> Any:
        answer = await lab.http("GET", f"/goim/online/room?type=conform{lab.tag}&rooms=r&rooms=empty")
        return (answer.json() or {}).get("data")

    return await _until_counted(lab, look, {"r": 2, "empty": 0})


async def _online_top(lab: Lab) -> str:
    for name, room in (("a", "big/part"), ("b", "big/part"), ("c", "small")):
        await lab.login("tcp", name, room_id=lab.room(room))

    async def look() -> Any:
        answer = await lab.http("GET", f"/goim/online/top?type=conform{lab.tag}&limit=5")
        return (answer.json() or {}).get("data")

    return await _until_counted(lab, look, [{"room_id": "big", "count": 2}, {"room_id": "small", "count": 1}])


async def _does_not_read(lab: Lab) -> str:
    """Push to a client that does not read beside one that does, far beyond what socket buffers hold."""
    from imctl.link.methods import PUSH_MSG
    from protocol.pb import comet, protocol

    # Its reading stops at the limit of its buffer.
    await lab.login("tcp", "slow", accepts=(1000,))
    reads = await lab.login("tcp", "reads", accepts=(1000,))
    request = comet.PushMsgReq(
        keys=[lab.key("slow"), lab.key("reads")],
        proto=protocol.Proto(ver=1, op=1000, body=b"x" * 60_000),
        protoOp=1000,
    )
    count = 0
    for _ in range(60):
        status, _reply = await lab.call(PUSH_MSG, request, part="comet_grpc")
        if status != "OK":
            return f"{status} after some calls"
        try:
            count += len(await reads.take())
        except SilentError:
            break
    return f"60 calls OK, the one that reads got {count}"


CASES: list[Case] = [
    Case(
        "tcp-sessions.same-key",
        "tcp-sessions",
        "a key that connects again: the older connection is closed, the newer goes on",
        "tcp-sessions.jsonl: same-key-twice; internal/comet/bucket.go Put",
        ("tcp",),
        "old: closed; new: op 3 seq 2 online 1",
        _replaced("tcp", "tcp"),
    ),
    Case(
        "ws-sessions.same-key",
        "ws-sessions",
        "so over WebSocket",
        "ws-sessions.jsonl: same-key-twice",
        ("ws",),
        "old: closed; new: op 3 seq 2 online 1",
        _replaced("ws", "ws"),
    ),
    Case(
        "ws-sessions.same-key-tcp",
        "ws-sessions",
        "and from TCP to WebSocket",
        "ws-sessions.jsonl: tcp-and-ws-same-key",
        ("ws", "tcp"),
        "old: closed; new: op 3 seq 2 online 1",
        _replaced("tcp", "ws"),
    ),
    Case(
        "tcp-sessions.same-key-push",
        "tcp-sessions",
        "the newer connection of a key is reached by it",
        "tcp-sessions.jsonl: same-key-twice; internal/logic/dao/redis.go DelMapping",
        ("tcp", "http"),
        "op 1000 seq 0 'x'; op 1001 seq 0 'last'",
        _replaced_then_push,
        {"op 1001 seq 0 'last'": "the end of the older connection takes the newer one's session with it, as in goim"},
        limit_s=30.0,
    ),
    Case(
        "tcp-sessions.reconnect",
        "tcp-sessions",
        "a key can connect again after it has gone",
        "grpc.jsonl: client connection ended; internal/comet/server_tcp.go",
        ("tcp", "http"),
        "op 1000 seq 0 'x'",
        _key_free_again,
        limit_s=30.0,
    ),
    Case(
        "tcp-sessions.does-not-read",
        "tcp-sessions",
        "a client that does not read holds up no other",
        "grpc.jsonl: PushMsg keys [g-slow, g-1]; internal/comet/channel.go Push",
        ("tcp", "comet_grpc"),
        "60 calls OK, the one that reads got 60",
        _does_not_read,
        {
            "UNKNOWN signal channel full, msg dropped after some calls": (
                "goim ends the call at the first client whose queue is full, and skips the rest"
            )
        },
        limit_s=40.0,
    ),
    Case(
        "tcp-sessions.cluster-count",
        "tcp-sessions",
        "a heartbeat is told all members of the room, once logic has added them up",
        "tcp-sessions.jsonl: heartbeat-count-before-and-after; internal/comet/server.go onlineproc",
        ("tcp", "grpc"),
        '"op 3 seq 2 online 3"',
        _cluster_count,
        slow=True,
        limit_s=_COUNTED_S + 15,
    ),
    Case(
        "tcp-sessions.online-room",
        "tcp-sessions",
        "online/room counts the members of rooms, none in a room that is not",
        "logic-http.jsonl: online/room several; internal/logic/online.go",
        ("tcp", "http"),
        '{"empty": 0, "r": 2}',
        _online_room,
        slow=True,
        limit_s=_COUNTED_S + 15,
    ),
    Case(
        "tcp-sessions.online-top",
        "tcp-sessions",
        "online/top lists rooms by members, a room by what stands where a URL has its host",
        "logic-http.jsonl: online/top test (room id a/b); internal/logic/online.go OnlineTop",
        ("tcp", "http"),
        '[{"count": 2, "room_id": "big"}, {"count": 1, "room_id": "small"}]',
        _online_top,
        slow=True,
        limit_s=_COUNTED_S + 15,
    ),
]
