"""A Redis with a replica, and a sentinel that makes the replica the master when the master is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from tests.services.brokers import Program

__all__ = ["PASSWORD", "SentinelSet"]

PASSWORD = "s3cret"


class SentinelSet:
    """Master, replica and sentinel, each a process of redis-server on loopback.

    Args:
        program: Path of redis-server.
        folder: For their files.
        tls: Options of redis-server for TLS, None for plain TCP with a password.
    """

    def __init__(self, program: str, folder: Path, tls: tuple[str, ...] = ()) -> None:
        self._program = program
        self._folder = folder
        self._tls = tls
        self._name = "mymaster"
        self.master = self._redis("first")
        self.replica = self._redis("second")
        self.sentinel = self._program_of("sentinel", b"+monitor master", self._sentinel)

    @property
    def hosts(self) -> str:
        """Sentinels as in a URL: one that is not there, and one that is."""
        return f"127.0.0.1:1,127.0.0.1:{self.sentinel.port}"

    def url(self, parameters: str = "") -> str:
        """Return the URL of the master, for a store or a bus."""
        login = "" if self._tls else f":{PASSWORD}@"
        more = f"?{parameters}" if parameters else ""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}+sentinel://{login}{self.hosts}/{self._name}/0{more}"

    async def start(self) -> None:
        """Start all, and wait until the sentinel knows the replica."""
        await asyncio.to_thread(self.master.start)
        await asyncio.to_thread(self.replica.start)
        await asyncio.to_thread(self.sentinel.start)
        await self._until_known("num-slaves", 1)

    async def fail_over(self) -> None:
        """Kill the master, and wait until the sentinel names the other."""
        gone = self.master
        await asyncio.to_thread(gone.stop, kill=True)
        await self._until_known("port", self.replica.port)
        self.master, self.replica = self.replica, gone

    async def demote(self) -> None:
        """Have the sentinel begin to swap master and replica, both of which stay."""
        client = self._asking()
        try:
            for _ in range(1000):
                try:
                    await client.execute_command("SENTINEL", "FAILOVER", self._name)
                    return
                except ResponseError:  # it has not heard enough of the replica yet
                    await asyncio.sleep(0.02)
            raise TimeoutError("the sentinel finds no replica to promote")
        finally:
            await client.aclose()

    def stop(self) -> None:
        """End all."""
        for program in (self.sentinel, self.replica, self.master):
            program.stop(kill=True)

    def client(self, port: int) -> Any:
        """Return a client of a Redis. Any: redis-py's, with options of its own for TLS."""
        return self._client(port, None if self._tls else PASSWORD)

    def _asking(self) -> Any:
        return self._client(self.sentinel.port, None)

    def _client(self, port: int, password: str | None) -> Any:
        tls = {"ssl": True, "ssl_cert_reqs": "none"} if self._tls else {}
        return redis.asyncio.Redis(host="127.0.0.1", port=port, password=password, protocol=2, **tls)

    async def _until_known(self, name: str, value: int) -> None:
        client = self._asking()
        try:
            # Not cut short: a client of redis-py that is cancelled leaves its connection open.
            for _ in range(2000):
                try:
                    if (await client.sentinel_masters())[self._name][name] == value:
                        return
                except (RedisError, KeyError):
                    pass
                await asyncio.sleep(0.02)
            raise TimeoutError(f"the sentinel does not say {name} = {value}")
        finally:
            await client.aclose()

    def _redis(self, name: str) -> Program:
        return self._program_of(name, b"eady to accept connections", self._server)

    def _program_of(self, name: str, ready: bytes, command: Any) -> Program:
        folder = self._folder / name
        folder.mkdir()
        return Program(command, folder, ready=ready, url="")

    def _server(self, port: int, data: Path) -> list[str]:
        command = [self._program, *self._port(port), "--bind", "127.0.0.1", "--dir", str(data), "--save", ""]
        command += ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]
        if not self._tls:
            command += ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
        if data.name == "second":
            command += ["--replicaof", "127.0.0.1", str(self.master.port)]
        return command

    def _sentinel(self, port: int, data: Path) -> list[str]:
        settings = data / "sentinel.conf"
        lines = [
            *(f"sentinel monitor {self._name} 127.0.0.1 {self.master.port} 1", "bind 127.0.0.1"),
            f"sentinel down-after-milliseconds {self._name} 400",
            f"sentinel failover-timeout {self._name} 2000",
        ]
        if not self._tls:
            lines.append(f"sentinel auth-pass {self._name} {PASSWORD}")
        settings.write_text("\n".join(lines) + "\n")
        return [self._program, str(settings), "--sentinel", *self._port(port), "--dir", str(data)]

    def _port(self, port: int) -> list[str]:
        return ["--port", "0", "--tls-port", str(port), *self._tls] if self._tls else ["--port", str(port)]
