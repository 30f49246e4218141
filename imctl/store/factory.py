"""From a URL to a session store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from imctl.bus.url import BusUrl, known_url, parse_bus_url
from imctl.errors import ConfigError
from imctl.redis_cluster.url import CLUSTER_SCHEMES
from imctl.redis_url import SINGLE_SCHEMES
from imctl.sentinel_url import SENTINEL_SCHEMES
from imctl.store.contract import SessionStore
from imctl.store.memory import MemoryStore

if TYPE_CHECKING:
    from imctl.store.redis import RedisStore

__all__ = ["STORE_SCHEMES", "check_store", "hide_password", "open_store"]

STORE_SCHEMES = ("memory", "fakeredis", *SINGLE_SCHEMES, *SENTINEL_SCHEMES, *CLUSTER_SCHEMES)

# Held by those who opened it: a store that nobody uses any more is gone.
_private: WeakValueDictionary[tuple[str, float], MemoryStore | RedisStore] = WeakValueDictionary()

# `//user:password@`, up to the last @ before the path, and `?password=`.
_PASSWORD = re.compile(r"(://[^:/@]*:)[^/]*(?=@)|([?&][^=&]*password=)[^&]*")

# `expire_s=600` among the parameters, with what stands around it.
_EXPIRY = re.compile(r"([?&])expire_s=([^&]*)(&|$)")

# goim's example file has 200 ms and 500 ms; these allow for a machine that is busy with a load test.
_CONNECT_TIMEOUT_S = 2.0
_READ_TIMEOUT_S = 3.0


def open_store(url: str, *, expire_s: float = 1800) -> SessionStore:
    """Return the store of a URL; it connects when it is first used.

    `memory://NAME` and `fakeredis://NAME` are private to this process; everyone
    who opens the same name while it is in use and not closed gets the same store.

    Args:
        url: `memory://`, `fakeredis://` (goim's Redis layout inside this
            process); or `redis://`, `rediss://`, `valkey://`, `valkeys://` with `[user:password@]host[:port][/db]`,
            or `unix://[user:password@]/path?db=0`; or `redis+sentinel://[user:password@]host[:port][,host...]/master[/db]`,
            see imctl.sentinel_url; or `redis+cluster://[user:password@]host[:port][,host...]`, see
            imctl.redis_cluster.url. A parameter `expire_s` stands before the argument.
        expire_s: How long a session lives without a refresh, 1 s or more; goim has 1800.

    Raises:
        ConfigError: the URL is not one of these.
    """
    url, expire_s = _take_expiry(url, expire_s)
    if not 1 <= expire_s < 1e9:
        raise ConfigError(f"session expiry is {expire_s:g} s; expected 1 s to 1e9 s")
    scheme = check_store(url).scheme
    if scheme in ("memory", "fakeredis"):
        held = _private.get((url, expire_s))
        if held is not None and not held.closed:
            return held
        store = MemoryStore(url=url, expire_s=expire_s) if scheme == "memory" else _open_fakeredis(url, expire_s)
        _private[url, expire_s] = store
        return store
    if scheme in SENTINEL_SCHEMES:
        return _open_sentinel(url, expire_s)
    if scheme in CLUSTER_SCHEMES:
        return _open_cluster(url, expire_s)
    return _open_redis(url, expire_s)


def check_store(url: str) -> BusUrl:
    """Return a store's URL taken apart, as far as that can be done without the packages that the store needs.

    Raises:
        ConfigError: as open_store(), but for the parameters of a store outside this process.
    """
    hint = "memory:// needs nothing; redis://127.0.0.1:6379 is a Redis on this machine"
    parsed = known_url(_take_expiry(url, 0.0)[0], "session store", STORE_SCHEMES, hint)
    if parsed.scheme in ("memory", "fakeredis"):
        parsed.done()
    return parsed


def _take_expiry(url: str, expire_s: float) -> tuple[str, float]:
    """Return the URL without its parameter expire_s, and what that says."""
    found = _EXPIRY.search(url)
    if found is None:
        return url, expire_s
    rest = url[: found.start()] + (found[1] if found[3] else "") + url[found.end() :]
    try:
        return rest, float(found[2])
    except ValueError:
        raise ConfigError(f"session store {hide_password(url)!r}: expire_s is {found[2]!r}; expected seconds") from None


def hide_password(url: str) -> str:
    """Return the URL with `***` in place of every password."""
    return _PASSWORD.sub(r"\1\2***", url)


def _open_fakeredis(url: str, expire_s: float) -> RedisStore:
    from fakeredis import FakeAsyncRedis, FakeServer

    from imctl.store.redis import RedisStore

    client = FakeAsyncRedis(server=FakeServer(), decode_responses=True, protocol=2)
    return RedisStore(client, url=url, expire_s=expire_s, persistent=False)


def _client_arguments() -> dict[str, Any]:
    """Return what every client of redis-py is made with. Any: its arguments."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return {
        # RESP2: the oldest Redis and Valkey speak it, and none of our commands gains from RESP3.
        "protocol": 2,
        "decode_responses": True,
        "encoding_errors": "replace",
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_timeout": _READ_TIMEOUT_S,
        # Once, at once: the usual failure is a connection the server closed while it was idle.
        "retry": Retry(NoBackoff(), 1),
        "max_connections": 16,
    }


def _open_sentinel(url: str, expire_s: float) -> SessionStore:
    from imctl.sentinel import MasterSearch
    from imctl.store.redis import RedisStore

    search = MasterSearch.of_url(url, "session store", timeout_s=_CONNECT_TIMEOUT_S, **_client_arguments())
    return RedisStore(search.client(), url=search.at.shown, expire_s=expire_s, on_close=search.close)


def _open_cluster(url: str, expire_s: float) -> SessionStore:
    from imctl.redis_cluster.nodes import ClusterNodes
    from imctl.store.redis_cluster import ClusterStore

    parsed = parse_bus_url(url, "session store")
    nodes = ClusterNodes.of_url(parsed)
    parsed.done()
    return ClusterStore(nodes, url=parsed.shown, expire_s=expire_s)


def _open_redis(url: str, expire_s: float) -> SessionStore:
    # Only here: the client costs 100 ms of import, and memory:// does without.
    from imctl.redis_client import client_of_url
    from imctl.store.redis import RedisStore

    client = client_of_url(url, "session store", **_client_arguments())
    return RedisStore(client, url=hide_password(url), expire_s=expire_s)
