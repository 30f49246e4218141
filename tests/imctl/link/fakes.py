"""A registry and handlers for tests of what calls other nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from imctl.link.contract import Handlers
from imctl.link.local import withdraw_local
from imctl.link.server import LinkServer
from protocol.discovery_api import Instance


class FakeWatch:
    def __init__(self, callback: Callable[[tuple[Instance, ...]], None]) -> None:
        self.callback = callback
        self.instances: tuple[Instance, ...] = ()
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeRegistry:
    """A registry whose instances a test sets."""

    def __init__(self) -> None:
        self.watches: dict[str, list[FakeWatch]] = {}
        self.known: dict[str, tuple[Instance, ...]] = {}

    def watch(self, appid: str, callback: Callable[[tuple[Instance, ...]], None]) -> FakeWatch:
        watch = FakeWatch(callback)
        self.watches.setdefault(appid, []).append(watch)
        if appid in self.known:
            asyncio.get_running_loop().call_soon(self._tell, watch, self.known[appid])
        return watch

    def set(self, appid: str, *instances: Instance) -> None:
        self.known[appid] = instances
        for watch in self.watches.get(appid, []):
            self._tell(watch, instances)

    def _tell(self, watch: FakeWatch, instances: tuple[Instance, ...]) -> None:
        if not watch.closed:
            watch.instances = instances
            watch.callback(instances)


def instance(appid: str, hostname: str, address: str, *, batched: bool = True, **metadata: str) -> Instance:
    if batched:
        metadata["imctl.link"] = "1"
    addrs = ("tcp://127.0.0.1:1", f"grpc://{address}") if address else ()
    return Instance(appid, hostname, addrs=addrs, zone="sh001", metadata=metadata)


async def serve(handlers: Handlers, *, port: int = 0, local: bool = False) -> LinkServer:
    """Start a server; unless `local`, clients of this process use its socket all the same."""
    server = LinkServer(handlers, host="127.0.0.1", port=port, what="test grpc")
    await server.start()
    if not local:
        withdraw_local(server.address, handlers)
    return server


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is so that nothing signals, at most 10 s."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the state of a node under test has no event
            await asyncio.sleep(0.002)
