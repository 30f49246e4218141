"""Which ports a cluster wants, whether they are free, and who has them when they are not."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from imctl.cluster.state import state_root
from imctl.errors import PortInUseError, StartError

__all__ = ["PortsInUseError", "Wanted", "check_ports", "holder_of", "port_is_free", "with_holder"]

_CHILD = "imctl.cluster.child"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One address to listen on.

    Args:
        what: Who wants it for what, such as `comet-1 tcp`.
        host: Address to bind.
        port: 0 for any.
    """

    what: str
    host: str
    port: int


class PortsInUseError(StartError):
    """Several of the wanted addresses are taken; its text has a line for each.

    Args:
        taken: One error an address.
    """

    def __init__(self, taken: tuple[PortInUseError, ...]) -> None:
        lines = "\n".join(f"  {error.message}" for error in taken)
        super().__init__(f"{len(taken)} addresses are in use:\n{lines}", hint=taken[0].hint)
        self.taken = taken


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now, other servers' SO_REUSEPORT or TIME_WAIT aside."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Return who listens on a TCP port, such as `redis-server (pid 12)`; "" where it cannot be told."""
    import psutil

    try:
        found = [
            conn.pid
            for conn in psutil.net_connections(kind="tcp")
            if conn.status == psutil.CONN_LISTEN and conn.laddr and conn.laddr.port == port and conn.pid
        ]
        if not found:
            return ""
        process = psutil.Process(found[0])
        words = process.cmdline()
        # Our own children are all called python: say which node it is.
        ours = words.index(_CHILD) if _CHILD in words else None
        name = process.name() if ours is None else f"{words[ours + 1]} of {_cluster_of(found[0])}"
        return f"{name} (pid {found[0]})"
    except psutil.Error:  # another user's, or gone
        return ""


def _cluster_of(pid: int) -> str:
    """Return `cluster b` for the pid of a node, by the state files of this user."""
    for path in state_root().glob("*/state.json"):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            if pid in [node["pid"] for node in json.loads(path.read_bytes())["nodes"]]:
                return f"cluster {path.parent.name}"
    return "another cluster"


def with_holder(error: PortInUseError, *, instead: str = "") -> PortInUseError:
    """Return the error of a node, which does not look for who has its port, with the holder's name.

    Args:
        error: What it failed with.
        instead: How to take another port; empty for the options of `imctl up`.
    """
    holder = error.holder or holder_of(int(error.address.rpartition(":")[2]))
    if instead:
        return PortInUseError(error.address, error.what, holder, instead=instead)
    return PortInUseError(error.address, error.what, holder)


def check_ports(wanted: Iterable[Wanted]) -> None:
    """Return when all wanted addresses can be had.

    A look before the start, so that all that is taken is told at once; a port
    that is taken between here and the start is reported by its node.

    Raises:
        PortInUseError: one is taken.
        PortsInUseError: several are.
    """
    taken = tuple(
        PortInUseError(f"{want.host}:{want.port}", want.what, holder_of(want.port))
        for want in wanted
        if want.port and not port_is_free(want.host, want.port)
    )
    if len(taken) == 1:
        raise taken[0]
    if taken:
        raise PortsInUseError(taken)
