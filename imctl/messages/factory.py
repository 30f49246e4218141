"""From a URL to a message log."""

from __future__ import annotations

import os
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from weakref import WeakValueDictionary

from imctl.bus.url import known_url, parse_bus_url
from imctl.errors import ConfigError
from imctl.messages.contract import Limits, MessageLog
from imctl.messages.sqlite import SqliteLog
from imctl.redis_cluster.url import CLUSTER_SCHEMES
from imctl.redis_url import SINGLE_SCHEMES
from imctl.sentinel_url import SENTINEL_SCHEMES
from imctl.store.factory import hide_password

if TYPE_CHECKING:
    from imctl.bus.url import BusUrl
    from imctl.messages.redis import RedisLog
    from imctl.messages.redis_cluster import ClusterLog

__all__ = ["MESSAGE_SCHEMES", "default_path", "messages_hook", "open_messages", "sqlite_path"]

MESSAGE_SCHEMES = ("sqlite", "memory", "fakeredis", *SINGLE_SCHEMES, *SENTINEL_SCHEMES, *CLUSTER_SCHEMES)

_HOOK_OPTIONS = (
    *("keep", "ack", "max_messages", "max_bytes", "max_age_s"),
    *("history", "history_age_s", "ack_operation"),
)
"""Parameters of a URL that are the hook's and not the log's, see imctl.messages.offline."""

_CONNECT_TIMEOUT_S = 2.0
_READ_TIMEOUT_S = 3.0
_IDLE_CHECK_S = 10

# Held by those who opened it, as the session stores of a process are.
_private: WeakValueDictionary[str, SqliteLog | RedisLog] = WeakValueDictionary()


