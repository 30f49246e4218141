"""Where the Redis of a bus is now: always at one address, or wherever the sentinels or the nodes of a cluster say."""

from __future__ import annotations

import ssl
from typing import Protocol

from imctl.bus.contract import BusError
from imctl.bus.resp import RedisAddress, open_resp, parse_redis_address
from imctl.bus.tls import tls_context
from imctl.bus.url import BusUrl
from imctl.redis_cluster.nodes import ClusterNodes
from imctl.redis_cluster.url import CLUSTER_SCHEMES
from imctl.sentinel_url import SENTINEL_SCHEMES, SentinelUrl

__all__ = ["RedisPlace", "SentinelMaster", "SlotOwner", "redis_place"]


class RedisPlace(Protocol):
    """Asked before every attempt to connect."""

    @property
    def passing(self) -> tuple[str, ...]:
        """How the replies of a Redis begin that cannot take a command now, where another or a later one can."""

    async def find(self, timeout_s: float) -> RedisAddress:
        """Return the address; raises BusError when it cannot be found out."""


class SentinelMaster:
    """The master that sentinels name.

    Asked over our own connections: one of redis-py that is cancelled while it
    connects stays open, and a bus may be closed at any time.

    Args:
        at: Which sentinels, and which master.
        tls: For all connections; None for plain TCP.
    """

    passing = RedisAddress.passing

    def __init__(self, at: SentinelUrl, tls: ssl.SSLContext | None) -> None:
        self._at = at
        self._tls = tls
        login = at.sentinel_login
        self._sentinels = [
            RedisAddress(host, port, 0, login.get("username"), login.get("password"), tls) for host, port in at.hosts
        ]

    async def find(self, timeout_s: float) -> RedisAddress:
        """See RedisPlace.find; each sentinel may take `timeout_s`."""
        problems = []
        for sentinel in list(self._sentinels):
            try:
                found = await self._ask(sentinel, timeout_s)
            except BusError as exc:
                problems.append(exc.message)
                continue
            # The one that knew is asked first the next time.
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            return found
        raise BusError(
            f"no sentinel names a master {self._at.master!r}: {'; '.join(problems)}",
            hint="are the sentinels running, and is the name of the master right?",
        )

    async def _ask(self, sentinel: RedisAddress, timeout_s: float) -> RedisAddress:
        connection = await open_resp(sentinel, timeout_s=timeout_s)
        try:
            command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._at.master)
            (reply,) = await connection.call([command], timeout_s=timeout_s)
        finally:
            await connection.close()
        if not isinstance(reply, list):
            raise BusError(f"redis {sentinel}: {reply or 'does not know it'}")
        login = self._at.login
        host, port = reply[0].decode(), int(reply[1])
        return RedisAddress(host, port, self._at.db, login.get("username"), login.get("password"), self._tls)


class SlotOwner:
    """The master of a cluster that has a slot.

    While the slot is moved to another, nothing is sent after it: some of a bus's keys are here and some there, and
    what is for both is refused. So the bus waits, as it does while there is no master.

    Args:
        nodes: Of the cluster.
        slot: Which slot.
    """

    passing = (*RedisAddress.passing, "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")

    def __init__(self, nodes: ClusterNodes, slot: int) -> None:
        self._nodes = nodes
        self._slot = slot

    async def find(self, timeout_s: float) -> RedisAddress:
        """See RedisPlace.find; each node that is asked may take `timeout_s`."""
        found = (await self._nodes.look(timeout_s)).owner(self._slot)
        if found is None:
            raise BusError(f"no node of the cluster has slot {self._slot}")
        return found


def redis_place(url: BusUrl, slot: int) -> RedisPlace:
    """Return where a URL says that Redis is; takes the parameters db, sentinel_* and ssl_*.

    Args:
        url: Of a bus.
        slot: That of all its keys, for a cluster.

    Raises:
        ConfigError: something is not acceptable.
    """
    if url.scheme in CLUSTER_SCHEMES:
        return SlotOwner(ClusterNodes.of_url(url), slot)
    if url.scheme not in SENTINEL_SCHEMES:
        return parse_redis_address(url)
    at = SentinelUrl.parse(url)
    return SentinelMaster(at, tls_context(url) if at.tls else None)
