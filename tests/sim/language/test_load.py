import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.language.format_clients import CLIENTS
from sim.language.load import load_scenario, parse_scenario
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

MINIMAL = """\
name: small
clients:
  - {name: viewers, count: 10, room: live://1}
phases:
  - {name: steady, duration: 1s}
"""

BASE = """\
name: base
clients:
  - name: viewers
    count: 10
    room: live://${1..2}
    mid: 1000
    key: viewer-
publish:
  - {to: room, rooms: viewers, rate: 40/s}
phases:
  - {name: warmup, duration: 1s, measure: false}
  - {name: steady, duration: 2s}
  - {name: spike, duration: 4s, publish: x4}
expect:
  - delivery.lost == 0
"""

FIVE_MISTAKES = """\
name: bad
clients:
  - name: viewers
    cuont: 10
    transport: {tcp: 70%, ws: 40%}
    room: live://1
publish:
  - {to: room, rooms: viwers, rate: 40/s}
phases:
  - {name: steady, duration: fast}
expect:
  - latency.p98 < 50ms
"""


def parse(text, **options):
    options.setdefault("env", {})
    return parse_scenario(text, file="a.yaml", **options)


def problems_of(text, **options):
    with pytest.raises(ScenarioError) as caught:
        parse(text, **options)
    return [str(problem) for problem in caught.value.problems]


CLIENT_KEYS = ", ".join(known.name for known in CLIENTS.fields)


def with_client(line):
    return MINIMAL.replace("{name: viewers, count: 10, room: live://1}", line)


def with_publisher(line):
    return BASE.replace("{to: room, rooms: viewers, rate: 40/s}", line)


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


EVENTS = """\
events:
  - {at: 2s, do: disconnect, who: viewers, fraction: 20%, reconnect: {backoff: 100ms..2s}}
  - {at: 3s, do: pause, node: comet-1, for: 2s}
  - {at: 0s, do: stop_reading, who: viewers, for: 500ms}
  - {at: 1s, do: silence, who: viewers, fraction: 100%}
  - {at: 4s, do: change_room, who: viewers, room: live://9}
  - {at: 5s, do: change_room, who: viewers, room: none}
  - {at: 6s, do: kill, node: core}
  - {at: 6s, do: restart, node: comet-1}
"""


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


def test_events_move_with_their_phases_when_the_run_gets_another_length():
    scenario = parse(BASE.replace("expect:\n", EVENTS + "expect:\n"), duration_s=60.0)

    # One second that is not measured, then ten times slower.
    assert [event.at_s for event in scenario.events] == pytest.approx([0, 1, 11, 21, 31, 41, 51, 51])


def test_set_changes_events():
    scenario = parse(
        BASE.replace("expect:\n", EVENTS + "expect:\n"), sets=["events[0].fraction=50%", "events[1].for=3s"]
    )

    assert scenario.events[2].fraction == 0.5
    assert scenario.events[3].for_s == 3.0


def test_expectations_keep_their_place():
    scenario = parse(BASE + "  - phase.spike.latency.p99   <  200ms\n")

    assert scenario.expect == (
        Expectation("delivery.lost == 0", "delivery.lost", "==", 0.0, "", 15, 5),
        Expectation("phase.spike.latency.p99 < 200ms", "phase.spike.latency.p99", "<", 200.0, "ms", 16, 5),
    )


def test_five_mistakes_are_five_problems_with_line_and_column():
    assert problems_of(FIVE_MISTAKES) == [
        "a.yaml:4:5: clients[0].cuont is not known; expected one of " + CLIENT_KEYS,
        "a.yaml:5:16: clients[0].transport adds up to 110%; expected 100%",
        'a.yaml:8:23: publish[0].rooms is "viwers"; expected a name of clients: viewers',
        'a.yaml:10:30: phases[0].duration is "fast"; expected a duration such as 500ms, 10s or 4m',
        "a.yaml:12:5: expect[0]: latency.p98 is not in the result; expected a metric of clients, delivery, fanout, "
        "generator, hops, latency, node, nodes, phase, population, publish, publisher",
    ]


