"""What a simulated client has counted, in forms to compare."""

from collections import Counter

from sim.clients.client import SimClient
from tests.sim.kit import latencies, totals

__all__ = ["FOREIGN", "books", "counts", "cut", "slow_calls"]

FOREIGN = 9
"""A stream that no client is a member of."""


def books(client):
    """Return what a client has seen, by stream, in a form that does not depend on how it came about."""
    seen = {}
    for stream, cursor in client.close_books().items():
        unseen = {number for low, high in cursor.unseen(0, cursor.next) for number in range(low, high)}
        seen[stream] = set(range(cursor.next)) - unseen
    return seen


def counts(swarm):
    swarm.settle()
    total = totals(swarm)[0]
    return {
        "delivered": swarm.delivered,
        "recorded": sum(histogram.count for histogram in latencies(swarm)),
        "duplicated": total.duplicated,
        "unexpected": total.unexpected,
        "late": swarm.tallies[0].late,
    }


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    pieces = [data[low:high] for low, high in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


def slow_calls(monkeypatch):
    """Count the chunks that do not take the fast path, by client."""
    calls = Counter()
    original = SimClient._receive

    def counting(self, data, chunk, now):
        calls[self] += 1
        original(self, data, chunk, now)

    monkeypatch.setattr(SimClient, "_receive", counting)
    return calls
