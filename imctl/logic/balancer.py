"""Which comets a client should try: goim's weighted choice, without clock or chance.

A comet's score is its weight plus or minus how far its connections are from
the share its weight gives it. Between two reports of a comet each answer
counts as one connection for the comet it named first, so a burst of clients
is spread at once. Source: goim internal/logic/balancer.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from imctl.logic.comets import KnownComet

__all__ = ["MAX_CHOSEN", "Balancer", "score"]

MAX_CHOSEN = 5

_MIN_SCORE = 1
_MAX_SCORE = 1 << 20


def score(weight: int, conns: int, total_weight: int, total_conns: int, gain: float) -> int:
    """Return the score of one comet, higher is better.

    Args:
        weight: Its own weight.
        conns: Its connections as estimated.
        total_weight: Sum over all comets, this one without its gain.
        total_conns: Sum over all comets.
        gain: Factor on its weight, over 1 for a comet near the client.
    """
    if total_conns <= 0:
        return 0
    gained = weight * gain
    gained_total = total_weight + int(gained) - weight
    # Comets of weight 0 have no share; goim divides by zero there and its
    # score is then the smallest integer.
    share = gained / gained_total if gained_total else 0.0
    difference = share - conns / total_conns * 0.5
    exact = difference * total_conns
    floor = math.floor(exact)
    result = int(gained + (floor if floor - exact >= -0.5 else math.ceil(exact)))
    return max(_MIN_SCORE, result) if difference < 0 else min(_MAX_SCORE, result)


class _Node:
    __slots__ = ("comet", "conns", "weight")

    def __init__(self, comet: KnownComet, weight: int) -> None:
        self.comet = comet
        self.weight = weight
        self.conns = comet.conn_count


class Balancer:
    """The comets to choose from.

    Args:
        keep_on_loss: Do not believe an update with fewer than half of the
            known comets, as goim does; dead comets are then still offered.
    """

    def __init__(self, *, keep_on_loss: bool = False) -> None:
        self._keep_on_loss = keep_on_loss
        self._nodes: dict[str, _Node] = {}
        self._total_weight = 0
        self._total_conns = 0

    def update(self, comets: Iterable[KnownComet]) -> None:
        """Take the set of comets; an estimate is kept until its comet says something new."""
        given = list(comets)
        if self._keep_on_loss and (not given or 2 * len(given) < len(self._nodes)):
            return
        nodes: dict[str, _Node] = {}
        for comet in given:
            if comet.weight is None:
                continue
            name = comet.instance.hostname
            old = self._nodes.get(name)
            is_news = old is None or old.comet.instance.latest_timestamp != comet.instance.latest_timestamp
            nodes[name] = _Node(comet, comet.weight) if old is None or is_news else old
        self._nodes = nodes
        self._total_weight = sum(node.weight for node in nodes.values())
        self._total_conns = sum(node.conns for node in nodes.values())

    def choose(self, region: str, region_weight: float) -> list[KnownComet]:
        """Return the best comets for a client of this region, best first, at most MAX_CHOSEN."""
        ranked = sorted(
            self._nodes.values(),
            key=lambda node: (-self._score(node, region, region_weight), node.comet.instance.hostname),
        )
        if ranked:
            ranked[0].conns += 1
            self._total_conns += 1
        return [node.comet for node in ranked[:MAX_CHOSEN]]

    def _score(self, node: _Node, region: str, region_weight: float) -> int:
        gain = region_weight if node.comet.instance.region == region else 1.0
        return score(node.weight, node.conns, self._total_weight, self._total_conns, gain)