def default_path(name: str = "messages") -> Path:
    """Return the file of `sqlite://`: `NAME.db` in the user's data folder for imctl."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "imctl" / f"{name}.db"


def open_messages(url: str, limits: Limits | None = None) -> MessageLog:
    """Return the log of a URL; it is opened when it is first used.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, or `sqlite://` for `default_path()`, each
            with `?synchronous=full` and `?max_file_bytes=N` where wanted; `redis://` and its kin, also with
            Sentinel and on a cluster, as for the session store; `memory://NAME` and `fakeredis://NAME` for one that
            ends with this process.
        limits: How much is kept.

    Raises:
        ConfigError: the URL is not one of these, or what it needs is not installed.
    """
    limits = limits or Limits()
    parsed = _known(url)
    scheme = parsed.scheme
    if scheme == "sqlite":
        return _open_sqlite(url, limits)
    if scheme in ("memory", "fakeredis"):
        parsed.done()
        held = _private.get(url)
        if held is None or held.closed:
            held = _private[url] = _open_private(scheme, url, limits)
        return held
    if scheme in SENTINEL_SCHEMES:
        return _open_sentinel(url, limits)
    if scheme in CLUSTER_SCHEMES:
        return _open_cluster(url, limits)
    return _open_redis(url, limits)


def messages_hook(url: str, cluster: str = "default") -> str:
    """Return the hook, as `--hooks` takes it, that keeps messages at a URL.

    Args:
        url: As open_messages(), and with the hook's options among its parameters, such as `sqlite://?keep=all`.
        cluster: Names the file of `sqlite://`; the default cluster's is `messages.db`.

    Raises:
        ConfigError: its scheme is not known.
    """
    scheme = _known(url).scheme
    target, _, query = url.partition("?")
    parameters = parse_qsl(query, keep_blank_values=True)
    options = [(name, value) for name, value in parameters if name in _HOOK_OPTIONS]
    rest = urlencode([(name, value) for name, value in parameters if name not in _HOOK_OPTIONS])
    if scheme == "sqlite":
        target = f"sqlite:///{quote(str(sqlite_path(url, cluster)))}"
    return "offline?" + urlencode([("url", f"{target}?{rest}" if rest else target), *options])


def sqlite_path(url: str, cluster: str = "default") -> Path:
    """Return the file of a `sqlite://` URL; where it names none, the one of this cluster.

    Raises:
        ConfigError: the URL is of another form.
    """
    return _path(url, _file_name(cluster))


def _file_name(cluster: str) -> str:
    return "messages" if cluster == "default" else f"messages-{cluster}"


def _known(url: str) -> BusUrl:
    hint = "sqlite:// is a file in your data folder, redis://127.0.0.1:6379 a Redis on this machine"
    return known_url(url, "message store", MESSAGE_SCHEMES, hint)


def _open_private(scheme: str, url: str, limits: Limits) -> SqliteLog | RedisLog:
    if scheme == "memory":
        _check_sqlite()
        return SqliteLog(":memory:", url=url, limits=limits)
    from fakeredis import FakeAsyncRedis, FakeServer

    from imctl.messages.redis import RedisLog

    if find_spec("lupa") is None:
        raise ConfigError(
            "message store fakeredis:// needs Lua inside Python", hint="pip install lupa; memory:// needs nothing"
        )
    return RedisLog(FakeAsyncRedis(server=FakeServer(), protocol=2), url=url, limits=limits)


def _open_sqlite(url: str, limits: Limits) -> SqliteLog:
    _check_sqlite()
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = parameters.pop("synchronous", "normal")
    if synchronous not in ("normal", "full"):
        raise ConfigError(f"message store {url!r}: synchronous is {synchronous!r}; expected normal or full")
    size = parameters.pop("max_file_bytes", "0")
    if not size.isdecimal():
        raise ConfigError(
            f"message store {url!r}: max_file_bytes is {size!r}; expected a number of bytes, 0 for no bound"
        )
    if parameters:
        raise ConfigError(f"message store {url!r}: unknown parameter {', '.join(map(repr, sorted(parameters)))}")
    return SqliteLog(str(_path(url)), url=url, limits=limits, flush=synchronous == "full", max_bytes=int(size))


def _path(url: str, default: str = "messages") -> Path:
    """Return the file of a URL; `default` is its name when there is none in it."""
    name = unquote(url.partition("?")[0].removeprefix("sqlite://"))
    if not name:
        return default_path(default)
    if len(name) < 2 or name[0] != "/":
        raise ConfigError(
            f"message store {url!r}: expected sqlite:///relative/path.db, sqlite:////absolute/path.db or sqlite://"
        )
    return Path(name[1:]).absolute()


def _check_sqlite() -> None:
    if sqlite3.sqlite_version_info < (3, 35):
        raise ConfigError(
            f"SQLite is {sqlite3.sqlite_version}; expected 3.35 or later", hint="redis:// does without it"
        )


def _client_arguments() -> dict[str, Any]:
    """Return what every client of redis-py is made with. Any: its arguments."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return {
        "protocol": 2,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_timeout": _READ_TIMEOUT_S,
        # A message that was placed must not be placed again; instead an idle connection is tried before use.
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": _IDLE_CHECK_S,
        "max_connections": 16,
    }


def _open_redis(url: str, limits: Limits) -> RedisLog:
    # Only here: the client costs 100 ms of import, and a file does without.
    from imctl.messages.redis import RedisLog
    from imctl.redis_client import client_of_url

    client = client_of_url(url, "message store", **_client_arguments())
    return RedisLog(client, url=hide_password(url), limits=limits)


def _open_sentinel(url: str, limits: Limits) -> RedisLog:
    from imctl.messages.redis import RedisLog
    from imctl.sentinel import MasterSearch

    search = MasterSearch.of_url(url, "message store", timeout_s=_CONNECT_TIMEOUT_S, **_client_arguments())
    return RedisLog(search.client(), url=search.at.shown, limits=limits, on_close=search.close)


def _open_cluster(url: str, limits: Limits) -> ClusterLog:
    from imctl.messages.redis_cluster import ClusterLog
    from imctl.redis_cluster.nodes import ClusterNodes

    parsed = parse_bus_url(url, "message store")
    nodes = ClusterNodes.of_url(parsed)
    parsed.done()
    return ClusterLog(nodes, url=parsed.shown, limits=limits)
