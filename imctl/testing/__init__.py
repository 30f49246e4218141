"""goim clusters for the tests of an application: fixtures of pytest, or `start_cluster()` by itself.

Nothing is imported before it is used: pytest loads `imctl.testing.plugin` in
every run of every project that has imctl installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imctl.testing.client import GoimClient
    from imctl.testing.cluster import GoimCluster, start_cluster

__all__ = ["GoimClient", "GoimCluster", "start_cluster"]


def __getattr__(name: str) -> Any:
    """Import what is asked for. Any: classes and functions."""
    if name == "GoimClient":
        from imctl.testing.client import GoimClient

        return GoimClient
    if name in __all__:
        from imctl.testing import cluster

        return getattr(cluster, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
