"""Cases can fail: each of them on a node that says nothing or too little, and the right ones on small mistakes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.conform import CASES, Target, run_cases
from imctl.conform import run as run_module
from imctl.link.contract import PeerError
from imctl.link.local import withdraw_local
from imctl.link.methods import CONNECT, DISCONNECT, PUSH_MSG, RENEW_ONLINE, Method
from imctl.link.server import LinkServer
from protocol.frame import Frame, pack_frame
from protocol.operation import Operation
from protocol.pb import logic
from protocol.raw import flatten, wrap_batch
from protocol.websocket import serialize_message
from tests.imctl.conform.proxies import Alter, Dumb, Proxy, binary, change_frames, change_messages, replace_bytes
from tests.imctl.conform.rig import failed, run_only, target_of

PARTS = ("tcp", "ws", "http", "grpc", "comet_grpc", "discovery")


# --- every case can fail ------------------------------------------------------


async def failing_at(*, closes: bool) -> set[str]:
    says = dict.fromkeys(PARTS, b"")
    if closes:
        says |= dict.fromkeys(
            ("http", "discovery"), b"HTTP/1.1 418 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    async with contextlib.AsyncExitStack() as stack:
        addresses = {}
        for part in PARTS:
            addresses[part] = (await stack.enter_async_context(Dumb(closes=closes, says=says[part]))).address
        if closes:
            empty = LinkServer({}, host="127.0.0.1", port=0, what="a server without methods")
            await empty.start()
            stack.push_async_callback(empty.stop, 0.1)
            addresses |= {"grpc": empty.address, "comet_grpc": empty.address}
        quick = [replace(case, limit_s=1.0) for case in CASES if not case.slow]
        report = await run_cases(Target(**addresses), quick, wait_s=0.05, risky=True)
    return set(failed(report))


async def test_every_case_fails_on_a_node_that_does_nothing(monkeypatch):
    monkeypatch.setattr(run_module, "_SILENT_AT_MOST", len(CASES))

    found = await failing_at(closes=True) | await failing_at(closes=False)

    assert {case.id for case in CASES if not case.slow} - found == set()


async def test_a_part_that_never_answers_is_given_up():
    async with Dumb(closes=False) as dumb:
        report = await run_only(Target(tcp=dumb.address), ["tcp-frames"], wait_s=0.05)

    skipped = [result.note for result in report.results if result.verdict.value == "skipped"]
    assert set(skipped) == {"comet tcp left 4 cases in a row without an answer"} or skipped == []
    assert len(report.failed) >= 4


# --- small mistakes -----------------------------------------------------------


def frames(change: Callable[[Frame], Frame]) -> Callable[[], Alter]:
    return change_frames(lambda frame: change(frame).pack())


def messages(change: Callable[[Frame], bytes]) -> Callable[[], Alter]:
    """Change the frame in each message; change() returns whole messages."""
    from protocol.frame import parse_frames

    return change_messages(
        lambda opcode, payload: (
            change(parse_frames(payload)[0][0]) if opcode == 2 else serialize_message(payload, opcode=opcode)
        )
    )


def at_end(last: bytes) -> Callable[[], Alter]:
    """Say something before a close without a word."""

    def make() -> Alter:
        said = False

        def alter(data: bytes) -> bytes:
            nonlocal said
            said = said or bool(data)
            return data or (b"" if said else last)

        return alter

    return make


def with_op(frame: Frame, old: int, new: int) -> Frame:
    return replace(frame, op=new) if frame.op == old else frame


def without_body(frame: Frame, op: int) -> Frame:
    return replace(frame, body=b"") if frame.op == op else frame


def wrapped(frame: Frame) -> bytes:
    is_push = frame.seq == 0 and frame.op >= 1000
    return wrap_batch(frame.pack()) if is_push else frame.pack()


def unwrapped(frame: Frame) -> bytes:
    return b"".join(binary(one.pack()) for one in (flatten(frame) if frame.seq == 0 and frame.body else [frame]))


AUTH_OK = pack_frame(Operation.AUTH_REPLY, seq=1)

MUTANTS: list[tuple[str, str, Callable[[], Alter], list[str]]] = [
    (
        "drops the version",
        "tcp",
        frames(lambda f: replace(f, ver=1)),
        ["tcp-frames.ver-seq-echo", "tcp-ops.business-op"],
    ),
    ("answers op 4 by 5", "tcp", frames(lambda f: with_op(f, 4, 5)), ["tcp-ops.op-4"]),
    (
        "does not echo a room",
        "tcp",
        frames(lambda f: without_body(f, 13)),
        ["tcp-ops.change-room", "tcp-frames.echo-bodies"],
    ),
    (
        "does not echo a list",
        "ws",
        messages(lambda f: binary(without_body(f, 15).pack())),
        ["ws-ops.sub", "ws-wire.two-fragments"],
    ),
    (
        "wraps pushes on TCP",
        "tcp",
        change_frames(wrapped),
        ["tcp-push.keys", "tcp-push.bytes", "tcp-push.room", "ws-push.tcp-and-ws"],
    ),
    (
        "unwraps pushes on WebSocket",
        "ws",
        messages(unwrapped),
        ["ws-push.keys", "ws-push.bytes", "ws-push.all", "comet-grpc.push-container"],
    ),
    (
        "sends text messages",
        "ws",
        change_messages(lambda opcode, payload: serialize_message(payload, opcode=1)),
        ["ws-wire.text", "ws-wire.auth-bytes", "ws-frames.body-4096"],
    ),
    (
        "masks its messages",
        "ws",
        change_messages(lambda opcode, payload: serialize_message(payload, opcode=opcode, mask=b"abcd")),
        ["ws-wire.auth-bytes"],
    ),
    ("takes a bad token", "tcp", at_end(AUTH_OK), ["tcp-auth.bad-json", "tcp-auth.mid-string", "tcp-auth.empty-body"]),
    (
        "takes a bad token on WebSocket",
        "ws",
        replace_bytes(b"\x82\x10\0\0\0\x10\0\x10\0\x01\0\0\0\x08", b"\x82\x10\0\0\0\x10\0\x10\0\x01\0\0\0\x07"),
        ["ws-auth.ok-key", "ws-auth.op-before-auth"],
    ),
    (
        "answers 400 on a bad upgrade",
        "ws",
        at_end(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ["ws-upgrade.wrong-path", "ws-upgrade.no-key", "ws-upgrade.version-8"],
    ),
    (
        "adds a header to the upgrade",
        "ws",
        replace_bytes(b"Upgrade: websocket\r\n", b"Server: x\r\nUpgrade: websocket\r\n"),
        ["ws-upgrade.auth-ok", "ws-upgrade.split"],
    ),
    (
        "counts wrong",
        "tcp",
        frames(lambda f: replace(f, body=b"\0\0\0\x07") if f.op == 3 else f),
        ["tcp-ops.heartbeat", "tcp-ops.heartbeat-room", "tcp-sessions.same-key", "tcp-ops.two-members"],
    ),
    (
        "loses pongs",
        "ws",
        change_messages(lambda opcode, payload: b"" if opcode == 10 else binary(payload)),
        ["ws-wire.ping-and-beat", "ws-wire.fragments", "ws-wire.pong-at-once"],
    ),
    (
        "sends 204 for 200",
        "http",
        replace_bytes(b"HTTP/1.1 200 OK", b"HTTP/1.1 201 OK"),
        ["logic-http.push-keys-ok", "logic-http.online-total"],
    ),
    (
        "answers 400 for 404",
        "http",
        replace_bytes(b"HTTP/1.1 404 Not Found", b"HTTP/1.1 400 Bad Request"),
        ["logic-http.route-slash", "logic-http.push-keys-get"],
    ),
    (
        "another content type",
        "http",
        replace_bytes(b"text/plain; charset=utf-8", b"application/json;x=utf-8 "),
        ["logic-http.push-room-nothing", "logic-http.push-keys-operation-1.5"],
    ),
    (
        "another code",
        "http",
        replace_bytes(b'{"code":-400', b'{"code":-401'),
        ["logic-http.push-room-no-room", "logic-http.online-top-no-limit"],
    ),
    (
        "another redirect",
        "http",
        replace_bytes(b"307 Temporary Redirect", b"302 Found"),
        ["logic-http.push-keys-trailing-slash"],
    ),
    ("another member", "http", replace_bytes(b'"conn_count"', b'"connCount" '), ["logic-http.online-total"]),
    (
        "another discovery code",
        "discovery",
        replace_bytes(b'{"code":-404', b'{"code":-400'),
        ["discovery.renew-unknown", "discovery.cancel", "discovery.poll-unknown"],
    ),
    (
        "another instance member",
        "discovery",
        replace_bytes(b'"hostname"', b'"hostn_me"'),
        ["discovery.register", "discovery.polls"],
    ),
    ("another ttl", "discovery", replace_bytes(b'"ttl":1', b'"ttl":2'), ["discovery.envelope"]),
    (
        "405 for another method",
        "discovery",
        replace_bytes(b"405 Method Not Allowed", b"400 Bad Request"),
        ["discovery.register-get", "discovery.route-options"],
    ),
]


@pytest.mark.parametrize(("part", "alter", "cases"), [m[1:] for m in MUTANTS], ids=[m[0] for m in MUTANTS])
async def test_a_small_mistake_is_noticed(part, alter, cases):
    async with LocalCluster() as cluster:
        right = target_of(cluster)
        address = right.address(part)
        assert address is not None
        async with Proxy(address, alter) as proxy:
            report = await run_only(right.with_parts({part: proxy.address}), cases, wait_s=0.5)

    assert set(cases) - set(failed(report)) == set()


async def test_a_connection_that_stays_open_is_noticed():
    cases = ["tcp-frames.header-len-15", "tcp-frames.pack-len-4113", "tcp-frames.half-close", "tcp-sessions.same-key"]
    async with LocalCluster() as cluster:
        right = target_of(cluster)
        async with Proxy(cluster.tcp, lambda: lambda data: data, hide_close=True) as proxy:
            report = await run_only(right.with_parts({"tcp": proxy.address}), cases, wait_s=0.3)

    assert set(failed(report)) >= set(cases)
    assert failed(report)["tcp-frames.header-len-15"].endswith("no answer within 0.3 s")


async def test_a_proxy_that_changes_nothing_changes_nothing():
    async with LocalCluster() as cluster:
        right = target_of(cluster)
        async with Proxy(cluster.tcp, lambda: lambda data: data) as proxy:
            report = await run_only(right.with_parts({"tcp": proxy.address}), ["tcp-frames", "tcp-auth", "tcp-ops"])

    assert failed(report) == {}


# --- wrong gRPC servers -------------------------------------------------------


def other_text(handler: Any) -> Any:
    def wrong(request: Any) -> Any:
        try:
            return handler(request)
        except PeerError as exc:
            raise PeerError("no", exc.code) from exc

    return wrong


def takes_anything(handler: Any) -> Any:
    def wrong(request: Any) -> Any:
        try:
            return handler(request)
        except PeerError:
            return logic.ConnectReply(key="x", heartbeat=10**10)

    return wrong


GRPC_MUTANTS: list[tuple[str, str, Method, Callable[[Any], Any], list[str]]] = [
    (
        "takes a bad token",
        "logic",
        CONNECT,
        takes_anything,
        ["logic-grpc.connect-bad-json", "logic-grpc.connect-key-number"],
    ),
    (
        "a heartbeat in seconds",
        "logic",
        CONNECT,
        lambda handler: lambda request: logic.ConnectReply(heartbeat=480),
        ["logic-grpc.connect-ok-key", "logic-grpc.connect-heartbeat"],
    ),
    ("never had it", "logic", DISCONNECT, lambda handler: lambda request: logic.DisconnectReply(), ["logic-grpc.life"]),
    (
        "counts anybody",
        "logic",
        RENEW_ONLINE,
        lambda handler: lambda request: logic.OnlineReply(allRoomCount=request.roomCount),
        ["logic-grpc.renew-online", "logic-grpc.renew-online-gzip"],
    ),
    (
        "another error text",
        "comet",
        PUSH_MSG,
        other_text,
        ["comet-grpc.push-no-keys", "comet-grpc.push-no-proto"],
    ),
]


@pytest.mark.parametrize(
    ("node", "method", "mistake", "cases"), [m[1:] for m in GRPC_MUTANTS], ids=[m[0] for m in GRPC_MUTANTS]
)
async def test_a_wrong_grpc_server_is_noticed(node, method, mistake, cases):
    part = "grpc" if node == "logic" else "comet_grpc"
    async with LocalCluster() as cluster:
        right: Any = cluster.node("comet-1" if node == "comet" else node)
        handlers = {**right.handlers, method: mistake(right.handlers[method])}
        server = LinkServer(handlers, host="127.0.0.1", port=0, what="a wrong node")
        await server.start()
        withdraw_local(server.address, handlers)
        try:
            report = await run_only(target_of(cluster).with_parts({part: server.address}), cases, wait_s=1.0)
        finally:
            await server.stop(0.1)

    assert set(cases) - set(failed(report)) == set()
