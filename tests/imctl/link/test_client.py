"""Both kinds of peers over real sockets against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imctl.link.client import StreamPeer, open_peer
from imctl.link.contract import PeerError, PeerGoneError, PeerUnavailableError
from imctl.link.limits import MAX_MESSAGE_BYTES
from imctl.link.methods import BROADCAST, CONNECT, DISCONNECT, PUSH_MSG, RECEIVE, ROOMS
from imctl.link.server import LinkServer
from imctl.link.unary import UnaryPeer
from protocol.pb import comet, logic
from protocol.pb.protocol import Proto
from tests.imctl.link.fakes import eventually, serve
from tests.ports import free_port


class Node:
    """Handlers that answer at once, later, or with an error, and write down what came."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.gate = asyncio.Event()
        self.handlers = {
            RECEIVE: self.receive,
            CONNECT: self.connect,
            DISCONNECT: self.disconnect,
            PUSH_MSG: self.push,
            ROOMS: self.rooms,
        }

    def receive(self, request: Any) -> Any:
        self.seen.append(request.mid)
        return logic.ReceiveReply()

    async def connect(self, request: Any) -> Any:
        await asyncio.sleep(0)
        if request.token == b"wait":
            await self.gate.wait()
        if request.token == b"bad":
            raise ValueError("unexpected end of JSON input")
        return logic.ConnectReply(mid=1, key=request.server, accepts=[1000], heartbeat=480_000_000_000)

    def disconnect(self, request: Any) -> Any:
        if request.mid == 1:
            raise PeerError("no such session", 5)
        if request.mid == 2:
            raise KeyError("mid_2")
        if request.mid == 3:
            raise PeerUnavailableError("store is away")
        return logic.DisconnectReply(has=True)

    def push(self, request: Any) -> Any:
        self.seen.append(len(request.proto.body))
        return comet.PushMsgReply()

    def rooms(self, request: Any) -> Any:
        return comet.RoomsReply(rooms={f"live://{i}": True for i in range(3)})


@pytest.fixture
async def node() -> Node:
    return Node()


@pytest.fixture
async def server(node: Node) -> AsyncIterator[LinkServer]:
    server = await serve(node.handlers)
    yield server
    node.gate.set()
    await server.stop(1)


@pytest.fixture(params=["batched", "unary"])
async def peer(request: pytest.FixtureRequest, server: LinkServer) -> AsyncIterator[StreamPeer | UnaryPeer]:
    peer = open_peer("node", server.address, batched=request.param == "batched")
    assert isinstance(peer, StreamPeer if request.param == "batched" else UnaryPeer)
    yield peer
    await peer.close()


@pytest.fixture
async def stream_peer(server: LinkServer) -> AsyncIterator[StreamPeer]:
    peer = StreamPeer("node", server.address)
    yield peer
    await peer.close()


class Silent:
    """A listener that takes connections and says nothing, as a stopped process does."""

    async def __aenter__(self) -> str:
        self.writers: list[asyncio.StreamWriter] = []
        self.server = await asyncio.start_server(lambda _, writer: self.writers.append(writer), "127.0.0.1", 0)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
        await self.server.wait_closed()


async def test_a_call_brings_the_reply(peer):
    reply = await peer.call(CONNECT, logic.ConnectReq(server="comet-1", token=b"{}"))

    assert reply == logic.ConnectReply(mid=1, key="comet-1", accepts=[1000], heartbeat=480_000_000_000)
    assert (await peer.call(DISCONNECT, logic.DisconnectReq(mid=9))).has
    assert dict((await peer.call(ROOMS, comet.RoomsReq())).rooms) == {f"live://{i}": True for i in range(3)}


async def test_the_request_is_taken_when_the_call_is_made(peer, node):
    request = logic.ReceiveReq(mid=1)

    future = peer.call(RECEIVE, request)
    request.mid = 2
    await future

    assert node.seen == [1]


@pytest.mark.parametrize(
    ("mid", "code", "details", "kind"),
    [
        (1, 5, "no such session", PeerError),
        (2, 2, "'mid_2'", PeerError),
        (3, 14, "store is away", PeerUnavailableError),
    ],
)
async def test_an_error_of_the_handler_comes_back(peer, mid, code, details, kind):
    with pytest.raises(PeerError) as raised:
        await peer.call(DISCONNECT, logic.DisconnectReq(mid=mid))

    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.details) == (code, details)


