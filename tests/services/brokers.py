"""Servers that keep what they have acknowledged when they are stopped and started again."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from imctl.cluster.services import ServiceSpec, program_of
from tests.conftest import end_with_parent
from tests.ports import free_port

__all__ = ["Program", "durable_redis", "embedded", "mosquitto", "until"]


async def until(condition: Callable[[], object], timeout_s: float = 80.0) -> None:
    """Return once the condition holds; for what other tasks or processes do, which no event here tells of."""
    async with asyncio.timeout(timeout_s):
        for _ in itertools.count():
            if condition():
                return
            await asyncio.sleep(0.01)


class Program:
    """A server program on a free loopback port, the same one after a restart.

    Args:
        command: Gives the command line for a port and a folder.
        folder: For its data and log.
        ready: Stands in its log when it takes connections.
        url: Of a bus on it, with PORT in it.
    """

    def __init__(self, command: Callable[[int, Path], list[str]], folder: Path, *, ready: bytes, url: str) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._command = command
        self._folder = folder
        self._ready = ready
        self._url = url
        self._log = folder / "log"

    @property
    def url(self) -> str:
        return self._url.replace("PORT", str(self.port))

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        # Between choosing a port and listening on it another worker can be faster.
        for _ in range(1 if self.port else 5):
            port = self.port or free_port()
            with self._log.open("wb") as log:
                self.process = subprocess.Popen(
                    self._command(port, self._folder),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=end_with_parent,
                )
            until_s = time.monotonic() + 10
            while time.monotonic() < until_s and self.process.poll() is None:
                if self._ready in self._log.read_bytes():
                    self.port = port
                    return
                time.sleep(0.01)
            self.stop()
        raise RuntimeError(f"{self._command(0, self._folder)[0]} did not start:\n{self._log.read_text()}")

    def stop(self, *, kill: bool = False) -> None:
        """End it and wait for it; a server that is not running stays so."""
        process, self.process = self.process, None
        if process is not None:
            (process.kill if kill else process.terminate)()
            process.wait(timeout=20)


def durable_redis(program: str, folder: Path) -> Program:
    def command(port: int, data: Path) -> list[str]:
        return [
            *(program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(data)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        ]

    return Program(command, folder, ready=b"eady to accept connections", url="redis://127.0.0.1:PORT/0?lease_s=1")


def mosquitto(program: str, folder: Path) -> Program:
    def command(port: int, data: Path) -> list[str]:
        settings = data / "mosquitto.conf"
        settings.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {data}/\n"
            "max_queued_messages 0\nmax_inflight_messages 0\nuser root\n"
        )
        return [program, "-c", str(settings)]

    return Program(command, folder, ready=b" running", url="mqtt://127.0.0.1:PORT/goim-push-topic?lease_s=1")


def embedded(service: str, folder: Path) -> Program:
    """Return the server that `imctl up` starts for this service."""

    def command(port: int, data: Path) -> list[str]:
        return program_of(ServiceSpec(service, port), port, data)[0]

    url = {"mqtt": "mqtt://127.0.0.1:PORT/goim-push-topic?lease_s=1", "valkey": "valkey://127.0.0.1:PORT"}[service]
    return Program(command, folder, ready=program_of(ServiceSpec(service, 0), 0, folder)[1], url=url)
