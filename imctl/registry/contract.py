"""What a node wants of a registry.

A registration holds while it is renewed. A watch reports the whole set of an
app's instances, first as soon as it is known and then after every change; it
never loses the newest state, but may skip states in between. Instances carry
string metadata; comet publishes weight, offline, addrs, conn_count and
ip_count there as goim does, and our nodes add `imctl.link` = "1".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from protocol.discovery_api import Instance

__all__ = ["Registry", "Watch", "WatchCallback"]

WatchCallback = Callable[[tuple[Instance, ...]], None]


class Watch(Protocol):
    """One subscription to an app; keeps the last set while the registry is away."""

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The last known instances, () before the first answer."""

    def close(self) -> None:
        """End the callbacks."""


class Registry(Protocol):
    """A registry, in this process or far away."""

    async def register(self, instance: Instance) -> None:
        """Register and keep renewing in the background until cancel() or close().

        Returns once the registry has taken it; retries with back-off while the
        registry cannot be reached, so give it a time limit.
        """

    async def set_metadata(self, appid: str, hostname: str, metadata: dict[str, str]) -> None:
        """Merge metadata into an own registration; wakes those who watch the app."""

    async def cancel(self, appid: str, hostname: str) -> None:
        """Take an own registration back; not an error when it is unknown."""

    def watch(self, appid: str, callback: WatchCallback) -> Watch:
        """Call back in this event loop with the instances of `appid`, in all zones of the environment."""

    async def close(self) -> None:
        """Cancel own registrations (at most 2 s), end watches and tasks."""
