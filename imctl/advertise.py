"""The address under which a node tells others to reach it."""

from __future__ import annotations

import socket

__all__ = ["advertised"]

_WILDCARDS = frozenset({"", "0.0.0.0", "::"})


def advertised(listening: str, advertise_host: str, bind_host: str) -> str:
    """Return `host:port` for the registry.

    Args:
        listening: `host:port` where the node listens; only its port counts.
        advertise_host: Host from the node's config; empty lets this function choose.
        bind_host: What the node bound: used as it is, unless that is every address of the machine.
    """
    host = advertise_host or bind_host
    if host in _WILDCARDS:
        host = _own_address()
    return f"{host}:{listening.rpartition(':')[2]}"


def _own_address() -> str:
    """Return the address this machine has towards others; loopback when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: connecting a UDP socket only chooses a route.
            # 192.0.2.0/24 is for documentation, so the route is the default one.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
