"""goim's wire over asyncio: a client for people and tests."""

from protocol.aio.client import Client
from protocol.aio.direction import Direction
from protocol.aio.errors import AuthRefusedError, ConnectError, ConnectionClosedError, ReplyTimeoutError

__all__ = [
    # client
    "Client",
    # direction
    "Direction",
    # errors
    "AuthRefusedError",
    "ConnectError",
    "ConnectionClosedError",
    "ReplyTimeoutError",
]
