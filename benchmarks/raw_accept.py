"""The least a server can do for a connect: uvloop accepts, reads once and answers 16 bytes.

`python -m benchmarks.raw_accept`: prints its port, ends with its stdin.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.measure import open_files
from protocol.frame import pack_frame

__all__ = ["main"]

_REPLY = pack_frame(8)


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_REPLY)  # type: ignore[attr-defined]  # a stream's transport


async def _run() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Server, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Run as a module."""
    open_files()
    uvloop.run(_run())


if __name__ == "__main__":
    main()
