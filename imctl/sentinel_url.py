"""Redis with Sentinel, which says who the master is: `redis+sentinel://HOST,HOST:26379/MASTER/0`.

User and password in the URL are Redis's; sentinels that want some too have
them in the parameters sentinel_username and sentinel_password. With
`rediss+sentinel://` both are spoken to over TLS, by the parameters ssl_*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imctl.bus.url import BusUrl
from imctl.errors import ConfigError

__all__ = ["SENTINEL_SCHEMES", "SentinelUrl"]

SENTINEL_SCHEMES = {
    "redis+sentinel": "redis",
    "rediss+sentinel": "rediss",
    "valkey+sentinel": "redis",
    "valkeys+sentinel": "rediss",
}
"""Schemes by what they mean for the connections."""

_PORT = 26379
_SSL = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """What such a URL says.

    Args:
        shown: The URL without secrets.
        hosts: The sentinels; one that answers is enough.
        master: The name they know the master by.
        db: Of Redis.
        login: Arguments of redis-py for the master: username, password. Any: theirs.
        sentinel_login: The same for the sentinels.
        tls: Arguments of redis-py for both; empty for plain TCP.
    """

    shown: str
    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int
    login: Mapping[str, Any] = field(repr=False)
    sentinel_login: Mapping[str, Any] = field(repr=False)
    tls: Mapping[str, Any]

    @classmethod
    def parse(cls, url: BusUrl) -> SentinelUrl:
        """Take what is Sentinel's out of a URL; others' parameters, and ssl_*, stay in it.

        Raises:
            ConfigError: something is missing or not acceptable.
        """
        master, _, db = url.path.partition("/")
        if not url.hosts or not master:
            raise ConfigError(
                f"{url.what} {url.shown}: expected sentinels and the name of their master",
                hint="redis+sentinel://HOST:26379,HOST:26379/mymaster/0",
            )
        if db and not db.isdecimal():
            raise ConfigError(f"{url.what} {url.shown}: database {db!r} is not a number")
        sentinel_login = {
            name: url.text(f"sentinel_{name}")
            for name in ("username", "password")
            if f"sentinel_{name}" in url.parameters
        }
        tls: dict[str, Any] = {}
        if SENTINEL_SCHEMES[url.scheme] == "rediss":
            tls = {"ssl": True, **{name: url.parameters[name] for name in _SSL if name in url.parameters}}
            tls["ssl_check_hostname"] = tls.get("ssl_cert_reqs") != "none"
        login = {"username": url.username, "password": url.password}
        return cls(
            shown=url.shown,
            hosts=tuple((host, port or _PORT) for host, port in url.hosts),
            master=master,
            db=int(db or 0),
            login={name: value for name, value in login.items() if value},
            sentinel_login=sentinel_login,
            tls=tls,
        )
