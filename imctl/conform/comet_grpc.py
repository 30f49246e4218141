"""goim.comet.Comet: what job asks of comet, and what its clients then get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from imctl.conform.case import Case
from imctl.conform.lab import Lab
from protocol.frame import pack_frame

__all__ = ["CASES"]

_AREA = "comet-grpc"
_FILE = "internal/comet/grpc/server.go"
_INNER = pack_frame(1000, b'{"test":1}')
_PUSHED = "op 1000 seq 0 '{\"test\":1}'"
_CLIENTS = ("tcp", "ws")


def _proto(**fields: Any) -> Any:
    """Return a Proto; Any: its fields, and protobuf classes are made at run time."""
    from protocol.pb import protocol

    return protocol.Proto(**fields)


async def _clients(lab: Lab, **token: Any) -> dict[str, Any]:
    return {part: await lab.login(part, part, **token) for part in _CLIENTS}


async def _got(lab: Lab, clients: dict[str, Any], count: int = 1) -> str:
    """Return what each client got: first as many texts as are due, then the rest."""
    texts = []
    for part, client in clients.items():
        seen = await client.take(count) if count else []
        texts.append(f"{part}: {lab.seen(seen + await lab.rest(client))}")
    return " | ".join(texts)


def _push_msg(
    *, due: int = 1, accept: int = 1000, op: int = 1000, op9: bool = False, **proto: Any
) -> Callable[[Lab], Awaitable[str]]:
    """Push a proto by key; Any: its other fields."""

    async def run(lab: Lab) -> str:
        from imctl.link.methods import PUSH_MSG
        from protocol.pb import comet

        clients = await _clients(lab, accepts=(1000,))
        keys = [lab.key("nobody"), *(lab.key(part) for part in _CLIENTS)]
        request = comet.PushMsgReq(keys=keys, proto=_proto(op=9 if op9 else op, **proto), protoOp=accept)
        status, _ = await lab.call(PUSH_MSG, request, part="comet_grpc")
        return f"{status}; {await _got(lab, clients, due)}"

    return run


async def _empty_container(lab: Lab) -> str:
    from imctl.link.methods import PUSH_MSG
    from protocol.pb import comet

    clients = await _clients(lab, accepts=(1000,))
    request = comet.PushMsgReq(keys=[lab.key(part) for part in _CLIENTS], proto=_proto(ver=1, op=9), protoOp=1000)
    status, _ = await lab.call(PUSH_MSG, request, part="comet_grpc")
    texts = [f"{part}: {lab.seen(await lab.rest(client))}" for part, client in clients.items()]
    return f"{status}; {' | '.join(texts)}"


def _broadcast(speed: int) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        from imctl.link.methods import BROADCAST
        from protocol.pb import comet

        clients = await _clients(lab, accepts=(lab.op(0),))
        other = await lab.login("tcp", "other", accepts=(lab.op(1),))
        request = comet.BroadcastReq(protoOp=lab.op(0), proto=_proto(ver=1, op=9, body=_INNER), speed=speed)
        status, _ = await lab.call(BROADCAST, request, part="comet_grpc")
        return f"{status}; {await _got(lab, clients)} | other: {lab.seen(await lab.rest(other))}"

    return run


def _room(**proto: Any) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        from imctl.link.methods import BROADCAST_ROOM
        from protocol.pb import comet

        clients = await _clients(lab, room_id=lab.room("r"))
        other = await lab.login("tcp", "other", room_id=lab.room("other"), accepts=(1000,))
        request = comet.BroadcastRoomReq(roomID=lab.room("r"), proto=_proto(**proto))
        status, _ = await lab.call(BROADCAST_ROOM, request, part="comet_grpc")
        return f"{status}; {await _got(lab, clients)} | other: {lab.seen(await lab.rest(other))}"

    return run


async def _room_unknown(lab: Lab) -> str:
    from imctl.link.methods import BROADCAST_ROOM
    from protocol.pb import comet

    request = comet.BroadcastRoomReq(roomID=lab.room("none"), proto=_proto(ver=1, op=9, body=_INNER))
    return (await lab.call(BROADCAST_ROOM, request, part="comet_grpc"))[0]


async def _rooms(lab: Lab) -> str:
    from imctl.link.methods import ROOMS
    from protocol.pb import comet

    client = await lab.login("tcp", room_id=lab.room("r"))
    texts = []
    for _ in range(2):
        _, reply = await lab.call(ROOMS, comet.RoomsReq(), part="comet_grpc")
        texts.append({True: "true", False: "false", None: "absent"}[dict(reply.rooms).get(lab.room("r"))])
        await client.close()
        await lab.pause(0.5)
    return f"with a member {texts[0]}, without {texts[1]}"


def _refused(method: str, fill: Callable[[Any], Any]) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        from imctl.link import methods
        from protocol.pb import comet

        return (await lab.call(getattr(methods, method), fill(comet), part="comet_grpc"))[0]

    return run


def _raw(path: str, request: bytes) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        status, _ = await lab.call_raw(path, request, part="comet_grpc")
        return status.split(" request:")[0]

    return run


def _both(text: str, ws: str = "") -> str:
    return f"OK; tcp: {text} | ws: {ws or text}"


_PUSH_ERROR = "UNKNOWN rpc pushmsg arg error"
_ALL_ERROR = "UNKNOWN rpc broadcast arg error"
_ROOM_ERROR = "UNKNOWN rpc broadcast  room arg error"  # two spaces: goim's text

_FRAMED = "op 77 ver 2 seq 5 'r'"

_ALONE = ("comet_grpc",)
_WITH_CLIENTS = ("comet_grpc", "tcp", "ws")

# name, what it shows, recording, needs, what comes, run
_TABLE: list[tuple[str, str, str, tuple[str, ...], str, Callable[[Lab], Awaitable[str]]]] = [
    (
        "push-container",
        "PushMsg of a container, as job sends it; unknown keys are no error",
        "PushMsg op 9 container (as job sends)",
        _WITH_CLIENTS,
        _both(_PUSHED, f"[{_PUSHED}]"),
        _push_msg(ver=1, op9=True, body=_INNER),
    ),
    (
        "push-framed",
        "any other proto is framed with its own header",
        "PushMsg proto with op 1000, ver 7, seq 99",
        _WITH_CLIENTS,
        _both("op 1000 ver 7 seq 99 'hello'"),
        _push_msg(ver=7, seq=99, body=b"hello"),
    ),
    (
        "push-ver-70000",
        "a version is cut to 16 bits",
        "PushMsg ver 70000 (out of int16)",
        _WITH_CLIENTS,
        _both("op 1000 ver 4464 seq -1"),
        _push_msg(ver=70000, seq=-1),
    ),
    (
        "push-not-accepted",
        "protoOp is what a client must accept",
        "PushMsg protoOp not accepted",
        _WITH_CLIENTS,
        _both("nothing"),
        _push_msg(due=0, accept=5, ver=1, op9=True, body=_INNER),
    ),
    (
        "push-op-not-accepted",
        "and not the proto's own operation",
        "PushMsg protoOp accepted, proto.op not",
        _WITH_CLIENTS,
        _both("op 5 seq 0 'x'"),
        _push_msg(op=5, ver=1, body=b"x"),
    ),
    (
        "push-op-3",
        "op 3 is no heartbeat reply here",
        "PushMsg op 3 proto (not taken as heartbeat)",
        _WITH_CLIENTS,
        _both("op 3 seq 0 'zz'"),
        _push_msg(op=3, ver=1, body=b"zz"),
    ),
    (
        "push-empty-container",
        "of an empty container a TCP client sees nothing",
        "PushMsg op 9, empty body",
        _WITH_CLIENTS,
        _both("nothing", "op 9 seq 0"),
        _empty_container,
    ),
    (
        "push-no-keys",
        "PushMsg without keys",
        "PushMsg no keys",
        _ALONE,
        _PUSH_ERROR,
        _refused("PUSH_MSG", lambda pb: pb.PushMsgReq(proto=_proto(ver=1, op=9, body=_INNER), protoOp=1000)),
    ),
    (
        "push-no-proto",
        "PushMsg without a proto",
        "PushMsg no proto",
        _ALONE,
        _PUSH_ERROR,
        _refused("PUSH_MSG", lambda pb: pb.PushMsgReq(keys=["nobody"], protoOp=1000)),
    ),
    (
        "push-nothing",
        "PushMsg without anything",
        "PushMsg empty message",
        _ALONE,
        _PUSH_ERROR,
        _refused("PUSH_MSG", lambda pb: pb.PushMsgReq()),
    ),
    (
        "broadcast",
        "Broadcast reaches who accepts protoOp",
        "Broadcast",
        _WITH_CLIENTS,
        f"{_both(_PUSHED, f'[{_PUSHED}]')} | other: nothing",
        _broadcast(0),
    ),
    (
        "broadcast-speed",
        "also with a speed",
        "Broadcast speed 1",
        _WITH_CLIENTS,
        f"{_both(_PUSHED, f'[{_PUSHED}]')} | other: nothing",
        _broadcast(1_000_000),
    ),
    (
        "broadcast-no-proto",
        "Broadcast without a proto",
        "Broadcast no proto",
        _ALONE,
        _ALL_ERROR,
        _refused("BROADCAST", lambda pb: pb.BroadcastReq(protoOp=1000)),
    ),
    (
        "room",
        "BroadcastRoom reaches the members, whatever they accept",
        "BroadcastRoom",
        _WITH_CLIENTS,
        f"{_both(_PUSHED, f'[{_PUSHED}]')} | other: nothing",
        _room(ver=1, op=9, body=_INNER),
    ),
    (
        "room-framed",
        "a proto that is no container is framed",
        "BroadcastRoom proto with op 77",
        _WITH_CLIENTS,
        f"{_both(_FRAMED)} | other: nothing",
        _room(ver=2, op=77, seq=5, body=b"r"),
    ),
    ("room-unknown", "an unknown room is no error", "BroadcastRoom unknown room", _ALONE, "OK", _room_unknown),
    (
        "room-no-room",
        "BroadcastRoom without a room",
        "BroadcastRoom no room",
        _ALONE,
        _ROOM_ERROR,
        _refused("BROADCAST_ROOM", lambda pb: pb.BroadcastRoomReq(proto=_proto(ver=1, op=9, body=_INNER))),
    ),
    (
        "room-no-proto",
        "BroadcastRoom without a proto",
        "BroadcastRoom no proto",
        _ALONE,
        _ROOM_ERROR,
        _refused("BROADCAST_ROOM", lambda pb: pb.BroadcastRoomReq(roomID="live://none")),
    ),
    (
        "rooms",
        "Rooms lists rooms with members",
        "Rooms",
        ("comet_grpc", "tcp"),
        "with a member true, without absent",
        _rooms,
    ),
    (
        "unknown-method",
        "a method that does not exist",
        "unknown method",
        _ALONE,
        "UNIMPLEMENTED unknown method Nope for service goim.comet.Comet",
        _raw("/goim.comet.Comet/Nope", b""),
    ),
    (
        "unknown-service",
        "a service that does not exist",
        "unknown service",
        _ALONE,
        "UNIMPLEMENTED unknown service goim.comet.Nope",
        _raw("/goim.comet.Nope/PushMsg", b""),
    ),
    (
        "not-protobuf",
        "bytes that are no protobuf",
        "message that is not protobuf",
        _ALONE,
        "INTERNAL grpc: error unmarshalling",
        _raw("/goim.comet.Comet/PushMsg", b"\xff\xff\xff"),
    ),
]

CASES: list[Case] = [
    Case(f"{_AREA}.{name}", _AREA, shows, f"grpc.jsonl: {recording}; {_FILE}", needs, expected, run)
    for name, shows, recording, needs, expected, run in _TABLE
]