def test_each_of_the_mistakes_has_a_hint():
    with pytest.raises(ScenarioError) as caught:
        parse(FIVE_MISTAKES)

    assert [problem.hint for problem in caught.value.problems] == [
        "did you mean count?",
        "{tcp: 70%, ws: 30%}",
        "did you mean viewers?",
        "duration: 10s",
        "did you mean latency.p99?",
    ]


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        ("{name: a, count: 0}", "a.yaml:3:22: clients[0].count is 0; expected a whole number from 1 to 1000000"),
        ("{name: a, count: -5}", "a.yaml:3:22: clients[0].count is -5; expected a whole number from 1 to 1000000"),
        ("{name: a, count: 1.5}", "a.yaml:3:22: clients[0].count is 1.5; expected a whole number from 1 to 1000000"),
        ("{name: a, count: true}", "a.yaml:3:22: clients[0].count is true; expected a whole number from 1 to 1000000"),
        ("{name: a, count: }", "a.yaml:3:22: clients[0].count is empty; expected a whole number from 1 to 1000000"),
        ("{name: a}", "a.yaml:3:5: clients[0] has no count; expected a whole number from 1 to 1000000"),
        ("{count: 1}", "a.yaml:3:5: clients[0] has no name; expected a name of letters, digits, _ and - (64 at most)"),
        (
            "{name: a.b, count: 1}",
            'a.yaml:3:12: clients[0].name is "a.b"; expected a name of letters, digits, _ and - (64 at most)',
        ),
        (
            "{name: a, count: 1, transport: udp}",
            'a.yaml:3:36: clients[0].transport is "udp"; expected tcp or ws or tls or wss',
        ),
        (
            "{name: a, count: 1, transport: {}}",
            "a.yaml:3:36: clients[0].transport is an empty mapping; expected the share of one transport or of several",
        ),
        (
            "{name: a, count: 1, room: 'live://${4..1}'}",
            'a.yaml:3:31: clients[0].room is "live://${4..1}"; expected a range that goes up and has at most 100000 '
            "rooms, such as live://${1..4}",
        ),
        (
            "{name: a, count: 1, room: 'r${1..2}://${1..2}'}",
            'a.yaml:3:31: clients[0].room is "r${1..2}://${1..2}"; expected one range such as ${1..4} at most',
        ),
        (
            "{name: a, count: 1, room: 'live://${1...4}'}",
            'a.yaml:3:31: clients[0].room is "live://${1...4}"; expected a room key such as live://1, or several as '
            "live://${1..4}",
        ),
        (
            "{name: a, count: 1, mid: 0}",
            "a.yaml:3:30: clients[0].mid is 0; expected the first client's mid, such as 1000 or ${1000..}",
        ),
        (
            "{name: a, count: 1, key: 'k${1..}'}",
            'a.yaml:3:30: clients[0].key is "k${1..}"; expected what keys begin with, such as viewer- (client 0 has '
            "viewer-0)",
        ),
        (
            "{name: a, count: 1, accepts: 1000}",
            "a.yaml:3:34: clients[0].accepts is 1000; expected a list, each an operation from 18 (goim's own "
            "are below)",
        ),
        (
            "{name: a, count: 1, accepts: [1000, 8]}",
            "a.yaml:3:41: clients[0].accepts[1] is 8; expected an operation from 18 (goim's own are below)",
        ),
        (
            "{name: a, count: 1, connect: {rate: 100}}",
            "a.yaml:3:41: clients[0].connect.rate is 100; expected a rate such as 40/s or 1000/m",
        ),
        (
            "{name: a, count: 1, heartbeat: 0s}",
            'a.yaml:3:36: clients[0].heartbeat is "0s"; expected a duration such as 500ms, 10s or 4m, over 0 and '
            "at most 720h",
        ),
        (
            "viewers",
            'a.yaml:3:5: clients[0] is "viewers"; expected a mapping of ' + CLIENT_KEYS,
        ),
    ],
)
def test_a_population_that_is_wrong(client, problem):
    assert problems_of(with_client(client)) == [problem]


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        (
            "{name: a, count: 1, reconnect: {backoff: 2s..1s}}",
            'a.yaml:3:46: clients[0].reconnect.backoff is "2s..1s"; expected a duration such as 500ms, or a range of '
            "them such as 100ms..2s, the shorter one first",
        ),
        (
            "{name: a, count: 1, reconnect: {backoff: 0s..1s}}",
            'a.yaml:3:46: clients[0].reconnect.backoff is "0s..1s"; expected a duration such as 500ms, or a range of '
            "them such as 100ms..2s, over 0 and at most 720h",
        ),
        (
            "{name: a, count: 1, reconnect: 1s}",
            'a.yaml:3:36: clients[0].reconnect is "1s"; expected a mapping of backoff',
        ),
        (
            "{name: a, count: 1, churn: {rate: 1/s}}",
            "a.yaml:3:32: clients[0].churn has no away; expected a duration such as 500ms, or a range of them such as "
            "100ms..2s",
        ),
        (
            "{name: a, count: 10, churn: {rate: 10/s, away: 500ms..2s}}",
            "a.yaml:3:33: clients[0].churn keeps 12.5 clients away at a time, of 10; expected fewer than there are",
        ),
    ],
)
def test_a_population_that_comes_back_wrongly(client, problem):
    assert problems_of(with_client(client)) == [problem]


