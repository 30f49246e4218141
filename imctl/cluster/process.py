"""One process with nodes of the cluster as the supervisor sees it: spawned, spoken to, signalled, ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imctl.cluster.control import load_error
from imctl.cluster.naming import DEFAULT_CLUSTER
from imctl.cluster.spec import ProcessSpec
from imctl.cluster.supervised import State, Supervised
from imctl.errors import ClusterError, StartError

__all__ = ["ManagedProcess"]

_LOAD_S = 30.0
"""Imports on a machine that is busy with something else."""


class ManagedProcess(Supervised):
    """A `python -m imctl.cluster.child` and what is known of it.

    Args:
        spec: What runs in it.
        logs: Folder of its log file.
        on_warning: Called with each line of its log that is a warning or worse.
        cluster: Name of its cluster.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        logs: Path,
        on_warning: Callable[[str], None] = lambda line: None,
        *,
        cluster: str = DEFAULT_CLUSTER,
    ) -> None:
        super().__init__(spec, logs, cluster)
        self.spec = spec
        self._on_warning = on_warning
        self._loaded: asyncio.Future[None] | None = None
        self._replies: dict[int, asyncio.Future[Any]] = {}  # Any: JSON
        self._ids = itertools.count(1)

    async def spawn(self) -> None:
        """Start the process and hand it its spec; it imports while the caller does something else."""
        self._loaded = asyncio.get_running_loop().create_future()
        process = await self._execute(*(sys.executable, "-P", "-m", "imctl.cluster.child", self.name, str(os.getpid())))
        self._send(self.spec.dump())
        self._tasks = [
            asyncio.create_task(self._read_replies(process), name=f"{self.name} replies"),
            asyncio.create_task(self._read_log(process.stderr, self._take_log), name=f"{self.name} log"),
        ]

    async def start(self, registry: str | None, timeout_s: float) -> None:
        """Have its nodes start; returns when they are ready.

        Raises:
            ImctlError: what the node failed with, such as PortInUseError.
            StartError: it ended, or took too long.
        """
        assert self._loaded is not None, "spawn() comes first"
        try:
            async with asyncio.timeout(_LOAD_S):
                await asyncio.shield(self._loaded)
            ready = await self.call("start", timeout_s, registry=registry)
        except (ClusterError, TimeoutError) as exc:
            raise StartError(
                f"{self.name} did not start: {str(exc) or 'it took too long to load'}",
                hint=self.hint("logs"),
            ) from exc
        self.addresses = ready["addresses"]
        self.persistent = ready["persistent"]
        self.spec = self.spec.pinned(self.addresses)
        self._is_ready()

    async def call(self, cmd: str, timeout_s: float, **fields: Any) -> Any:
        """Send a request and return its result. Any: JSON.

        Raises:
            ImctlError: what the process answered.
            ClusterError: it is gone, paused, or does not answer in time.
        """
        if self.state is State.PAUSED:
            raise ClusterError(f"{self.name} is paused", hint=self.hint("resume"))
        number = next(self._ids)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            self._send({"id": number, "cmd": cmd, **fields})
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            raise ClusterError(f"{self.name} did not answer {cmd} in {timeout_s:g} s") from None
        finally:
            self._replies.pop(number, None)

    async def _ask_to_end(self, grace_s: float) -> None:
        with contextlib.suppress(ClusterError):
            await self.call("stop", 1.0, grace_s=grace_s)

    def _send(self, document: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None or process.stdin.is_closing():
            raise ClusterError(f"{self.name} is not running")
        process.stdin.write(json.dumps(document).encode() + b"\n")

    async def _read_replies(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            document = json.loads(line)
            if "event" in document:
                if self._loaded is not None and not self._loaded.done():
                    if document["event"] == "loaded":
                        self._loaded.set_result(None)
                    else:
                        self._loaded.set_exception(load_error(document["error"]))
                continue
            reply = self._replies.get(document["id"])
            if reply is None or reply.done():
                continue
            if document["ok"]:
                reply.set_result(document["result"])
            else:
                reply.set_exception(load_error(document["error"]))
        self._has_ended()

    def _take_log(self, lines: bytes) -> None:
        self._log.write(lines)
        for line in lines.split(b"\n"):
            words = line.split(b" ", 2)
            if len(words) == 3 and words[1] in (b"WARNING", b"ERROR", b"CRITICAL"):
                self._on_warning(b" ".join(words[1:]).decode("utf-8", "replace"))

    def _has_ended(self) -> None:
        gone = ClusterError(f"{self.name} ended")
        waiting = [*self._replies.values(), *([self._loaded] if self._loaded is not None else [])]
        for future in waiting:
            if not future.done():
                future.set_exception(gone)
                future.exception()  # nobody may be waiting: then it is not an error
