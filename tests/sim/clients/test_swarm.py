import asyncio
from time import monotonic_ns

import pytest

from imctl.cluster.inprocess import LocalCluster
from protocol.frame import pack_frame
from protocol.operation import Operation
from sim.measure.ledger import Delivery, StreamLog
from sim.run.target import Target
from sim.scenario.scenario import Backoff, Churn, Event, EventKind, Phase, Publisher, PublishTo
from tests.sim.kit import ROOM, ScriptedComet, latencies, message, scenario_of, swarm_of, totals, turns, until

NTH = 4
MESSAGES = 10

TRANSPORTS = pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])


def log_of(count, *, begin_ns, every_ns=10_000_000):
    """What the publisher knew of messages pushed one after the other, each acknowledged before the next."""
    log = StreamLog()
    for number in range(count):
        log.phase.append(0)
        log.sent_ns.append(begin_ns + number * every_ns)
        log.done_ns.append(begin_ns + number * every_ns + 1000)
        log.accepted.append(1)
    return log


async def connected(comet, scenario):
    swarm = swarm_of(scenario, comet.target)
    await swarm.connect()
    return swarm


@TRANSPORTS
@pytest.mark.parametrize(
    ("order", "found"),
    [
        (range(MESSAGES), {}),
        ([n for n in range(MESSAGES) if n != NTH], {"lost": 1}),
        ([*range(NTH), NTH, *range(NTH, MESSAGES)], {"duplicated": 1}),
        ([*range(NTH), NTH + 1, NTH, *range(NTH + 2, MESSAGES)], {"reordered": 1}),
        ([NTH, *range(MESSAGES)], {"duplicated": 1, "reordered": NTH}),
        ([], {"lost": MESSAGES}),
        ([*range(MESSAGES), MESSAGES], {"unexpected": 1}),
    ],
    ids=["nothing wrong", "loses one", "repeats one", "swaps two", "one early and again", "all lost", "invents one"],
)
@pytest.mark.parametrize("batch", [1, 3], ids=["single", "batched"])
async def test_what_a_comet_does_wrong_to_one_client_is_found_and_nothing_else(ws, batch, order, found):
    order = list(order)
    async with ScriptedComet(ws=ws) as comet:
        swarm = await connected(comet, scenario_of(count=5, ws=ws))
        begin_ns = monotonic_ns()
        swarm.begin(begin_ns)
        for connection in comet.connections:
            sent = order if connection is comet.connections[2] else list(range(MESSAGES))
            for at in range(0, len(sent), batch):
                connection.send(*(message(ROOM, n, begin_ns) for n in sent[at : at + batch]))
                await asyncio.sleep(0)
        new = len(set(order)) + 4 * MESSAGES
        await until(lambda: settled(swarm) >= new)
        # A copy behind the last message is in no count that could be waited for.
        await turns()

        result = swarm.finish({ROOM: log_of(MESSAGES, begin_ns=begin_ns)})
        await swarm.close()

    assert totals(swarm) == [Delivery(expected=5 * MESSAGES, **found)]
    assert latencies(swarm)[0].count == new
    assert (result.connected, result.failed, result.lost_connections) == (5, 0, 0)


def settled(swarm):
    swarm.settle()
    return swarm.delivered


@TRANSPORTS
@pytest.mark.parametrize(
    ("comet", "reason"),
    [
        ({"answer": None}, "closed before the auth reply"),
        ({"answer": b""}, "no auth reply in time"),
    ],
    ids=["refuses", "never answers"],
)
async def test_clients_that_do_not_get_in_are_counted_with_the_reason(monkeypatch, ws, comet, reason):
    monkeypatch.setattr("sim.clients.connector._CONNECT_TIMEOUT_S", 1.0)
    async with ScriptedComet(ws=ws, **comet) as scripted:
        swarm = await connected(scripted, scenario_of(count=4, ws=ws))
        result = swarm.finish({ROOM: log_of(3, begin_ns=monotonic_ns())})
        await swarm.close()

    assert (result.connected, result.failed) == (0, 4)
    assert result.failures[reason] == 4
    assert totals(swarm) == [Delivery()]


