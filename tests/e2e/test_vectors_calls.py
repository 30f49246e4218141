"""Every recorded call between nodes, with ours at either end: the same request made, the same answer given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from imctl.bus.memory import MemoryBus
from imctl.comet.config import CometConfig
from imctl.comet.node import Comet
from imctl.job.config import JobConfig
from imctl.job.node import Job
from imctl.link.methods import BY_PATH
from imctl.logic.config import LogicConfig
from imctl.logic.node import Logic
from imctl.registry.config import RegistryConfig
from imctl.registry.contract import Registry
from imctl.registry.node import RegistryServer
from imctl.store.contract import OnlineReport
from imctl.store.memory import MemoryStore
from protocol.bodies import parse_token
from protocol.frame import pack_frame, parse_frames
from protocol.operation import Operation
from protocol.pb import comet as comet_pb
from protocol.pb import logic as logic_pb
from tests.e2e.peers import GoPeer, Recorded, call_as_go, stock_reply
from tests.imctl.comet.raw import UPGRADE, Raw
from tests.imctl.logic.fakes import FakeBus, FakeRegistry, comet_instance
from tests.vectors.lines import line_params

HEARTBEAT_NS = 480_000_000_000


def calls(method: str, *, when: Any = lambda line: True) -> pytest.MarkDecorator:
    """Parametrize by the recorded calls of a method, such as Connect."""
    return pytest.mark.parametrize(
        "line",
        line_params(
            "grpc",
            lambda line: f"{method} {line['what']}",
            when=lambda line: line["kind"] == "call" and line["method"].endswith(f"/{method}") and when(line),
        ),
    )


def of_go_logic(line: dict[str, Any]) -> bool:
    return line["direction"] == "Go comet to Go logic"


# --- our comet, a Go logic ------------------------------------------------------


@asynccontextmanager
async def comet_of(peer: GoPeer, hostname: str = "comet-a", **settings: Any) -> AsyncIterator[Comet]:
    """Run a comet whose logic is this peer, found in a registry."""
    server = RegistryServer(RegistryConfig())
    registry: Registry = server.local
    await registry.register(peer.instance("goim.logic", "logic-a"))
    ports = {"tcp_port": 0, "ws_port": 0, "grpc_port": 0}
    comet = Comet(CometConfig(hostname=hostname, **ports, **settings), registry=registry)
    try:
        await comet.start()
        yield comet
    finally:
        await comet.stop(1.0)
        await server.stop(0.1)


def recorded_answer(call: Recorded) -> Any:
    """Return the answers of a logic that has been recorded with one call. Any: for GoPeer."""

    def answer(path: str, request: Any) -> Any:
        if path != call.path:
            return stock_reply(path, request)
        if call.status:
            raise GoPeer.Refused(call.status, call.details)
        return BY_PATH[path].reply() if call.reply is None else call.reply  # None: the logic was killed

    return answer


@calls("Connect")
async def test_comet_asks_logic_as_a_go_comet_and_takes_its_answer(line):
    call = Recorded.of(line)
    async with GoPeer(recorded_answer(call)) as peer, comet_of(peer, call.request.server) as comet:
        is_ws = bool(call.request.cookie)
        async with await Raw.connect(
            comet.addresses["ws" if is_ws else "tcp"] or "", is_ws=is_ws, upgrade=False
        ) as client:
            if is_ws:
                client.write(UPGRADE[:-2] + f"Cookie: {call.request.cookie}\r\n\r\n".encode())
                await client.reader.readuntil(b"\r\n\r\n")
            client.send(pack_frame(Operation.AUTH, call.request.token, seq=1))

            if call.status:
                assert await client.read_to_end() == b""
            else:
                assert (await client.frame()).op == Operation.AUTH_REPLY
                assert await client.heartbeat() == (1 if call.reply.roomID else 0)
        assert peer.named("Connect") == [call.request]
        assert not peer.unknown


async def connected(comet: Comet, **token: Any) -> Raw:
    return await Raw.login(comet.addresses["tcp"] or "", **token)


def as_asked(**more: Any) -> Any:
    """Return answers of a logic that takes everybody as they say they are."""

    def answer(path: str, request: Any) -> Any:
        if path in more:
            return more[path](request)
        if path.endswith("/Connect"):
            token = parse_token(request.token)
            return logic_pb.ConnectReply(mid=token.mid, key=token.key, roomID=token.room_id, heartbeat=HEARTBEAT_NS)
        return stock_reply(path, request)

    return answer


@calls("Disconnect")
async def test_comet_tells_logic_of_the_end_as_a_go_comet(line):
    call = Recorded.of(line)
    answers = as_asked(**{call.path: lambda request: recorded_answer(call)(call.path, request)})
    async with GoPeer(answers) as peer, comet_of(peer, call.request.server) as comet:
        client = await connected(comet, mid=call.request.mid, key=call.request.key)
        await client.close()

        assert await peer.wait_for("Disconnect") == [call.request]
        # Whatever the answer was, the next client is served.
        async with await connected(comet, mid=1, key="next") as other:
            assert await other.heartbeat() == 0


@calls("Receive")
async def test_comet_hands_a_client_message_to_logic_as_a_go_comet(line):
    call = Recorded.of(line)
    sent = call.request.proto
    answers = as_asked(**{call.path: lambda request: recorded_answer(call)(call.path, request)})
    async with GoPeer(answers) as peer, comet_of(peer) as comet:
        async with await connected(comet, mid=call.request.mid, key="k") as client:
            client.send(pack_frame(sent.op, sent.body, seq=sent.seq, ver=sent.ver))
            client.request(Operation.HEARTBEAT, seq=77)

            replies = [await client.frame()]
            if sent.op != Operation.RAW:  # of which goim says nothing
                assert (replies[0].op, replies[0].ver, replies[0].seq) == (sent.op, sent.ver, sent.seq)
                replies.append(await client.frame())
            assert (replies[-1].op, replies[-1].seq) == (Operation.HEARTBEAT_REPLY, 77)
        assert peer.named("Receive") == [call.request]


@calls("Heartbeat")
async def test_comet_keeps_a_session_alive_as_a_go_comet(line):
    call = Recorded.of(line)
    async with GoPeer(as_asked()) as peer, comet_of(peer, call.request.server) as comet:
        comet.sessions._refresh_s = (0.0, 0.0)
        async with await connected(comet, mid=call.request.mid, key=call.request.key) as client:
            await client.heartbeat()

            assert (await peer.wait_for("Heartbeat"))[0] == call.request


@calls("RenewOnline")
async def test_comet_reports_rooms_as_a_go_comet_and_tells_clients_the_answer(line):
    call = Recorded.of(line)
    answers = as_asked(**{call.path: lambda request: call.reply})
    settings = {"renew_online_s": 0.05, "online_delay_s": 0.02}
    async with (
        GoPeer(answers) as peer,
        comet_of(peer, call.request.server, **settings) as comet,
        contextlib.AsyncExitStack() as open_,
    ):
        clients = {}
        for room, count in call.request.roomCount.items():
            for number in range(count):
                client = await connected(comet, key=f"{room}-{number}", room_id=room)
                clients[room] = await open_.enter_async_context(client)
        before = len(peer.named("RenewOnline"))

        assert (await peer.wait_for("RenewOnline", before + 2))[-1] == call.request
        for room, client in clients.items():
            # goim tells what logic said where that is more than 0, else what the comet has itself.
            wanted = call.reply.allRoomCount.get(room, 0) or call.request.roomCount[room]
            async with asyncio.timeout(5):
                while await client.heartbeat() != wanted:
                    pass


# --- a Go comet, our logic ------------------------------------------------------


@asynccontextmanager
async def logic_of(registry: FakeRegistry, store: MemoryStore, **settings: Any) -> AsyncIterator[Logic]:
    config = LogicConfig(hostname="logic-a", http_port=0, grpc_port=0, compat_goim=True, **settings)
    node = Logic(config, registry=registry, bus=FakeBus(), store=store)
    await node.start()
    try:
        yield node
    finally:
        await node.stop(1)


@pytest.mark.parametrize(
    "line",
    line_params(
        "grpc",
        lambda line: f"{line['method'].rpartition('/')[2]} {line['what']}",
        when=lambda line: line["kind"] == "call" and of_go_logic(line),
    ),
)
async def test_logic_answers_a_go_comet_as_a_go_logic(line):
    call = Recorded.of(line)
    registry, store = FakeRegistry(), MemoryStore()
    async with logic_of(registry, store) as node:
        if call.path.endswith("/Disconnect") and call.reply.has:
            await store.add(call.request.mid, call.request.key, call.request.server)
        if call.path.endswith("/RenewOnline"):
            # What all comets had reported before this call.
            await store.set_online("comet-a", OnlineReport(dict(call.reply.allRoomCount), 1 << 40))
            registry.report(comet_instance())
            await node._online.rebuild()

        status, details, data = await call_as_go(
            node.addresses["logic.grpc"] or "",
            call.path,
            bytes.fromhex(line["request_hex"]),
            compressed=line["request_compressed"],
        )

    assert status == call.status
    if status:
        assert details
        return
    reply = BY_PATH[call.path].reply.FromString(data)
    if call.path.endswith("/Connect") and not parse_token(call.request.token).key:
        assert len(reply.key) == len(call.reply.key) == 36  # generated
        reply.key = call.reply.key
    assert reply == call.reply


# --- our job, a Go comet --------------------------------------------------------


def pushed(call: Recorded) -> list[logic_pb.PushMsg]:
    """Return the records that make a job send this call."""
    frames, _ = parse_frames(call.request.proto.body)
    if isinstance(call.request, comet_pb.PushMsgReq):
        (frame,) = frames
        return [
            logic_pb.PushMsg(
                type=logic_pb.PushMsg.PUSH,
                operation=call.request.protoOp,
                server="comet-a",
                keys=call.request.keys,
                msg=frame.body,
            )
        ]
    if isinstance(call.request, comet_pb.BroadcastReq):
        (frame,) = frames
        return [
            logic_pb.PushMsg(
                type=logic_pb.PushMsg.BROADCAST,
                operation=call.request.protoOp,
                speed=call.request.speed,
                msg=frame.body,
            )
        ]
    return [
        logic_pb.PushMsg(type=logic_pb.PushMsg.ROOM, operation=frame.op, room=call.request.roomID, msg=frame.body)
        for frame in frames
    ]


def calls_of_job() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "line",
        line_params(
            "grpc",
            lambda line: f"{line['method'].rpartition('/')[2]} {line['what']}",
            when=lambda line: line["kind"] == "call" and line["direction"] == "Go job to Go comet",
        ),
    )


@calls_of_job()
async def test_job_calls_a_comet_as_a_go_job(line):
    call = Recorded.of(line)
    server = RegistryServer(RegistryConfig())
    bus = MemoryBus()
    async with GoPeer(recorded_answer(call)) as peer:
        await server.local.register(peer.instance("goim.comet", "comet-a"))
        job = Job(JobConfig(compat_goim=True, room_signal_s=0.1), registry=server.local, bus=bus)
        await job.start()
        try:
            for message in pushed(call):
                await bus.publish(message.room or "key", message.SerializeToString())

            name = call.path.rpartition("/")[2]
            assert await peer.wait_for(name) == [call.request]
        finally:
            await job.stop(1)
            await bus.close()
            await server.stop(0.1)
        assert not peer.unknown


# --- a Go job, our comet --------------------------------------------------------


@calls_of_job()
async def test_comet_answers_a_go_job_and_writes_what_it_said(line):
    call = Recorded.of(line)
    request = call.request
    accepts = (getattr(request, "protoOp", 0),)
    room = getattr(request, "roomID", "")
    keys = list(getattr(request, "keys", [])) or ["k"]
    async with GoPeer(as_asked_with(accepts)) as peer, comet_of(peer) as comet, contextlib.AsyncExitStack() as open_:
        tcp = await open_.enter_async_context(await connected(comet, key=keys[0], room_id=room))
        others = [
            await open_.enter_async_context(
                await Raw.login(comet.addresses["ws"] or "", is_ws=True, key=key, room_id=room)
            )
            for key in [*keys[1:], "other"]
        ]

        status, _, data = await call_as_go(comet.addresses["grpc"] or "", call.path, bytes.fromhex(line["request_hex"]))

        assert (status, data) == (0, b"")
        before = len(tcp.data)
        assert (await tcp.read_total(before + len(request.proto.body)))[before:] == request.proto.body
        addressed = others if call.path.endswith(("/Broadcast", "/BroadcastRoom")) else others[:-1]
        for client in addressed:
            container = await client.frame()
            assert (container.op, container.body) == (Operation.RAW, request.proto.body)
        if len(addressed) < len(others):
            await others[-1].no_frame()


def as_asked_with(accepts: tuple[int, ...]) -> Any:
    """As as_asked(), for clients that accept these operations."""
    plain = as_asked()

    def answer(path: str, request: Any) -> Any:
        reply = plain(path, request)
        if path.endswith("/Connect"):
            reply.accepts.extend(accepts)
        return reply

    return answer
