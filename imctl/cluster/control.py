"""The supervisor's control socket: JSON lines, a reply for each request, in order.

Request `{"cmd": "ps", ...}`; reply `{"ok": true, "result": ...}` or
`{"ok": false, "error": {"kind", "message", "hint"}}`. Children are spoken to
in the same way over their stdin and stdout. The socket lies in a folder of
its user alone; who can open it may end the cluster.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from imctl import errors
from imctl.cluster.ports import PortsInUseError
from imctl.cluster.spec import OptionsError
from imctl.errors import ImctlError, PortInUseError

__all__ = ["MAX_LINE_BYTES", "ControlServer", "Request", "dump_error", "load_error"]

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Bound of a request or a reply; stats of a large cluster are some 100 KB."""

_MAX_CONNECTIONS = 64
_PYTHONS = frozenset(name for name in dir(builtins) if name.endswith("Error"))

Request = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Takes a command and the request's fields, returns the result. Any: JSON values."""

log = logging.getLogger(__name__)


def dump_error(exc: BaseException) -> dict[str, Any]:
    """Return an error as JSON-ready values. Any: JSON."""
    document: dict[str, Any] = {
        "kind": type(exc).__name__,
        "message": str(exc) or type(exc).__name__,
        "hint": str(getattr(exc, "hint", "")),
    }
    if isinstance(exc, PortInUseError):
        document |= {"address": exc.address, "what": exc.what, "holder": exc.holder}
    if isinstance(exc, PortsInUseError):
        document["taken"] = [dump_error(error) for error in exc.taken]
    return document


def load_error(document: Mapping[str, Any]) -> ImctlError:
    """Return the error that dump_error() wrote; one of an unknown class comes back as ImctlError."""
    kind = document.get("kind", "")
    if kind == "PortInUseError":
        return PortInUseError(document["address"], document["what"], document["holder"])
    if kind == "PortsInUseError":
        taken = document["taken"]
        return PortsInUseError(tuple(PortInUseError(one["address"], one["what"], one["holder"]) for one in taken))
    found = OptionsError if kind == "OptionsError" else getattr(errors, kind, None)
    cls = found if isinstance(found, type) and issubclass(found, ImctlError) else None
    message = str(document.get("message", ""))
    if cls is None:
        # The name is all that tells "ValueError: 3" from a message meant for people.
        message = f"{kind}: {message}" if kind in _PYTHONS or not kind.endswith("Error") else message
    return (cls or ImctlError)(message, hint=str(document.get("hint", "")))


class ControlServer:
    """Serves one handler on a Unix socket.

    Args:
        path: Where; the folder is made when it is missing.
        handle: Called for each request, one at a time a connection.
    """

    def __init__(self, path: Path, handle: Request) -> None:
        self._path = path
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._server = await asyncio.start_unix_server(self._connected, str(self._path), limit=MAX_LINE_BYTES)

    async def stop(self, grace_s: float = 1.0) -> None:
        """Take no more connections, let replies under way go out, and close; safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        current = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not current}
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=grace_s)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        await server.wait_closed()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError, ValueError):  # gone, stopping, or a line over the limit
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._server is not None and (line := await reader.readline()):
            try:
                request = json.loads(line)
                result = await self._handle(str(request["cmd"]), request)
                reply: dict[str, Any] = {"ok": True, "result": result}
            except ImctlError as exc:
                reply = {"ok": False, "error": dump_error(exc)}
            except (ValueError, KeyError, TypeError) as exc:
                log.warning("control request not understood: %.200r: %s", line, exc)
                reply = {"ok": False, "error": dump_error(exc)}
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
