"""Registry by address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imctl.bus.url import known_url
from imctl.errors import ConfigError

if TYPE_CHECKING:
    from imctl.registry.client import DiscoveryRegistry

__all__ = ["node_url", "node_urls", "open_registry"]


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

    return DiscoveryRegistry(node_urls(nodes), env=env, zone=zone, region=region)


def node_urls(nodes: str | Sequence[str]) -> list[str]:
    """Return the base URLs of nodes given as for open_registry().

    Raises:
        ConfigError: one is no address.
    """
    given = nodes.split(",") if isinstance(nodes, str) else nodes
    return [node_url(node.strip()) for node in given if node.strip()]


def node_url(text: str) -> str:
    """Return the base URL of a node given as URL or `host:port`.

    Raises:
        ConfigError: it is neither.
    """
    url = text if "://" in text else f"http://{text}"
    found = known_url(url, "registry node", ("http", "https"), "such as http://127.0.0.1:7171")
    if not found.hosts:
        raise ConfigError(f"registry node {found.shown!r} has no host", hint="such as http://127.0.0.1:7171")
    return url.rstrip("/")
