"""The network between a swarm's clients and comet, and what goes wrong on it.

Each client that its population or an event gives a network has a *way* to
comet. What happens, happens to the way: it outlasts connections, so a client
that connects again meanwhile meets it again. The clients that no fault will
ever touch have no way, and their sockets are their own.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from sim.clients.spread import chosen_clients
from sim.measure.ledger import Trouble
from sim.network.lane import Conditions
from sim.network.link import Link
from sim.network.wheel import DelayWheel
from sim.scenario.scenario import Event, EventKind, Network, Scenario, Side

__all__ = ["Networks", "Undo", "Way", "lateness_s"]

_NS_PER_S = 1_000_000_000

Undo = Callable[[], None]
"""Ends what an event has begun."""


class Way:
    """What is between one client and comet.

    Args:
        common: What all ways of a swarm share.
        network: What the network is like without events; None for nothing.

    Attributes:
        conditions: What it is like now.
        wheel: Keeps what is on its way.
        troubles: What the ledger has to know, by client.
        unsent: Whether a request of the client could not leave, because too many waited.
    """

    __slots__ = (
        "_common",
        "_holes",
        "_links",
        "_networks",
        "_passable",
        "_refusals",
        "_stalls",
        "_swallowed",
        "conditions",
        "unsent",
    )

    def __init__(self, common: Common, network: Network | None) -> None:
        self.unsent = False
        self._common = common
        self._networks = [network] if network is not None else []
        self.conditions = Conditions(self._networks, common.chance)
        self._links: list[Link] = []  # connections whose client is there
        self._swallowed: list[Link] = []
        self._stalls = 0
        self._holes = 0
        self._refusals: list[EventKind] = []
        self._passable: asyncio.Event | None = None  # made when a client waits for it

    # --- for connections ----------------------------------------------------

    @property
    def wheel(self) -> DelayWheel:
        """Keeps what is on its way."""
        return self._common.wheel

    @property
    def troubles(self) -> dict[asyncio.BaseProtocol, Trouble]:
        """What the ledger has to know, by client."""
        return self._common.troubles

    @property
    def is_still(self) -> bool:
        """Whether nothing arrives for now."""
        return self._stalls > 0

    async def pass_through(self) -> None:
        """Take the time that connecting takes on this way, however long: the handshake goes there and back.

        Raises:
            OSError: new connections are refused.
        """
        while self._stalls or self._holes:  # what asks to connect is sent again and again
            self._passable = self._passable or asyncio.Event()
            await self._passable.wait()
        if self._refusals:
            kind = self._refusals[-1]
            code = errno.ECONNRESET if kind is EventKind.RESET else errno.ECONNABORTED
            raise OSError(code, os.strerror(code))  # the subclass that goes with the code
        if not self.conditions.is_plain:
            await asyncio.sleep((self.conditions.draw_ns() + self.conditions.draw_ns()) / _NS_PER_S)

    def opened(self, link: Link) -> None:
        """Note a new connection."""
        self._links.append(link)
        self._common.sockets.add(link)
        # What began between pass_through() and now.
        for _ in range(self._stalls):
            link.stand_still()
        if self._holes:
            self._swallow(link)

    def client_gone(self, link: Link) -> None:
        """Note that the client's side of a connection has ended, comet's perhaps not."""
        if link in self._links:
            self._links.remove(link)

    def socket_closed(self, link: Link) -> None:
        """Note that comet's side has ended."""
        self._common.sockets.discard(link)

    # --- for events ---------------------------------------------------------

    def add(self, network: Network) -> Undo:
        """Make the network worse by so much."""
        self._networks.append(network)
        self.conditions = Conditions(self._networks, self._common.chance)
        return partial(self._remove, network)

    def stall(self) -> Undo:
        """Let nothing through, without losing it."""
        self._stalls += 1
        for link in self._links:
            link.stand_still()
        return self._go_on

    def open_hole(self) -> Undo:
        """Let everything vanish, both sides thinking that they are connected."""
        self._holes += 1
        for link in self._links:
            self._swallow(link)
        return self._close_hole

    def end(self, kind: EventKind, *, lasts: bool) -> Undo | None:
        """End connections by a RST or a FIN; while it lasts, new ones are refused. None where there was none."""
        links = tuple(self._links)
        for link in links:
            if kind is EventKind.RESET:
                link.reset()
            else:
                link.cut()
        if lasts:
            self._refusals.append(kind)
            return partial(self._refusals.remove, kind)
        return _nothing if links else None

    def lose_side(self, side: Side) -> Undo | None:
        """End one side of connections so that the other does not hear of it. None where there was none."""
        links = tuple(self._links)
        for link in links:
            if side is Side.CLIENT:
                link.lose_client()
            else:
                link.lose_comet()
        return partial(_reset, links) if links else None

    # --- inside -------------------------------------------------------------

    def _remove(self, network: Network) -> None:
        self._networks.remove(network)
        self.conditions = Conditions(self._networks, self._common.chance)

    def _go_on(self) -> None:
        self._stalls -= 1
        for link in tuple(self._links):  # what arrives may end one
            link.go_on()
        self._let_pass()

    def _swallow(self, link: Link) -> None:
        link.swallow()
        if link not in self._swallowed:
            self._swallowed.append(link)

    def _close_hole(self) -> None:
        """Reset what was swallowed: bytes are missing in it, and nothing can bring them back."""
        self._holes -= 1
        if not self._holes:
            swallowed, self._swallowed = self._swallowed, []
            _reset(swallowed)
            self._let_pass()

    def _let_pass(self) -> None:
        if self._passable is not None and not self._stalls and not self._holes:
            self._passable.set()
            self._passable = None


