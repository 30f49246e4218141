from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imctl.link.contract import PeerError, PeerUnavailableError
from imctl.link.local import LocalPeer, local_handlers, publish_local, withdraw_local
from imctl.link.methods import CONNECT, DISCONNECT, PUSH_MSG, RECEIVE
from protocol.pb import comet, logic


def receive(request: Any) -> Any:
    if request.mid == 1:
        raise PeerError("no", 5)
    if request.mid == 2:
        raise ValueError("bad")
    return logic.ReceiveReply()


async def connect(request: Any) -> Any:
    await asyncio.sleep(0)
    if request.token == b"no":
        raise PeerError("no", 5)
    if request.token == b"bad":
        raise ValueError("bad")
    if request.token == b"never":
        await asyncio.Event().wait()
    return logic.ConnectReply(mid=7)


async def disconnect(request: Any) -> Any:
    raise asyncio.CancelledError


HANDLERS = {RECEIVE: receive, CONNECT: connect, DISCONNECT: disconnect}


async def test_a_handler_that_answers_at_once_is_a_function_call():
    future = LocalPeer("n", HANDLERS).call(RECEIVE, logic.ReceiveReq())

    assert future.done()
    assert future.result() == logic.ReceiveReply()


async def test_a_handler_that_waits_is_answered_later():
    peer = LocalPeer("n", HANDLERS)

    assert (await peer.call(CONNECT, logic.ConnectReq())).mid == 7
    await peer.close()


@pytest.mark.parametrize(
    ("method", "request_", "code", "details"),
    [
        (RECEIVE, logic.ReceiveReq(mid=1), 5, "no"),
        (RECEIVE, logic.ReceiveReq(mid=2), 2, "bad"),
        (CONNECT, logic.ConnectReq(token=b"no"), 5, "no"),
        (CONNECT, logic.ConnectReq(token=b"bad"), 2, "bad"),
        (DISCONNECT, logic.DisconnectReq(), 14, "n has stopped"),
        (PUSH_MSG, comet.PushMsgReq(), 12, "n does not serve /goim.comet.Comet/PushMsg"),
    ],
)
async def test_errors_are_those_of_the_network(method, request_, code, details):
    peer = LocalPeer("n", HANDLERS)

    with pytest.raises(PeerError) as raised:
        await peer.call(method, request_)

    assert (raised.value.code, raised.value.details) == (code, details)
    await peer.close()


async def test_the_time_limit_holds():
    peer = LocalPeer("n", HANDLERS, timeout_s=0.05)

    with pytest.raises(PeerUnavailableError) as raised:
        async with asyncio.timeout(5):
            await peer.call(CONNECT, logic.ConnectReq(token=b"never"))

    assert raised.value.code == 4
    peer._tasks.pop().cancel()
    await peer.close()


async def test_close_ends_what_waits(monkeypatch):
    monkeypatch.setattr("imctl.link.local._CLOSE_S", 0.01)
    peer = LocalPeer("n", HANDLERS)
    future = peer.call(CONNECT, logic.ConnectReq(token=b"never"))

    await peer.close()

    with pytest.raises(PeerUnavailableError, match="closed"):
        await future
    assert not peer.available
    with pytest.raises(PeerUnavailableError):
        await peer.call(RECEIVE, logic.ReceiveReq())


async def test_calls_at_work_are_bounded(monkeypatch):
    monkeypatch.setattr("imctl.link.local.MAX_IN_FLIGHT", 2)
    peer = LocalPeer("n", HANDLERS)
    futures = [peer.call(CONNECT, logic.ConnectReq()) for _ in range(3)]

    results = await asyncio.gather(*futures, return_exceptions=True)

    assert isinstance(results[2], PeerError)
    assert results[2].code == 8
    assert [result.mid for result in results[:2]] == [7, 7]


async def test_published_handlers_are_found_until_withdrawn():
    publish_local("127.0.0.1:1", HANDLERS)
    peer = LocalPeer("n", HANDLERS, address="127.0.0.1:1")
    assert local_handlers("127.0.0.1:1") is HANDLERS
    assert peer.available

    withdraw_local("127.0.0.1:1", {})
    assert peer.available
    withdraw_local("127.0.0.1:1", HANDLERS)

    assert local_handlers("127.0.0.1:1") is None
    with pytest.raises(PeerUnavailableError, match="has stopped"):
        await peer.call(RECEIVE, logic.ReceiveReq())


async def test_handlers_are_not_offered_to_another_event_loop():
    publish_local("127.0.0.1:1", HANDLERS)

    async def look() -> object:
        return local_handlers("127.0.0.1:1")

    assert await asyncio.to_thread(asyncio.run, look()) is None
    withdraw_local("127.0.0.1:1", HANDLERS)
