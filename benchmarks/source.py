"""A server that writes scripted chunks to its clients, one chunk to all at a time.

`python -m benchmarks.source`: prints its port. Clients send an op 7 frame;
one whose mid is 0 counts as raw, any other as a simulated client, and gets an
auth reply. Commands on stdin, a line each: `raw|sim CHUNKS BATCH` writes that
many chunks of BATCH messages to every client of the kind, with a pause between
two so that a client seldom gets both in one read.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from benchmarks.measure import open_files
from protocol.bodies import parse_token
from protocol.frame import pack_frame, parse_frames
from sim.publish.stamp import make_body

__all__ = ["BODY_BYTES", "RUN", "main"]

RUN = 1
BODY_BYTES = 64
_PAUSE_S = 0.008


class _Client(asyncio.Protocol):
    kinds: dict[str, list[asyncio.Transport]] = {"raw": [], "sim": []}  # noqa: RUF012  # one server a process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a stream's transport

    def data_received(self, data: bytes) -> None:
        frame = parse_frames(data)[0][0]
        if frame.op == 7:
            self.kinds["sim" if parse_token(frame.body).mid else "raw"].append(self._transport)
            self._transport.write(pack_frame(8))


async def _run() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Client, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    sequence = 0
    while line := (await commands.readline()).decode():
        kind, chunks, batch = line.split()
        for _ in range(int(chunks)):
            now = time.monotonic_ns()
            bodies = (make_body(RUN, 0, sequence + i, now, BODY_BYTES) for i in range(int(batch)))
            data = b"".join(pack_frame(1000, body) for body in bodies)
            sequence += int(batch) if kind == "sim" else 0
            for transport in _Client.kinds[kind]:
                transport.write(data)
            await asyncio.sleep(_PAUSE_S)


def main() -> None:
    """Run as a module."""
    open_files()
    uvloop.run(_run())


if __name__ == "__main__":
    main()
