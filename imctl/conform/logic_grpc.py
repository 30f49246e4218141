"""goim.logic.Logic: what comet asks of logic, with goim's replies and errors."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from imctl.conform.auth import TOKENS, Token
from imctl.conform.case import Case
from imctl.conform.lab import Lab

__all__ = ["CASES"]

_AREA = "logic-grpc"
_FILE = "internal/logic/grpc/server.go"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def _connect(lab: Lab, token: bytes, server: str = "") -> tuple[str, Any]:
    """Call Connect as a comet that is not there; the session is taken back when the case is over."""
    from imctl.link.methods import CONNECT, DISCONNECT
    from protocol.pb import logic

    server = server or lab.key("comet")
    status, reply = await lab.call(CONNECT, logic.ConnectReq(server=server, cookie="SID=1", token=token))
    if reply is not None:
        gone = logic.DisconnectReq(mid=reply.mid, key=reply.key, server=server)
        lab.later(lambda: lab.call(DISCONNECT, gone))
    return status, reply


def _reply_text(lab: Lab, status: str, reply: Any) -> str:
    if reply is None:
        return f"{status.split()[0]} with a text" if " " in status else f"{status} without a text"
    key = "UUID" if _UUID.fullmatch(reply.key) else reply.key
    parts = [f"mid {reply.mid}", f"key {key}"]
    if reply.roomID:
        parts.append(f"room {reply.roomID}")
    if reply.accepts:
        parts.append(f"accepts {' '.join(map(str, reply.accepts))}")
    heartbeat = "a heartbeat" if reply.heartbeat >= 10**9 else f"heartbeat of {reply.heartbeat} ns"
    return lab.plain(", ".join([*parts, heartbeat]))


def _token_case(token: Token) -> Case:
    async def run(lab: Lab) -> str:
        return _reply_text(lab, *await _connect(lab, token.fill(lab)))

    return Case(
        f"{_AREA}.connect-{token.name}",
        _AREA,
        f"Connect: {token.shows}",
        f"grpc.jsonl: Connect token; tcp-sessions.jsonl: auth-{token.name}",
        ("grpc",),
        f"{token.reply}, a heartbeat" if token.reply else "UNKNOWN with a text",
        run,
    )


async def _accepts(lab: Lab) -> str:
    token = b'{"mid":MID,"key":"KEY","accepts":[1,2147483647,-1]}'
    return _reply_text(lab, *await _connect(lab, Token("", "", token).fill(lab)))


async def _heartbeat_value(lab: Lab) -> str:
    from imctl.link.methods import NODES
    from protocol.pb import logic

    _, reply = await _connect(lab, b"{}")
    _, nodes = await lab.call(NODES, logic.NodesReq())
    if reply is None or nodes is None:
        return "no reply"
    # Nodes has whole seconds, so only a limit of whole seconds can be compared.
    wanted_ns = nodes.heartbeat * nodes.heartbeat_max * 10**9
    return (
        "the two factors of Nodes, in ns" if reply.heartbeat == wanted_ns else f"{reply.heartbeat}, Nodes {wanted_ns}"
    )


async def _life(lab: Lab) -> str:
    from imctl.link.methods import DISCONNECT, HEARTBEAT
    from protocol.pb import logic

    server, key = lab.key("comet"), lab.key("a")
    await _connect(lab, Token("", "", b'{"mid":MID,"key":"KEY"}').fill(lab))
    beat, _ = await lab.call(HEARTBEAT, logic.HeartbeatReq(mid=lab.mid(0), key=key, server=server))
    texts = [f"Heartbeat {beat}"]
    for _ in range(2):
        status, reply = await lab.call(DISCONNECT, logic.DisconnectReq(mid=lab.mid(0), key=key, server=server))
        texts.append(f"Disconnect {status}" if reply is None else f"Disconnect has={reply.has}")
    return "; ".join(texts)


async def _heartbeat_restores(lab: Lab) -> str:
    from imctl.link.methods import DISCONNECT, HEARTBEAT
    from protocol.pb import logic

    key, server = lab.key("a"), lab.key("comet")
    status, _ = await lab.call(HEARTBEAT, logic.HeartbeatReq(mid=lab.mid(0), key=key, server=server))
    _, reply = await lab.call(DISCONNECT, logic.DisconnectReq(mid=lab.mid(0), key=key, server=server))
    return f"Heartbeat {status}; Disconnect has={reply.has if reply is not None else None}"


async def _other_server(lab: Lab) -> str:
    from imctl.link.methods import DISCONNECT
    from protocol.pb import logic

    await _connect(lab, Token("", "", b'{"mid":MID,"key":"KEY"}').fill(lab))
    other = logic.DisconnectReq(mid=lab.mid(0), key=lab.key("a"), server=lab.key("other"))
    _, first = await lab.call(DISCONNECT, other)
    own = logic.DisconnectReq(mid=lab.mid(0), key=lab.key("a"), server=lab.key("comet"))
    _, second = await lab.call(DISCONNECT, own)
    texts = [f"has={reply.has if reply is not None else None}" for reply in (first, second)]
    return f"the other: {texts[0]}; its own: {texts[1]}"


async def _receive(lab: Lab) -> str:
    from imctl.link.methods import RECEIVE
    from protocol.pb import logic, protocol

    status, _ = await lab.call(
        RECEIVE, logic.ReceiveReq(mid=lab.mid(0), proto=protocol.Proto(ver=1, op=1000, seq=1, body=b"x"))
    )
    without, _ = await lab.call(RECEIVE, logic.ReceiveReq(mid=lab.mid(0)))
    return f"{status}; without a proto {without}"


def _nodes(platform: str) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        from imctl.link.methods import NODES
        from protocol.pb import logic

        status, reply = await lab.call(NODES, logic.NodesReq(platform=platform, clientIP="127.0.0.1"))
        if reply is None:
            return status
        have = [field.name for field, _ in reply.ListFields()]
        return f"{' '.join(have)}; backoff {' '.join(field.name for field, _ in reply.backoff.ListFields())}"

    return run


def _renew(*, gzip: bool) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        from imctl.link.methods import RENEW_ONLINE
        from protocol.pb import logic

        # Rooms of a server that is not in discovery count for nobody.
        rooms = {lab.room(str(number)): 3 for number in range(40)}
        status, reply = await lab.call(
            RENEW_ONLINE, logic.OnlineReq(server=lab.key("comet"), roomCount=rooms), gzip=gzip
        )
        if reply is None:
            return status
        ours = [room for room in reply.allRoomCount if room in rooms]
        return f"{status}; a map of all rooms, {len(ours)} of them this server's"

    return run


def _raw(path: str, request: bytes) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        status, _ = await lab.call_raw(path, request)
        return status

    return run


async def _not_protobuf(lab: Lab) -> str:
    status, _ = await lab.call_raw("/goim.logic.Logic/Connect", b"\xff\xff\xff")
    return status.split(" request:")[0]


def _single(
    name: str,
    shows: str,
    recording: str,
    expected: str,
    run: Callable[[Lab], Awaitable[str]],
    accepted: Mapping[str, str] | None = None,
) -> Case:
    source = f"grpc.jsonl: {recording}; {_FILE}"
    return Case(f"{_AREA}.{name}", _AREA, shows, source, ("grpc",), expected, run, accepted or {})


_MEMBERS = "domain tcp_port ws_port wss_port heartbeat nodes backoff heartbeat_max"
_BACKOFF = "max_delay base_delay factor jitter"

CASES: list[Case] = [
    *(_token_case(token) for token in TOKENS),
    _single(
        "connect-accepts",
        "Connect: any int32 is accepted, also negative ones",
        "Connect",
        "mid MID0, key conform-a, accepts 1 2147483647 -1, a heartbeat",
        _accepts,
    ),
    _single(
        "connect-heartbeat",
        "Connect: the heartbeat limit is heartbeat x heartbeatMax in nanoseconds",
        "Connect",
        "the two factors of Nodes, in ns",
        _heartbeat_value,
    ),
    _single(
        "life",
        "Heartbeat, then Disconnect: has is true once",
        "Heartbeat; Disconnect",
        "Heartbeat OK; Disconnect has=True; Disconnect has=False",
        _life,
    ),
    _single(
        "heartbeat-restores",
        "a Heartbeat of a session that is forgotten restores it",
        "Heartbeat; internal/logic/conn.go Heartbeat",
        "Heartbeat OK; Disconnect has=True",
        _heartbeat_restores,
    ),
    _single(
        "disconnect-other-server",
        "a Disconnect by another server than the session's leaves it",
        "Disconnect of that key by another server",
        "the other: has=False; its own: has=True",
        _other_server,
        {"the other: has=True; its own: has=False": "goim deletes the session whoever asks"},
    ),
    _single("receive", "Receive takes any operation", "Receive", "OK; without a proto OK", _receive),
    _single("nodes-web", "Nodes for a browser", "Nodes", f"{_MEMBERS}; backoff {_BACKOFF}", _nodes("web")),
    _single("nodes", "Nodes for others", "Nodes platform empty", f"{_MEMBERS}; backoff {_BACKOFF}", _nodes("")),
    _single(
        "renew-online",
        "RenewOnline answers with all rooms; those of a server that is not registered count for nobody",
        "RenewOnline (uncompressed) from a server that is not in discovery",
        "OK; a map of all rooms, 0 of them this server's",
        _renew(gzip=False),
    ),
    _single(
        "renew-online-gzip",
        "a request may come gzipped, as goim's comets send this one",
        "every 10 s; gzip",
        "OK; a map of all rooms, 0 of them this server's",
        _renew(gzip=True),
    ),
    _single(
        "unknown-method",
        "a method that does not exist",
        "method Ping does not exist",
        "UNIMPLEMENTED unknown method Ping for service goim.logic.Logic",
        _raw("/goim.logic.Logic/Ping", b""),
    ),
    _single(
        "unknown-service",
        "a service that does not exist",
        "unknown service",
        "UNIMPLEMENTED unknown service goim.logic.Nope",
        _raw("/goim.logic.Nope/Connect", b""),
    ),
    _single(
        "not-protobuf",
        "bytes that are no protobuf",
        "message that is not protobuf",
        "INTERNAL grpc: error unmarshalling",
        _not_protobuf,
    ),
]
