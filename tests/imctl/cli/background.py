"""Servers for commands under test: a command has the main thread and its loop, so they run beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from aiohttp import web

__all__ = ["Background", "FakeLogic"]

T = TypeVar("T", bound=AbstractAsyncContextManager[Any])


class Background(Generic[T]):
    """Enters an async context manager in a thread of its own: `with Background(FakeComet) as comet:`.

    Args:
        make: Called there, with a running loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="background")
        self._found: T | BaseException | None = None

    def __enter__(self) -> T:
        self._thread.start()
        assert self._ready.wait(10)
        if isinstance(self._found, BaseException):
            self._thread.join()
            raise self._found
        return self._found

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._make() as self._found:
                self._ready.set()
                await self._done.wait()
        except BaseException as exc:
            self._found = exc
            self._ready.set()
            raise


class FakeLogic:
    """An HTTP server that answers as it is told.

    Args:
        answers: By path: (status, body), or a list of them for one request after another.
    """

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers = {
            "/goim/push/mids": (200, '{"code":0,"message":""}'),
            "/goim/push/keys": (200, '{"code":0,"message":""}'),
            "/goim/push/room": (200, '{"code":0,"message":""}'),
            "/goim/push/all": (200, '{"code":0,"message":""}'),
            "/goim/online/total": (200, '{"code":0,"message":"","data":{"conn_count":7,"ip_count":2}}'),
        } | (answers or {})
        self.requests: list[tuple[str, str, bytes]] = []
        self.address = ""

    async def __aenter__(self) -> FakeLogic:
        server = web.Server(self._answer)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.requests.append((request.method, request.raw_path, await request.read()))
        answer = self.answers.get(request.path, (404, "404 page not found"))
        if isinstance(answer, list):
            answer = answer.pop(0)
        status, text = answer
        return web.Response(status=status, text=text)
