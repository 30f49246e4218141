"""Recorded calls of a test client to a Go comet and a Go logic, made to ours."""

from __future__ import annotations

from typing import Any

import pytest

from imctl.link.methods import BY_PATH
from imctl.store.contract import OnlineReport
from imctl.store.memory import MemoryStore
from protocol.bodies import parse_token
from protocol.pb import comet as pb
from protocol.pb import protocol
from tests.e2e.peers import GoPeer, Recorded, call_as_go
from tests.e2e.test_vectors_calls import as_asked_with, comet_of, logic_of
from tests.imctl.comet.raw import Raw, eventually
from tests.imctl.logic.fakes import FakeRegistry, comet_instance
from tests.vectors.lines import line_params, lines, recording

FULL_CLIENT = 145
"""The line of PushMsg to a client that does not read; it has no request of its own."""

OF_ANOTHER_SERVER = "Disconnect of that key by another server"
"""goim deletes the session all the same; here it stays, and `has` is false."""

FREE_TEXT = ("Connect token", "message that is not protobuf")
"""Calls whose error has the words of a Go library."""


def direct(to: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "line",
        line_params(
            "grpc", when=lambda one: one.get("direction") == f"test client to Go {to}" and "request_hex" in one
        ),
    )


def assert_same_status(line: dict[str, Any], call: Recorded, status: int, details: str) -> None:
    assert status == call.status
    if line["what"].startswith(FREE_TEXT):
        assert bool(details) == bool(call.details)
    else:
        assert details == call.details


async def received(client: Raw, steps: list[dict[str, Any]]) -> None:
    """Check that a client gets the recorded bytes, or nothing."""
    wanted = b"".join(bytes.fromhex(step["recv"]) for step in steps if "recv" in step)
    before = len(client.data)
    assert (await client.read_total(before + len(wanted)))[before:] == wanted
    if not wanted:
        await client.no_frame()


@direct("comet")
async def test_comet(line):
    call = Recorded.of(line)
    async with GoPeer(as_asked_with((1000,))) as peer, comet_of(peer, compat_goim=True) as comet:
        tcp, ws = (comet.addresses[name] or "" for name in ("tcp", "ws"))
        async with (
            await Raw.login(tcp, key="g-1", room_id="live://g") as one,
            await Raw.login(ws, is_ws=True, key="g-2", room_id="live://g") as two,
        ):
            status, details, data = await call_as_go(
                comet.addresses["grpc"] or "", call.path, bytes.fromhex(line["request_hex"])
            )

            assert_same_status(line, call, status, details)
            if not status:
                assert BY_PATH[call.path].reply.FromString(data) == call.reply
            nothing = {"tcp": [], "ws": []}
            by_transport = line.get("received_by_clients", nothing)
            await received(one, by_transport["tcp"])
            await received(two, by_transport["ws"])


@recording("grpc", FULL_CLIENT)
async def test_comet_with_a_client_that_does_not_read():
    line = lines("grpc")[FULL_CLIENT - 1]
    frame = bytes(60016)
    request = pb.PushMsgReq(keys=["g-slow", "g-1"], proto=protocol.Proto(ver=1, op=9, body=frame), protoOp=1000)
    async with GoPeer(as_asked_with((1000,))) as peer, comet_of(peer, compat_goim=True) as comet:
        tcp, grpc_address = comet.addresses["tcp"] or "", comet.addresses["grpc"] or ""
        async with await Raw.login(tcp, key="g-slow", rcvbuf=4096), await Raw.login(tcp, key="g-1") as reading:
            taken, status = 0, 0
            while not status:
                status, details, _ = await call_as_go(grpc_address, line["method"], request.SerializeToString())
                taken += not status
                before = len(reading.data)
                # Every key has its chance, also after one that is full; in goim the rest is skipped.
                await reading.read_total(before + len(frame))
            assert (status, details) == (line["code_number"], line["details"])
            # goim's client had 10 messages waiting and what its socket took; here the queue is counted in bytes.
            assert taken >= 1
            await eventually(lambda: comet.stats()["drops"])


@direct("logic")
async def test_logic(line):
    call = Recorded.of(line)
    registry, store = FakeRegistry(), MemoryStore()
    async with logic_of(registry, store) as node:
        registry.report(comet_instance())
        if call.path.endswith(("/Disconnect", "/Heartbeat")) and (call.reply.ListFields() or "Heartbeat" in call.path):
            owner = "comet-x" if call.path.endswith("/Disconnect") else call.request.server
            await store.add(call.request.mid, call.request.key, owner)
        if call.path.endswith("/RenewOnline"):
            await store.set_online("comet-a", OnlineReport(dict(call.reply.allRoomCount), 1 << 40))
            await node._online.rebuild()

        status, details, data = await call_as_go(
            node.addresses["logic.grpc"] or "", call.path, bytes.fromhex(line["request_hex"])
        )

    assert_same_status(line, call, status, details)
    if status:
        return
    reply = BY_PATH[call.path].reply.FromString(data)
    if call.path.endswith("/Connect") and not parse_token(call.request.token).key:
        assert len(reply.key) == 36
        reply.key = call.reply.key
    if line["what"].startswith(OF_ANOTHER_SERVER):
        assert call.reply.has
        assert not reply.has
        assert await store.servers_by_key([call.request.key]) == {call.request.key: "comet-x"}
    else:
        assert reply == call.reply


LIFE = ["Connect", "Heartbeat", "Disconnect: mapping present", "Disconnect again: has=false"]


async def test_logic_through_the_life_of_a_session():
    registry, store = FakeRegistry(), MemoryStore()
    answers = []
    async with logic_of(registry, store) as node:
        for line in lines("grpc"):
            if line.get("direction") == "test client to Go logic" and line["what"] in LIFE:
                _, _, data = await call_as_go(
                    node.addresses["logic.grpc"] or "", line["method"], bytes.fromhex(line["request_hex"])
                )
                answers.append((line["what"], data == bytes.fromhex(line["reply_hex"])))

    assert answers == [(what, True) for what in LIFE]