async def test_an_error_of_a_handler_that_waits_comes_back(peer):
    with pytest.raises(PeerError) as raised:
        await peer.call(CONNECT, logic.ConnectReq(token=b"bad"))

    assert (raised.value.code, raised.value.details) == (2, "unexpected end of JSON input")


async def test_a_method_the_node_does_not_serve_is_unimplemented(peer):
    with pytest.raises(PeerError, match="unknown method") as raised:
        await peer.call(BROADCAST, comet.BroadcastReq())

    assert raised.value.code == 12


@pytest.mark.parametrize("size", [5_000_000, MAX_MESSAGE_BYTES - 1000])
async def test_big_messages_pass(peer, node, size):
    await peer.call(PUSH_MSG, comet.PushMsgReq(keys=["k"], proto=Proto(body=bytes(size))))

    assert node.seen == [size]


async def test_a_message_over_the_limit_fails_alone(peer, node):
    with pytest.raises(PeerError, match="over the limit") as raised:
        await peer.call(PUSH_MSG, comet.PushMsgReq(proto=Proto(body=bytes(MAX_MESSAGE_BYTES))))

    assert raised.value.code == 8
    await peer.call(RECEIVE, logic.ReceiveReq(mid=7))
    assert node.seen == [7]


async def test_a_call_without_an_answer_ends_at_the_time_limit(server, node):
    for batched in (True, False):
        peer = open_peer("node", server.address, batched=batched, timeout_s=1.0)
        waiting = peer.call(CONNECT, logic.ConnectReq(token=b"wait"))
        assert (await peer.call(DISCONNECT, logic.DisconnectReq(mid=9))).has

        with pytest.raises(PeerUnavailableError) as raised:
            async with asyncio.timeout(30):
                await waiting

        assert raised.value.code == 4
        await peer.close()


