"""The peers of one app as the registry names them, and round-robin among them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from imctl.link.client import open_peer
from imctl.link.contract import Peer, PeerUnavailableError
from imctl.link.methods import Method
from imctl.link.waiting import UNAVAILABLE, failed
from imctl.registry.contract import Registry
from protocol.discovery_api import Instance

__all__ = ["PeerPool"]

logger = logging.getLogger(__name__)

_SCHEME = "grpc://"
_MAX_WEIGHT = 100


class PeerPool:
    """One peer for each instance of an app, kept up to date by the registry.

    An instance without a `grpc://` address is left out; one whose address or
    kind of link has changed gets a new peer.

    Args:
        registry: Where the instances are registered.
        appid: Which app, such as goim.comet.
        timeout_s: Time limit of each call.
        on_change: Called in the event loop with all peers by hostname when the set has changed.
        accept: Which instances to take; None takes all.
    """

    def __init__(
        self,
        registry: Registry,
        appid: str,
        *,
        timeout_s: float = 5.0,
        on_change: Callable[[Mapping[str, Peer]], None] | None = None,
        accept: Callable[[Instance], bool] | None = None,
    ) -> None:
        self._appid = appid
        self._timeout_s = timeout_s
        self._on_change = on_change
        self._accept = accept
        self._peers: dict[str, Peer] = {}
        self._links: dict[str, tuple[str, bool]] = {}
        # Hostnames in the order calls are dealt out; a weight is how often one is in it.
        self._turns: list[str] = []
        self._turn = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._opened_before = 0
        self._known = asyncio.Event()
        self._some = asyncio.Event()
        self._watch = registry.watch(appid, self._update)

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The peers by hostname, as they are now."""
        return MappingProxyType(self._peers)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """What the registry says of the app, also of instances that are not taken."""
        return self._watch.instances

    @property
    def opened(self) -> int:
        """Times that streams to these peers and those before them have come up."""
        return self._opened_before + sum(getattr(peer, "opened", 0) for peer in self._peers.values())

    def call(self, method: Method, request: Any) -> asyncio.Future[Any]:
        """Call the peer whose turn it is, see Peer.call; those that are not connected are passed over."""
        turns = self._turns
        if not turns:
            return failed(PeerUnavailableError(f"the registry knows no {self._appid}", UNAVAILABLE))
        count = len(turns)
        first = self._turn
        for step in range(count):
            index = (first + step) % count
            peer = self._peers[turns[index]]
            if getattr(peer, "available", True):
                self._turn = index + 1
                return peer.call(method, request)
        # None is connected: the call tells why, or waits for an attempt that is under way.
        self._turn = first + 1
        return self._peers[turns[first % count]].call(method, request)

    async def known(self, timeout_s: float) -> bool:
        """Wait for the registry's first answer, which may be that there is no instance; return whether it came."""
        return await _set_within(self._known, timeout_s)

    async def ready(self, timeout_s: float) -> None:
        """Wait until there is a peer.

        Raises:
            PeerUnavailableError: there is none after `timeout_s`.
        """
        if not await _set_within(self._some, timeout_s):
            raise PeerUnavailableError(f"the registry knows no {self._appid} after {timeout_s:g} s", UNAVAILABLE)

    async def close(self) -> None:
        """End the watch and close all peers; safe to call twice."""
        self._closed = True
        self._watch.close()
        for peer in self._peers.values():
            self._close_later(peer)
        self._peers = {}
        self._links = {}
        self._turns = []
        if self._closing:
            await asyncio.wait(self._closing)

    def _update(self, instances: tuple[Instance, ...]) -> None:
        if self._closed:
            return
        wanted: dict[str, tuple[str, bool]] = {}
        weights: dict[str, int] = {}
        for instance in instances:
            address = next((a.removeprefix(_SCHEME) for a in instance.addrs if a.startswith(_SCHEME)), "")
            if not address or (self._accept is not None and not self._accept(instance)):
                continue
            wanted[instance.hostname] = (address, instance.metadata.get("imctl.link") == "1")
            weights[instance.hostname] = _weight(instance.metadata.get("weight", ""))
        changed = wanted != self._links
        if changed:
            self._apply(wanted)
        self._turns = _deal(weights)
        self._known.set()
        if wanted:
            self._some.set()
        else:
            self._some.clear()
        if changed and self._on_change is not None:
            self._on_change(self.peers)

    def _apply(self, wanted: dict[str, tuple[str, bool]]) -> None:
        peers: dict[str, Peer] = {}
        for hostname, (address, batched) in wanted.items():
            if self._links.get(hostname) == (address, batched):
                peers[hostname] = self._peers[hostname]
                continue
            logger.info("%s %s is at %s", self._appid, hostname, address)
            peers[hostname] = open_peer(hostname, address, batched=batched, timeout_s=self._timeout_s)
        for hostname, peer in self._peers.items():
            if peers.get(hostname) is not peer:
                logger.info("%s %s has left %s", self._appid, hostname, self._links[hostname][0])
                self._close_later(peer)
        self._peers = peers
        self._links = wanted

    def _close_later(self, peer: Peer) -> None:
        self._opened_before += getattr(peer, "opened", 0)
        task = asyncio.get_running_loop().create_task(peer.close(), name=f"close link to {peer.name}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _weight(text: str) -> int:
    try:
        return max(1, min(int(text), _MAX_WEIGHT))
    except ValueError:
        return 1


def _deal(weights: Mapping[str, int]) -> list[str]:
    """Return hostnames so that each comes as often as its weight says, spread evenly (nginx's smooth round-robin)."""
    if len(set(weights.values())) <= 1:
        return list(weights)
    total = sum(weights.values())
    credit = dict.fromkeys(weights, 0)
    turns = []
    for _ in range(total):
        for hostname, weight in weights.items():
            credit[hostname] += weight
        best = max(credit, key=lambda hostname: credit[hostname])
        credit[best] -= total
        turns.append(best)
    return turns


async def _set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
