"""A client of redis-py from a URL, with errors that say what is wrong in the URL."""

from __future__ import annotations

import re
from typing import Any

from redis.asyncio import Redis

from imctl.bus.url import parse_bus_url
from imctl.errors import ConfigError
from imctl.redis_url import SINGLE_SCHEMES

__all__ = ["client_of_url"]

_UNEXPECTED = re.compile(r"unexpected keyword argument ('\w+')")


def client_of_url(url: str, what: str, **arguments: Any) -> Redis:
    """Return a client, which connects when it is first used.

    Args:
        url: With one of SINGLE_SCHEMES; its parameters are redis-py's.
        what: What it is the URL of, for errors.
        arguments: What the client is made with beside that. Any: redis-py's.

    Raises:
        ConfigError: a part of the URL is not acceptable.
    """
    parsed = parse_bus_url(url, what)
    if parsed.scheme != "unix" and parsed.path and not parsed.path.isdecimal():
        # redis-py passes over it, and takes database 0.
        raise ConfigError(f"{what} {parsed.shown}: database {parsed.path!r} is not a number")
    rest = url.partition("://")[2]
    try:
        client: Redis = Redis.from_url(f"{SINGLE_SCHEMES[parsed.scheme]}://{rest}", **arguments)
        # Opens nothing, and finds a parameter that it does not know.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    except TypeError as exc:
        unknown = _UNEXPECTED.search(str(exc))
        problem = f"unknown parameter {unknown[1]}" if unknown else str(exc)
        raise ConfigError(f"{what} {parsed.shown}: {problem}") from exc
    except ValueError as exc:
        raise ConfigError(f"{what} {parsed.shown}: {exc}") from exc
    return client
