"""An embedded server as the supervisor sees it: a program that knows nothing of us, run as one of the processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from imctl.cluster.naming import DEFAULT_CLUSTER
from imctl.cluster.services import ServiceSpec, program_of
from imctl.cluster.supervised import State, Supervised
from imctl.errors import ClusterError, PortInUseError, StartError

__all__ = ["ManagedProgram"]

_TRIES = 5
# Valkey's `PID:ROLE day month year time level`.
_THEIR_STAMP = re.compile(rb"^\d+:[A-Z] \d\d \w{3} \d{4} [\d:.]+ [.*#-] ")
_OUR_STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3} ")


class ManagedProgram(Supervised):
    """An embedded server; the process is the program itself.

    Args:
        service: Which, and its port; 0 for any.
        folder: For its data, its own.
        logs: Folder of its log file.
        cluster: Name of its cluster.
    """

    def __init__(self, service: ServiceSpec, folder: Path, logs: Path, cluster: str = DEFAULT_CLUSTER) -> None:
        super().__init__(service, logs, cluster)
        self._service = service
        self._folder = folder
        self._port = 0
        self._marker = b""
        self._seen_marker = asyncio.Event()
        self._last_line = ""
        self._port_is_taken = False

    @property
    def address(self) -> str:
        """Its `host:port`; after start()."""
        return f"127.0.0.1:{self._port}"

    async def spawn(self) -> None:
        """Start the program."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._port = self._service.port or _free_port()
        command, self._marker = program_of(self._service, self._port, self._folder)
        self._seen_marker.clear()
        self._port_is_taken = False
        process = await self._execute(sys.executable, "-P", "-m", "imctl.cluster.execute", str(os.getpid()), *command)
        self._tasks = [
            asyncio.create_task(self._read_log(stream, self._take_log), name=f"{self.name} log")
            for stream in (process.stdout, process.stderr)
        ]

    async def start(self, registry: str | None, timeout_s: float) -> None:
        """Return when it takes connections; the registry is of no use to it.

        Raises:
            StartError: it ended, or took too long.
            PortInUseError: its port is taken.
        """
        tries = 1 if self._service.port else _TRIES
        while not await self._is_up(timeout_s):
            tries -= 1
            await self.stop(0.0)
            await self.wait()
            if not tries:
                if self._port_is_taken:
                    raise PortInUseError(self.address, self.name)
                raise StartError(
                    f"{self.name} did not start: {self._last_line or self.last_exit}", hint=self.hint("logs")
                )
            # Between choosing a port and listening on it somebody else can be faster.
            await self.spawn()
        self.addresses = {self.kind: self.address}
        self._service = self._service.pinned(self._port)
        self._is_ready()

    async def call(self, cmd: str, timeout_s: float, **fields: Any) -> Any:
        """Return nothing that it has counted, as long as it runs: it takes no requests of ours."""
        if self.state is not State.RUNNING:
            raise ClusterError(f"{self.name} is {self.state}")
        return {}

    async def _is_up(self, timeout_s: float) -> bool:
        assert self._process is not None, "spawn() comes first"
        waits = [
            asyncio.create_task(self._seen_marker.wait(), name=f"{self.name} ready"),
            asyncio.create_task(self._process.wait(), name=f"{self.name} end"),
        ]
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
        return self._seen_marker.is_set() and self._process.returncode is None

    async def _ask_to_end(self, grace_s: float) -> None:
        self.signal(signal.SIGTERM)

    def _has_ended(self) -> None:
        """Nobody waits for an answer."""

    def _take_log(self, lines: bytes) -> None:
        if self._marker in lines:
            self._seen_marker.set()
        self._port_is_taken |= b"ddress already in use" in lines
        now = datetime.now().isoformat(timespec="milliseconds")  # noqa: DTZ005  the machine's own time, as in other logs
        stamped = []
        for line in lines.splitlines():
            if _OUR_STAMP.match(line):
                stamped.append(line + b"\n")
            elif text := _THEIR_STAMP.sub(b"", line).strip():
                stamped.append(b"%s INFO %s: %s\n" % (now.encode(), self.name.encode(), text))
        if stamped:
            self._last_line = stamped[-1].split(b": ", 1)[-1].decode(errors="replace").rstrip()
        self._log.write(b"".join(stamped))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
