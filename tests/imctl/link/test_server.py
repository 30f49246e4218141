from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from imctl.errors import PortInUseError, StartError
from imctl.link.client import StreamPeer, open_peer
from imctl.link.contract import PeerError, PeerUnavailableError
from imctl.link.local import LocalPeer
from imctl.link.methods import BROADCAST, CONNECT, OPEN_PATH, PUSH_MSG, RECEIVE
from imctl.link.server import LinkServer
from protocol.pb import comet, link, logic
from tests.imctl.link.fakes import eventually, serve


@pytest.fixture
async def server() -> AsyncIterator[LinkServer]:
    def receive(request: Any) -> Any:
        return logic.ReceiveReply()

    server = await serve({RECEIVE: receive})
    yield server
    await server.stop(1)


@pytest.fixture
async def channel(server: LinkServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def status_of(channel: grpc.aio.Channel, path: str, data: bytes) -> tuple[int, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(path)(data)
    return raised.value.code().value[0], raised.value.details()


async def test_a_request_that_is_not_protobuf_is_internal_as_in_go(channel):
    code, details = await status_of(channel, RECEIVE.path, b"\xff\xff\xff")

    assert code == 13
    assert details.startswith("grpc: error unmarshalling request: ")


async def test_unknown_methods_and_services_have_the_texts_of_grpc_go(channel):
    assert await status_of(channel, "/goim.logic.Logic/Ping", b"") == (
        12,
        "unknown method Ping for service goim.logic.Logic",
    )
    assert await status_of(channel, "/goim.logic.Nope/PushMsg", b"") == (12, "unknown service goim.logic.Nope")
    assert await status_of(channel, PUSH_MSG.path, b"") == (12, "unknown service goim.comet.Comet")


async def test_gzip_requests_are_accepted(channel):
    reply = await channel.unary_unary(RECEIVE.path)(
        logic.ReceiveReq(mid=1).SerializeToString(), compression=grpc.Compression.Gzip
    )

    assert reply == b""


async def test_unary_calls_that_are_none_are_counted_and_logged_with_their_peer(server, channel, caplog):
    caplog.set_level("INFO", "imctl.link.server")

    await channel.unary_unary(RECEIVE.path)(b"")
    await status_of(channel, RECEIVE.path, b"\xff\xff\xff")
    await status_of(channel, "/goim.logic.Logic/Ping", b"")
    await status_of(channel, "/goim.logic.Nope/PushMsg", b"")

    counts = server.stats()
    assert (counts["unary_calls"], counts["unary_errors"], counts["bad_calls"]) == (4, 3, 3)
    assert "bad call from ipv4:127.0.0.1:" in caplog.text
    assert "unknown method Ping" in caplog.text


async def test_a_unary_call_that_its_handler_refuses_is_an_error_and_no_bad_call():
    def refuse(request: Any) -> Any:
        raise PeerError("no")

    server = await serve({RECEIVE: refuse})
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await status_of(channel, RECEIVE.path, b"") == (2, "no")

    counts = server.stats()
    assert (counts["unary_calls"], counts["unary_errors"], counts["bad_calls"]) == (1, 1, 0)
    await server.stop(1)


async def test_bad_calls_on_a_stream_cost_only_themselves(server, channel):
    stream = channel.stream_stream(OPEN_PATH, link.Batch.SerializeToString, link.Batch.FromString)()
    calls = [
        link.Call(id=1, method=RECEIVE.number, request=b"\xff\xff\xff"),
        link.Call(id=2, method=999),
        link.Call(id=3, method=PUSH_MSG.number),
        link.Call(id=4, method=RECEIVE.number),
    ]

    await stream.write(link.Batch(calls=calls))
    batch = await stream.read()

    assert [(reply.id, reply.code) for reply in batch.replies] == [(1, 13), (2, 12), (3, 12), (4, 0)]
    assert (server.stats()["calls"], server.stats()["errors"], server.stats()["bad_calls"]) == (4, 3, 3)
    stream.cancel()


async def test_bytes_that_are_no_batch_end_their_stream_only(server, channel):
    stream = channel.stream_stream(OPEN_PATH)()
    await stream.write(b"\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError, match="not a batch of calls"):
        await stream.read()

    assert (server.stats()["errors"], server.stats()["bad_calls"]) == (1, 1)
    peer = StreamPeer("node", server.address)
    await peer.call(RECEIVE, logic.ReceiveReq())
    await peer.close()


async def test_a_taken_port_says_so(server):
    port = int(server.address.rpartition(":")[2])
    other = LinkServer({}, host="127.0.0.1", port=port, what="comet grpc")

    with pytest.raises(PortInUseError, match=f"comet grpc: address 127.0.0.1:{port} is in use"):
        await other.start()


async def test_an_address_that_is_not_ours_is_a_start_error():
    other = LinkServer({}, host="192.0.2.1", port=3109, what="comet grpc")

    with pytest.raises(StartError, match="cannot listen on 192.0.2.1:3109"):
        await other.start()


async def test_stop_answers_calls_at_work_and_takes_no_new_ones():
    gate, entered = asyncio.Event(), []

    async def connect(request: Any) -> Any:
        entered.append(request)
        await gate.wait()
        return logic.ConnectReply(mid=5)

    server = await serve({CONNECT: connect})
    batched, unary = (open_peer("n", server.address, batched=batched) for batched in (True, False))
    calls = [batched.call(CONNECT, logic.ConnectReq()), unary.call(CONNECT, logic.ConnectReq())]
    await eventually(lambda: len(entered) == 2)

    stopping = asyncio.ensure_future(server.stop(5))
    await asyncio.sleep(0)
    gate.set()

    assert [reply.mid for reply in await asyncio.gather(*calls)] == [5, 5]
    await stopping
    await server.stop(5)
    with pytest.raises(PeerUnavailableError):
        await batched.call(CONNECT, logic.ConnectReq())
    await batched.close()
    await unary.close()


async def test_stop_ends_what_does_not_end_within_its_grace():
    cancelled = []

    async def connect(request: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    server = await serve({CONNECT: connect})
    peer = open_peer("n", server.address, batched=True)
    call = peer.call(CONNECT, logic.ConnectReq())
    await eventually(lambda: server.stats()["in_flight"])

    async with asyncio.timeout(5):
        await server.stop(0.05)

    with pytest.raises(PeerUnavailableError):
        await call
    assert cancelled == [True]
    await peer.close()


async def test_too_many_calls_at_work_are_refused(monkeypatch):
    monkeypatch.setattr("imctl.link.served.MAX_IN_FLIGHT", 3)
    gate = asyncio.Event()

    async def connect(request: Any) -> Any:
        await gate.wait()
        return logic.ConnectReply()

    server = await serve({CONNECT: connect})
    peer = open_peer("n", server.address, batched=True)
    calls = [peer.call(CONNECT, logic.ConnectReq()) for _ in range(5)]

    done, waiting = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        more, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        done |= more

    assert [call.exception().code for call in done] == [8, 8]
    assert server.stats()["refused"] == 2
    gate.set()
    await asyncio.gather(*waiting)
    await peer.close()
    await server.stop(1)


async def test_a_caller_that_is_gone_does_not_end_its_handlers():
    gate, finished = asyncio.Event(), asyncio.Event()

    async def connect(request: Any) -> Any:
        await gate.wait()
        finished.set()
        return logic.ConnectReply()

    server = await serve({CONNECT: connect})
    peer = open_peer("n", server.address, batched=True)
    call = peer.call(CONNECT, logic.ConnectReq())
    await eventually(lambda: server.stats()["in_flight"])
    await peer.close()
    await eventually(lambda: not server.stats()["streams"])

    gate.set()

    async with asyncio.timeout(5):
        await finished.wait()
    assert isinstance(call.exception(), PeerUnavailableError)
    await server.stop(1)


async def test_clients_in_the_same_process_call_directly():
    requests = []

    def receive(request: Any) -> Any:
        requests.append(request)
        return logic.ReceiveReply()

    server = await serve({RECEIVE: receive}, local=True)
    peer = open_peer("n", server.address, batched=True)
    request = logic.ReceiveReq(mid=1)

    future = peer.call(RECEIVE, request)

    assert isinstance(peer, LocalPeer)
    assert future.done()
    assert requests[0] is request
    await server.stop(0)
    with pytest.raises(PeerUnavailableError):
        await peer.call(RECEIVE, request)
    await peer.close()


@pytest.mark.parametrize("batched", [True, False])
async def test_error_texts_of_a_comet_reach_its_caller_unchanged(batched):
    def broadcast(request: Any) -> Any:
        raise PeerError("rpc broadcast arg error")

    server = await serve({BROADCAST: broadcast})
    peer = open_peer("n", server.address, batched=batched)

    with pytest.raises(PeerError) as raised:
        await peer.call(BROADCAST, comet.BroadcastReq())

    assert (raised.value.code, raised.value.details) == (2, "rpc broadcast arg error")
    await peer.close()
    await server.stop(0)