@pytest.mark.parametrize(
    ("publisher", "problem"),
    [
        (
            "{to: all, rate: 1/s, burst: 0}",
            "a.yaml:9:33: publish[0].burst is 0; expected a whole number from 1 to 1000",
        ),
        (
            "{to: all, rate: 1/s, arrival: random}",
            'a.yaml:9:35: publish[0].arrival is "random"; expected uniform or poisson',
        ),
        (
            "{to: romm, rooms: viewers, rate: 1/s}",
            'a.yaml:9:10: publish[0].to is "romm"; expected room or mid or key or all',
        ),
        (
            "{to: room, rooms: viewers, rate: 0/s}",
            'a.yaml:9:38: publish[0].rate is "0/s"; expected a rate such as 40/s '
            "or 1000/m, over 0 and at most 1000000/s",
        ),
        (
            "{to: all, rate: 1/s, size: 8}",
            "a.yaml:9:32: publish[0].size is 8; expected 24 bytes (the simulator's stamp) to 524288 bytes",
        ),
        (
            "{to: all, rate: 1/s, size: {uniform: {min: 200, max: 100}}}",
            "a.yaml:9:58: publish[0].size.uniform.max is 100 bytes; expected at least 200 bytes, the other end",
        ),
        (
            "{to: all, rate: 1/s, size: {uniform: {min: 64, max: 100}, lognormal: {median: 64}}}",
            "a.yaml:9:32: publish[0].size is a mapping of 2; expected exactly one of uniform or lognormal or choices",
        ),
        (
            "{to: all, rate: 1/s, size: {unform: {min: 64, max: 100}}}",
            "a.yaml:9:33: publish[0].size.unform is not known; expected one of uniform, lognormal, choices",
        ),
        (
            "{to: all, rate: 1/s, size: {lognormal: {sigma: 1}}}",
            "a.yaml:9:44: publish[0].size.lognormal has no median; expected a size such as 64 or 1KB",
        ),
    ],
)
def test_a_publisher_that_is_wrong(publisher, problem):
    assert problems_of(with_publisher(publisher)) == [problem]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "name: small",
            "name: small\nseeed: 3",
            "a.yaml:2:1: seeed is not known; expected one of include, name, seed, clients, feeds, publish, phases, "
            "events, trace, expect",
        ),
        (
            "name: small\n",
            "",
            "a.yaml:1:1: the scenario has no name; expected a name of letters, digits, _ and - (64 at most)",
        ),
        (
            "phases:\n  - {name: steady, duration: 1s}",
            "phases: []",
            "a.yaml:4:9: phases is an empty list; expected at least 1",
        ),
        (
            "clients:\n  - {name: viewers, count: 10, room: live://1}",
            "clients:",
            "a.yaml:2:9: clients is empty; expected a list of mappings",
        ),
        (
            "duration: 1s",
            "duration: 1:30",
            'a.yaml:5:30: phases[0].duration is "1:30"; expected a duration such as 500ms, 10s or 4m',
        ),
        (
            "duration: 1s",
            "duration: 1s, publish: 4",
            "a.yaml:5:43: phases[0].publish is 4; expected a factor such as x4 or x0.5, or a ramp such as x1..x4",
        ),
        (
            "duration: 1s",
            "duration: 1s, measure: yes",
            'a.yaml:5:43: phases[0].measure is "yes"; expected true or false',
        ),
        (
            "duration: 1s",
            "duration: 1s, duration: 2s",
            "a.yaml:5:34: phases[0].duration is given twice; the first is in line 5",
        ),
    ],
)
def test_a_scenario_that_is_wrong(old, new, problem):
    text = MINIMAL.replace(old, new)
    assert text != MINIMAL

    assert problems_of(text) == [problem]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file(text):
    assert problems_of(text)[0] in (
        "a.yaml:1:1: the file is empty; expected a scenario",
        "a.yaml:2:1: the file is empty; expected a mapping of include, name, seed, clients, feeds, publish, phases, "
        "events, trace, expect",
    )


def test_the_expectations_of_a_phase_that_is_wrong_are_not_blamed():
    text = BASE.replace("duration: 4s", "duration: fast") + "  - phase.spike.latency.p99 < 1s\n"

    assert len(problems_of(text)) == 1


