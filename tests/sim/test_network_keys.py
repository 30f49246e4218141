"""The keys of a scenario that are about the network."""

import pytest

from sim.errors import ScenarioError
from sim.language import units
from sim.language.format import EVENT_KEYS
from sim.language.load import load_scenario, parse_scenario
from sim.language.shipped import find_scenario
from sim.scenario.scenario import EventKind, Network, Side

SCENARIO = """\
name: network
clients:
  - {name: viewers, count: 10, room: live://1POPULATION}
publish: []
phases:
  - {name: steady, duration: 10s}
events:
  - EVENT
"""


def parsed(*, population="", event="{at: 0s, do: reset, who: viewers}"):
    text = SCENARIO.replace("POPULATION", f", {population}" if population else "").replace("EVENT", event)
    return parse_scenario(text, file="a.yaml", env={})


def problems(**what):
    with pytest.raises(ScenarioError) as caught:
        parsed(**what)
    return [(str(problem), problem.hint) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("network: {latency: 50ms, jitter: 20ms, bandwidth: 1MB/s}", Network(0.05, 0.02, 1e6)),
        ("network: {latency: 50ms}", Network(0.05)),
        ("network: {bandwidth: 64KiB/s}", Network(bandwidth_bytes_per_s=65536.0)),
        ("heartbeat: 1s", None),
    ],
)
def test_a_population_has_a_network_for_the_whole_run(written, network):
    assert parsed(population=written).clients[0].network == network


def test_an_event_makes_the_network_worse():
    event = "{at: 8s, do: network, who: viewers, fraction: 20%, latency: 200ms, jitter: 50ms, for: 1s}"

    [found] = parsed(event=event).events

    assert (found.kind, found.who, found.fraction, found.for_s) == (EventKind.NETWORK, "viewers", 0.2, 1.0)
    assert found.network == Network(0.2, 0.05)


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind.for_network])
def test_every_fault_of_the_network_takes_a_share_of_clients_for_a_time_or_to_the_end(kind):
    more = ", latency: 1s" if kind is EventKind.NETWORK else ""

    [found] = parsed(event=f"{{at: 1s, do: {kind}, who: viewers, fraction: 50%, for: 2s{more}}}").events
    [endless] = parsed(event=f"{{at: 1s, do: {kind}, who: viewers{more}}}").events

    assert (found.fraction, found.for_s, endless.for_s) == (0.5, 2.0, None)
    assert EVENT_KEYS[kind][:2] == ("who", "fraction")


@pytest.mark.parametrize(("written", "side"), [("", Side.CLIENT), (", side: comet", Side.COMET)])
def test_a_half_open_connection_has_lost_one_of_its_sides(written, side):
    [found] = parsed(event=f"{{at: 1s, do: half_open, who: viewers{written}}}").events

    assert found.side is side


@pytest.mark.parametrize(
    ("what", "message", "hint"),
    [
        (
            {"population": "network: {}"},
            "a.yaml:3:57: clients[0].network is an empty mapping; expected latency, jitter, bandwidth, or several",
            "network: {latency: 50ms}",
        ),
        (
            {"population": "network: {bandwidth: 8Mbit/s}"},
            'a.yaml:3:69: clients[0].network.bandwidth is "8Mbit/s"; expected bytes a second such as 64KB/s or 1MB/s',
            "bandwidth: 1MB/s",
        ),
        (
            {"population": "network: {latency: 2m}"},
            'a.yaml:3:67: clients[0].network.latency is "2m"; expected a duration such as 500ms, 10s or 4m, over 0 '
            "and at most 1m",
            "latency: 50ms",
        ),
        (
            {"event": "{at: 1s, do: network, who: viewers, for: 1s}"},
            "a.yaml:8:5: events[0] is do: network and says nothing of it; expected latency, jitter, bandwidth",
            "latency: 200ms",
        ),
        (
            {"event": "{at: 1s, do: cut, who: viewers, latency: 1s}"},
            "a.yaml:8:46: events[0].latency does not go with do: cut; expected only at, do, who, fraction, for",
            "latency is for network",
        ),
        (
            {"event": "{at: 1s, do: stall, who: viewers, side: comet}"},
            "a.yaml:8:45: events[0].side does not go with do: stall; expected only at, do, who, fraction, for",
            "side is for half_open",
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_place(what, message, hint):
    [(found, its_hint)] = problems(**what)

    assert found.startswith(message)
    assert its_hint == hint


@pytest.mark.parametrize(
    ("text", "value"), [("64KB/s", 64_000.0), ("1MiB/s", 1_048_576.0), ("1.5 MB / s", 1.5e6), ("100B/s", 100.0)]
)
def test_a_bandwidth_is_bytes_a_second(text, value):
    assert units.parse_bandwidth_bytes_per_s(text) == value


@pytest.mark.parametrize("text", ["1MB", "1Mb/s", "8Mbit/s", "64/s", "1MB/m", "fast", "", 1000])
def test_what_is_no_bandwidth(text):
    with pytest.raises(ValueError, match="bytes a second such as 64KB/s"):
        units.parse_bandwidth_bytes_per_s(text)


def test_the_shipped_scenario_teaches_every_fault_of_the_network():
    scenario = load_scenario(find_scenario("network"), env={})

    assert {event.kind for event in scenario.events} == {kind for kind in EventKind if kind.for_network}
    assert any(population.network for population in scenario.clients)