async def test_a_comet_that_is_not_there_fails_every_client():
    async with ScriptedComet() as comet:
        target = comet.target

    swarm = swarm_of(scenario_of(count=3), target)
    await swarm.connect()
    await swarm.close()

    [(reason, count)] = swarm.connector.failures.items()
    assert (reason.startswith("connect: "), count, swarm.failed) == (True, 3, 3)


@TRANSPORTS
async def test_a_comet_that_answers_garbage_fails_its_clients(ws):
    async with ScriptedComet(ws=ws, answer=b"\xff" * 64) as comet:
        swarm = await connected(comet, scenario_of(count=2, ws=ws))
        await swarm.close()

    assert (swarm.connected, swarm.failed) == (0, 2)
    assert sum(count for reason, count in swarm.failures.items() if reason.startswith("bad bytes")) == 2


@TRANSPORTS
async def test_a_connection_that_ends_is_counted_and_expects_nothing_more(ws):
    async with ScriptedComet(ws=ws, then_close=True) as comet:
        swarm = await connected(comet, scenario_of(count=3, ws=ws))
        await until(lambda: swarm.lost_connections == 3)

        result = swarm.finish({ROOM: log_of(5, begin_ns=monotonic_ns())})
        await swarm.close()

    assert (result.connected, result.lost_connections, swarm.alive) == (3, 3, 0)
    assert result.failures == {}
    assert totals(swarm) == [Delivery()]


async def test_messages_are_counted_in_the_phase_of_their_intended_time():
    second = 1_000_000_000
    phases = (Phase("one", 1.0), Phase("two", 1.0), Phase("three", 1.0))
    async with ScriptedComet() as comet:
        swarm = await connected(comet, scenario_of(count=1, phases=phases))
        t0_ns = monotonic_ns()
        swarm.begin(t0_ns)
        intended = [0, second - 1, second, 2 * second, 3 * second - 1]
        comet.connections[0].send(*(message(ROOM, n, t0_ns + at) for n, at in enumerate(intended)))
        await until(lambda: settled(swarm) == 5)
        await swarm.close()

    assert [histogram.count for histogram in latencies(swarm)] == [2, 1, 2]


@TRANSPORTS
async def test_heartbeats_are_sent_in_time_and_answers_counted(ws):
    async with ScriptedComet(ws=ws) as comet:
        swarm = await connected(comet, scenario_of(count=4, ws=ws, heartbeat_s=0.05))
        await until(lambda: swarm.heartbeat_replies >= 12)
        await swarm.close()

    assert comet.heartbeats >= 12
    assert swarm.foreign == 0


async def test_connects_keep_to_their_rate_and_to_how_many_are_under_way():
    async with ScriptedComet() as comet:
        swarm = swarm_of(scenario_of(count=10, connect_rate_per_s=50.0, connect_inflight=1), comet.target)
        began_ns = monotonic_ns()
        await swarm.connect()
        took_s = (monotonic_ns() - began_ns) / 1e9
        await swarm.close()

    assert took_s >= 9 / 50 - 0.01
    assert swarm.connected == 10


async def test_a_cancelled_connect_leaves_no_task_behind():
    async with ScriptedComet(answer=b"") as comet:
        swarm = swarm_of(scenario_of(count=3), comet.target)
        connecting = asyncio.create_task(swarm.connect())
        await until(lambda: len(comet.connections) == 3)

        connecting.cancel()
        await asyncio.wait([connecting])
        result = swarm.finish(None)
        await swarm.close()
        names = {task.get_name() for task in asyncio.all_tasks()}

    assert not {name for name in names if name.startswith("connect client")}
    assert (result.failed, result.failures["still connecting when the run ended"]) == (3, 3)


