"""Pushes over logic's HTTP API to keys, users and everybody: who gets them, and in which bytes."""

from __future__ import annotations

from imctl.conform.case import Case
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from imctl.conform.push_kit import JSON, LAST, ONE, Push, Run, push_cases, pushed
from protocol.operation import Operation

__all__ = ["CASES"]


async def _keys(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    await lab.push("keys", JSON, operation=1000, keys=lab.key("a"))
    return await pushed(lab, client)


async def _keys_not_accepted(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    await lab.push("keys", JSON, operation=1001, keys=lab.key("a"))
    await lab.push("keys", b"last", operation=1000, keys=lab.key("a"))
    return await pushed(lab, client)


async def _keys_no_accepts(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"))
    await lab.push("keys", JSON, operation=1000, keys=lab.key("a"))
    await lab.push("room", b"last", operation=1000, type=f"conform{lab.tag}", room="r")
    return await pushed(lab, client)


async def _keys_several(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, accepts=(1000,)) for name in "ab"]
    await lab.push("keys", JSON, operation=1000, keys=[lab.key("a"), lab.key("nobody"), lab.key("b")])
    return await pushed(lab, *clients)


async def _keys_twice(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    await lab.push("keys", JSON, operation=1000, keys=[lab.key("a")] * 2)
    return await pushed(lab, client, count=2)


def _keys_op(op: int | None) -> Run:
    async def run(lab: Lab, part: str) -> str:
        client = await lab.login(part, accepts=(op or 0,))
        params = {} if op is None else {"operation": op}
        await lab.push("keys", JSON, keys=lab.key("a"), **params)
        return await pushed(lab, client)

    return run


async def _anonymous(lab: Lab, part: str) -> str:
    client = await lab.login(part, mid=0, accepts=(1000,))
    await lab.push("keys", JSON, operation=1000, keys=lab.key("a"))
    return await pushed(lab, client)


async def _mids_two_keys(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, accepts=(1000,)) for name in "ab"]
    await lab.push("mids", JSON, operation=1000, mids=lab.mid(0))
    return await pushed(lab, *clients)


async def _mids_several(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, mid=lab.mid(n), accepts=(1000,)) for n, name in enumerate("ab")]
    await lab.push("mids", JSON, operation=1000, mids=[lab.mid(0), lab.mid(1), lab.mid(9), lab.mid(0)])
    return await pushed(lab, *clients)


async def _mids_not_accepted(lab: Lab, part: str) -> str:
    takes = await lab.login(part, "a", accepts=(1000, 1001))
    other = await lab.login(part, "b", accepts=(1001,))
    await lab.push("mids", JSON, operation=1000, mids=lab.mid(0))
    await lab.push("mids", b"last", operation=1001, mids=lab.mid(0))
    # goim's job keeps no order between calls.
    texts = [lab.seen(sorted(await client.take(count))) for client, count in ((takes, 2), (other, 1))]
    return " | ".join(texts)


async def _subscribed(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    key = lab.key("a")
    await lab.push("keys", b"1", operation=7000, keys=key)
    await lab.push("keys", b"2", operation=1000, keys=key)
    seen = await client.take() + await lab.rest(client)
    await client.ask(frame(Operation.SUB, b"7000,7001"))
    await lab.push("keys", b"3", operation=7000, keys=key)
    seen += await client.take()
    await client.ask(frame(Operation.UNSUB, b"7000"))
    await lab.push("keys", b"4", operation=7000, keys=key)
    await lab.push("keys", b"5", operation=7001, keys=key)
    seen += await client.take() + await lab.rest(client)
    return lab.seen(seen)


async def _bad_list(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    key = lab.key("a")
    for body in (b"7000, 7001", b"7000,7001,"):
        await client.ask(frame(Operation.SUB, body))
    await lab.push("keys", b"1", operation=7000, keys=key)
    await lab.push("keys", b"last", operation=1000, keys=key)
    return await pushed(lab, client)


async def _all(lab: Lab, part: str) -> str:
    takes = await lab.login(part, "a", accepts=(lab.op(0),))
    nobody = await lab.login(part, "b", mid=0, room_id=lab.room("r"), accepts=(lab.op(1),))
    await lab.push("all", b'{"all":1}', operation=lab.op(0))
    return f"{await pushed(lab, takes)} | {lab.seen(await lab.rest(nobody))}"


async def _all_speed(lab: Lab, part: str) -> str:
    # Not a low speed: goim pauses by it for every connection there is, on a cluster in use for long.
    clients = [await lab.login(part, name, accepts=(lab.op(0),)) for name in "ab"]
    await lab.push("all", b'{"all":1}', operation=lab.op(0), speed=1_000_000)
    return await pushed(lab, *clients)


def _sized(body: bytes) -> Run:
    async def run(lab: Lab, part: str) -> str:
        client = await lab.login(part, room_id=lab.room("r"), accepts=(1000,))
        await lab.push("keys", body, operation=1000, keys=lab.key("a"))
        seen = await client.take()
        await lab.push("room", body, operation=1001, type=f"conform{lab.tag}", room="r")
        return lab.seen(seen + await client.take())

    return run


_DIGITS = b"0123456789" * 2000

_PUSHES = [
    Push("keys", "a push by key reaches a client that accepts the operation", "keys-accepted", [(ONE,)], _keys),
    Push("keys-not-accepted", "and no other", "keys-not-accepted", [(LAST,)], _keys_not_accepted),
    Push(
        "keys-no-accepts",
        "without accepts a client gets room messages only",
        "keys-no-accepts",
        [(LAST,)],
        _keys_no_accepts,
    ),
    Push("keys-several", "several keys, one of them unknown", "keys-several", [(ONE,), (ONE,)], _keys_several),
    Push("keys-twice", "a key given twice gets two copies", "keys-twice", [(ONE, ONE)], _keys_twice),
    Push(
        "keys-op-default",
        "without an operation it is 0",
        "keys-op-default-0",
        [("op 0 seq 0 '{\"test\":1}'",)],
        _keys_op(None),
    ),
    Push("keys-op-negative", "operation -5", "keys-negative-op", [("op -5 seq 0 '{\"test\":1}'",)], _keys_op(-5)),
    Push("keys-op-9", "operation 9, the container's own", "keys-op-9", [("op 9 seq 0 '{\"test\":1}'",)], _keys_op(9)),
    Push("keys-op-3", "operation 3 is no heartbeat reply", "keys-op-3", [("op 3 seq 0 '{\"test\":1}'",)], _keys_op(3)),
    Push("keys-anonymous", "a client with mid 0 is reached by its key", "keys-anonymous", [(ONE,)], _anonymous),
    Push("mids-two-keys", "a user's every connection gets it", "mids-two-keys", [(ONE,), (ONE,)], _mids_two_keys),
    Push(
        "mids-several",
        "several users, one offline, one given twice: one copy each",
        "mids-several",
        [(ONE,), (ONE,)],
        _mids_several,
    ),
    Push(
        "sub",
        "op 14 adds to what is accepted, op 16 takes away",
        "sub-then-push",
        [tuple(f"op {op} seq 0 '{n}'" for n, op in ((2, 1000), (3, 7000), (5, 7001)))],
        _subscribed,
    ),
    Push("sub-bad-list", "a bad element spoils the whole list", "sub-bad-list-then-push", [(LAST,)], _bad_list),
    Push(
        "all",
        "a push to all reaches who accepts the operation, in a room or not",
        "all-no-speed, all-not-accepted",
        [("op OP0 seq 0 '{\"all\":1}'",), ()],
        _all,
    ),
    Push("all-speed", "also with a speed", "all-speed-10", [("op OP0 seq 0 '{\"all\":1}'",)] * 2, _all_speed),
    Push(
        "body-0", "an empty body, by key and by room", "body-size-0", [("op 1000 seq 0", "op 1001 seq 0")], _sized(b"")
    ),
    Push("body-1", "a byte", "body-size-1", [("op 1000 seq 0 'x'", "op 1001 seq 0 'x'")], _sized(b"x")),
    Push(
        "body-4096",
        "4096 bytes",
        "body-size-4096",
        [tuple(f"op {op} seq 0 '0123456789012345'... 4096 bytes" for op in (1000, 1001))],
        _sized(_DIGITS[:4096]),
    ),
    Push(
        "body-20000",
        "more than a client may send",
        "body-size-20000",
        [tuple(f"op {op} seq 0 '0123456789012345'... 20000 bytes" for op in (1000, 1001))],
        _sized(_DIGITS),
    ),
    Push(
        "body-binary",
        "any bytes",
        "body-binary",
        [tuple(f"op {op} seq 0 0x00ff0a0d80" for op in (1000, 1001))],
        _sized(b"\0\xff\n\r\x80"),
    ),
    Push(
        "mids-not-accepted",
        "of a user's connections those that accept the operation",
        "mids-not-accepted",
        [(ONE, "op 1001 seq 0 'last'"), ("op 1001 seq 0 'last'",)],
        _mids_not_accepted,
    ),
]


async def _ws_bytes(lab: Lab) -> str:
    client = await lab.login("ws", accepts=(1000,))
    await lab.push("keys", JSON, operation=1000, keys=lab.key("a"))
    return await client.raw(44)


async def _tcp_bytes(lab: Lab) -> str:
    client = await lab.login("tcp", accepts=(1000,))
    await lab.push("keys", JSON, operation=1000, keys=lab.key("a"))
    return await client.raw(26)


_FRAME = "0000001a00100001000003e8000000007b2274657374223a317d"

CASES: list[Case] = [
    *push_cases(_PUSHES),
    Case(
        "tcp-push.bytes",
        "tcp-push",
        "over TCP comet writes what is in the container, and not the container",
        "tcp-pushes.jsonl: keys-accepted; api/protocol/protocol.go WriteTCP",
        ("tcp", "http"),
        _FRAME,
        _tcp_bytes,
    ),
    Case(
        "ws-push.bytes",
        "ws-push",
        "over WebSocket a push is one unmasked binary message with an op 9 frame around the frames",
        "ws-pushes.jsonl: keys-accepted; api/protocol/protocol.go WriteWebsocket",
        ("ws", "http"),
        f"822a0000002a001000010000000900000000{_FRAME}",
        _ws_bytes,
    ),
]
