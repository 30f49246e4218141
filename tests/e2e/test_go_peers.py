"""Our nodes among peers of another make that come, go, hang and die: no batched link, unary calls only."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from imctl.bus.memory import MemoryBus
from imctl.cluster.inprocess import LocalCluster
from imctl.comet.config import CometConfig
from imctl.comet.node import Comet
from imctl.job.config import JobConfig
from imctl.job.node import Job
from imctl.registry.config import RegistryConfig
from imctl.registry.contract import Registry
from imctl.registry.node import RegistryServer
from protocol.discovery_api import Instance
from protocol.pb import comet as comet_pb
from protocol.pb import logic as pb
from tests.e2e.peers import GoPeer, stock_reply
from tests.e2e.test_vectors_calls import as_asked, comet_of, connected
from tests.imctl.comet.raw import Raw, eventually, http_post


@asynccontextmanager
async def registry_of() -> AsyncIterator[Registry]:
    server = RegistryServer(RegistryConfig())
    try:
        yield server.local
    finally:
        await server.stop(0.1)


@asynccontextmanager
async def comet_in(registry: Registry, **settings: Any) -> AsyncIterator[Comet]:
    ports = {"tcp_port": 0, "ws_port": 0, "grpc_port": 0}
    comet = Comet(CometConfig(hostname="comet-a", **ports, **settings), registry=registry)
    await comet.start()
    try:
        yield comet
    finally:
        await comet.stop(1.0)


@asynccontextmanager
async def job_in(registry: Registry, bus: MemoryBus, **settings: Any) -> AsyncIterator[Job]:
    job = Job(JobConfig(**settings), registry=registry, bus=bus)
    await job.start()
    try:
        yield job
    finally:
        await job.stop(0.2)


# --- our comet, Go logics -------------------------------------------------------


async def test_calls_are_dealt_among_logics_by_weight_and_anew_when_one_comes_or_goes():
    async with registry_of() as registry, GoPeer(as_asked()) as light, GoPeer(as_asked()) as heavy:
        await registry.register(light.instance("goim.logic", "light", weight="10"))
        await registry.register(heavy.instance("goim.logic", "heavy", weight="30"))
        async with comet_in(registry) as comet:
            await eventually(lambda: comet.stats()["gauges"]["logics"] == 2)

            async def connects(count: int, name: str) -> Counter[str]:
                before = {peer: len(peer.named("Connect")) for peer in (light, heavy)}
                # They stay for now: the end of one is a call too, and takes a turn.
                async with AsyncExitStack() as clients:
                    for number in range(count):
                        await clients.enter_async_context(await connected(comet, key=f"{name}-{number}"))
                return Counter(
                    light=len(light.named("Connect")) - before[light],
                    heavy=len(heavy.named("Connect")) - before[heavy],
                )

            both = await connects(80, "both")
            await registry.cancel("goim.logic", "heavy")
            await eventually(lambda: comet.stats()["gauges"]["logics"] == 1)
            alone = await connects(8, "alone")
            await registry.register(heavy.instance("goim.logic", "heavy", weight="10"))
            await eventually(lambda: comet.stats()["gauges"]["logics"] == 2)
            equal = await connects(40, "equal")

        # A report of room counts may have taken a turn.
        assert abs(both["light"] - 20) <= 2
        assert alone == Counter(light=8)
        assert 0.5 < equal["light"] / equal["heavy"] < 2
        assert not light.unknown + heavy.unknown


async def test_clients_are_served_by_the_other_logic_when_one_has_died():
    async with registry_of() as registry, GoPeer(as_asked()) as living, GoPeer(as_asked()) as dying:
        for name, peer in (("living", living), ("dying", dying)):
            await registry.register(peer.instance("goim.logic", name))
        async with comet_in(registry) as comet:
            await eventually(lambda: comet.stats()["gauges"]["logics"] == 2)
            async with await connected(comet, key="before") as before:
                await dying.stop()  # and is still in the registry

                async def works() -> bool:
                    async with await Raw.connect(comet.addresses["tcp"] or "") as client:
                        client.request(7, b'{"key":"probe"}')
                        await client.read()
                        return not client.closed

                async with asyncio.timeout(30):
                    while not all([await works() for _ in range(4)]):
                        pass  # a call that was on its way to it is refused at once
                assert await before.heartbeat() == 0


async def test_a_logic_that_never_answers_costs_its_client_the_time_limit_and_no_more():
    never = asyncio.Event()

    async def hang(request: Any) -> Any:
        await never.wait()

    def answer(path: str, request: Any) -> Any:
        return hang(request) if path.endswith("/Connect") else stock_reply(path, request)

    async with GoPeer(answer) as peer, comet_of(peer, logic_timeout_s=0.3) as comet:
        async with await Raw.connect(comet.addresses["tcp"] or "") as client:
            client.request(7, b'{"key":"k"}')
            async with asyncio.timeout(30):
                assert await client.read_to_end() == b""
        assert comet.stats()["counters"]["refused_auth"] == 1
        never.set()


# --- our job, Go comets ---------------------------------------------------------


def push_all(body: bytes) -> bytes:
    data: bytes = pb.PushMsg(type=pb.PushMsg.BROADCAST, operation=1000, msg=body).SerializeToString()
    return data


def push_to(server: str, body: bytes) -> bytes:
    data: bytes = pb.PushMsg(
        type=pb.PushMsg.PUSH, operation=1000, server=server, keys=["k"], msg=body
    ).SerializeToString()
    return data


def bodies(peer: GoPeer, name: str) -> list[bytes]:
    return [request.proto.body[16:] for request in peer.named(name)]


async def test_job_serves_comets_as_they_come_and_go():
    async with registry_of() as registry, GoPeer(stock_reply) as one, GoPeer(stock_reply) as two:
        bus = MemoryBus()
        await registry.register(one.instance("goim.comet", "one"))
        async with job_in(registry, bus) as job:
            await bus.publish("1000", push_all(b"a"))
            await one.wait_for("Broadcast", 1)
            await registry.register(two.instance("goim.comet", "two"))
            await eventually(lambda: job.stats()["gauges"]["comets"] == 2)
            await bus.publish("1000", push_all(b"b"))
            await two.wait_for("Broadcast", 1)
            await one.wait_for("Broadcast", 2)
            await registry.cancel("goim.comet", "one")
            await eventually(lambda: job.stats()["gauges"]["comets"] == 1)
            await bus.publish("1000", push_all(b"c"))
            await two.wait_for("Broadcast", 2)

        assert bodies(one, "Broadcast") == [b"a", b"b"]
        assert bodies(two, "Broadcast") == [b"b", b"c"]
        assert not one.unknown + two.unknown
        await bus.close()


async def test_a_comet_that_dies_holds_up_no_other_and_what_it_misses_is_counted():
    async with registry_of() as registry, GoPeer(stock_reply) as living, GoPeer(stock_reply) as dying:
        bus = MemoryBus()
        for name, peer in (("living", living), ("dying", dying)):
            await registry.register(peer.instance("goim.comet", name))
        async with job_in(registry, bus) as job:
            await bus.publish("k", push_to("dying", b"1"))
            await eventually(lambda: job.stats()["counters"]["answered"] == 1)
            await dying.stop()
            await bus.publish("k", push_to("dying", b"lost"))
            await bus.publish("other", push_to("living", b"2"))
            await living.wait_for("PushMsg", 1)
            await registry.cancel("goim.comet", "dying")  # as its lease ends
            await eventually(lambda: sum(job.stats()["drops"].values()) >= 1)

            assert bodies(living, "PushMsg") == [b"2"]
            assert sum(job.stats()["drops"].values()) == 1
        await bus.close()


async def test_a_comet_that_is_back_at_another_address_gets_what_waited_for_it():
    async with registry_of() as registry, GoPeer(stock_reply) as before, GoPeer(stock_reply) as after:
        bus = MemoryBus()
        await registry.register(before.instance("goim.comet", "comet-a"))
        async with job_in(registry, bus) as job:
            await bus.publish("k", push_to("comet-a", b"1"))
            await eventually(lambda: job.stats()["counters"]["answered"] == 1)
            await before.stop()
            await bus.publish("k", push_to("comet-a", b"2"))
            # goim's job keeps the old address of a hostname it knows.
            await registry.register(after.instance("goim.comet", "comet-a"))

            await after.wait_for("PushMsg", 1)

        assert bodies(after, "PushMsg") == [b"2"]
        await bus.close()


async def test_an_error_of_a_go_comet_is_not_repeated():
    def full(path: str, request: Any) -> Any:
        raise GoPeer.Refused(2, "signal channel full, msg dropped")

    async with registry_of() as registry, GoPeer(full) as peer:
        bus = MemoryBus()
        await registry.register(peer.instance("goim.comet", "comet-a"))
        async with job_in(registry, bus) as job:
            await bus.publish("k", push_to("comet-a", b"1"))
            await eventually(lambda: sum(job.stats()["drops"].values()) == 1)

        assert len(peer.named("PushMsg")) == 1
        await bus.close()


@pytest.mark.parametrize(("compat", "acked"), [(False, 0), (True, 1)])
async def test_a_record_is_acknowledged_after_its_comet_has_answered_or_before_as_in_goim(compat, acked):
    answered = asyncio.Event()

    async def later(request: Any) -> Any:
        await answered.wait()
        return comet_pb.PushMsgReply()

    async with registry_of() as registry, GoPeer(lambda path, request: later(request)) as peer:
        bus = MemoryBus()
        await registry.register(peer.instance("goim.comet", "comet-a"))
        async with job_in(registry, bus, compat_goim=compat) as job:
            await bus.publish("k", push_to("comet-a", b"1"))
            await peer.wait_for("PushMsg", 1)
            assert (bus.stats()["acked"], job.stats()["counters"]["acked"]) == (acked, acked)

            answered.set()
            await eventually(lambda: job.stats()["counters"]["answered"] == 1)
            await eventually(lambda: bus.stats()["acked"] == 1)
        assert bus.stats()["acked"] == 1
        await bus.close()


# --- our logic, Go comets -------------------------------------------------------


def go_comet(hostname: str, *, conns: int, weight: str = "10") -> Instance:
    """Return a comet as goim registers it, after its first set."""
    metadata = {
        "addrs": f"{hostname}.example.org",
        "weight": weight,
        "offline": "false",
        "conn_count": str(conns),
        "ip_count": str(conns),
    }
    return Instance(
        "goim.comet", hostname, addrs=("grpc://192.0.2.2:3109",), zone="sh001", env="dev", metadata=metadata
    )


async def test_clients_are_sent_to_comets_by_weight_and_load_as_they_come_and_go():
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(LocalCluster(comets=0))

        async def told(*wanted: str) -> None:
            """Wait until clients are told of these comets, in this order."""
            found: list[str] = []
            async with asyncio.timeout(30):
                while found != [f"{name}.example.org" for name in wanted]:
                    _, body = await http_post(cluster.http, "/goim/nodes/weighted?platform=ios", method="GET")
                    found = json.loads(body)["data"]["nodes"]

        registry = cluster.registry
        await registry.register(go_comet("a", conns=300))
        await registry.register(go_comet("b", conns=100))
        await told("b", "a")
        await registry.register(go_comet("c", conns=0, weight="1000"))
        await told("c", "a", "b")  # far ahead of the others, which are equal beside it
        await registry.cancel("goim.comet", "c")
        await told("b", "a")
        await registry.set_metadata("goim.comet", "a", {"conn_count": "10", "ip_count": "10"})
        await told("a", "b")
        await registry.set_metadata("goim.comet", "a", {"offline": "true"})
        await told("b")
