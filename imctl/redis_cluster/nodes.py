"""The nodes of a cluster, any of which is asked who has which slot."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import hiredis

from imctl.bus.contract import BusError
from imctl.bus.resp import RedisAddress, open_resp
from imctl.bus.tls import tls_context
from imctl.bus.url import BusUrl
from imctl.errors import ConfigError
from imctl.redis_cluster.slots import SlotMap
from imctl.redis_cluster.url import CLUSTER_SCHEMES

__all__ = ["ClusterNodes"]

_PORT = 6379
# A node that takes longer is not waited for alone: one that is switched off takes all the time that it may.
_NEXT_S = 0.25


class _NoClusterError(BusError):
    """A Redis that stands alone."""


class ClusterNodes:
    """Asked over connections of its own.

    Args:
        seeds: Nodes to begin with; those that they name are asked later too.
    """

    def __init__(self, seeds: Sequence[RedisAddress]) -> None:
        self._seeds = tuple(seeds)
        # The one that knew is the first to be asked the next time.
        self._known = self._seeds
        self._map: SlotMap | None = None
        self._looking = asyncio.Lock()

    @classmethod
    def of_url(cls, url: BusUrl) -> ClusterNodes:
        """Return the nodes of a URL, see imctl.redis_cluster.url; takes the parameters ssl_*.

        Raises:
            ConfigError: it names none, or something is not acceptable.
        """
        if not url.hosts:
            raise ConfigError(
                f"{url.what} {url.shown}: expected one or more nodes of the cluster",
                hint="redis+cluster://HOST:6379,HOST:6379",
            )
        # Redis has no other than 0 in a cluster, newer Valkeys may; they say so themselves.
        if url.path and not url.path.isdecimal():
            raise ConfigError(f"{url.what} {url.shown}: database {url.path!r} is not a number")
        login = (int(url.path or 0), url.username, url.password)
        tls = tls_context(url) if CLUSTER_SCHEMES[url.scheme] == "rediss" else None
        return cls([RedisAddress(host, port or _PORT, *login, tls) for host, port in url.hosts])

    async def slots(self, timeout_s: float) -> SlotMap:
        """Return the last map that was not forgotten, or look; raises BusError."""
        if self._map is None:
            async with self._looking:
                # Somebody else may have looked meanwhile.
                if self._map is None:
                    self._map = await self.look(timeout_s)
        return self._map

    def forget(self, slots: SlotMap, failed: RedisAddress | None = None) -> None:
        """Have slots() look again: this map has turned out to be wrong.

        Args:
            slots: The map.
            failed: A node that does not answer, to be asked last.
        """
        if self._map is slots:
            self._map = None
        if failed in self._known:
            self._known = (*[node for node in self._known if node != failed], failed)

    async def look(self, timeout_s: float) -> SlotMap:
        """Return what the first node says that knows of a cluster which works; each may take `timeout_s`.

        Raises:
            BusError: there is none; says why of each.
        """
        to_ask = deque(self._known)
        asked: dict[asyncio.Task[SlotMap], RedisAddress] = {}
        problems: list[BusError] = []
        try:
            while to_ask or asked:
                if to_ask:
                    node = to_ask.popleft()
                    asked[asyncio.create_task(self._ask(node, timeout_s), name=f"ask {node} for slots")] = node
                done, _ = await asyncio.wait(
                    asked, timeout=_NEXT_S if to_ask else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    node = asked.pop(task)
                    try:
                        found = task.result()
                    except BusError as exc:
                        problems.append(exc)
                    else:
                        self._known = tuple(dict.fromkeys((node, *found.nodes, *self._seeds)))
                        return found
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        alone = next((exc for exc in problems if isinstance(exc, _NoClusterError)), None)
        raise BusError(
            f"no node of the cluster can be used: {'; '.join(exc.message for exc in problems)}",
            hint=alone.hint if alone else "are the nodes of the cluster running, and the addresses right?",
        )

    async def _ask(self, node: RedisAddress, timeout_s: float) -> SlotMap:
        connection = await open_resp(node, timeout_s=timeout_s)
        try:
            info, slots = await connection.call([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")], timeout_s=timeout_s)
        except BusError as exc:
            raise BusError(f"redis {node}: {exc}") from exc
        finally:
            await connection.close()
        for reply in (info, slots):
            if isinstance(reply, hiredis.ReplyError):
                if "cluster support disabled" in str(reply):
                    raise _NoClusterError(f"redis {node}: {reply}", hint=f"a Redis without a cluster: redis://{node}")
                raise BusError(f"redis {node}: {reply}")
        if b"cluster_state:ok" not in info:
            # It has lost the others, or waits for one of them to be replaced.
            raise BusError(f"redis {node}: its cluster is down")
        try:
            return SlotMap.parse(slots, node)
        except ValueError as exc:
            raise BusError(f"redis {node}: {exc}") from exc
