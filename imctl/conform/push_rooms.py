"""Pushes to rooms: members and nobody else, and what a change of room does."""

from __future__ import annotations

from imctl.conform.case import Case
from imctl.conform.dialogue import frame
from imctl.conform.lab import Lab
from imctl.conform.push_kit import JSON, LATE_S, ONE, Push, push_cases, pushed, shown, until_last
from protocol.operation import Operation

__all__ = ["CASES"]


async def _room(lab: Lab, part: str) -> str:
    member = await lab.login(part, "a", room_id=lab.room("r"), accepts=(1000,))
    deaf = await lab.login(part, "b", room_id=lab.room("r"))
    stranger = await lab.login(part, "c", room_id=lab.room("rx"), accepts=(1000,))
    await lab.push("room", JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    return f"{await pushed(lab, member, deaf)} | {lab.seen(await lab.rest(stranger))}"


async def _room_three(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"))
    for number in range(3):
        await lab.push("room", b"%d" % number, operation=1000 + number, type=f"conform{lab.tag}", room="r")
    return await pushed(lab, client, count=3)


async def _room_25(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"))
    for number in range(25):
        await lab.push("room", b"%d" % number, operation=1000, type=f"conform{lab.tag}", room="r")
    texts = await client.take(25, wait_s=LATE_S)
    # Two batches, which goim's comet may write in either order.
    wanted = {shown(part, f"op 1000 seq 0 '{number}'") for number in range(25)}
    return "25 messages, each once" if set(texts) == wanted and len(texts) == 25 else lab.seen(texts)


async def _two_rooms(lab: Lab, part: str) -> str:
    clients = [await lab.login(part, name, room_id=lab.room(name)) for name in "ab"]
    for name in "ab":
        await lab.push("room", f"to {name}".encode(), operation=1000, type=f"conform{lab.tag}", room=name)
    return await pushed(lab, *clients)


async def _room_non_ascii(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=f"直播{lab.tag}://房间 a/b?c&d")
    await lab.push("room", JSON, operation=1000, type=f"直播{lab.tag}", room="房间 a/b?c&d")
    return await pushed(lab, client)


async def _room_changed(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("old"))
    await client.ask(frame(Operation.CHANGE_ROOM, lab.room("new").encode()))
    for name in ("old", "new"):
        await lab.push("room", f"to {name}".encode(), operation=1000, type=f"conform{lab.tag}", room=name)
    return await pushed(lab, client)


async def _room_left(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"), accepts=(1000,))
    stays = await lab.login(part, "b", room_id=lab.room("r"))
    await client.ask(frame(Operation.CHANGE_ROOM))
    await lab.push("room", JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    return f"{await pushed(lab, stays)} | {lab.seen(await lab.rest(client))}"


async def _room_same(lab: Lab, part: str) -> str:
    client = await lab.login(part, room_id=lab.room("r"), accepts=(1001,))
    await client.ask(frame(Operation.CHANGE_ROOM, lab.room("r").encode()))
    await lab.push("room", JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    # A room message is up to a second late in goim, so one by key 1.3 s later is surely behind it.
    await lab.pause(1.3)
    await lab.push("keys", b"last", operation=1001, keys=lab.key("a"))
    return await until_last(lab, client)


_LAST = "op 1001 seq 0 'last'"

_PUSHES = [
    Push(
        "room", "all members get it, whatever they accept, and nobody else", "room-single", [(ONE,), (ONE,), ()], _room
    ),
    Push(
        "room-three",
        "three in a row come in order",
        "room-three-quickly",
        [tuple(f"op {1000 + n} seq 0 '{n}'" for n in range(3))],
        _room_three,
    ),
    Push(
        "two-rooms",
        "each room its own",
        "two-rooms",
        [("op 1000 seq 0 'to a'",), ("op 1000 seq 0 'to b'",)],
        _two_rooms,
    ),
    Push(
        "room-non-ascii", "a room name is text, escaped in the query only", "room-non-ascii", [(ONE,)], _room_non_ascii
    ),
    Push(
        "room-changed",
        "after op 12 the new room's messages come, the old one's not",
        "room-change-then-push",
        [("op 1000 seq 0 'to new'",)],
        _room_changed,
    ),
    Push("room-left", "after leaving none comes", "room-leave-then-push", [(ONE,), ()], _room_left),
    Push("room-25", "25 in a row all come", "room-25-quickly", (), _room_25, text="25 messages, each once"),
    Push(
        "room-same",
        "a client alone that changed to the same room still gets its messages",
        "room-same-change-then-push",
        [(ONE, _LAST)],
        _room_same,
        otherwise=([(_LAST,)], "goim has dropped the room, and the message with it"),
    ),
]


async def _tcp_and_ws(lab: Lab) -> str:
    clients = [await lab.login(part, part, room_id=lab.room("r")) for part in ("tcp", "ws")]
    await lab.push("room", JSON, operation=1000, type=f"conform{lab.tag}", room="r")
    return await pushed(lab, *clients)


CASES: list[Case] = [
    *push_cases(_PUSHES),
    Case(
        "ws-push.tcp-and-ws",
        "ws-push",
        "one room message reaches TCP and WebSocket members, each in its form",
        "tcp-pushes.jsonl and ws-pushes.jsonl: room-single",
        ("ws", "tcp", "http"),
        f"{ONE} | [{ONE}]",
        _tcp_and_ws,
        limit_s=30.0,
    ),
]
