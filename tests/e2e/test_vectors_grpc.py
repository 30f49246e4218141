"""Recorded sessions of a comet with a test logic, HTTP/2 connections of Go nodes, and the facts noted beside them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from imctl.link.contract import PeerError
from imctl.link.methods import CONNECT
from imctl.link.unary import UnaryPeer
from imctl.store.contract import OnlineReport
from imctl.store.memory import MemoryStore
from protocol.operation import Operation
from protocol.pb import logic as pb
from tests.e2e.peers import GoPeer, H2Frame, frames_of, grpc_message, scripted, stock_reply
from tests.e2e.replay import LATE_S, SCALE, received, replay_one
from tests.e2e.test_vectors_calls import as_asked, comet_of, connected, logic_of
from tests.imctl.comet.raw import Raw, Rig, eventually
from tests.imctl.logic.fakes import FakeRegistry, comet_instance
from tests.vectors.lines import line_params, lines, recording

IDLE_AND_REFUSED, IDLE_AND_ENDED, BUSY, IDLE_BYTES, CALL_BYTES = 116, 117, 118, 119, 120
NO_LOGIC, NOT_UTF8 = 194, 195
"""Lines of connections, and of facts."""
IDLE = (IDLE_AND_REFUSED, IDLE_AND_ENDED, IDLE_BYTES)

REFUSED_AT_ONCE = {"comet-without-logic"}
"""goim's comet waits for a logic until the handshake timer ends; here the client is refused at once."""

SLOWER = {"connect-hb-1s-with-heartbeats": 0.5}
"""Scales of dialogues in which the client has to be in time for a limit of one second."""

ANSWERS_TOO_LATE = "connect-delay-10s"
"""The test logic's answer comes after the handshake timer, by far: how far is not in the bytes."""


@pytest.mark.parametrize("link", ["local", "batched", "unary"])
@pytest.mark.parametrize(
    "dialogue",
    line_params(
        "grpc",
        lambda one: one["name"],
        when=lambda one: one["kind"] == "session" and one["name"] != "logic-killed",
    ),
)
async def test_session_with_a_test_logic(dialogue, link):
    name = dialogue["name"]
    scale = SLOWER.get(name, SCALE)
    settings = {"handshake_timeout_s": 8 * scale, "renew_online_s": 10 * scale, "online_delay_s": 3 * scale}
    async with Rig(link="" if name == "comet-without-logic" else link, **settings) as rig:
        rig.logic.scale = scale if name != ANSWERS_TOO_LATE else 3 * scale
        rig.logic.rooms = {"live://many": 12345, "live://zero": 0}
        rig.logic.receive = slow_or_failing
        address = rig.ws if name.startswith("ws-") else rig.tcp
        data, closed, ended_ms = await replay_one(dialogue["steps"], address, scale=scale)
        counters = rig.counters

    assert data == received(dialogue["steps"])
    assert closed == "eof"
    recorded_ms = 0 if name in REFUSED_AT_ONCE else dialogue["steps"][-1]["t_ms"] * scale
    if "closed" in dialogue["steps"][-1]:
        assert recorded_ms - 30 < ended_ms < recorded_ms + LATE_S * 1000
    if name in REFUSED_AT_ONCE or "connect-error" in name:
        assert (counters["refused_auth"], counters["closed.auth_refused"]) == (1, 1)
    if name.startswith("receive-error"):
        assert counters["receive_errors"] == 1


def slow_or_failing(request: Any) -> Any:
    """Answer Receive as the test logic of the recording did."""
    if request.proto.op == 2001:
        raise PeerError("refused by the test", 13)
    if request.proto.op == 2002:
        return answer_later()
    return pb.ReceiveReply()


async def answer_later() -> Any:
    await asyncio.sleep(2 * SCALE)
    return pb.ReceiveReply()


@pytest.mark.parametrize("link", ["local", "batched", "unary"])
@pytest.mark.parametrize(
    "dialogue", line_params("grpc", lambda one: one["name"], when=lambda one: one.get("name") == "logic-killed")
)
async def test_logic_killed(dialogue, link):
    async with Rig(link=link) as rig:
        async with await Raw.login(rig.tcp, key="before"):
            await rig.stop_logic()
            for conn in "AB":
                steps = [step for step in dialogue["steps"] if step["conn"] == conn]
                data, closed, ended_ms = await replay_one(steps, rig.tcp)

                assert (data, closed) == (b"", "eof")
                assert ended_ms < LATE_S * 1000


# --- HTTP/2 connections ---------------------------------------------------------