async def test_each_part_connects_its_share():
    async with ScriptedComet() as comet:
        parts = [swarm_of(scenario_of(count=5, mids=1), comet.target, part=part, parts=2) for part in range(2)]
        for part in parts:
            await part.connect()
        mids = sorted(connection.token.mid for connection in comet.connections)
        for part in parts:
            await part.close()

    assert mids == [1, 2, 3, 4, 5]


async def test_seconds_that_are_over_are_handed_out_once_and_none_is_forgotten():
    async with ScriptedComet() as comet:
        swarm = await connected(comet, scenario_of(count=2))
        t0_ns = monotonic_ns() - 5_000_000_000
        swarm.begin(t0_ns)
        for at_s, sequence in ((0.5, 0), (1.5, 1), (4.9, 2)):
            entry = swarm.entry_of(message(ROOM, sequence, t0_ns))
            swarm.tallies[0].record([entry], t0_ns + int(at_s * 1e9), 2)
        early = swarm.take_seconds()
        swarm.tallies[0].record([entry], t0_ns + 500_000_000, 1)
        rest = swarm.take_seconds(all_of_them=True)
        await swarm.close()

    assert {second: histogram.count for second, histogram in early.items()} == {0: 2, 1: 2}
    assert {second: histogram.count for second, histogram in rest.items()} == {0: 1, 4: 2}


async def test_without_logs_nothing_is_judged():
    async with ScriptedComet() as comet:
        swarm = await connected(comet, scenario_of(count=1))
        comet.connections[0].send(message(ROOM, 0, monotonic_ns()))
        await until(lambda: settled(swarm) == 1)

        swarm.finish(None)
        await swarm.close()

    assert totals(swarm) == [Delivery()]


async def test_a_message_of_a_stream_that_nothing_was_published_to_is_unexpected():
    phases = (Phase("steady", 1.0), Phase("cooldown", 1.0, measure=False))
    async with ScriptedComet() as comet:
        swarm = await connected(comet, scenario_of(count=1, phases=phases))
        comet.connections[0].send(message(ROOM, 0, monotonic_ns()))
        await until(lambda: settled(swarm) == 1)

        swarm.finish({})
        await swarm.close()

    # In a phase that the overall figures have.
    assert totals(swarm) == [Delivery(unexpected=1), Delivery()]


async def test_a_client_that_stops_reading_loses_what_comet_counts_as_dropped_for_it():
    publish = [Publisher(PublishTo.ROOM, "viewers", 1.0)]
    settings = {"comet": {"write_buffer_bytes": 4096, "send_buffer_bytes": 4096}}
    async with LocalCluster(settings=settings) as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        target = Target("local", ((host, int(port)),), (), ())
        swarm = swarm_of(scenario_of(count=3, publish=publish), target)
        await swarm.connect()
        t0_ns = monotonic_ns()
        swarm.begin(t0_ns)
        slow = swarm.clients[1]
        slow.transport.pause_reading()
        count, size = 400, 32_768
        http_host, _, http_port = cluster.http.rpartition(":")
        reader, writer = await asyncio.open_connection(http_host, int(http_port))
        path = swarm.plan.request_target(publish[0], 0)
        log = StreamLog()
        for sequence in range(count):
            body = message(ROOM, sequence, monotonic_ns(), size=size).body
            log.phase.append(0)
            log.sent_ns.append(monotonic_ns())
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + body)
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
            log.done_ns.append(monotonic_ns())
            log.accepted.append(1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: settled(swarm) >= 2 * count)
        slow.transport.resume_reading()
        before = -1
        while before != settled(swarm):  # until nothing more comes out of the kernel's buffers
            before = swarm.delivered
            await asyncio.sleep(0.1)

        swarm.finish({0: log})
        drops = cluster.stats()["comet-1"]["comet"]["drops"]
        await swarm.close()

    [delivery] = totals(swarm)
    assert delivery.lost > 0
    assert delivery == Delivery(expected=3 * count, lost=drops["comet.slow_client"])


