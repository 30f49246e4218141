from __future__ import annotations

import asyncio
import json

import pytest

from imctl.errors import ImctlError, PortInUseError, StartError
from imctl.link.client import open_peer
from imctl.link.contract import PeerError
from imctl.link.limits import MAX_MESSAGE_BYTES
from imctl.link.methods import CONNECT, NODES, RENEW_ONLINE
from imctl.logic import node as node_module
from imctl.logic.config import LogicConfig
from imctl.logic.node import Logic
from imctl.store.factory import open_store
from imctl.store.memory import MemoryStore
from protocol.pb import logic
from protocol.push_api import OnlineRoom, OnlineTop, PushKeys, PushMids, PushRoom, Sessions, Stats, Traces, parse_reply
from protocol.trace import Place, TracePoint
from tests.imctl.logic.fakes import comet_instance, http


async def ask(node: Logic, request, body: bytes = b""):
    address = node.addresses["logic.http"]
    assert address is not None
    answer = await http(address, request.method, request.target, body)
    return parse_reply(answer.body)


async def test_it_registers_with_its_address_and_link(start_logic, registry):
    node = await start_logic(weight=7)

    instance = registry.registered["goim.logic", "logic-0"]

    assert instance.addrs == (f"grpc://{node.addresses['logic.grpc']}",)
    assert instance.metadata == {"weight": "7", "imctl.link": "1"}
    assert (instance.region, instance.zone, instance.env) == ("sh", "sh001", "dev")


async def test_on_all_addresses_it_tells_one_that_can_be_dialled(start_logic, registry):
    await start_logic(host="0.0.0.0")
    await start_logic(advertise_host="logic.example")

    assert "0.0.0.0" not in registry.registered["goim.logic", "logic-0"].addrs[0]
    assert registry.registered["goim.logic", "logic-1"].addrs[0].startswith("grpc://logic.example:")


@pytest.mark.parametrize("batched", [True, False])
async def test_comets_call_it_over_grpc(start_logic, registry, batched, monkeypatch):
    monkeypatch.setattr("imctl.link.client.local_handlers", lambda address: None, raising=False)
    node = await start_logic()
    registry.report(comet_instance("comet-1"))
    peer = open_peer("logic-0", str(node.addresses["logic.grpc"]), batched=batched)

    token = b'{"mid":1,"key":"k","room_id":"live://1","accepts":[1000]}'
    welcome = await peer.call(CONNECT, logic.ConnectReq(server="comet-1", token=token))
    rooms = await peer.call(RENEW_ONLINE, logic.OnlineReq(server="comet-1", roomCount={"live://1": 4}))
    nodes = await peer.call(NODES, logic.NodesReq(platform="web"))
    with pytest.raises(PeerError, match="auth token"):
        await peer.call(CONNECT, logic.ConnectReq(server="comet-1", token=b"{bad"))
    await peer.close()

    assert (welcome.mid, welcome.key, welcome.heartbeat) == (1, "k", 480_000_000_000)
    assert dict(rooms.allRoomCount) == {"live://1": 4}
    assert list(nodes.nodes) == ["comet-1.goim.io"]
    assert (await ask(node, OnlineRoom("live", ("1",)))).data == {"1": 4}