def test_set_changes_values_before_they_are_checked():
    scenario = parse(
        BASE,
        sets=["clients.viewers.count=30", "phases[1].duration=5s", "phases.2.publish=x8", "expect=[]", "seed=9"],
    )

    assert scenario.clients[0].count == 30
    assert [phase.duration_s for phase in scenario.phases] == [1.0, 5.0, 4.0]
    assert scenario.phases[2].publish_factor == 8.0
    assert (scenario.expect, scenario.seed) == ((), 9)


def test_a_bad_value_of_set_is_reported_with_the_option():
    assert problems_of(BASE, sets=["phases.steady.duration=fast", "clients[0].cuont=3"]) == [
        "--set clients[0].cuont=3: clients[0].cuont is not known; expected one of " + CLIENT_KEYS,
        '--set phases.steady.duration=fast: phases[1].duration is "fast"; expected a duration such as 500ms, 10s or 4m',
    ]


def test_clients_scales_the_populations():
    text = BASE.replace("publish:\n", "  - {name: lobby, count: 30}\npublish:\n", 1)

    scenario = parse(text, clients=1000)

    assert [population.count for population in scenario.clients] == [250, 750]
    assert scenario.client_count == 1000


@pytest.mark.parametrize(
    ("clients", "problem"),
    [
        (0, "--clients 0: 0 clients; expected at least 1"),
        (-3, "--clients -3: -3 clients; expected at least 1"),
        (1, "--clients 1: 1 clients for 2 populations; expected at least one for each"),
    ],
)
def test_too_few_clients_is_a_problem(clients, problem):
    text = BASE.replace("publish:\n", "  - {name: lobby, count: 30}\npublish:\n", 1)

    assert problems_of(text, clients=clients) == [problem]


def test_mids_that_overlap_after_scaling_are_a_problem():
    text = BASE.replace("publish:\n", "  - {name: lobby, count: 10, mid: 2000}\npublish:\n", 1)

    assert parse(text).client_count == 20
    assert problems_of(text, clients=4000) == [
        "a.yaml:8:35: clients[1].mid: 2000 to 3999 overlaps the 1000 to 2999 of clients[0]; expected a mid for each "
        "client"
    ]


def test_duration_scales_the_measured_phases():
    scenario = parse(BASE, duration_s=60.0)

    assert [phase.duration_s for phase in scenario.phases] == [1.0, 20.0, 40.0]
    assert (scenario.duration_s, scenario.measured_s) == (61.0, 60.0)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_that_is_no_time_is_a_problem(duration_s):
    assert "expected a time over 0" in problems_of(BASE, duration_s=duration_s)[0]


def test_variables_come_from_env():
    text = MINIMAL.replace("count: 10", 'count: "${N:-10}"')

    assert parse(text).client_count == 10
    assert parse(text, env={"N": "25"}).client_count == 25
    assert problems_of(text, env={"N": "many"}) == [
        'a.yaml:3:28: clients[0].count is "many"; expected a whole number from 1 to 1000000'
    ]


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


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["10s", "x4", "viewers", "room", "40/s", "", "1s..2s", "x1..x4", "disconnect", "kill"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("name", "count", "clients", "phases", "publish", "to", "rooms", "size", "duration", "expect"),
                    *("events", "at", "do", "who", "for", "reconnect", "backoff", "churn", "rate", "away", "include"),
                ]
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    VALUES,
    st.sampled_from(
        [
            "name",
            "clients",
            "clients[0]",
            "clients[0].transport",
            "publish",
            "publish[0].size",
            "publish[0].rooms",
            "phases",
            "phases[0]",
            "phases[0].name",
            "phases[0].publish",
            "clients[0].churn",
            "clients[0].reconnect",
            "events",
            "events[0]",
            "events[0].do",
            "events[0].at",
            "include",
            "expect",
            "expect[0]",
        ]
    ),
)
def test_any_value_anywhere_gives_a_scenario_or_problems(value, path):
    written = yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...").replace("\n", " ")
    with contextlib.suppress(ScenarioError):  # anything else is a fault
        parse(BASE.replace("expect:\n", EVENTS + "expect:\n"), sets=[f"{path}={written}"])


@given(st.text(max_size=200) | st.text(alphabet="abc:-[]{}#&*!|>%@`'\"\n\t ${}.0", max_size=60))
def test_any_text_gives_a_scenario_or_problems(text):
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert caught.value.problems


def test_paths_of_shipped_scenarios_are_right():
    folder = Path(__file__).parents[3] / "scenarios"

    names = {path.stem: load_scenario(path, env={}).name for path in folder.glob("*.yaml")}

    assert names.keys() >= {"room", "smoke"}
    assert all(stem == name for stem, name in names.items())
