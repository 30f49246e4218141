"""How many connections a process may hold, so that open files are left for all else.

At its limit of open files a process accepts a socket and closes it, without a
word and uncounted, and can neither reach a peer nor open a file. A listener
that stops short of it refuses by count instead.
"""

from __future__ import annotations

import resource

__all__ = ["connections_within", "files_for_callers", "files_for_connections", "limit_for"]

# Links to peers, listeners, files, and the clients of one turn of the loop that are refused but not yet closed.
_KEPT = 512
_ENDLESS = 1_048_576


def _open_files() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _ENDLESS if limit == resource.RLIM_INFINITY else limit


def files_for_connections() -> int:
    """Return how many connections a process may hold whose purpose they are: all but 512, at least three quarters."""
    return connections_within(_open_files())


def connections_within(limit: int) -> int:
    """Return what files_for_connections() is with a limit of open files."""
    return max(limit - _KEPT, limit * 3 // 4)


def limit_for(connections: int) -> int:
    """Return the least limit of open files with which a process may hold so many connections."""
    return min(connections + _KEPT, -(-connections * 4 // 3))


def files_for_callers() -> int:
    """Return how many connections an API may hold beside other listeners of its process: a quarter."""
    return max(_open_files() // 4, 1)
