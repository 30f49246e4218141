"""Clients that connect and authenticate as fast as `inflight` allows, then stay until stdin ends.

`python -m benchmarks.storm HOST PORT COUNT INFLIGHT`: prints `ready N`.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.measure import open_files
from protocol.bodies import AuthToken
from protocol.frame import pack_frame

__all__ = ["main"]


class _Client(asyncio.Protocol):
    def __init__(self, number: int, joined: asyncio.Future[None]) -> None:
        self._token = AuthToken(number + 1, f"storm-{number}", "live://1", "bench", (1000,))
        self._joined = joined

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(pack_frame(7, self._token.serialize()))  # type: ignore[attr-defined]  # a stream's transport

    def data_received(self, data: bytes) -> None:
        if not self._joined.done():
            self._joined.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._joined.done():
            self._joined.set_exception(exc or ConnectionError("closed before the auth reply"))


async def _run(host: str, port: int, count: int, inflight: int) -> None:
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(inflight)

    async def connect(number: int) -> None:
        async with slots:
            joined: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(lambda: _Client(number, joined), host, port)
            await joined

    await asyncio.gather(*(connect(number) for number in range(count)))
    sys.stdout.write(f"ready {count}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Run as a module."""
    open_files()
    host, port, count, inflight = sys.argv[1:5]
    uvloop.run(_run(host, int(port), int(count), int(inflight)))


if __name__ == "__main__":
    main()
