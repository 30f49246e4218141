"""Connections that are made while the network has a fault."""

import asyncio
from time import monotonic_ns

import pytest

from sim.network.link import Link
from sim.scenario.scenario import EventKind, Network
from tests.sim.network_kit import MS, Client, connected, way_of


@pytest.mark.parametrize(
    ("kind", "error"), [(EventKind.RESET, ConnectionResetError), (EventKind.CUT, ConnectionAbortedError)]
)
async def test_new_connections_are_refused_as_long_as_it_lasts(kind, error):
    way = way_of()

    over = way.end(kind, lasts=True)
    with pytest.raises(error):
        await way.pass_through()
    over()

    await way.pass_through()


@pytest.mark.parametrize("begin", ["stall", "open_hole"])
async def test_who_connects_while_nothing_gets_through_waits_for_the_end_of_it(begin):
    way = way_of()
    over = getattr(way, begin)()

    connecting = [asyncio.create_task(way.pass_through()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in connecting)
    over()

    await asyncio.gather(*connecting)


async def test_connecting_takes_a_round_trip():
    way = way_of(Network(latency_s=0.02))
    begin_ns = monotonic_ns()

    await way.pass_through()

    assert monotonic_ns() - begin_ns >= 39 * MS


@pytest.mark.parametrize("begin", ["stall", "open_hole"])
async def test_a_connection_that_was_on_its_way_when_it_began_has_it_too(begin):
    way, client = way_of(), Client()
    over = getattr(way, begin)()

    async with connected(lambda: Link(way, client)) as comet:
        client.transport.write(b"up")
        await asyncio.sleep(0.02)
        assert not comet.hears()
        over()

        assert await comet.read() == (b"up" if begin == "stall" else None)
