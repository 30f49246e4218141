"""URLs of a Redis or Valkey Cluster: `redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST...]`.

One node that answers is enough: it names the others. User, password and TLS
(`rediss+cluster://`, with the parameters ssl_*) are the same for all of them.
"""

from __future__ import annotations

__all__ = ["CLUSTER_SCHEMES", "cluster_hint"]

CLUSTER_SCHEMES = {
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
    "valkey+cluster": "redis",
    "valkeys+cluster": "rediss",
}
"""Schemes by what they mean for the connections."""


def cluster_hint(shown: str) -> str:
    """Return what to tell a user whose URL is that of a single Redis, and leads to a node of a cluster.

    Args:
        shown: That URL without secrets.
    """
    scheme, _, rest = shown.partition("://")
    right = f"{scheme}+cluster://{rest}" if f"{scheme}+cluster" in CLUSTER_SCHEMES else "redis+cluster://HOST:PORT"
    return f"this is a node of a Redis Cluster, whose URL is {right}"
