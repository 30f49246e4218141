import pytest

from sim.errors import ScenarioError
from tests.sim.language.texts import (
    BASE,
    CLIENT_KEYS,
    FIVE_MISTAKES,
    MINIMAL,
    parse,
    problems_of,
    with_client,
    with_publisher,
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
