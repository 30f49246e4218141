"""Ports for servers of tests that have to be told one."""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_port"]

_FIRST, _LAST = 20000, 32000
"""Below those that systems hand out for port 0 and for outgoing connections (Linux: 32768 on, elsewhere higher)."""
_WORKERS = 8
_SHARE = (_LAST - _FIRST) // _WORKERS


def _ports() -> itertools.chain[int]:
    """Return the ports of this worker over and over, from one of its own for each process on."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    own = range(_FIRST + worker * _SHARE, _FIRST + (worker + 1) * _SHARE)
    begin = os.getpid() * 7 % _SHARE
    return itertools.chain.from_iterable(itertools.repeat((*own[begin:], *own[:begin])))


_NEXT = _ports()


def free_port() -> int:
    """Return a port of loopback on which nobody listens, and which no other worker or system call takes meanwhile.

    One from the system (port 0) is for the taking as soon as it is let go.
    """
    for port in itertools.islice(_NEXT, _SHARE):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
