"""Links on which nothing gets through for a time, or whose client does not read."""

import asyncio

from sim.scenario.scenario import EventKind, Network
from tests.sim.kit import until
from tests.sim.network.links import joined
from tests.sim.network_kit import MS


async def test_a_stall_holds_everything_back_and_loses_nothing():
    async with joined() as (way, client, comet):
        over, longer = way.stall(), way.stall()
        client.transport.write(b"up")
        client.transport.write(b"up")
        await comet.send(b"down")
        await asyncio.sleep(0.03)
        over()
        await asyncio.sleep(0.03)
        assert (comet.hears(), client.data) == (False, b"")
        assert way.troubles[client].place == "network.stall"

        longer()

        assert await comet.read() == b"upup"
        await until(lambda: client.data)
    assert client.data == b"down"
    assert way.troubles == {}


async def test_what_is_on_its_way_when_a_stall_begins_is_held_too():
    async with joined(Network(latency_s=1.5)) as (way, client, comet):
        await comet.send(b"down")
        lane = client.transport._down
        await until(lambda: lane.queued)

        over = way.stall()
        await until(lambda: lane._held)
        assert client.data == b""
        over()

        assert client.data == b"down"


async def test_a_client_that_does_not_read_gets_nothing_from_the_network_either():
    async with joined(Network(latency_s=1.0)) as (_, client, comet):
        await comet.send(b"a")
        lane = client.transport._down
        await until(lambda: lane.queued)
        client.transport.pause_reading()
        client.transport.pause_reading()
        await until(lambda: lane._held)
        await comet.send(b"b")
        assert client.data == b""

        client.transport.resume_reading()
        assert client.data == b"a"
        await until(lambda: client.data == b"ab")


async def test_a_client_that_leaves_ends_the_connection_though_it_did_not_read():
    async with joined(Network(latency_s=0.03)) as (way, client, comet):
        client.transport.pause_reading()
        client.transport.abort()

        await until(lambda: client.ends)
        assert not await comet.read()

    assert client.ends == [None]
    # What was on its way need not have arrived.
    assert (way.troubles[client].place, way.troubles[client].late_ns) == ("", 30 * MS)


async def test_requests_that_cannot_leave_are_bounded():
    async with joined() as (way, client, _):
        over = way.stall()

        for _ in range(70):
            client.transport.write(bytes(1024))

        assert way.unsent
        assert client.transport._up.queued == 64 * 1024
        over()


async def test_a_fault_during_a_stall_may_lose_all_that_the_stall_held():
    async with joined() as (way, client, _):
        way.stall()
        stalled = way.troubles[client]
        await asyncio.sleep(0.02)
        way.end(EventKind.RESET, lasts=False)

    assert way.troubles[client].place == "network.reset"
    assert way.troubles[client].from_ns == stalled.from_ns
    assert way.troubles[client].late_ns >= 19 * MS