async def test_a_comet_gets_the_counts_of_its_own_rooms_when_those_of_all_are_no_message(start_logic, registry):
    node = await start_logic()
    registry.report(comet_instance("comet-1"), comet_instance("comet-2"))
    half = range(MAX_MESSAGE_BYTES // 8000 + 1)
    first, second = ({f"{server}/{n:04000}": 1 for n in half} | {"live://1": 2} for server in ("comet-1", "comet-2"))

    await node.handlers[RENEW_ONLINE](logic.OnlineReq(server="comet-1", roomCount=first))
    reply = await node.handlers[RENEW_ONLINE](logic.OnlineReq(server="comet-2", roomCount=second))

    assert reply.ByteSize() <= MAX_MESSAGE_BYTES
    assert dict(reply.allRoomCount) == second | {"live://1": 4}


async def test_a_push_goes_from_http_to_the_bus(start_logic, bus):
    node = await start_logic()
    await node.handlers[RENEW_ONLINE](logic.OnlineReq(server="comet-1"))
    node.handlers[CONNECT](logic.ConnectReq(server="comet-1", token=b'{"mid":1,"key":"k"}'))

    reply = await ask(node, PushMids(1000, (1,)), b"hi")

    assert reply.code == 0
    [(key, message)] = bus.messages()
    assert (key, message.server, list(message.keys), message.msg) == ("k", "comet-1", ["k"], b"hi")


async def test_it_says_who_is_connected_where(start_logic):
    node = await start_logic()
    for mid, key in [(1, "a"), (1, "b"), (0, "c")]:
        node.handlers[CONNECT](logic.ConnectReq(server="comet-1", token=json.dumps({"mid": mid, "key": key}).encode()))

    reply = await ask(node, Sessions(mids=(1, 2), keys=("c", "x")))

    assert reply.data == {"mids": {"1": {"a": "comet-1", "b": "comet-1"}, "2": {}}, "keys": {"c": "comet-1"}}


async def test_a_bus_that_refuses_is_code_500_and_for_keys_400(start_logic, bus):
    node, compat = await start_logic(), await start_logic(compat_goim=True)
    node.handlers[CONNECT](logic.ConnectReq(server="comet-1", token=b'{"mid":1,"key":"k"}'))
    compat.handlers[CONNECT](logic.ConnectReq(server="comet-1", token=b'{"mid":1,"key":"k"}'))
    bus.refusal = "the bus is full"

    assert (await ask(node, PushRoom(1, "a", "b"))).code == -500
    assert (await ask(node, PushMids(1, (1,)))).message == "the bus is full"
    keys = await ask(node, PushKeys(1, ("k",)))
    assert (keys.code, keys.message) == (-400, "the bus is full")
    keys = await ask(compat, PushKeys(1, ("k",)))
    assert (keys.code, keys.message) == (-400, "")
    assert node.stats()["drops"] == {"logic.bus": 3, "logic.http_backend": 3}


@pytest.mark.parametrize("size", [1_000_000, 1_048_576, 5_000_000])
async def test_a_body_of_a_megabyte_is_refused_clearly_and_counted(start_logic, bus, size):
    node = await start_logic()

    reply = await ask(node, PushRoom(1, "live", "1"), b"x" * size)

    assert reply.code == -500
    assert "over the limit of 1000000 bytes" in reply.message
    assert bus.records == []
    drops = node.stats()["drops"]
    assert isinstance(drops, dict)
    assert drops["logic.too_large"] == 1
    assert (await ask(node, PushRoom(1, "live", "1"), b"small")).code == 0


async def test_bad_parameters_are_counted(start_logic):
    node = await start_logic()

    answer = await http(str(node.addresses["logic.http"]), "POST", "/goim/push/room?operation=x")
    limit = await http(str(node.addresses["logic.http"]), "GET", OnlineTop("live", -1).target)

    assert answer.status == 400
    assert (limit.status, parse_reply(limit.body).code) == (400, -400)
    assert node.stats()["drops"] == {"logic.bad_params": 2}


async def test_a_bug_in_a_request_is_status_500(start_logic, caplog, monkeypatch):
    node = await start_logic()
    monkeypatch.setattr(node._nodes, "weighted", lambda platform: 1 / 0)

    answer = await http(str(node.addresses["logic.http"]), "GET", "/goim/nodes/weighted")

    assert (answer.status, answer.body) == (500, b"")
    assert "failed" in caplog.text
    assert node.stats()["drops"] == {"logic.http_bug": 1}


async def test_stats_are_json_and_served(start_logic, registry):
    node = await start_logic()
    registry.report(comet_instance(conns=5))
    node.handlers[CONNECT](logic.ConnectReq(server="comet-1", token=b"{}"))

    reply = await ask(node, Stats())

    assert reply.data["kind"] == "logic"
    assert reply.data["counters"]["connects"] == 1
    assert reply.data["gauges"]["comets"] == 1
    assert reply.data["gauges"]["connections"] == 5
    assert json.dumps(node.stats())


async def test_counts_of_other_logics_come_with_time(start_logic, registry):
    store = MemoryStore()
    first = await start_logic(store, online_every_s=0.01)
    second = await start_logic(store, online_every_s=0.01)
    registry.report(comet_instance("comet-1"))

    await first.handlers[RENEW_ONLINE](logic.OnlineReq(server="comet-1", roomCount={"live://1": 4}))

    async with asyncio.timeout(5):
        while (await ask(second, OnlineRoom("live", ("1",)))).data != {"1": 4}:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.01)


