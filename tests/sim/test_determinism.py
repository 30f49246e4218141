"""Two runs of one seed do the same to the same clients, with any number of workers and on however busy a machine."""

from itertools import islice
from random import Random

import pytest

from sim.clients.connector import Connector
from sim.clients.spread import connect_starts
from sim.language.load import parse_scenario
from tests.sim.kit import join, swarm_of

TEXT = """\
name: everything
seed: SEED
clients:
  - name: devices
    count: 120
    transport: {tcp: 40%, ws: 30%, wss: 30%}
    tls: {verify: false}
    source: 127.0.0.2..127.0.0.4
    mid: 1
    connections_per_mid: 3
    key: d-
    room: {pattern: "live://${1..9}", distribution: {zipf: 1.2}}
    connect: {arrival: poisson}
    reconnect: {backoff: 10ms..1s}
    churn: {rate: 5/s, away: 100ms..2s}
    session: {length: {exponential: 20s}, away: 1s..2s}
publish:
  - {to: room, rooms: devices, rate: 5/s, arrival: poisson}
  - {to: all, op: 1001, rate: 1/s}
phases:
  - {name: steady, duration: 20s}
events:
  - {at: 1s, do: subscribe, who: devices, fraction: 30%, ops: [1001]}
  - {at: 1s, do: change_room, who: devices, fraction: 20%, room: live://2}
  - {at: 2s, do: silence, who: devices, fraction: 10%}
  - {at: 2s, do: stop_reading, who: devices, fraction: 10%}
  - {at: 3s, do: take_over, who: devices, fraction: 10%}
  - {at: 4s, do: add_device, who: devices, fraction: 10%}
  - {at: 5s, do: unsubscribe, who: devices, fraction: 30%, ops: [1001]}
  - {at: 6s, do: disconnect, who: devices, fraction: 10%, reconnect: {backoff: 1s}}
"""


async def played(monkeypatch, *, parts, seed=7, noise=0):
    """Return everything that is drawn in a run: who each client is, and what happens to whom, by worker."""
    scenario = parse_scenario(TEXT.replace("SEED", str(seed)), file="a.yaml", env={})
    found = []
    clock = [0]

    async def until(at_ns):
        clock[0] = at_ns

    def act(actions, event, client):
        found.append((event.kind.value, event.at_s, client.plan.index))

    async def log_in(actions, number, event, clients):
        found.extend((event.kind.value, event.at_s, client.plan.index) for client in clients)
        return []

    def come_back(connector, client, backoff, *, away_s=None):
        found.append(("leaves", clock[0], client.plan.index, away_s))
        join(connector._swarm.renew(client))

    monkeypatch.setattr("sim.clients.actions._until", until)
    monkeypatch.setattr("sim.clients.actions.ClientActions._act", act)
    monkeypatch.setattr("sim.clients.actions.ClientActions._log_in", log_in)
    monkeypatch.setattr(Connector, "come_back", come_back)
    for part in range(parts):
        swarm = swarm_of(scenario, part=part, parts=parts)
        found += [("is", client.plan) for client in swarm.clients]
        for client in swarm.clients:
            join(client)
        await swarm.actions.play(0)
        # Who loses its connection first, and how often, is nobody's choice.
        indices = [client.plan.index for client in swarm.clients] * 2
        Random(noise).shuffle(indices)
        backoff = scenario.clients[0].reconnect
        for index in indices:
            found.append(("waits", index, tuple(islice(swarm.connector._waits(index, backoff), 4))))
    found += [("connects", at, start) for at, start in enumerate(connect_starts(scenario.clients[0], seed))]
    return sorted(found, key=repr)


@pytest.mark.parametrize("parts", [1, 3])
async def test_the_same_clients_are_chosen_for_everything(monkeypatch, parts):
    first = await played(monkeypatch, parts=1)

    again = await played(monkeypatch, parts=parts, noise=5)

    assert again == first
    kinds = {entry[0] for entry in first}
    assert kinds == {
        *("is", "leaves", "waits", "connects", "subscribe", "unsubscribe", "change_room", "silence", "stop_reading"),
        *("take_over", "add_device", "disconnect"),
    }


async def test_another_seed_chooses_others_for_everything(monkeypatch):
    first, other = [await played(monkeypatch, parts=1, seed=seed) for seed in (7, 8)]

    for kind in {entry[0] for entry in first}:
        assert [entry for entry in first if entry[0] == kind] != [entry for entry in other if entry[0] == kind], kind
