"""A bus on Redis Streams (Redis 6.2 or newer, or Valkey): `redis://HOST:PORT/DB?stream=goim-push-topic`.

With Sentinel: `redis+sentinel://HOST,HOST/MASTER/DB?stream=...`, see imctl.sentinel_url. On a cluster:
`redis+cluster://HOST,HOST?stream=...`, see imctl.redis_cluster.url; all keys of a bus are on one of its nodes.

Records are dealt to partitions by key, each a stream, and each partition is
read by one member of a group at a time, so the order of a key holds whatever
members come and go. A record is kept until every group has acknowledged it;
it then is removed from its stream.

What Redis keeps through a crash is up to its configuration: publish() returns
when Redis has answered, so with `appendfsync always` that is on disk.

Parameters: stream (goim-push-topic), partitions (8; the most members of a
group that have work), maxlen (100000 records a partition), full (wait, trim),
lease_s (5), timeout_s (5: of a publish), and ssl_* for rediss://.
"""

from __future__ import annotations

import asyncio

import hiredis

from imctl.bus.contract import BusError
from imctl.bus.joining import Members
from imctl.bus.partition import partition_of
from imctl.bus.redis_link import RedisLink
from imctl.bus.redis_master import redis_place
from imctl.bus.redis_member import RedisMember
from imctl.bus.redis_publisher import RedisPublisher
from imctl.bus.redis_scripts import Keys
from imctl.bus.url import parse_bus_url
from imctl.errors import ConfigError
from imctl.redis_cluster.slots import key_slot
from imctl.redis_cluster.url import CLUSTER_SCHEMES, cluster_hint
from imctl.sentinel_url import SENTINEL_SCHEMES

__all__ = ["REDIS_SCHEMES", "RedisStreamsBus"]

REDIS_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
    "redis-stream": "redis",
    "redis-streams": "redis",
    **{scheme: scheme for scheme in (*SENTINEL_SCHEMES, *CLUSTER_SCHEMES)},
}
"""Schemes by what they mean."""

_PARTITIONS = 8
_LINK_TIMEOUT_S = 3.0
_RETRY_S = 0.1


class _MisfitError(BusError):
    """What is in Redis is not what the URL says; waiting does not help."""


class RedisStreamsBus:
    """See the module; connects at the first publish() or subscribe().

    Args:
        url: As in the module's text.

    Raises:
        ConfigError: the URL is not acceptable.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_bus_url(url)
        self.url = parsed.shown
        parsed.scheme = REDIS_SCHEMES[parsed.scheme]
        self._topic = parsed.text("stream", "goim-push-topic")
        if parsed.scheme in CLUSTER_SCHEMES and self._topic[:1] in ("", "}"):
            # Then braces around it would not keep its keys together.
            raise ConfigError(f"bus {self.url}: stream is {self._topic!r}; expected a name that begins with no brace")
        self._wanted = parsed.whole("partitions", 0, 1, 1024)
        self._maxlen = parsed.whole("maxlen", 100_000, 10, 1_000_000_000)
        self._trim = parsed.choice("full", ("wait", "trim")) == "trim"
        self._lease_s = parsed.number("lease_s", 5.0, 0.5, 600)
        self._timeout_s = parsed.number("timeout_s", 5.0, 0.05, 600)
        self._place = redis_place(parsed, key_slot(Keys(self._topic, 0).meta.encode()))
        parsed.done()
        self._keys: Keys | None = None
        self._opening = asyncio.Lock()
        self._publisher: RedisPublisher | None = None
        self._members: Members[RedisMember] = Members()
        self._counts = dict.fromkeys(
            ("published", "delivered", "acked", "redelivered", "refused", "unheard", "trim_risk", "trimmed_unacked"), 0
        )

    async def publish(self, key: str, value: bytes) -> None:
        """See Bus.publish; while Redis is away it waits, at most timeout_s."""
        publisher = self._publisher
        if publisher is None:
            publisher = await self._open_publisher()
        name = key.encode()
        await publisher.publish(partition_of(name, self._partitions), name, value)

    async def subscribe(self, group: str) -> RedisMember:
        """See Bus.subscribe."""
        keys = await self._open()
        links = (self._link(), self._link(), self._link())
        member = RedisMember(keys, group, links, lease_s=self._lease_s, counts=self._counts)
        return await self._members.join(member)

    def stats(self) -> dict[str, int]:
        """See Bus.stats; `waiting` is what this process has read and not acknowledged.

        Also {"unheard": published without a group and removed, "trim_risk": published
        to a stream at its bound with full=trim, "trimmed_unacked": were removed
        before they were acknowledged, "members": of the group at the last look}.
        """
        return {**self._counts, "waiting": self._members.unacked}

    async def close(self) -> None:
        """See Bus.close; what is not acknowledged stays in Redis."""
        await self._members.close()
        if self._publisher is not None:
            await self._publisher.close()

    def _link(self) -> RedisLink:
        return RedisLink(self._place, what=f"bus {self.url}", timeout_s=_LINK_TIMEOUT_S)

    async def _open_publisher(self) -> RedisPublisher:
        why = BusError(f"bus {self.url}: no answer")
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        keys = await self._open()
                        break
                    except _MisfitError:
                        raise
                    except BusError as exc:
                        if self._members.closed:
                            raise
                        why = exc
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            self._counts["refused"] += 1
            raise BusError(f"{why.message}; not taken within {self._timeout_s:g} s", hint=why.hint) from why
        if self._publisher is None:
            self._publisher = RedisPublisher(
                self._link(),
                keys.streams,
                maxlen=self._maxlen,
                trim=self._trim,
                timeout_s=self._timeout_s,
                counts=self._counts,
            )
        return self._publisher

    async def _open(self) -> Keys:
        """Agree with others on the number of partitions: who was first has set it."""
        async with self._opening:
            self._members.check_open()
            if self._keys is not None:
                return self._keys
            link = self._link()
            meta = Keys(self._topic, 0).meta
            try:
                set_, found = await link.call([("SETNX", meta, self._wanted or _PARTITIONS), ("GET", meta)])
            finally:
                await link.close()
            for reply in (set_, found):
                if isinstance(reply, hiredis.ReplyError):
                    if str(reply).startswith(("MOVED", "CLUSTERDOWN")):
                        raise _MisfitError(f"bus {self.url}: {reply}", hint=cluster_hint(self.url))
                    raise BusError(f"bus {self.url}: {reply}")
            partitions = int(found)
            if self._wanted and self._wanted != partitions:
                raise _MisfitError(
                    f"bus {self.url}: stream {self._topic} has {partitions} partitions, not {self._wanted}",
                    hint="leave partitions= away, or stop all its users and delete its keys",
                )
            self._partitions = partitions
            self._keys = Keys(self._topic, partitions)
            return self._keys
