"""Second connections of a client: the same key again, and another device of the same user."""

import asyncio
from time import monotonic_ns

import pytest

from imctl.cluster.inprocess import LocalCluster
from sim.language.load import load_scenario
from sim.language.shipped import find_scenario
from sim.measure.ledger import Delivery, StreamLog
from sim.report.model import Verdict
from sim.run.runner import run_scenario
from sim.run.target import Target
from sim.scenario.scenario import Backoff, Event, EventKind, Publisher, PublishTo
from tests.sim.kit import AUTH_REPLY, ScriptedComet, message, scenario_of, swarm_of, until

ROOM, MID, KEY = range(3)
PUBLISH = [Publisher(to, "viewers", 1.0) for to in (PublishTo.ROOM, PublishTo.MID, PublishTo.KEY)]


async def one_client(target, **more):
    """Return a swarm of one client that is in a room, and has a mid and a key."""
    swarm = swarm_of(scenario_of(count=1, mids=1, keys="k", publish=PUBLISH, **more), target)
    await swarm.connect()
    assert swarm.connected == 1
    swarm.begin(monotonic_ns())
    return swarm


def log_of(*sent_ns):
    count = len(sent_ns)
    return StreamLog([0] * count, list(sent_ns), [at + 1000 for at in sent_ns], [1] * count)


def total(result):
    found = Delivery()
    for rows in result.deliveries.values():
        for row in rows:
            found.add(row)
    return found


def unexpected(swarm):
    rows = [row for tally in swarm.tallies for row in tally.deliveries.values()]
    return sum(one.unexpected for row in rows for one in row)


def split(*addresses):
    return tuple((host, int(port)) for host, _, port in (address.rpartition(":") for address in addresses))


async def test_who_takes_over_gets_what_goes_by_key_and_mid_from_then_on_and_both_what_goes_to_the_room():
    async with ScriptedComet() as comet:
        swarm = await one_client(comet.target)
        [old] = swarm.clients
        before_ns = monotonic_ns()
        assert await swarm.take_over(old, other_comet=False)
        [new] = swarm.clients
        after_ns = monotonic_ns()
        first, second = comet.connections
        # What was meant for the time before may come to either; what comes later, only to the new one.
        first.send(*(message(stream, 0, before_ns) for stream in (ROOM, MID, KEY)))
        first.send(message(ROOM, 1, after_ns))
        second.send(*(message(stream, n, after_ns) for stream, n in ((ROOM, 1), (MID, 1), (KEY, 1))))
        await until(lambda: old.cursors and old.cursors.keys() == {ROOM, MID, KEY} and len(new.cursors or ()) == 3)
        first.send(message(KEY, 2, after_ns))
        await until(lambda: unexpected(swarm))

        logs = {stream: log_of(before_ns, after_ns) for stream in (ROOM, MID)}
        result = swarm.finish({**logs, KEY: log_of(before_ns, after_ns, after_ns)})
        await swarm.close()

    assert new is not old
    assert second.token == first.token
    # The old one had to get the room's two messages, the new one its second; by mid and key the new one had to get what
    # was pushed after its login, of which one went to the old.
    assert total(result) == Delivery(expected=6, lost=1, unexpected=1)
    assert (result.second_logins, result.lost_connections) == (1, 0)


@pytest.mark.parametrize("ends_first", [False, True], ids=["after the auth reply", "before the auth reply"])
async def test_the_end_of_a_connection_that_is_taken_over_is_no_lost_connection_and_it_does_not_come_back(ends_first):
    async with ScriptedComet() as comet:
        swarm = await one_client(comet.target, reconnect=Backoff(0.001, 0.001))
        [old] = swarm.clients
        comet.answer = b""
        taking_over = asyncio.create_task(swarm.take_over(old, other_comet=False))
        await until(lambda: len(comet.connections) == 2)
        first, second = comet.connections
        for ends in (ends_first, not ends_first):
            if ends:
                first.writer.transport.abort()
                await until(lambda: old.left_ns)
            else:
                second.writer.write(AUTH_REPLY)
                assert await taking_over
        result = swarm.finish({KEY: log_of(monotonic_ns())})

        assert (result.provoked, result.lost_connections, result.away, swarm.alive) == (1, 0, 0, 1)
        assert swarm.clients[0] is not old
        assert total(result) == Delivery(expected=1, lost=1)  # by the new one
        await swarm.close()


async def test_a_login_that_is_refused_leaves_the_first_as_it_was():
    async with ScriptedComet() as comet:
        swarm = await one_client(comet.target)
        [client] = swarm.clients
        comet.answer = None

        assert not await swarm.take_over(client, other_comet=False)
        assert await swarm.add_device(client, 0, other_comet=False) is None

        result = swarm.finish({KEY: log_of(monotonic_ns())})
        await swarm.close()

    assert swarm.clients == [client]
    assert (client.is_provoked, total(result).expected) == (False, 1)
    assert result.second_failures == {"closed before the auth reply": 2}
    assert result.failed == 0


