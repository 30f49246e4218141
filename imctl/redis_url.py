"""URLs of a single Redis or Valkey: `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `unix://PATH?db=0`; and its hints.

With Sentinel see imctl.sentinel_url, on a cluster imctl.redis_cluster.url.
"""

from __future__ import annotations

__all__ = ["SINGLE_SCHEMES", "failure_hint"]

SINGLE_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
"""Schemes by what redis-py calls them."""

_LOGIN = ("NOAUTH", "WRONGPASS", "Authentication required", "invalid username-password pair", "invalid password")
"""How Redis refuses a login, as it says it and as redis-py passes it on."""


def failure_hint(text: str, *, away: bool) -> str:
    """Return what to do when a Redis cannot be reached or does not let us in; "" for anything else.

    Args:
        text: What it said, or what went wrong.
        away: It could not be reached, or the connection broke.
    """
    if any(words in text for words in _LOGIN):
        return "the server wants user and password: redis://USER:PASSWORD@HOST:PORT, or redis://:PASSWORD@HOST:PORT"
    return "is the server running, and the address right?" if away else ""