async def test_a_caller_may_give_up(peer, node):
    waiting = peer.call(CONNECT, logic.ConnectReq(token=b"wait"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    node.gate.set()

    assert (await peer.call(DISCONNECT, logic.DisconnectReq(mid=9))).has


async def test_close_ends_what_waits_and_every_later_call(peer):
    waiting = peer.call(CONNECT, logic.ConnectReq(token=b"wait"))
    assert (await peer.call(DISCONNECT, logic.DisconnectReq(mid=9))).has

    await peer.close()

    for future in (waiting, peer.call(RECEIVE, logic.ReceiveReq())):
        with pytest.raises(PeerUnavailableError, match="closed"):
            await future
    assert not peer.available
    await peer.close()


@pytest.mark.parametrize("batched", [True, False])
async def test_nobody_at_the_address_is_an_error_at_once(batched):
    peer = open_peer("node", f"127.0.0.1:{free_port()}", batched=batched, timeout_s=30)

    with pytest.raises(PeerUnavailableError) as raised:
        async with asyncio.timeout(30):
            await peer.call(RECEIVE, logic.ReceiveReq())

    assert raised.value.code == 14
    # A unary peer tells only that it could not be reached.
    assert isinstance(raised.value, PeerGoneError) is batched
    await eventually(lambda: not peer.available)
    await peer.close()


@pytest.mark.parametrize("batched", [True, False])
async def test_a_process_that_takes_connections_and_says_nothing_costs_the_time_limit(batched):
    async with Silent() as address:
        peer = open_peer("node", address, batched=batched, timeout_s=0.2)

        with pytest.raises(PeerUnavailableError) as raised:
            async with asyncio.timeout(30):
                await peer.call(RECEIVE, logic.ReceiveReq())

        assert not isinstance(raised.value, PeerGoneError)
        await peer.close()


async def test_calls_start_in_the_order_they_were_made(stream_peer, node):
    await asyncio.gather(*(stream_peer.call(RECEIVE, logic.ReceiveReq(mid=i)) for i in range(5000)))

    assert node.seen == list(range(5000))


async def test_calls_of_one_turn_share_a_batch(stream_peer, server):
    await stream_peer.call(RECEIVE, logic.ReceiveReq())
    batches = stream_peer.stats()["batches"], server.stats()["batches"], server.stats()["reply_batches"]

    await asyncio.gather(*(stream_peer.call(RECEIVE, logic.ReceiveReq(mid=i)) for i in range(500)))

    assert stream_peer.stats()["batches"] == batches[0] + 1
    assert server.stats()["batches"] == batches[1] + 1
    assert server.stats()["reply_batches"] == batches[2] + 1
    assert stream_peer.stats()["calls"] == server.stats()["calls"] == 501


async def test_a_handler_that_waits_does_not_hold_up_the_others(stream_peer, node):
    waiting = stream_peer.call(CONNECT, logic.ConnectReq(token=b"wait"))

    await stream_peer.call(RECEIVE, logic.ReceiveReq(mid=1))
    assert not waiting.done()
    node.gate.set()

    assert (await waiting).mid == 1


async def test_many_big_messages_pass_in_order(stream_peer, node):
    sizes = [300_000 + i for i in range(40)]

    await asyncio.gather(*(stream_peer.call(PUSH_MSG, comet.PushMsgReq(proto=Proto(body=bytes(n)))) for n in sizes))

    assert node.seen == sizes


async def test_a_dead_server_fails_what_waits_and_a_new_one_is_found(stream_peer, server, node):
    waiting = stream_peer.call(CONNECT, logic.ConnectReq(token=b"wait"))
    await stream_peer.call(RECEIVE, logic.ReceiveReq(mid=1))
    port = int(server.address.rpartition(":")[2])

    await server.stop(0)
    with pytest.raises(PeerUnavailableError):
        async with asyncio.timeout(30):
            await waiting
    again = await serve(node.handlers, port=port)

    async def call_until_answered() -> None:
        while True:
            try:
                await stream_peer.call(RECEIVE, logic.ReceiveReq(mid=2))
                return
            except PeerUnavailableError:
                await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        await call_until_answered()
    assert node.seen == [1, 2]
    assert stream_peer.available
    assert stream_peer.stats()["reconnects"] >= 1
    await again.stop(0)


async def test_calls_made_while_the_first_attempt_is_under_way_are_carried_out(server, node):
    peer = StreamPeer("node", server.address)

    futures = [peer.call(RECEIVE, logic.ReceiveReq(mid=i)) for i in range(3)]
    await asyncio.gather(*futures)

    assert node.seen == [0, 1, 2]
    await peer.close()


async def test_a_call_finds_a_server_that_is_back_before_the_back_off_ends(monkeypatch, node):
    monkeypatch.setattr("imctl.link.client._FIRST_BACKOFF_S", 3600.0)
    port = free_port()
    peer = StreamPeer("node", f"127.0.0.1:{port}")
    await eventually(lambda: not peer.available)
    server = await serve(node.handlers, port=port)

    async def call_until_answered() -> None:
        while True:
            try:
                await peer.call(RECEIVE, logic.ReceiveReq(mid=1))
                return
            except PeerUnavailableError:
                await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        await call_until_answered()
    assert node.seen == [1]
    await peer.close()
    await server.stop(0)


async def test_between_attempts_a_call_fails_at_once():
    peer = StreamPeer("node", f"127.0.0.1:{free_port()}")
    await eventually(lambda: peer.stats()["reconnects"] >= 4)

    async with asyncio.timeout(30):
        for _ in range(100):
            with pytest.raises(PeerUnavailableError):
                await peer.call(RECEIVE, logic.ReceiveReq())

    await peer.close()


async def test_a_full_outbox_refuses_calls(monkeypatch):
    monkeypatch.setattr("imctl.link.client.MAX_WAITING", 3)
    async with Silent() as address:
        peer = StreamPeer("node", address)
        waiting = [peer.call(RECEIVE, logic.ReceiveReq()) for _ in range(3)]

        with pytest.raises(PeerError, match="too many calls") as raised:
            await peer.call(RECEIVE, logic.ReceiveReq())

        assert raised.value.code == 8
        await peer.close()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_call_that_timed_out_unsent_is_not_sent_later(node):
    async with Silent() as address:
        peer = StreamPeer("node", address, timeout_s=0.2)
        with pytest.raises(PeerUnavailableError):
            await peer.call(RECEIVE, logic.ReceiveReq(mid=1))
        assert peer.stats()["waiting"] == 0
        assert peer._outbox.waiting == 0
        await peer.close()


async def test_a_peer_that_says_nothing_any_more_is_an_error_after_the_time_limit(server, node):
    """What a stopped process looks like: the stream is open, calls are taken, nothing comes back."""
    peer = StreamPeer("node", server.address, timeout_s=1.0)
    await peer.call(RECEIVE, logic.ReceiveReq(mid=1))
    results = await asyncio.gather(
        *(peer.call(CONNECT, logic.ConnectReq(token=b"wait")) for _ in range(200)), return_exceptions=True
    )

    assert {type(result) for result in results} == {PeerUnavailableError}
    assert {result.code for result in results} == {4}
    assert not peer.available
    node.gate.set()
    await eventually(lambda: peer.available)
    await peer.close()