def client_bytes(number: int) -> list[bytes]:
    """Return what the client of a recorded connection wrote, in pieces."""
    line = lines("grpc")[number - 1]
    if "chunks" in line:
        return [bytes.fromhex(one["hex"]) for one in line["chunks"] if one["from"] == "client"]
    return [_event_bytes(one) for one in line["events"] if one["from"] == "client"]


def server_events(number: int) -> list[bytes]:
    line = lines("grpc")[number - 1]
    if "chunks" in line:
        return [bytes.fromhex(one["hex"]) for one in line["chunks"] if one["from"] == "server"]
    return [_event_bytes(one) for one in line["events"] if one["from"] == "server"]


def _event_bytes(event: dict[str, Any]) -> bytes:
    name, value = event["frame"], event["value"]
    kind, _, ack = name.partition(" ")
    if kind == "preface":
        return bytes.fromhex(value)
    if kind == "SETTINGS":
        payload = b"".join(int(key).to_bytes(2, "big") + number.to_bytes(4, "big") for key, number in value.items())
        return H2Frame(H2Frame.SETTINGS, H2Frame.ACK if ack else 0, 0, payload).pack()
    if kind == "PING":
        return H2Frame(H2Frame.PING, H2Frame.ACK if ack else 0, 0, bytes.fromhex(value)).pack()
    if kind == "WINDOW_UPDATE":
        return H2Frame(H2Frame.WINDOW_UPDATE, 0, value["stream"], value["inc"].to_bytes(4, "big")).pack()
    if kind == "GOAWAY":
        payload = value["last"].to_bytes(4, "big") + value["code"].to_bytes(4, "big") + value["data"].encode()
        return H2Frame(H2Frame.GOAWAY, 0, 0, payload).pack()
    assert kind == "eof", name
    return b""


async def until_frame(reader: asyncio.StreamReader, data: bytearray, wanted: Any, count: int = 1) -> list[H2Frame]:
    """Read until so many frames are as wanted; return all so far."""
    async with asyncio.timeout(10):
        while sum(map(wanted, found := list(frames_of(bytes(data))))) < count:
            more = await reader.read(65536)
            assert more, f"closed after {found}"
            data += more
    return found


def is_ping_ack(frame: H2Frame) -> bool:
    return (frame.kind, frame.flags) == (H2Frame.PING, H2Frame.ACK)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=recording("grpc", number), id=name)
        for number, name in (
            (IDLE_AND_REFUSED, "pings-each-13-s"),
            (IDLE_AND_ENDED, "a-ping-after-40-s"),
            (IDLE_BYTES, "raw-bytes"),
        )
    ],
)
async def test_an_idle_go_job_may_ping_and_stays_connected(number):
    """goim's comet ends the first such connection with GOAWAY at the fourth ping, and the others after 60 s."""
    pieces = [piece for piece in client_bytes(number) if piece]
    pings = [frame for piece in pieces for frame in frames_of(piece) if frame.kind == H2Frame.PING]
    async with GoPeer(as_asked()) as peer, comet_of(peer) as comet:
        reader, writer = await asyncio.open_connection(*(comet.addresses["grpc"] or "").rsplit(":", 1))
        with contextlib.closing(writer):
            # Pings come far closer together here than the recorded 13 s; goim's client never sends them so fast.
            for piece in pieces:
                writer.write(piece)
            found = await until_frame(reader, data := bytearray(), is_ping_ack, len(pings))
            assert [frame.payload for frame in found if is_ping_ack(frame)] == [ping.payload for ping in pings]

            writer.write(H2Frame(H2Frame.PING, 0, 0, b"still on").pack())
            found = await until_frame(reader, data, is_ping_ack, len(pings) + 1)

    assert H2Frame(H2Frame.SETTINGS, H2Frame.ACK, 0, b"") in found
    assert not [frame for frame in found if frame.kind == H2Frame.GOAWAY]


