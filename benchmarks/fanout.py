"""Fan-out of one room push to many clients: comet's own code against a bare transport.write() loop."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable

from benchmarks.measure import Line, cpu_s, ratio_of_medians
from benchmarks.processes import sink
from imctl.cluster.inprocess import LocalCluster
from imctl.comet.node import Comet
from imctl.link.methods import BROADCAST_ROOM
from protocol.frame import pack_frame
from protocol.pb.comet import BroadcastRoomReq
from protocol.pb.protocol import Proto
from protocol.websocket import serialize_message

__all__ = ["raw_write_us", "run"]

_CLIENTS = 1000
_ROUNDS = 40
_BODY = b"x" * 64
_DRAIN_S = 0.06


class _RawServer(asyncio.Protocol):
    def __init__(self, transports: list[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(transport)  # type: ignore[arg-type]  # uvloop's transports have no common base


async def run() -> list[Line]:
    """Measure with 1 and with 20 messages a write, on TCP, and with 1 on WebSocket."""
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = []
    server = await loop.create_server(lambda: _RawServer(transports), "127.0.0.1", 0, backlog=4096)
    raw_address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    lines = []
    async with LocalCluster() as cluster:
        comet = cluster.node("comet-1")
        assert isinstance(comet, Comet)
        async with (
            sink(raw_address, _CLIENTS, "raw"),
            sink(cluster.tcp, _CLIENTS, "tcp", "live://tcp"),
            sink(cluster.ws, _CLIENTS, "ws", "live://ws"),
        ):
            # A benchmark may poll: nothing here is a server.
            while len(transports) < _CLIENTS or len(comet.sessions.hub.channels) < 2 * _CLIENTS:
                await asyncio.sleep(0.01)
            for room, batch, writes in (("live://tcp", 1, 10), ("live://tcp", 20, 10), ("live://ws", 1, 10)):
                lines.append(await _measure(comet, transports, room, batch, writes))
            dropped = sum(comet.sessions.drops.values.values())
            assert not dropped, f"{dropped} messages were dropped: the sinks did not keep up"
    server.close()
    return lines


async def raw_write_us() -> float:
    """Return what one write of one message to one of 1,000 clients costs a bare loop, in CPU microseconds."""
    transports: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: _RawServer(transports), "127.0.0.1", 0, backlog=4096
    )
    data = pack_frame(1000, _BODY)

    def write() -> None:
        for transport in transports:
            transport.write(data)

    async with sink("{}:{}".format(*server.sockets[0].getsockname()[:2]), _CLIENTS, "raw"):
        while len(transports) < _CLIENTS:
            await asyncio.sleep(0.01)
        rates = [await _rate(write, 10, 1) for _ in range(11)]
    server.close()
    return 1e6 / statistics.median(rates)


async def _measure(comet: Comet, transports: list[asyncio.Transport], room: str, batch: int, writes: int) -> Line:
    frames = pack_frame(1000, _BODY) * batch
    request = BroadcastRoomReq(roomID=room, proto=Proto(ver=1, op=9, body=frames))
    data = serialize_message(pack_frame(9, frames)) if room == "live://ws" else frames
    handler = comet.handlers[BROADCAST_ROOM]

    def write_raw() -> None:
        for transport in transports:
            transport.write(data)

    raws: list[float] = []
    values: list[float] = []
    for number in range(_ROUNDS):
        # Turn about: whatever the first of two does to the caches, it does to both.
        for is_raw in (True, False) if number % 2 else (False, True):
            rate = await _rate(write_raw if is_raw else lambda: handler(request), writes, batch)
            (raws if is_raw else values).append(rate)
    ratio = ratio_of_medians(values, raws)
    kind = "ws" if room == "live://ws" else "tcp"
    return Line(
        f"fan-out {kind}, {batch} a write",
        "deliveries/CPU-s",
        statistics.median(values),
        statistics.median(raws),
        ratio,
        "at least 0.95 of the raw loop",
        ratio >= 0.95,
    )


async def _rate(write: Callable[[], object], writes: int, batch: int) -> float:
    """Return deliveries per CPU second of this process."""
    await asyncio.sleep(_DRAIN_S)
    before = cpu_s()
    for _ in range(writes):
        write()
        await asyncio.sleep(0)
    return writes * _CLIENTS * batch / (cpu_s() - before)