async def test_a_silent_client_sends_no_heartbeats_and_the_others_do():
    async with ScriptedComet() as comet:
        swarm = await connected(comet, scenario_of(count=2, heartbeat_s=0.03))
        for client in swarm.clients:
            client.silenced += 1
        await turns()  # those under way arrive
        silent = comet.heartbeats
        await asyncio.sleep(0.3)
        assert comet.heartbeats == silent
        swarm.clients[0].silenced -= 1
        await until(lambda: comet.heartbeats >= silent + 3)
        await swarm.close()


async def test_a_silent_client_is_cut_off_by_comet_and_comes_back_with_heartbeats():
    async with LocalCluster(settings={"logic": {"heartbeat_s": 0.5}}) as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        target = Target("local", ((host, int(port)),), (), ())
        silence = [Event(0.0, EventKind.SILENCE, "viewers", 0.5)]
        people = scenario_of(count=4, heartbeat_s=0.05, reconnect=Backoff(0.001, 0.01), events=silence)
        swarm = swarm_of(people, target)
        await swarm.connect()
        swarm.begin(monotonic_ns())
        await until(lambda: swarm.connector.reconnects >= 2)
        await asyncio.sleep(1.3)  # longer than comet waits for a heartbeat
        result, alive = swarm.finish({}), swarm.alive
        await swarm.close()

    # Comet closed the silent ones: the scenario wanted to see that, and nothing is wrong with the cluster.
    assert (result.lost_connections, result.provoked, result.reconnects, alive) == (0, 2, 2, 4)
    assert result.events[0].count == 2


async def test_a_task_that_fails_is_not_passed_over():
    swarm = swarm_of(scenario_of(count=1))

    async def fail():
        raise RuntimeError("a bug")

    swarm.check()
    await asyncio.wait([swarm.spawn("fails", fail())])

    with pytest.raises(RuntimeError, match="a bug"):
        swarm.check()
    await swarm.close()


async def test_events_and_churn_end_with_the_swarm():
    events = [Event(60.0, EventKind.DISCONNECT, "viewers")]
    churn = Churn(1000.0, Backoff(60.0, 60.0))
    async with ScriptedComet() as comet:
        swarm = await connected(comet, scenario_of(count=5, phases=[Phase("soak", 90.0)], events=events, churn=churn))
        swarm.begin(monotonic_ns())
        await until(lambda: swarm.connector.away >= 3)
        await swarm.close()
        names = {task.get_name() for task in asyncio.all_tasks()}

    assert not {name for name in names if name.startswith(("event", "churn", "reconnect", "actions"))}
    swarm.check()


async def test_a_room_change_is_confirmed_by_a_real_comet_and_nothing_of_either_room_is_lost():
    rooms = ("live://1", "live://2")
    publish = [Publisher(PublishTo.ROOM, "viewers", 1.0)]
    move = [Event(0.0, EventKind.CHANGE_ROOM, "viewers", room="live://2")]
    async with LocalCluster() as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        target = Target("local", ((host, int(port)),), (), ())
        swarm = swarm_of(scenario_of(count=4, rooms=rooms, publish=publish, events=move), target)
        await swarm.connect()
        swarm.begin(monotonic_ns())
        await until(lambda: all(client.members and len(client.members.stays) == 2 for client in swarm.clients))
        result = swarm.finish({})
        await swarm.close()

    assert result.events[0].count == 4
    assert [client.streams for client in swarm.clients] == [(1,)] * 4
    assert all(
        [stay.stream for stay in client.memberships()] == [home, 1]
        for client, home in zip(swarm.clients, (0, 1, 0, 1), strict=True)
    )


async def test_a_foreign_heartbeat_answer_is_no_delivery():
    async with ScriptedComet() as comet:
        swarm = await connected(comet, scenario_of(count=1))
        comet.connections[0].writer.write(pack_frame(Operation.SEND_MSG_REPLY))
        await until(lambda: swarm.foreign == 1)
        await swarm.close()

    assert swarm.delivered == 0
