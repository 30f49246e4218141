"""The registry for nodes in its own process: no HTTP, changes seen in the next turn of the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from imctl.errors import ImctlError
from imctl.registry.contract import WatchCallback
from imctl.registry.memory import Change, MemoryRegistry
from protocol.discovery_api import Code, Instance, Status, dump_json, with_place
from protocol.discovery_forms import Cancel, Register, Renew, Set

__all__ = ["LocalRegistry"]

_log = logging.getLogger(__name__)


class LocalRegistry:
    """Implements `imctl.registry.contract.Registry` over a registry in this event loop.

    A watch is not called before its app has had an instance.

    Args:
        region: With zone and env, the place of instances that name none; env is also where watches look.
    """

    def __init__(
        self,
        memory: MemoryRegistry,
        now_ns: Callable[[], int],
        *,
        region: str,
        zone: str,
        env: str,
        renew_every_s: float = 30.0,
    ) -> None:
        self._memory = memory
        self._now_ns = now_ns
        self._region, self._zone, self._env = region, zone, env
        self._renew_every_s = renew_every_s
        self._own: dict[tuple[str, str], Instance] = {}
        self._watches: set[_LocalWatch] = set()
        self._renewing: asyncio.TimerHandle | None = None

    async def register(self, instance: Instance) -> None:
        instance = with_place(instance, region=self._region, zone=self._zone, env=self._env)
        code = self._memory.register(Register(instance), self._now_ns())
        if code != Code.OK:
            raise ImctlError(f"the registry refused {instance.appid} {instance.hostname} with code {int(code)}")
        self._own[instance.appid, instance.hostname] = instance
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().call_later(self._renew_every_s, self._renew)

    async def set_metadata(self, appid: str, hostname: str, metadata: dict[str, str]) -> None:
        own = self._own.get((appid, hostname))
        if own is None:
            raise LookupError(f"{appid} {hostname} is not registered here")
        own = self._own[appid, hostname] = replace(own, metadata={**own.metadata, **metadata})
        change = Set(own.zone, own.env, appid, (hostname,), metadata=(dump_json(metadata).decode(),))
        if self._memory.set(change, self._now_ns()) != Code.OK:
            # Somebody took the instance out; the owner's word counts.
            self._memory.register(Register(own), self._now_ns())

    async def cancel(self, appid: str, hostname: str) -> None:
        own = self._own.pop((appid, hostname), None)
        if own is not None:
            self._memory.cancel(Cancel(own.zone, own.env, appid, hostname))
        self._rest()

    def watch(self, appid: str, callback: WatchCallback) -> _LocalWatch:
        watch = _LocalWatch(self._memory, self._env, appid, callback, self._watches)
        self._watches.add(watch)
        return watch

    async def close(self) -> None:
        for watch in tuple(self._watches):
            watch.close()
        for appid, hostname in tuple(self._own):
            await self.cancel(appid, hostname)

    def _renew(self) -> None:
        now_ns = self._now_ns()
        for own in self._own.values():
            renewed = self._memory.renew(Renew(own.zone, own.env, own.appid, own.hostname), now_ns)
            if renewed.code != Code.OK:
                self._memory.register(Register(own), now_ns)
        self._renewing = asyncio.get_running_loop().call_later(self._renew_every_s, self._renew)

    def _rest(self) -> None:
        if not self._own and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None


class _LocalWatch:
    """Reports at most once a turn of the loop, whatever happened in it."""

    def __init__(
        self, memory: MemoryRegistry, env: str, appid: str, callback: WatchCallback, watches: set[_LocalWatch]
    ) -> None:
        self._memory = memory
        self._env = env
        self._appid = appid
        self._callback = callback
        self._watches = watches
        self._loop = asyncio.get_running_loop()
        self._scheduled: asyncio.Handle | None = None
        memory.listen(env, appid, self._changed)
        if memory.info(env, appid) is not None:
            self._scheduled = self._loop.call_soon(self._report)

    @property
    def instances(self) -> tuple[Instance, ...]:
        info = self._memory.info(self._env, self._appid, status=Status.UP)
        return info.flat() if info is not None else ()

    def close(self) -> None:
        self._watches.discard(self)
        self._memory.unlisten(self._env, self._appid, self._changed)
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _changed(self, change: Change) -> None:
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._report)

    def _report(self) -> None:
        self._scheduled = None
        try:
            self._callback(self.instances)
        except Exception:
            _log.exception("a watcher of %s failed", self._appid)
