"""A registry and a bus that tests steer by hand, and a client that sends bytes as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from imctl.bus.contract import BusError, Subscription
from imctl.registry.contract import WatchCallback
from protocol.discovery_api import Instance
from protocol.pb import logic

__all__ = ["FakeBus", "FakeRegistry", "HttpAnswer", "comet_instance", "http", "read_answer"]


def comet_instance(
    hostname: str = "comet-a",
    *,
    conns: int = 3,
    ips: int = 1,
    weight: str = "10",
    addrs: str = "127.0.0.1",
    offline: str = "false",
    latest: int = 1,
    region: str = "sh",
) -> Instance:
    metadata = {"addrs": addrs, "weight": weight, "offline": offline, "conn_count": str(conns), "ip_count": str(ips)}
    return Instance(
        appid="goim.comet",
        hostname=hostname,
        addrs=("grpc://192.0.2.2:23109",),
        region=region,
        zone="sh001",
        env="dev",
        metadata=metadata,
        latest_timestamp=latest,
    )


class _Watch:
    def __init__(self, registry: FakeRegistry, callback: WatchCallback) -> None:
        self.registry = registry
        self.callback = callback
        self.instances: tuple[Instance, ...] = ()

    def close(self) -> None:
        self.registry.watches.remove(self)


class FakeRegistry:
    """Instances are what `report` says."""

    def __init__(self) -> None:
        self.registered: dict[tuple[str, str], Instance] = {}
        self.watches: list[_Watch] = []
        self.refusal: Exception | None = None

    async def register(self, instance: Instance) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.registered[instance.appid, instance.hostname] = instance

    async def set_metadata(self, appid: str, hostname: str, metadata: dict[str, str]) -> None:
        raise NotImplementedError

    async def cancel(self, appid: str, hostname: str) -> None:
        self.registered.pop((appid, hostname), None)

    def watch(self, appid: str, callback: WatchCallback) -> _Watch:
        assert appid == "goim.comet"
        watch = _Watch(self, callback)
        self.watches.append(watch)
        return watch

    def report(self, *comets: Instance) -> None:
        for watch in self.watches:
            watch.callback(comets)

    async def close(self) -> None:
        pass


class FakeBus:
    """Keeps what is published; holds it back while `gate` is clear."""

    url = "fake://"

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.refusal: str | None = None

    async def publish(self, key: str, value: bytes) -> None:
        self.waiting.set()
        await self.gate.wait()
        if self.refusal is not None:
            raise BusError(self.refusal)
        self.records.append((key, value))

    def messages(self) -> list[tuple[str, logic.PushMsg]]:
        return [(key, logic.PushMsg.FromString(value)) for key, value in self.records]

    async def subscribe(self, group: str) -> Subscription:
        raise NotImplementedError

    def stats(self) -> dict[str, int]:
        return {}

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    reason: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


async def read_answer(reader: asyncio.StreamReader, method: str = "GET") -> HttpAnswer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    version, status, reason = head[0].split(" ", 2)
    assert version == "HTTP/1.1"
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in head[1:])]
    size = 0 if method == "HEAD" or status == "100" else int(dict(headers)["Content-Length"])
    return HttpAnswer(int(status), reason, headers, await reader.readexactly(size))


async def http(
    address: str, method: str, target: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
) -> HttpAnswer:
    """One request on a connection of its own, with the target sent as it is."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return await asyncio.wait_for(read_answer(reader, method), 10)
    finally:
        writer.close()
        await writer.wait_closed()