@recording("grpc", CALL_BYTES)
async def test_the_bytes_of_a_go_comet_are_answered_by_logic():
    rooms = {"live://many": 12345, "live://zero": 0}
    registry, store = FakeRegistry(), MemoryStore()
    async with logic_of(registry, store) as node:
        await store.set_online("comet-a", OnlineReport({"live://many": 12345}, 1 << 40))
        registry.report(comet_instance())
        await node._online.rebuild()
        reader, writer = await asyncio.open_connection(*(node.addresses["logic.grpc"] or "").rsplit(":", 1))
        with contextlib.closing(writer):
            calls = 0
            data = bytearray()
            for piece in client_bytes(CALL_BYTES):
                writer.write(piece)
                calls += sum(f.kind == H2Frame.HEADERS for f in frames_of(piece[24:] if piece[:3] == b"PRI" else piece))
                found = await until_frame(reader, data, ends_a_stream, calls)

    bodies = {n: b"".join(f.payload for f in found if f.kind == H2Frame.DATA and f.stream == n) for n in (1, 3, 5)}
    recorded = b"".join(server_events(CALL_BYTES))
    wanted = b"".join(f.payload for f in frames_of(recorded) if f.kind == H2Frame.DATA and f.stream == 1)
    connect = pb.ConnectReply.FromString(grpc_message(bodies[1]))
    # The test logic of the recording gave everybody mid 1 and key c-1, as the token says.
    assert connect == pb.ConnectReply.FromString(grpc_message(wanted))
    for stream in (3, 5):
        counts = dict(pb.OnlineReply.FromString(grpc_message(bodies[stream])).allRoomCount)
        assert counts == {room: count for room, count in rooms.items() if count}


def ends_a_stream(frame: H2Frame) -> bool:
    return frame.kind == H2Frame.HEADERS and bool(frame.flags & H2Frame.END_STREAM)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=recording("grpc", number), id=name)
        for number, name in (
            (IDLE_AND_REFUSED, "too-many-pings"),
            (IDLE_AND_ENDED, "idle-for-60-s"),
            (BUSY, "window-probes"),
            (IDLE_BYTES, "raw-bytes"),
        )
    ],
)
async def test_our_client_goes_on_when_a_go_server_has_ended_the_connection(number):
    """What the server wrote is the recording's; then the connection ends, and the next one is an ordinary server."""
    probes = 0
    ended = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal probes
        await reader.readexactly(24)
        data = bytearray()
        leaving = False
        for piece in server_events(number):
            if not piece:
                break
            frames = list(frames_of(piece))
            if any(is_ping_ack(frame) for frame in frames):
                continue  # of a ping that our client has not sent
            writer.write(piece)
            # Who is told to go away need not answer any more.
            leaving = leaving or any(frame.kind == H2Frame.GOAWAY for frame in frames)
            if not leaving and any(frame.kind == H2Frame.PING for frame in frames):
                probes += 1
                await until_frame(reader, data, is_ping_ack, probes)
        await writer.drain()
        writer.close()
        ended.set()

    async with GoPeer(stock_reply) as peer, scripted(script, peer.address) as address:
        client = UnaryPeer("logic-a", address, timeout_s=5.0)
        try:
            async with asyncio.timeout(10):
                await ended.wait()
                reply = None
                while reply is None:
                    # A call that met the end of the connection fails at once, it does not hang.
                    with contextlib.suppress(PeerError):
                        reply = await client.call(CONNECT, pb.ConnectReq(server="comet-a", token=b"{}"))
        finally:
            await client.close()

    assert reply.key == "k"
    assert probes or number not in (BUSY,)


# --- facts ----------------------------------------------------------------------


@recording("grpc", NO_LOGIC)
async def test_without_a_logic_a_client_is_refused_at_once_and_not_announced_later():
    """goim's comet waits until the handshake timer ends, and tells a logic that comes later of the client that left."""
    async with Rig(link="") as rig:
        async with await Raw.connect(rig.tcp) as client:
            client.request(Operation.AUTH, b'{"mid":1,"key":"early"}')
            assert await client.read_to_end() == b""
        assert rig.counters["refused_auth"] == 1

        async with GoPeer(as_asked()) as peer:
            await rig.registry.register(peer.instance("goim.logic", "late"))
            await eventually(lambda: rig.gauges["logics"] == 1)
            async with await Raw.login(rig.tcp, key="after"):
                assert [request.token for request in peer.named("Connect")] != []
            assert not [request for request in peer.named("Connect") if b"early" in request.token]


@recording("grpc", NOT_UTF8)
async def test_room_counts_go_on_with_a_client_in_a_room_that_is_not_utf8():
    """goim's comet cannot send any count from then on."""
    async with GoPeer(as_asked()) as peer, comet_of(peer, renew_online_s=0.05, online_delay_s=0.02) as comet:
        async with (
            await connected(comet, key="a") as a,
            await connected(comet, key="b", room_id="live://nu"),
        ):
            a.request(Operation.CHANGE_ROOM, b"\xff\xfe")
            assert (await a.frame()).body == b"\xff\xfe"
            before = len(peer.named("RenewOnline"))

            later = (await peer.wait_for("RenewOnline", before + 3))[before:]

    assert [dict(request.roomCount) for request in later] == [{"live://nu": 1}] * len(later)
