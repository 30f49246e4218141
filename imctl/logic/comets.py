"""The comets of the registry as logic sees them.

Source: goim internal/logic/logic.go newNodes: a comet counts once its metadata
has offline, conn_count and ip_count that can be read, and offline is false.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.discovery_api import Instance

__all__ = ["KnownComet", "is_offline", "known_comets"]

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True)
class KnownComet:
    """A comet that clients can be sent to.

    Args:
        instance: As it stands in the registry.
        conn_count: Connections it said it has.
        ip_count: Addresses its clients come from.
        weight: Its share of the clients; None when it has not said, then it is not offered.
    """

    instance: Instance
    conn_count: int
    ip_count: int
    weight: int | None

    @property
    def addrs(self) -> tuple[str, ...]:
        """Public addresses; one empty text when it has none, as Go's split has it."""
        return tuple(self.instance.metadata.get("addrs", "").split(","))


def is_offline(instance: Instance) -> bool:
    """Return whether the comet asked to be left alone."""
    return instance.metadata.get("offline", "") in _TRUE


def known_comets(instances: Iterable[Instance]) -> tuple[KnownComet, ...]:
    """Return the comets that count, in the order given."""
    known = []
    for instance in instances:
        conn_count = _integer(instance, "conn_count")
        ip_count = _integer(instance, "ip_count")
        if instance.metadata.get("offline", "") in _FALSE and conn_count is not None and ip_count is not None:
            known.append(KnownComet(instance, conn_count, ip_count, _integer(instance, "weight")))
    return tuple(known)


def _integer(instance: Instance, name: str) -> int | None:
    try:
        value = int(instance.metadata[name])
    except (KeyError, ValueError):
        return None
    return value if -(2**31) <= value < 2**31 else None
