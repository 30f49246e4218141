"""Whether the ports of `imctl up` are free, and who has them when they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from imctl.cluster.client import ClusterInfo
from imctl.cluster.ports import Wanted, holder_of, port_is_free
from imctl.doctor.contract import Condition, Status

__all__ = ["check_ports", "own_ports"]

_FIX = "end it, or imctl up --any-port (or --port-base 4100)"


def own_ports(info: ClusterInfo | None) -> dict[int, str]:
    """Return which node of a cluster listens on which port."""
    if info is None:
        return {}
    listening = ((node.name, address) for node in info.nodes for address in node.addresses.values() if address)
    return {int(address.rpartition(":")[2]): name for name, address in listening}


def check_ports(
    wanted: Sequence[Wanted],
    optional: Iterable[Wanted],
    own: Mapping[int, str],
    *,
    is_free: Callable[[str, int], bool] = port_is_free,
    holder: Callable[[int], str] = holder_of,
) -> list[Condition]:
    """Judge each port: one row for all that are free, one for all of the cluster that runs, one for each other.

    Args:
        wanted: Of `imctl up` as it is.
        optional: Of `imctl up` with more options.
        own: Ports of the cluster that runs: then others are no hindrance, since nothing has to be started.
        is_free: Whether a server could listen at a host and port.
        holder: Who listens on a port, "" when that cannot be told.
    """
    free: list[int] = []
    ours: list[int] = []
    rows: list[Condition] = []
    needed = {want.port for want in wanted}
    for want in (*wanted, *optional):
        if want.port in own:
            ours.append(want.port)
        elif is_free(want.host, want.port):
            free.append(want.port)
        else:
            is_hindrance = want.port in needed and not own
            who = holder(want.port)
            rows.append(
                Condition(
                    f"port {want.port}",
                    Status.FAILED if is_hindrance else Status.WARNING,
                    f"free for {want.what}",
                    f"taken by {who}" if who else "taken; by whom is unknown",
                    _FIX,
                    {"port": want.port, "holder": who or None},
                )
            )
    if ours:
        rows.insert(0, Condition("ports in use", Status.OK, "of this cluster", _list(ours), "", {"ports": ours}))
    if free:
        rows.insert(0, Condition("ports", Status.OK, "free for imctl up", _list(free), "", {"ports": free}))
    return rows


def _list(ports: Iterable[int]) -> str:
    return " ".join(map(str, sorted(ports)))
