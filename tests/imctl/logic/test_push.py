from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from imctl.bus.contract import BusError
from imctl.logic.push import MessageTooLargeError, Pusher
from imctl.node import Counters
from imctl.store.contract import SessionStore
from imctl.store.factory import open_store
from imctl.trace import TraceLog
from protocol.pb import logic
from protocol.push_api import PushAll, PushKeys, PushMids, PushRoom, parse_request
from protocol.trace import Place, TracePoint
from tests.imctl.logic.fakes import FakeBus
from tests.vectors.lines import line_params


class Service:
    def __init__(self, store: SessionStore, bus: FakeBus) -> None:
        self.store, self.bus = store, bus
        self.counters, self.drops = Counters(), Counters()
        self.traces = TraceLog("logic-1")
        self.pusher = Pusher(
            bus,
            store,
            max_message_bytes=1_000_000,
            counters=self.counters,
            drops=self.drops,
            traces=self.traces,
        )

    async def push(self, request: PushKeys | PushMids | PushRoom | PushAll, body: bytes = b"x") -> None:
        kind = type(request).__name__.removeprefix("Push").lower()
        await getattr(self.pusher, f"push_{kind}")(request, body)


@pytest.fixture(params=["memory://", "fakeredis://"])
async def service(request: pytest.FixtureRequest, bus: FakeBus) -> AsyncIterator[Service]:
    store = open_store(request.param)
    for mid, key, server in [
        (501, "ka-1", "comet-a"),
        (501, "ka-2", "comet-a"),
        (501, "kb-1", "comet-a2"),
        (502, "kb-2", "comet-a2"),
    ]:
        await store.add(mid, key, server)
    yield Service(store, bus)
    await store.close()


@pytest.mark.parametrize("entry", line_params("kafka"))
async def test_records_are_those_of_a_go_logic(service, bus, entry):
    asked = entry["http"]["request"]
    request = parse_request(asked["method"], asked["url"])
    assert isinstance(request, PushKeys | PushMids | PushRoom | PushAll)
    body = bytes.fromhex(asked["body_hex"]) if "body_hex" in asked else asked["body"].encode()

    await service.push(request, body)

    recorded = entry["messages"]
    if isinstance(request, PushMids):
        # The keys of users come in any order, and the first is the record's key.
        ours = {message.server: message for _, message in bus.messages()}
        theirs = {m["push_msg"]["server"]: logic.PushMsg.FromString(bytes.fromhex(m["value_hex"])) for m in recorded}
        for message in [*ours.values(), *theirs.values()]:
            message.keys.sort()
        assert ours == theirs
        assert all(key in message.keys for key, message in bus.messages())
    else:
        assert {(key, value.hex()) for key, value in bus.records} == {(m["key"], m["value_hex"]) for m in recorded}
    assert service.counters.values.get("records", 0) == len(recorded)


async def test_who_is_offline_is_counted(service, bus):
    await service.push(PushKeys(1, ("nobody", "ka-1", "x")))
    await service.push(PushMids(1, (999,)))
    await service.push(PushMids(1, (999, 998, 501, 501)))
    await service.push(PushMids(1, ()))

    assert service.drops.nonzero() == {"logic.offline": 5}
    assert len(bus.records) == 3
    assert service.counters.nonzero() == {"push_keys": 1, "push_mids": 3, "records": 3}


async def test_order_of_a_room_is_kept(service, bus):
    for i in range(50):
        await service.push(PushRoom(1, "live", "1"), b"%d" % i)

    assert [message.msg for _, message in bus.messages()] == [b"%d" % i for i in range(50)]


async def test_pushes_do_not_wait_for_each_other(service, bus):
    bus.gate.clear()

    pushes = [asyncio.ensure_future(service.push(PushRoom(1, "live", str(i)))) for i in range(10)]
    await bus.waiting.wait()
    await asyncio.sleep(0)
    bus.gate.set()
    await asyncio.wait_for(asyncio.gather(*pushes), 5)

    assert len(bus.records) == 10


async def test_a_bus_that_refuses_is_an_error_and_counted(service, bus):
    bus.refusal = "full"

    with pytest.raises(BusError, match="full"):
        await service.push(PushRoom(1, "live", "1"))
    with pytest.raises(BusError, match="full"):
        await service.push(PushMids(1, (501,)))

    assert service.drops.nonzero() == {"logic.bus": 3}
    assert "records" not in service.counters.values


async def test_a_message_over_the_limit_is_refused_before_the_bus(service, bus):
    with pytest.raises(MessageTooLargeError, match="over the limit of 1000000 bytes"):
        await service.push(PushAll(1), b"x" * 1_000_000)

    assert bus.records == []
    assert service.drops.nonzero() == {"logic.too_large": 1}


async def test_a_push_that_is_followed_has_its_id_in_every_record(service, bus):
    await service.pusher.push_mids(PushMids(1, (501, 502)), b"x", 7)
    await service.pusher.push_room(PushRoom(1, "live", "1"), b"x", 8)
    await service.pusher.push_all(PushAll(1), b"x", 9)
    await service.pusher.push_keys(PushKeys(1, ("nobody",)), b"x", 10)

    assert sorted((message.server, message.trace) for _, message in bus.messages()) == [
        *(("", 8), ("", 9), ("comet-a", 7), ("comet-a2", 7))
    ]
    points = [TracePoint.load(point) for point in service.traces.read()]
    assert {(point.trace, point.place, point.server, point.room) for point in points} == {
        *((7, Place.PUBLISHED, "comet-a", ""), (7, Place.PUBLISHED, "comet-a2", "")),
        *((8, Place.PUBLISHED, "", "live://1"), (9, Place.PUBLISHED, "", "")),
    }


async def test_a_followed_push_that_the_bus_refuses_says_so(service, bus):
    bus.refusal = "full"

    with pytest.raises(BusError, match="full"):
        await service.pusher.push_room(PushRoom(1, "live", "1"), b"x", 8)

    last = TracePoint.load(service.traces.read()[-1])
    assert (last.place, last.reason) == (Place.DROPPED, "logic.bus")
