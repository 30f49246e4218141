"""Scenario files as text, and what loading one gives."""

import pytest

from sim.errors import ScenarioError
from sim.language.format_clients import CLIENTS
from sim.language.load import parse_scenario

__all__ = [
    "BASE",
    "CLIENT_KEYS",
    "EVENTS",
    "FIVE_MISTAKES",
    "MINIMAL",
    "parse",
    "problems_of",
    "with_client",
    "with_publisher",
]

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
