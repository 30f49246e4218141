from pathlib import Path

import pytest

from sim.errors import ScenarioError
from sim.language.load import load_scenario
from sim.scenario.scenario import (
    Arrival,
    Backoff,
    Churn,
    Event,
    EventKind,
    Expectation,
    LognormalSize,
    Phase,
    Population,
    Publisher,
    PublishTo,
    Transport,
    UniformSize,
)
from tests.sim.language.texts import BASE, EVENTS, MINIMAL, parse, with_client, with_publisher


def test_a_small_scenario_gets_goims_defaults():
    scenario = parse(MINIMAL)

    assert scenario.clients == (Population("viewers", 10, rooms=("live://1",), accepts=(1000,), heartbeat_s=30.0),)
    assert scenario.publish == ()
    assert scenario.phases == (Phase("steady", 1.0, True, 1.0),)
    assert (scenario.name, scenario.seed, scenario.expect, scenario.path) == ("small", 1, (), "a.yaml")


def test_every_key_of_a_population_is_read():
    scenario = parse(
        with_client(
            "{name: a, count: 3, transport: {tcp: 25%, ws: 75%}, room: 'chat://r${8..10}x', mid: '${5..}',"
            " key: 'k-${0..}', accepts: [1001, 1002, 1001], connect: {rate: 60/m, inflight: 7}, heartbeat: 1m}"
        )
    )

    rooms = ("chat://r8x", "chat://r9x", "chat://r10x")
    assert scenario.clients == (
        Population(
            "a",
            3,
            ((Transport.TCP, 0.25), (Transport.WS, 0.75)),
            rooms,
            mids=5,
            keys="k-",
            accepts=(1001, 1002),
            connect_rate_per_s=1.0,
            connect_inflight=7,
            heartbeat_s=60.0,
        ),
    )


@pytest.mark.parametrize(
    ("written", "shares"),
    [
        *((transport, {transport: 1.0}) for transport in ("tcp", "ws", "tls", "wss")),
        ("{tcp: 30%}", {"tcp": 0.3, "ws": 0.7}),
        ("{ws: 30%}", {"tcp": 0.7, "ws": 0.3}),
        ("{wss: 30%}", {"tls": 0.7, "wss": 0.3}),
        ("{tls: 100%}", {"tls": 1.0}),
        ("{tcp: 70%, ws: 30%}", {"tcp": 0.7, "ws": 0.3}),
        ("{wss: 20%, tls: 10%, tcp: 70%, ws: 0%}", {"tcp": 0.7, "tls": 0.1, "wss": 0.2}),
    ],
)
def test_transport_is_one_or_shares_of_several(written, shares):
    scenario = parse(with_client(f"{{name: a, count: 1, transport: {written}}}"))

    assert {str(one): pytest.approx(share) for one, share in scenario.clients[0].transports} == shares


def test_publishers_of_every_kind():
    scenario = parse(
        BASE.replace(
            "  - {to: room, rooms: viewers, rate: 40/s}\n",
            "  - {to: room, rooms: viewers, rate: 40/s, size: 1KB, op: 1001}\n"
            "  - {to: mid, mids: viewers, rate: 60/m, size: {uniform: {min: 64, max: 128}}}\n"
            "  - {to: mid, mids: viewers, rate: 1/s}\n"
            "  - {to: key, keys: viewers, rate: 1/s, name: mine, size: {lognormal: {median: 200}}}\n"
            "  - {to: all, rate: 1/s, speed: 500, size: {lognormal: {median: 100, sigma: 0.5, max: 2KB}}}\n",
        )
    )

    assert scenario.publish == (
        Publisher(PublishTo.ROOM, "viewers", 40.0, 1000, 1001, 0, "room-viewers"),
        Publisher(PublishTo.MID, "viewers", 1.0, UniformSize(64, 128), 1000, 0, "mid-viewers"),
        Publisher(PublishTo.MID, "viewers", 1.0, 64, 1000, 0, "mid-viewers-2"),
        Publisher(PublishTo.KEY, "viewers", 1.0, LognormalSize(200, 1.0, 65536), 1000, 0, "mine"),
        Publisher(PublishTo.ALL, "", 1.0, LognormalSize(100, 0.5, 2000), 1000, 500, "all"),
    )