@dataclass(slots=True)
class Common:
    """What the ways of one swarm share.

    Args:
        chance: For what is drawn.
        wheel: Keeps what is on its way.
        sockets: Connections whose socket is there, their client perhaps not.
        troubles: What the ledger has to know, by client.
    """

    chance: random.Random
    wheel: DelayWheel = field(default_factory=DelayWheel)
    sockets: set[Link] = field(default_factory=set)
    troubles: dict[asyncio.BaseProtocol, Trouble] = field(default_factory=dict)


class Networks:
    """The ways of one swarm's clients.

    Args:
        scenario: Says who has a network, and whom events will take.
        mine: The indices of the swarm's clients.
        part: Which swarm.
    """

    def __init__(self, scenario: Scenario, mine: Container[int], *, part: int = 0) -> None:
        self._common = Common(random.Random(f"{scenario.seed}/network/{part}"))
        self._ways: dict[int, Way] = {}
        for index, network in _members(scenario):
            if index in mine:
                self._ways[index] = Way(self._common, network)

    def way(self, index: int) -> Way | None:
        """Return the way of a client; None when nothing will ever be between it and comet."""
        return self._ways.get(index)

    def protocol(self, index: int, client: asyncio.Protocol) -> asyncio.Protocol:
        """Return what a client's socket is to talk to: the client, or what is between the two."""
        way = self._ways.get(index)
        return client if way is None else Link(way, client)

    def take_trouble(self, client: asyncio.BaseProtocol) -> Trouble | None:
        """Return and forget what the ledger has to know of a connection; call it when that has ended, or the run."""
        return self._common.troubles.pop(client, None)

    def begin(self, event: Event, index: int) -> Undo | None:
        """Do to a client's way what an event says.

        Returns:
            What ends it. None when there was nothing to do it to, or the client is another swarm's.
        """
        way = self._ways.get(index)
        if way is None:
            return None
        match event.kind:
            case EventKind.NETWORK:
                assert event.network is not None
                return way.add(event.network)
            case EventKind.STALL:
                return way.stall()
            case EventKind.BLACK_HOLE:
                return way.open_hole()
            case EventKind.HALF_OPEN:
                return way.lose_side(event.side)
            case _:
                return way.end(event.kind, lasts=event.for_s is not None)

    @property
    def unsent(self) -> int:
        """How many clients had a request that could not leave."""
        return sum(way.unsent for way in self._ways.values())

    def close(self) -> None:
        """End every connection, also those that have no client any more."""
        self._common.wheel.close()
        for link in tuple(self._common.sockets):
            link.drop()


def lateness_s(scenario: Scenario) -> float:
    """Return how long after the last phase the network may still bring messages that were sent in it."""
    late_s = 0.0
    for population in scenario.clients:
        events = [event for event in scenario.events if event.who == population.name]
        networks = [event.network for event in events] + [population.network]
        delay_s = sum(one.latency_s + one.jitter_s for one in networks if one is not None)
        stalls = [event for event in events if event.kind is EventKind.STALL and event.for_s is not None]
        ends_s = max((event.at_s + (event.for_s or 0.0) for event in stalls), default=0.0)
        late_s = max(late_s, delay_s + max(ends_s - scenario.duration_s, 0.0))
    return late_s


def _members(scenario: Scenario) -> Iterator[tuple[int, Network | None]]:
    """Yield the clients that have a way, with the network of their population; some come again."""
    networks = {population.name: population.network for population in scenario.clients}
    for number, event in enumerate(scenario.events):
        if event.kind.for_network and networks[event.who] is None:
            for index in chosen_clients(scenario, number):
                yield index, None
    base = 0
    for population in scenario.clients:
        if population.network is not None:
            for index in range(base, base + population.count):
                yield index, population.network
        base += population.count


def _reset(links: Iterable[Link]) -> None:
    for link in links:
        link.reset()


def _nothing() -> None:
    """End what is over as soon as it is done."""
