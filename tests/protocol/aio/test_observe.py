"""Every frame of a client, both ways, as an observer is told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from protocol.aio import Client, ConnectionClosedError, Direction
from protocol.bodies import AuthToken, serialize_online
from protocol.frame import Frame, pack_frame
from tests.protocol.aio.fake_comet import FakeComet

TOKEN = AuthToken(mid=1, key="k")
SENT, RECEIVED = Direction.SENT, Direction.RECEIVED


@pytest.fixture(params=["tcp", "ws"])
async def comet(request: pytest.FixtureRequest) -> AsyncIterator[FakeComet]:
    async with FakeComet(ws=request.param == "ws") as found:
        yield found


async def connect(comet: FakeComet, seen: list[tuple[Direction, Frame]]) -> Client:
    make = Client.connect_ws if comet.ws else Client.connect_tcp
    return await make("127.0.0.1", comet.port, TOKEN, observe=lambda way, frame: seen.append((way, frame)))


async def test_auth_requests_their_answers_and_pushes_are_observed_in_order(comet):
    seen: list[tuple[Direction, Frame]] = []
    async with await connect(comet, seen) as client:
        await client.change_room("live://2")
        comet.push(Frame(1, 1000, 0, b"a"), Frame(1, 1000, 0, b"b"))
        await client.receive(10)
        await client.send(1001, b"x", ver=2, seq=-9)
        await client.receive(10)
        await client.receive(10)

    assert seen == [
        (SENT, Frame(1, 7, 1, TOKEN.serialize())),
        (RECEIVED, Frame(1, 8, 1)),
        (SENT, Frame(1, 12, 2, b"live://2")),
        (RECEIVED, Frame(1, 13, 2, b"live://2")),
        (RECEIVED, Frame(1, 1000, 0, b"a")),
        (RECEIVED, Frame(1, 1000, 0, b"b")),
        (SENT, Frame(2, 1001, -9, b"x")),
        (RECEIVED, Frame(2, 1001, -9)),
    ]


async def test_heartbeats_that_go_by_themselves_are_observed(comet):
    seen: list[tuple[Direction, Frame]] = []
    async with await connect(comet, seen) as client:
        client._heartbeats.due()
        await comet.wait_for(1, 2)
        await client.request(4)  # the answer before this one is read by now

    beats = [(way, frame) for way, frame in seen if frame.op in (2, 3) and frame.seq == 2]
    assert beats == [(SENT, Frame(1, 2, 2)), (RECEIVED, Frame(1, 3, 2, serialize_online(3)))]


async def test_raw_bytes_are_sent_as_they_are(comet):
    async with await connect(comet, []) as client:
        await client.send_raw(pack_frame(1000, b"by hand", ver=5, seq=6))

        assert await client.receive(10) == Frame(5, 1000, 6)
        comet.drop()
        with pytest.raises(ConnectionClosedError):
            await client.receive(10)
        with pytest.raises(ConnectionClosedError):
            await client.send_raw(b"x")

    assert comet.received[-1] == Frame(5, 1000, 6, b"by hand")