async def test_a_failing_rebuild_is_tried_again(start_logic, registry, monkeypatch, caplog):
    node = await start_logic(online_every_s=0.01)
    calls = asyncio.Queue()

    async def fail() -> None:
        calls.put_nowait(1)
        raise RuntimeError("bug")

    monkeypatch.setattr(node._online, "rebuild", fail)
    for _ in range(2):
        await asyncio.wait_for(calls.get(), 5)

    assert "could not rebuild its room counts" in caplog.text


async def test_stop_leaves_nothing_and_may_be_called_twice(start_logic, registry):
    node = await start_logic()

    await node.stop(1)
    await node.stop(1)

    assert registry.registered == {}
    assert registry.watches == []
    with pytest.raises(ConnectionRefusedError):
        await http(str(node.addresses["logic.http"]), "GET", "/")


async def test_a_port_in_use_stops_the_start_and_leaves_nothing(start_logic, registry, bus):
    first = await start_logic()
    for name, field in [("logic.http", "http_port"), ("logic.grpc", "grpc_port")]:
        port = int(str(first.addresses[name]).rpartition(":")[2])
        config = LogicConfig(hostname="second", **({"http_port": 0, "grpc_port": 0} | {field: port}))
        second = Logic(config, registry=registry, bus=bus, store=MemoryStore())

        with pytest.raises(PortInUseError, match=name.replace(".", " ")):
            await second.start()

    assert list(registry.registered) == [("goim.logic", "logic-0")]
    assert len(registry.watches) == 1


async def test_a_store_that_is_not_there_stops_the_start(registry, bus, unused_tcp_port):
    store = open_store(f"redis://127.0.0.1:{unused_tcp_port}")
    node = Logic(LogicConfig(http_port=0, grpc_port=0), registry=registry, bus=bus, store=store)

    with pytest.raises(StartError, match="session store redis://"):
        await node.start()
    await store.close()


async def test_a_registry_that_refuses_or_hangs_stops_the_start(registry, bus, monkeypatch):
    monkeypatch.setattr(node_module, "_REGISTER_TIMEOUT_S", 0.01)
    node = Logic(LogicConfig(http_port=0, grpc_port=0), registry=registry, bus=bus, store=MemoryStore())

    registry.refusal = ImctlError("the registry is full")
    with pytest.raises(StartError, match="logic: the registry is full"):
        await node.start()
    registry.refusal = None
    monkeypatch.setattr(registry, "register", lambda instance: asyncio.sleep(60))
    with pytest.raises(StartError, match="did not take it within"):
        await node.start()


async def test_a_push_with_a_trace_id_is_followed_and_it_tells(start_logic, bus):
    node = await start_logic()
    request = PushRoom(1000, "live", "1")

    for headers in ([("X-Imctl-Trace", "00ab")], [("x-imctl-trace", "CD")], []):
        answer = await http(node.addresses["logic.http"], "POST", request.target, b"hi", headers)
        assert parse_reply(answer.body).code == 0
    told = (await ask(node, Traces(0xAB))).data
    everything = (await ask(node, Traces())).data

    assert [message.trace for _, message in bus.messages()] == [0xAB, 0xCD, 0]
    points = [TracePoint.load(point) for point in told["points"]]
    assert [(point.trace, point.place) for point in points] == [(0xAB, Place.ACCEPTED), (0xAB, Place.PUBLISHED)]
    assert points[0].at_ns <= points[1].at_ns
    assert (told["node"], len(everything["points"])) == ("logic-0", 4)
    assert told["clock"] == everything["clock"] != ""


@pytest.mark.parametrize("header", ["zz", "0", "1" * 17, "1, 2"])
async def test_a_trace_id_that_is_none_is_refused_and_nothing_is_pushed(start_logic, bus, header):
    node = await start_logic()

    answer = await http(
        node.addresses["logic.http"], "POST", PushRoom(1, "live", "1").target, b"", [("X-Imctl-Trace", header)]
    )

    assert answer.status == 400
    assert "expected 1 to 16 hex digits" in parse_reply(answer.body).message
    assert bus.messages() == []
    assert node.stats()["drops"] == {"logic.bad_params": 1}


async def test_a_bad_id_in_a_question_is_refused(start_logic):
    node = await start_logic()

    answer = await http(node.addresses["logic.http"], "GET", "/imctl/trace?id=zz")

    assert (answer.status, parse_reply(answer.body).code) == (400, -400)
