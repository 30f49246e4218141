"""A link with a client on one end and a comet on the other."""

import contextlib

from sim.network.link import Link
from tests.sim.network_kit import Client, connected, way_of

__all__ = ["joined"]


@contextlib.asynccontextmanager
async def joined(network=None):
    """Yield a way, a client that is connected on it, and comet's end."""
    way, client = way_of(network), Client()
    async with connected(lambda: Link(way, client)) as comet:
        yield way, client, comet
    way.wheel.close()
