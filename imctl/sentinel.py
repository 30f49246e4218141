"""Clients of redis-py that sentinels lead to the master."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from imctl.bus.url import parse_bus_url
from imctl.sentinel_url import SentinelUrl

__all__ = ["MasterSearch"]


class MasterSearch(Sentinel):
    """redis-py's Sentinel, which connects when it is first asked, with errors that can be read.

    Args:
        at: Where, and how to get in.
        timeout_s: Longest wait for one sentinel to connect or to answer.
        master: Further arguments of connections to the master. Any: redis-py's.
    """

    def __init__(self, at: SentinelUrl, *, timeout_s: float, **master: Any) -> None:
        asking = {
            **at.sentinel_login,
            **at.tls,
            "protocol": 2,
            "socket_connect_timeout": timeout_s,
            "socket_timeout": timeout_s,
            # The next sentinel is asked instead.
            "retry": Retry(NoBackoff(), 0),
        }
        self.at = at
        connecting = {"db": at.db, **at.login, **at.tls, **master}
        super().__init__(at.hosts, sentinel_kwargs=asking, **connecting)  # type: ignore[no-untyped-call]  # it has no types

    @classmethod
    def of_url(cls, url: str, what: str, *, timeout_s: float, **master: Any) -> MasterSearch:
        """Return the search that a URL describes.

        Args:
            url: Such as `redis+sentinel://HOST/MASTER`.
            what: What it is the URL of, for errors.
            timeout_s: As for the class.
            master: Likewise. Any: redis-py's.

        Raises:
            ConfigError: something in it is missing or not acceptable.
        """
        parsed = parse_bus_url(url, what)
        at = SentinelUrl.parse(parsed)
        for name in at.tls:
            parsed.text(name)
        parsed.done()
        return cls(at, timeout_s=timeout_s, **master)

    def client(self) -> Redis:
        """Return a client of whoever is the master."""
        found: Redis = self.master_for(self.at.master)
        return found

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port that the first sentinel that knows a master gives.

        Raises:
            MasterNotFoundError: none does; says why each does not.
        """
        problems = []
        for client in list(self.sentinels):
            place = "{host}:{port}".format(**client.connection_pool.connection_kwargs)
            try:
                masters: Any = await client.sentinel_masters()
            except (RedisError, OSError) as exc:
                problems.append(f"{place}: {exc}")
                continue
            state = masters.get(service_name)
            if state is None:
                problems.append(f"{place} knows {', '.join(map(repr, masters)) or 'none'}")
            elif not self.check_master_state(state, service_name):
                problems.append(f"{place} takes it for {state['flags']}")
            else:
                # The one that knew is asked first the next time.
                self.sentinels.remove(client)
                self.sentinels.insert(0, client)
                return str(state["ip"]), int(state["port"])
        raise MasterNotFoundError(f"no sentinel names a master {service_name!r}: {'; '.join(problems)}")

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        for client in self.sentinels:
            await client.aclose()
