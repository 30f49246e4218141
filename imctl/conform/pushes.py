"""Pushes over logic's HTTP API as they reach clients: who gets them, and in which bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from imctl.conform.case import Case
from imctl.conform.connection import Connection
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from protocol.operation import Operation

__all__ = ["CASES"]

_JSON = b'{"test":1}'
_LATE_S = 10.0
"""A push may take so long: a Go node that is new to the others is seen by them after up to that."""

_Run = Callable[[Lab, str], Awaitable[str]]


async def _pushed(lab: Lab, *clients: Connection, count: int = 1) -> str:
    """Return what each client got: at least `count` texts, and what came behind them."""
    first = [await client.take(count, wait_s=_LATE_S) for client in clients]
    rest = [await lab.rest(client) for client in clients]
    return " | ".join(lab.seen(one + two) for one, two in zip(first, rest, strict=True))


async def _keys(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    await lab.push("keys", _JSON, operation=1000, keys=lab.key("a"))
    return await _pushed(lab, client)


async def _keys_not_accepted(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    await lab.push("keys", _JSON, operation=1001, keys=lab.key("a"))
    await lab.push("keys", b"last", operation=1000, keys=lab.key("a"))
    return await _pushed(lab, client)


async def _keys_no_accepts(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"))
    await lab.push("keys", _JSON, operation=1000, keys=lab.key("a"))
    await lab.push("room", b"last", operation=1000, type=f"conform{lab.tag}", room="r")
    return await _pushed(lab, client)


async def _keys_several(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, accepts=(1000,)) for name in "ab"]
    await lab.push("keys", _JSON, operation=1000, keys=[lab.key("a"), lab.key("nobody"), lab.key("b")])
    return await _pushed(lab, *clients)


async def _keys_twice(lab: Lab, part: str) -> str:
    client = await lab.login(part, accepts=(1000,))
    await lab.push("keys", _JSON, operation=1000, keys=[lab.key("a")] * 2)
    return await _pushed(lab, client, count=2)


def _keys_op(op: int | None) -> _Run:
    async def run(lab: Lab, part: str) -> str:
        client = await lab.login(part, accepts=(op or 0,))
        params = {} if op is None else {"operation": op}
        await lab.push("keys", _JSON, keys=lab.key("a"), **params)
        return await _pushed(lab, client)

    return run


async def _anonymous(lab: Lab, part: str) -> str:
    client = await lab.login(part, mid=0, accepts=(1000,))
    await lab.push("keys", _JSON, operation=1000, keys=lab.key("a"))
    return await _pushed(lab, client)


async def _mids_two_keys(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, accepts=(1000,)) for name in "ab"]
    await lab.push("mids", _JSON, operation=1000, mids=lab.mid(0))
    return await _pushed(lab, *clients)


async def _mids_several(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, mid=lab.mid(n), accepts=(1000,)) for n, name in enumerate("ab")]
    await lab.push("mids", _JSON, operation=1000, mids=[lab.mid(0), lab.mid(1), lab.mid(9), lab.mid(0)])
    return await _pushed(lab, *clients)


async def _mids_not_accepted(lab: Lab, part: str) -> str:
    takes = await lab.login(part, "a", accepts=(1000, 1001))
    other = await lab.login(part, "b", accepts=(1001,))
    await lab.push("mids", _JSON, operation=1000, mids=lab.mid(0))
    await lab.push("mids", b"last", operation=1001, mids=lab.mid(0))
    # goim's job keeps no order between calls.
    texts = [lab.seen(sorted(await client.take(count))) for client, count in ((takes, 2), (other, 1))]
    return " | ".join(texts)


async def _room(lab: Lab, part: str) -> str:
    member = await lab.login(part, "a", room_id=lab.room("r"), accepts=(1000,))
    deaf = await lab.login(part, "b", room_id=lab.room("r"))
    stranger = await lab.login(part, "c", room_id=lab.room("rx"), accepts=(1000,))
    await lab.push("room", _JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    return f"{await _pushed(lab, member, deaf)} | {lab.seen(await lab.rest(stranger))}"


async def _room_three(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"))
    for number in range(3):
        await lab.push("room", b"%d" % number, operation=1000 + number, type=f"conform{lab.tag}", room="r")
    return await _pushed(lab, client, count=3)


async def _room_25(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"))
    for number in range(25):
        await lab.push("room", b"%d" % number, operation=1000, type=f"conform{lab.tag}", room="r")
    texts = await client.take(25, wait_s=_LATE_S)
    # Two batches, which goim's comet may write in either order.
    wanted = {_shown(part, f"op 1000 seq 0 '{number}'") for number in range(25)}
    return "25 messages, each once" if set(texts) == wanted and len(texts) == 25 else lab.seen(texts)


async def _two_rooms(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, room_id=lab.room(name)) for name in "ab"]
    for name in "ab":
        await lab.push("room", f"to {name}".encode(), operation=1000, type=f"conform{lab.tag}", room=name)
    return await _pushed(lab, *clients)


async def _room_non_ascii(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=f"直播{lab.tag}://房间 a/b?c&d")
    await lab.push("room", _JSON, operation=1000, type=f"直播{lab.tag}", room="房间 a/b?c&d")
    return await _pushed(lab, client)


async def _room_changed(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("old"))
    await client.ask(frame(Operation.CHANGE_ROOM, lab.room("new").encode()))
    for name in ("old", "new"):
        await lab.push("room", f"to {name}".encode(), operation=1000, type=f"conform{lab.tag}", room=name)
    return await _pushed(lab, client)


async def _room_left(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"), accepts=(1000,))
    stays = await lab.login(part, "b", room_id=lab.room("r"))
    await client.ask(frame(Operation.CHANGE_ROOM))
    await lab.push("room", _JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    return f"{await _pushed(lab, stays)} | {lab.seen(await lab.rest(client))}"


async def _room_same(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"), accepts=(1001,))
    await client.ask(frame(Operation.CHANGE_ROOM, lab.room("r").encode()))
    await lab.push("room", _JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    # A room message is up to a second late in goim, so one by key 1.3 s later is surely behind it.
    await lab.pause(1.3)
    await lab.push("keys", b"last", operation=1001, keys=lab.key("a"))
    seen: list[str] = []
    while not seen or "last" not in seen[-1]:
        seen += await client.take(wait_s=_LATE_S)
        if client.closed:
            break
    return lab.seen(seen)


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
    return await _pushed(lab, client)


async def _all(lab: Lab, part: str) -> str:
    takes = await lab.login(part, "a", accepts=(lab.op(0),))
    nobody = await lab.login(part, "b", mid=0, room_id=lab.room("r"), accepts=(lab.op(1),))
    await lab.push("all", b'{"all":1}', operation=lab.op(0))
    return f"{await _pushed(lab, takes)} | {lab.seen(await lab.rest(nobody))}"


async def _all_speed(lab: Lab, part: str) -> str:
    # Not a low speed: goim pauses by it for every connection there is, on a cluster in use for long.
    clients = [await lab.login(part, name, accepts=(lab.op(0),)) for name in "ab"]
    await lab.push("all", b'{"all":1}', operation=lab.op(0), speed=1_000_000)
    return await _pushed(lab, *clients)


def _sized(body: bytes) -> _Run:
    async def run(lab: Lab, part: str) -> str:
        client = await lab.login(part, room_id=lab.room("r"), accepts=(1000,))
        await lab.push("keys", body, operation=1000, keys=lab.key("a"))
        seen = await client.take()
        await lab.push("room", body, operation=1001, type=f"conform{lab.tag}", room="r")
        return lab.seen(seen + await client.take())

    return run


def _shown(part: str, *texts: str) -> str:
    """Return how pushed frames look: WebSocket clients get them in a container, which shows as brackets."""
    return "; ".join(f"[{text}]" if part == "ws" else text for text in texts)


_ONE = "op 1000 seq 0 '{\"test\":1}'"
_LAST = "op 1000 seq 0 'last'"
_DIGITS = b"0123456789" * 2000

# name, what it shows, recording, texts that each client gets, run
_TABLE: list[tuple[str, str, str, list[tuple[str, ...]], _Run]] = [
    ("keys", "a push by key reaches a client that accepts the operation", "keys-accepted", [(_ONE,)], _keys),
    ("keys-not-accepted", "and no other", "keys-not-accepted", [(_LAST,)], _keys_not_accepted),
    (
        "keys-no-accepts",
        "without accepts a client gets room messages only",
        "keys-no-accepts",
        [(_LAST,)],
        _keys_no_accepts,
    ),
    ("keys-several", "several keys, one of them unknown", "keys-several", [(_ONE,), (_ONE,)], _keys_several),
    ("keys-twice", "a key given twice gets two copies", "keys-twice", [(_ONE, _ONE)], _keys_twice),
    (
        "keys-op-default",
        "without an operation it is 0",
        "keys-op-default-0",
        [("op 0 seq 0 '{\"test\":1}'",)],
        _keys_op(None),
    ),
    ("keys-op-negative", "operation -5", "keys-negative-op", [("op -5 seq 0 '{\"test\":1}'",)], _keys_op(-5)),
    ("keys-op-9", "operation 9, the container's own", "keys-op-9", [("op 9 seq 0 '{\"test\":1}'",)], _keys_op(9)),
    ("keys-op-3", "operation 3 is no heartbeat reply", "keys-op-3", [("op 3 seq 0 '{\"test\":1}'",)], _keys_op(3)),
    ("keys-anonymous", "a client with mid 0 is reached by its key", "keys-anonymous", [(_ONE,)], _anonymous),
    ("mids-two-keys", "a user's every connection gets it", "mids-two-keys", [(_ONE,), (_ONE,)], _mids_two_keys),
    (
        "mids-several",
        "several users, one offline, one given twice: one copy each",
        "mids-several",
        [(_ONE,), (_ONE,)],
        _mids_several,
    ),
    ("room", "all members get it, whatever they accept, and nobody else", "room-single", [(_ONE,), (_ONE,), ()], _room),
    (
        "room-three",
        "three in a row come in order",
        "room-three-quickly",
        [tuple(f"op {1000 + n} seq 0 '{n}'" for n in range(3))],
        _room_three,
    ),
    ("two-rooms", "each room its own", "two-rooms", [("op 1000 seq 0 'to a'",), ("op 1000 seq 0 'to b'",)], _two_rooms),
    ("room-non-ascii", "a room name is text, escaped in the query only", "room-non-ascii", [(_ONE,)], _room_non_ascii),
    (
        "room-changed",
        "after op 12 the new room's messages come, the old one's not",
        "room-change-then-push",
        [("op 1000 seq 0 'to new'",)],
        _room_changed,
    ),
    ("room-left", "after leaving none comes", "room-leave-then-push", [(_ONE,), ()], _room_left),
    (
        "sub",
        "op 14 adds to what is accepted, op 16 takes away",
        "sub-then-push",
        [tuple(f"op {op} seq 0 '{n}'" for n, op in ((2, 1000), (3, 7000), (5, 7001)))],
        _subscribed,
    ),
    ("sub-bad-list", "a bad element spoils the whole list", "sub-bad-list-then-push", [(_LAST,)], _bad_list),
    (
        "all",
        "a push to all reaches who accepts the operation, in a room or not",
        "all-no-speed, all-not-accepted",
        [("op OP0 seq 0 '{\"all\":1}'",), ()],
        _all,
    ),
    ("all-speed", "also with a speed", "all-speed-10", [("op OP0 seq 0 '{\"all\":1}'",)] * 2, _all_speed),
    ("body-0", "an empty body, by key and by room", "body-size-0", [("op 1000 seq 0", "op 1001 seq 0")], _sized(b"")),
    ("body-1", "a byte", "body-size-1", [("op 1000 seq 0 'x'", "op 1001 seq 0 'x'")], _sized(b"x")),
    (
        "body-4096",
        "4096 bytes",
        "body-size-4096",
        [tuple(f"op {op} seq 0 '0123456789012345'... 4096 bytes" for op in (1000, 1001))],
        _sized(_DIGITS[:4096]),
    ),
    (
        "body-20000",
        "more than a client may send",
        "body-size-20000",
        [tuple(f"op {op} seq 0 '0123456789012345'... 20000 bytes" for op in (1000, 1001))],
        _sized(_DIGITS),
    ),
    (
        "body-binary",
        "any bytes",
        "body-binary",
        [tuple(f"op {op} seq 0 0x00ff0a0d80" for op in (1000, 1001))],
        _sized(b"\0\xff\n\r\x80"),
    ),
]


def _bound(run: _Run, part: str) -> Callable[[Lab], Awaitable[str]]:
    return lambda lab: run(lab, part)


def _cases(part: str) -> list[Case]:
    area = f"{part}-push"
    found = [
        Case(
            f"{area}.{name}",
            area,
            shows,
            f"{part}-pushes.jsonl: {recording}",
            (part, "http"),
            " | ".join(_shown(part, *texts) or "nothing" for texts in clients),
            _bound(run, part),
            limit_s=30.0,
        )
        for name, shows, recording, clients, run in _TABLE
    ]
    last = _shown(part, "op 1001 seq 0 'last'")
    mids = f"{'; '.join(sorted((_shown(part, _ONE), last)))} | {last}"
    rest = [
        (
            "mids-not-accepted",
            "of a user's connections those that accept the operation",
            "mids-not-accepted",
            mids,
            {},
            _mids_not_accepted,
        ),
        ("room-25", "25 in a row all come", "room-25-quickly", "25 messages, each once", {}, _room_25),
        (
            "room-same",
            "a client alone that changed to the same room still gets its messages",
            "room-same-change-then-push",
            _shown(part, _ONE, "op 1001 seq 0 'last'"),
            {last: "goim has dropped the room, and the message with it"},
            _room_same,
        ),
    ]
    for name, shows, recording, expected, accepted, run in rest:
        source = f"{part}-pushes.jsonl: {recording}"
        found.append(
            Case(
                f"{area}.{name}",
                area,
                shows,
                source,
                (part, "http"),
                expected,
                _bound(run, part),
                accepted,
                limit_s=30.0,
            )
        )
    return found


async def _tcp_and_ws(lab: Lab) -> str:
    clients = [await lab.login(part, part, room_id=lab.room("r")) for part in ("tcp", "ws")]
    await lab.push("room", _JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    return await _pushed(lab, *clients)


async def _ws_bytes(lab: Lab) -> str:
    client = await lab.login("ws", accepts=(1000,))
    await lab.push("keys", _JSON, operation=1000, keys=lab.key("a"))
    return await client.raw(44)


async def _tcp_bytes(lab: Lab) -> str:
    client = await lab.login("tcp", accepts=(1000,))
    await lab.push("keys", _JSON, operation=1000, keys=lab.key("a"))
    return await client.raw(26)


_FRAME = "0000001a00100001000003e8000000007b2274657374223a317d"

CASES: list[Case] = [
    *_cases("tcp"),
    *_cases("ws"),
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
    Case(
        "ws-push.tcp-and-ws",
        "ws-push",
        "one room message reaches TCP and WebSocket members, each in its form",
        "tcp-pushes.jsonl and ws-pushes.jsonl: room-single",
        ("ws", "tcp", "http"),
        f"{_ONE} | [{_ONE}]",
        _tcp_and_ws,
        limit_s=30.0,
    ),
]
