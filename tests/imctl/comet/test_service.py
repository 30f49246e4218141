"""goim.comet.Comet as job sees it, over a unary gRPC call of another make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from imctl.comet.hub import Hub
from imctl.comet.service import CometService
from imctl.link.methods import BROADCAST, BROADCAST_ROOM, PUSH_MSG, ROOMS, Method
from imctl.node import Counters
from imctl.trace import TraceLog
from protocol.frame import Frame
from protocol.pb import comet as pb
from protocol.pb.protocol import Proto
from protocol.raw import pack_batch
from protocol.trace import Place, TracePoint
from tests.imctl.comet.raw import Raw, Rig
from tests.imctl.comet.test_hub import FakeChannel

MESSAGE = Proto(ver=1, op=9, body=Frame(1, 1000, 0, b"hello").pack())


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig(max_broadcasts=2) as running:
        yield running


class Unary:
    """Calls a comet as a Go job does."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)

    async def __aenter__(self) -> Unary:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def __call__(self, method: Method, request: Any) -> Any:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.reply.FromString,
        )
        return await call(request, timeout=10)


async def test_argument_errors_have_goims_texts(rig):
    async with Unary(rig.address("grpc")) as call:
        for method, request, text in (
            (PUSH_MSG, pb.PushMsgReq(), "rpc pushmsg arg error"),
            (PUSH_MSG, pb.PushMsgReq(keys=["k"]), "rpc pushmsg arg error"),
            (PUSH_MSG, pb.PushMsgReq(proto=MESSAGE), "rpc pushmsg arg error"),
            (BROADCAST, pb.BroadcastReq(protoOp=1), "rpc broadcast arg error"),
            (BROADCAST_ROOM, pb.BroadcastRoomReq(roomID="r"), "rpc broadcast  room arg error"),
            (BROADCAST_ROOM, pb.BroadcastRoomReq(proto=MESSAGE), "rpc broadcast  room arg error"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(method, request)
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNKNOWN, text)
    assert rig.counters["pushes"] == 0


async def test_push_reaches_the_keys_that_accept_it_each_as_often_as_named(rig):
    async with (
        Unary(rig.address("grpc")) as call,
        await Raw.login(rig.tcp, key="takes", accepts=(1000,)) as takes,
        await Raw.login(rig.ws, is_ws=True, key="ws", accepts=(1000,)) as ws,
        await Raw.login(rig.tcp, key="refuses", accepts=(7,)) as refuses,
        await Raw.login(rig.tcp, key="none") as none,
    ):
        keys = ["takes", "nobody", "refuses", "takes", "ws", "none"]
        assert await call(PUSH_MSG, pb.PushMsgReq(keys=keys, protoOp=1000, proto=MESSAGE)) == pb.PushMsgReply()

        assert [await takes.frame() for _ in range(2)] == [Frame(1, 1000, 0, b"hello")] * 2
        container = await ws.frame()
        assert (container.op, container.body) == (9, MESSAGE.body)
        for client in (takes, refuses, none):
            await client.no_frame()
        assert (rig.counters["delivered"], rig.counters["not_accepted"], rig.counters["pushes"]) == (3, 2, 1)
        assert rig.drops == {"comet.unknown_key": 1}


async def test_unknown_keys_are_counted_a_message_each(rig):
    batch = pack_batch([Frame(1, 1000, 0, b"x")] * 5)

    rig.call(PUSH_MSG, pb.PushMsgReq(keys=["a", "b"], protoOp=1000, proto=Proto(ver=1, op=9, body=batch)))

    assert rig.drops == {"comet.unknown_key": 10}


async def test_accepts_change_with_op_14_and_16(rig):
    push = pb.PushMsgReq(keys=["k"], protoOp=1000, proto=MESSAGE)
    async with await Raw.login(rig.tcp, key="k") as client:
        for op, delivered in ((14, True), (16, False), (14, True)):
            client.request(op, b"1000,1001")
            assert (await client.frame()).op == op + 1
            rig.call(PUSH_MSG, push)
            if delivered:
                assert (await client.frame()).body == b"hello"
            await client.no_frame()


async def test_room_push_reaches_members_only_whatever_they_accept(rig):
    async with (
        Unary(rig.address("grpc")) as call,
        await Raw.login(rig.tcp, key="a", room_id="live://1") as inside,
        await Raw.login(rig.tcp, key="b", room_id="live://2", accepts=(1000,)) as outside,
    ):
        await call(BROADCAST_ROOM, pb.BroadcastRoomReq(roomID="live://1", proto=MESSAGE))
        await call(BROADCAST_ROOM, pb.BroadcastRoomReq(roomID="live://none", proto=MESSAGE))

        assert (await inside.frame()).body == b"hello"
        await outside.no_frame()
        rooms = await call(ROOMS, pb.RoomsReq())
        assert dict(rooms.rooms) == {"live://1": True, "live://2": True}
    assert rig.drops == {}


async def test_broadcast_reaches_all_that_accept_it(rig):
    async with (
        await Raw.login(rig.tcp, key="a", accepts=(1000,)) as takes,
        await Raw.login(rig.tcp, key="b", room_id="live://1") as refuses,
        await Raw.connect(rig.tcp) as stranger,
    ):
        rig.call(BROADCAST, pb.BroadcastReq(protoOp=1000, proto=MESSAGE))

        assert (await takes.frame()).body == b"hello"
        await refuses.no_frame()
        stranger.writer.write_eof()
        assert await stranger.read_to_end() == b""


async def test_op_other_than_9_is_framed_with_its_own_header(rig):
    async with await Raw.login(rig.ws, is_ws=True, key="k", room_id="r") as client:
        rig.call(BROADCAST_ROOM, pb.BroadcastRoomReq(roomID="r", proto=Proto(ver=5, op=77, seq=3, body=b"x")))

        assert await client.frame() == Frame(5, 77, 3, b"x")


async def test_broadcast_with_a_speed_is_paced(rig):
    loop = asyncio.get_running_loop()
    clients = [await Raw.login(rig.tcp, key=f"k{i}", accepts=(1000,)) for i in range(4)]
    begin = loop.time()

    rig.call(BROADCAST, pb.BroadcastReq(protoOp=1000, proto=MESSAGE, speed=10))
    assert rig.gauges["paced_broadcasts"] == 1
    at = []
    for client in clients:
        assert (await client.frame()).body == b"hello"
        at.append(loop.time() - begin)

    # 10 a second: 0, 0.1, 0.2, 0.3 s; late is allowed, early is not.
    assert [time_s > i * 0.1 - 0.02 for i, time_s in enumerate(at)] == [True] * 4
    assert at[3] < 10
    await asyncio.sleep(0)
    assert rig.gauges["paced_broadcasts"] == 0
    for client in clients:
        await client.no_frame()
        await client.close()


async def test_one_paced_broadcast_too_many_is_dropped_and_counted(rig):
    async with (
        await Raw.login(rig.tcp, key="a", accepts=(1000,)),
        await Raw.login(rig.tcp, key="b", accepts=(1000,)) as gone,
        await Raw.login(rig.tcp, key="c"),
    ):
        for _ in range(3):
            rig.call(BROADCAST, pb.BroadcastReq(protoOp=1000, proto=MESSAGE, speed=1))

        assert rig.gauges["paced_broadcasts"] == 2
        assert rig.drops == {"comet.broadcast_queue_full": 2}  # a and b; c does not want it
        await gone.close()
    await rig.comet.stop(0.5)
    assert rig.comet.sessions.drops.values == {"comet.broadcast_queue_full": 2}  # those it had not reached had left


async def test_stop_counts_whom_a_paced_broadcast_had_not_reached():
    counters, drops = Counters(), Counters()
    hub = Hub(counters, drops, max_rooms=9)
    for i in range(5):
        channel: Any = FakeChannel(f"k{i}", accepts=() if i == 4 else (1000,))
        channel.registered = True
        hub.add(channel)
    service = CometService(hub, counters, drops, max_broadcasts=1, report_full=False, traces=TraceLog("comet-1"))

    service.handlers[BROADCAST](pb.BroadcastReq(protoOp=1000, proto=MESSAGE, speed=1))
    await asyncio.sleep(0)
    await service.stop()

    assert counters.values["delivered"] == 1
    assert drops.values == {"comet.stopped": 3}
    assert service.broadcasts == 0


async def test_very_fast_pace_reaches_everybody_at_once(rig):
    clients = [await Raw.login(rig.tcp, key=f"k{i}", accepts=(1000,)) for i in range(3)]

    rig.call(BROADCAST, pb.BroadcastReq(protoOp=1000, proto=MESSAGE, speed=2**31 - 1))

    for client in clients:
        assert (await client.frame()).body == b"hello"
        await client.close()


def followed(rig: Rig, trace: int) -> TracePoint:
    [point] = rig.comet.traces.read(trace)
    return TracePoint.load(point)


async def test_a_followed_message_says_when_it_was_written_and_to_how_many(rig):
    batch = Proto(ver=1, op=9, body=pack_batch([Frame(1, 1000, 0, b"x")] * 3))
    async with (
        await Raw.login(rig.tcp, key="a", room_id="r", accepts=(1000,)),
        await Raw.login(rig.ws, is_ws=True, key="b", room_id="r"),
    ):
        rig.call(PUSH_MSG, pb.PushMsgReq(keys=["a", "b", "gone"], protoOp=1000, proto=MESSAGE, traces=[7]))
        rig.call(BROADCAST_ROOM, pb.BroadcastRoomReq(roomID="r", proto=batch, traces=[8, 9]))
        rig.call(BROADCAST_ROOM, pb.BroadcastRoomReq(roomID="r", proto=batch))
        rig.call(BROADCAST, pb.BroadcastReq(protoOp=1000, proto=MESSAGE, traces=[10]))

    by_key, to_room, to_all = followed(rig, 7), followed(rig, 8), followed(rig, 10)
    assert (by_key.place, by_key.server, by_key.clients, by_key.missed) == (Place.WRITTEN, rig.comet.name, 1, 1)
    assert (to_room.clients, to_room.missed, to_room.messages) == (2, 0, 3)
    assert followed(rig, 9).at_ns == to_room.at_ns >= to_room.began_ns
    assert to_all.clients == 1
    assert len(rig.comet.traces.read()) == 4


async def test_a_paced_broadcast_that_is_followed_counts_its_own_clients_only(rig):
    async with (
        await Raw.login(rig.tcp, key="a", accepts=(1000,)) as first,
        await Raw.login(rig.tcp, key="b", accepts=(1000,)) as second,
    ):
        rig.call(BROADCAST, pb.BroadcastReq(protoOp=1000, proto=MESSAGE, speed=20, traces=[7]))
        rig.call(PUSH_MSG, pb.PushMsgReq(keys=["a", "b", "gone"], protoOp=1000, proto=MESSAGE))
        for client in (first, second):
            assert [(await client.frame()).body for _ in range(2)] == [b"hello"] * 2
        await asyncio.sleep(0)

        point = followed(rig, 7)
    assert (point.clients, point.missed) == (2, 0)
    assert point.at_ns - point.began_ns > 20_000_000


async def test_a_followed_broadcast_that_is_one_too_many_says_so(rig):
    async with await Raw.login(rig.tcp, key="a", accepts=(1000,)), await Raw.login(rig.tcp, key="b", accepts=(1000,)):
        for trace in (7, 8, 9):
            rig.call(BROADCAST, pb.BroadcastReq(protoOp=1000, proto=MESSAGE, speed=1, traces=[trace]))

        point = followed(rig, 9)
    assert (point.place, point.reason) == (Place.DROPPED, "comet.broadcast_queue_full")