async def test_who_lost_its_connection_to_a_login_that_then_failed_comes_back():
    async with ScriptedComet() as comet:
        swarm = await one_client(comet.target, reconnect=Backoff(0.001, 0.001))
        [old] = swarm.clients
        comet.answer = b""
        taking_over = asyncio.create_task(swarm.take_over(old, other_comet=False))
        await until(lambda: len(comet.connections) == 2)
        comet.answer = AUTH_REPLY

        comet.connections[0].writer.transport.abort()
        await until(lambda: old.left_ns)
        comet.connections[1].writer.transport.abort()

        assert not await taking_over
        await until(lambda: swarm.connector.reconnects == 1)
        await swarm.close()


async def test_who_left_while_it_was_taken_over_is_not_in_twice():
    async with ScriptedComet() as comet:
        swarm = await one_client(comet.target)
        [old] = swarm.clients
        comet.answer = b""
        taking_over = asyncio.create_task(swarm.take_over(old, other_comet=False))
        await until(lambda: len(comet.connections) == 2)

        old.leave()
        comet.connections[1].writer.write(AUTH_REPLY)
        await taking_over

        assert (swarm.clients, swarm.alive) == ([old], 0)
        await swarm.close()


async def test_a_second_device_is_a_receiver_of_its_own_until_it_leaves():
    async with ScriptedComet() as comet:
        swarm = await one_client(comet.target)
        device = await swarm.add_device(swarm.clients[0], 7, other_comet=False)
        at_ns = monotonic_ns()
        _, second = comet.connections
        for connection in comet.connections:
            connection.send(message(ROOM, 0, at_ns), message(MID, 0, at_ns))
        second.send(message(KEY, 0, at_ns))  # of the other one's key
        await until(lambda: unexpected(swarm) and len(swarm.clients[0].cursors or ()) == 2)
        device.leave()

        result = swarm.finish({ROOM: log_of(at_ns), MID: log_of(at_ns)})
        await swarm.close()

    assert (second.token.mid, second.token.key) == (1, "k0$7")
    # What came in the device's last second is not expected of it: it left by its own will.
    assert total(result) == Delivery(expected=2, unexpected=1)
    assert (result.second_logins, result.lost_connections, result.provoked) == (1, 0, 0)


async def test_a_second_device_stays_for_as_long_as_the_event_says():
    events = [Event(0.0, EventKind.ADD_DEVICE, "viewers", for_s=0.05), Event(0.0, EventKind.ADD_DEVICE, "viewers")]
    async with ScriptedComet() as comet:
        swarm = await one_client(comet.target, events=events)
        await until(lambda: swarm.connector.second_logins == 2)
        await until(lambda: swarm.alive == 2)
        result = swarm.finish({})
        await swarm.close()

    assert sorted((device.plan.token.key, device.leaving) for device in swarm.others) == [
        ("k0$0", True),
        ("k0$1", False),
    ]
    assert [result.events[number].count for number in range(2)] == [1, 1]
    assert (result.lost_connections, result.provoked) == (0, 0)


async def test_a_second_device_sends_heartbeats_of_its_own():
    async with LocalCluster(settings={"logic": {"heartbeat_s": 0.3}}) as cluster:
        swarm = await one_client(Target("local", split(cluster.tcp), (), ()), heartbeat_s=0.05)
        device = await swarm.add_device(swarm.clients[0], 0, other_comet=False)
        replies = swarm.heartbeat_replies
        await asyncio.sleep(0.6)  # longer than comet waits for a heartbeat

        assert device.is_in
        assert swarm.heartbeat_replies > replies
        assert (swarm.alive, swarm.provoked, swarm.lost_connections) == (2, 0, 0)
        await swarm.close()


@pytest.mark.parametrize("other_comet", [False, True], ids=["same comet", "other comet"])
async def test_a_real_comet_ends_the_connection_whose_key_logs_in_there_again(other_comet):
    async with LocalCluster(comets=2) as cluster:
        target = Target("local", split(*cluster.tcp_all), (), ())
        swarm = await one_client(target)
        [old] = swarm.clients

        assert await swarm.take_over(old, other_comet=other_comet)

        assert (swarm.clients[0].comet == old.comet) is not other_comet
        if other_comet:
            assert (old.is_in, swarm.alive, swarm.provoked) == (True, 2, 0)
        else:
            await until(lambda: old.left_ns)
            assert (swarm.alive, swarm.provoked, swarm.lost_connections) == (1, 1, 0)
        await swarm.close()


async def test_the_scenario_of_sessions_loses_nothing(monkeypatch):
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)
    sets = ["phases.warmup.duration=200ms", "events[2].for=500ms", "clients.devices.session.length=1s..5s"]
    sets.append("expect=[clients.second_logins_failed == 0, clients.disconnected == 0, delivery.lost == 0]")
    sets.append("clients.devices.connect.rate=200/s")
    scenario = load_scenario(find_scenario("sessions"), sets=sets, clients=60, duration_s=2.0, env={})
    async with LocalCluster(comets=2) as cluster:
        addresses = split(*cluster.tcp_all), split(*cluster.ws_all), split(cluster.http)
        report = (await run_scenario(scenario, Target("local", *addresses), workers=2)).report

    assert report.verdict is Verdict.PASS, report.reasons
    delivery = report.delivery
    assert (delivery.duplicated, delivery.reordered, delivery.unexpected) == (0, 0, 0)
    assert delivery.expected > 200
    assert report.clients.second_logins == sum(
        event.count for event in report.events if event.do in ("take_over", "add_device")
    )
    assert report.clients.second_logins > 0
