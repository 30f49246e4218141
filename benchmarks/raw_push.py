"""The least a push can cost: one uvloop process reads the HTTP request, answers it, and writes to a client.

`python -m benchmarks.raw_push`: prints the port of its clients and that of its HTTP, ends with its stdin.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import uvloop

from benchmarks.measure import open_files
from protocol.frame import pack_frame

__all__ = ["main"]

_BODY = b'{"code":0,"message":""}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_FRAME = pack_frame(1000, b"x" * 64)


class _Client(asyncio.Protocol):
    def __init__(self, clients: list[asyncio.Transport]) -> None:
        self._clients = clients

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._clients.append(transport)  # type: ignore[arg-type]  # uvloop's transports have no common base


class _Http(asyncio.Protocol):
    def __init__(self, clients: list[asyncio.Transport]) -> None:
        self._clients = clients
        self._next = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._clients[self._next % len(self._clients)].write(_FRAME)
        self._next += 1
        self._transport.write(_ANSWER)  # type: ignore[attr-defined]  # a stream's transport


async def _run() -> None:
    loop = asyncio.get_running_loop()
    clients: list[asyncio.Transport] = []
    for protocol in (_Client, _Http):
        server = await loop.create_server(partial(protocol, clients), "127.0.0.1", 0, backlog=4096)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Run as a module."""
    open_files()
    uvloop.run(_run())


if __name__ == "__main__":
    main()
