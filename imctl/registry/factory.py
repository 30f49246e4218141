"""Registry by address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imctl.registry.client import DiscoveryRegistry

__all__ = ["open_registry"]


def open_registry(
    nodes: str | Sequence[str], *, env: str = "dev", zone: str = "sh001", region: str = "sh"
) -> DiscoveryRegistry:
    """Return a client of the registry at `nodes`; nothing is contacted yet.

    Args:
        nodes: URLs or `host:port`, as a list or as one text with commas between.
        env: Where watches look; with zone and region, the place of instances that name none.
        zone: See env.
        region: See env.

    Raises:
        ConfigError: there is none, or one is no address.
    """
    from imctl.registry.client import DiscoveryRegistry  # brings aiohttp, 0.2 s

    given = nodes.split(",") if isinstance(nodes, str) else nodes
    return DiscoveryRegistry([node.strip() for node in given if node.strip()], env=env, zone=zone, region=region)
