import asyncio

import pytest

from sim.run.target import Target
from sim.scenario.scenario import Backoff
from tests.sim.kit import AUTH_REPLY, ScriptedComet, scenario_of, swarm_of, until

SOON = Backoff(0.001, 0.01)


async def connected(target, **scenario):
    swarm = swarm_of(scenario_of(**scenario), target)
    await swarm.connect()
    return swarm


def cut_all(comet):
    """End every connection, as a comet that dies does."""
    for connection in comet.connections:
        connection.writer.transport.abort()
    comet.connections.clear()


@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
async def test_clients_that_lose_their_connection_all_come_back_once(ws):
    async with ScriptedComet(ws=ws) as comet:
        swarm = await connected(comet.target, count=20, ws=ws, mids=1, reconnect=SOON)
        for round_number in (1, 2, 3):
            cut_all(comet)
            await until(lambda n=round_number: swarm.connector.reconnects == 20 * n and not swarm.connector.away)
        mids = sorted(connection.token.mid for connection in comet.connections)
        result = swarm.finish({})
        await swarm.close()

    assert mids == list(range(1, 21))
    assert (result.connected, result.failed, result.lost_connections, result.reconnects) == (20, 0, 60, 60)
    assert (result.away, result.failures, result.again_failures) == (0, {}, {})


async def test_without_reconnect_they_stay_away():
    async with ScriptedComet() as comet:
        swarm = await connected(comet.target, count=3)
        cut_all(comet)
        await until(lambda: swarm.lost_connections == 3)
        await swarm.close()

    assert (swarm.connector.away, swarm.alive) == (0, 0)


async def test_a_client_tries_until_it_is_let_in_and_counts_why_it_was_not():
    async with ScriptedComet() as comet:
        swarm = await connected(comet.target, count=2, reconnect=SOON)
        comet.answer = None
        cut_all(comet)
        await until(lambda: swarm.connector.again_failures["closed before the auth reply"] >= 6)
        away = swarm.connector.away
        comet.answer = AUTH_REPLY
        await until(lambda: swarm.connector.reconnects == 2 and not swarm.connector.away)
        result, alive = swarm.finish({}), swarm.alive
        await swarm.close()

    assert away == 2
    assert (alive, result.lost_connections) == (2, 2)
    # What went wrong on the way back is no client that did not get in.
    assert (result.connected, result.failed, result.failures) == (2, 0, {})


async def test_where_a_comet_is_gone_its_clients_go_to_the_next():
    async with ScriptedComet() as stays:
        async with ScriptedComet() as goes:
            both = Target("two", (*goes.target.tcp, *stays.target.tcp), (), ())
            swarm = await connected(both, count=10, reconnect=SOON)
            assert 0 < len(stays.connections) < 10
            goes._server.close()
            cut_all(goes)
        await until(lambda: len(stays.connections) == 10 and not swarm.connector.away)
        failures = swarm.connector.again_failures
        await swarm.close()

    assert all(reason.startswith("connect: ") for reason in failures)
    assert sum(failures.values()) == swarm.connector.reconnects


@pytest.mark.parametrize(
    ("backoff", "spans"),
    [
        (Backoff(0.1, 1.0), [(0.1, 0.2), (0.2, 0.4), (0.4, 0.8), (0.8, 1.0), (1.0, 1.0), (1.0, 1.0)]),
        (Backoff(0.5, 0.5), [(0.5, 0.5)] * 4),
        (Backoff(0.0, 0.0), [(0.0, 0.0), (0.01, 0.01), (0.01, 0.01)]),
        (Backoff(0.0, 1.0), [(0.0, 0.0), (0.01, 0.02), (0.02, 0.04), (0.04, 0.08)]),
    ],
    ids=["doubles up to the longest", "fixed", "none", "from none"],
)
async def test_the_wait_grows_with_each_failure_and_stays_within_its_bounds(monkeypatch, backoff, spans):
    waits = []
    sleep = asyncio.sleep

    async def note(delay):
        waits.append(delay)
        await sleep(0)

    async def refuse(connector, client, attempt=0):
        return "refused" if len(waits) < len(spans) else ""

    monkeypatch.setattr("sim.clients.connector.Connector._attempt", refuse)
    swarm = swarm_of(scenario_of(count=1))
    monkeypatch.setattr("sim.clients.connector.asyncio.sleep", note)
    swarm.connector.come_back(swarm.clients[0], backoff)
    while swarm.connector.away:
        await sleep(0)

    assert len(waits) == len(spans)
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, spans, strict=True))
    assert swarm.connector.again_failures == {"refused": len(spans) - 1}


async def test_an_auth_reply_in_the_moment_the_time_is_up_lets_the_client_in(monkeypatch):
    monkeypatch.setattr("sim.clients.connector._CONNECT_TIMEOUT_S", 1.0)
    # The reply is read, and the one who waits for it has not been told yet.
    monkeypatch.setattr("sim.clients.connector.Connector.joined", lambda connector, client: None)
    async with ScriptedComet() as comet:
        swarm = await connected(comet.target, count=2, reconnect=SOON)

        assert (swarm.connected, swarm.failed, swarm.alive, swarm.lost_connections) == (2, 0, 2, 0)
        await swarm.close()


async def test_a_key_that_comes_back_while_its_old_connection_closes_is_one_client():
    async with ScriptedComet() as comet:
        swarm = await connected(comet.target, count=5, keys="k-")
        for client in list(swarm.clients):
            client.leave()
            swarm.connector.come_back(client, SOON, away_s=0.0)
        await until(lambda: swarm.connector.reconnects == 5 and not swarm.connector.away)
        alive = swarm.alive
        await swarm.close()

    assert (alive, swarm.lost_connections) == (5, 0)


async def test_only_so_many_come_back_at_a_time():
    async with ScriptedComet(answer=AUTH_REPLY) as comet:
        swarm = await connected(comet.target, count=10, connect_inflight=3, reconnect=SOON)
        comet.answer = b""  # never answers
        cut_all(comet)
        await until(lambda: len(comet.connections) == 3)
        await asyncio.sleep(0.05)
        trying = len(comet.connections)
        await swarm.close()

    assert trying == 3


async def test_nothing_is_left_of_those_on_their_way_back():
    async with ScriptedComet() as comet:
        swarm = await connected(comet.target, count=3, reconnect=Backoff(60.0, 60.0))
        cut_all(comet)
        await until(lambda: swarm.connector.away == 3)
        result = swarm.finish({})
        await swarm.close()
        names = {task.get_name() for task in asyncio.all_tasks()}

    assert result.away == 3
    assert "reconnect" not in names


async def test_very_many_clients_come_from_addresses_of_their_own(monkeypatch):
    monkeypatch.setattr("sim.clients.connect.CLIENTS_PER_SOURCE", 2)
    async with ScriptedComet() as comet:
        swarm = await connected(comet.target, count=5, reconnect=SOON)
        peers = sorted(connection.writer.get_extra_info("peername")[0] for connection in comet.connections)
        cut_all(comet)
        await until(lambda: swarm.connector.reconnects == 5)
        again = sorted(connection.writer.get_extra_info("peername")[0] for connection in comet.connections)
        await swarm.close()

    assert peers == again == ["127.0.1.1", "127.0.1.1", "127.0.1.2", "127.0.1.2", "127.0.1.3"]