def test_a_made_up_name_leaves_a_given_one_alone():
    scenario = parse(with_publisher("{to: all, rate: 1/s}\n  - {name: all, to: room, rooms: viewers, rate: 1/s}"))

    assert [publisher.name for publisher in scenario.publish] == ["all-2", "all"]


def test_bursts_and_arrivals():
    scenario = parse(with_publisher("{to: all, rate: 40/s, burst: 10, arrival: poisson}\n  - {to: all, rate: 1/s}"))

    assert [(one.burst, one.arrival) for one in scenario.publish] == [(10, Arrival.POISSON), (1, Arrival.UNIFORM)]


def test_clients_that_come_back():
    scenario = parse(
        with_client(
            "{name: a, count: 100, reconnect: {backoff: 100ms..2s}, churn: {rate: 20/s, away: 500ms..2s}}\n"
            "  - {name: b, count: 1, reconnect: {backoff: 1s}}"
        )
    )

    assert [(one.reconnect, one.churn) for one in scenario.clients] == [
        (Backoff(0.1, 2.0), Churn(20.0, Backoff(0.5, 2.0))),
        (Backoff(1.0, 1.0), None),
    ]


@pytest.mark.parametrize(
    ("written", "factors"),
    [("x1..x4", (1.0, 4.0)), ("x4..x0", (4.0, 0.0)), ("x2", (2.0, None)), ("x2..x2", (2.0, None))],
)
def test_a_phase_can_be_a_ramp(written, factors):
    (phase,) = parse(MINIMAL.replace("duration: 1s", f"duration: 1s, publish: {written}")).phases

    assert (phase.publish_factor, phase.publish_factor_end) == factors


def test_events_are_read_in_the_order_of_time():
    scenario = parse(BASE.replace("expect:\n", EVENTS + "expect:\n"))

    assert scenario.events == (
        Event(0.0, EventKind.STOP_READING, "viewers", for_s=0.5, line=17, column=5),
        Event(1.0, EventKind.SILENCE, "viewers", line=18, column=5),
        Event(2.0, EventKind.DISCONNECT, "viewers", 0.2, reconnect=Backoff(0.1, 2.0), line=15, column=5),
        Event(3.0, EventKind.PAUSE, node="comet-1", for_s=2.0, line=16, column=5),
        Event(4.0, EventKind.CHANGE_ROOM, "viewers", room="live://9", line=19, column=5),
        Event(5.0, EventKind.CHANGE_ROOM, "viewers", line=20, column=5),
        Event(6.0, EventKind.KILL, node="core", line=21, column=5),
        Event(6.0, EventKind.RESTART, node="comet-1", line=22, column=5),
    )


def test_expectations_keep_their_place():
    scenario = parse(BASE + "  - phase.spike.latency.p99   <  200ms\n")

    assert scenario.expect == (
        Expectation("delivery.lost == 0", "delivery.lost", "==", 0.0, "", 15, 5),
        Expectation("phase.spike.latency.p99 < 200ms", "phase.spike.latency.p99", "<", 200.0, "ms", 16, 5),
    )


def test_load_reads_a_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("\ufeff" + MINIMAL, encoding="utf-8")

    scenario = load_scenario(path, env={})

    assert (scenario.name, scenario.path) == ("small", str(path))
    assert scenario.population("viewers").count == 10
    with pytest.raises(KeyError):
        scenario.population("nobody")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")

    for name, message in [("none.yaml", "no such file"), ("latin.yaml", "not UTF-8 text: byte 9"), (".", "directory")]:
        with pytest.raises(ScenarioError) as caught:
            load_scenario(tmp_path / name, env={})
        assert message in str(caught.value.problems[0])


def test_paths_of_shipped_scenarios_are_right():
    folder = Path(__file__).parents[3] / "scenarios"

    names = {path.stem: load_scenario(path, env={}).name for path in folder.glob("*.yaml")}

    assert names.keys() >= {"room", "smoke"}
    assert all(stem == name for stem, name in names.items())
