"""A registry far away: ours or a real bilibili discovery, over HTTP."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

from imctl.errors import ImctlError
from imctl.registry.calls import Backoff, DiscoveryNodes, RegistryUnreachableError
from imctl.registry.contract import WatchCallback
from imctl.registry.watching import PolledWatch, WatchLoop
from protocol.discovery_api import Code, Instance, dump_json, with_place
from protocol.discovery_forms import register_form

__all__ = ["DiscoveryRegistry"]

_log = logging.getLogger(__name__)

_CLOSE_S = 2.0  # for taking back all own registrations


class DiscoveryRegistry:
    """Implements `imctl.registry.contract.Registry` over discovery's HTTP API.

    Registrations are renewed every `renew_every_s` and made anew when the
    registry has forgotten them, or at once when it comes back after having
    been away. A watch is not called before its app has had an instance.

    Args:
        nodes: URLs or `host:port` of the registry's nodes; the next one is tried when one fails.
        env: With zone and region, the place of instances that name none; env is also where watches look.
    """

    def __init__(
        self,
        nodes: Sequence[str],
        *,
        env: str = "dev",
        zone: str = "sh001",
        region: str = "sh",
        renew_every_s: float = 30.0,
    ) -> None:
        self._nodes = DiscoveryNodes(nodes)
        self._env, self._zone, self._region = env, zone, region
        self._renew_every_s = renew_every_s
        self._own: dict[tuple[str, str], _Lease] = {}
        # discovery keys polls by host name and mixes up two of the same.
        self._watching = WatchLoop(self._nodes, env=env, hostname=f"imctl-{uuid.uuid4().hex}", on_return=self._returned)

    async def register(self, instance: Instance) -> None:
        instance = with_place(instance, region=self._region, zone=self._zone, env=self._env)
        key = (instance.appid, instance.hostname)
        old = self._own.pop(key, None)
        if old is not None:
            await old.stop()
        lease = self._own[key] = _Lease(self._nodes, instance, self._renew_every_s)
        try:
            await lease.register()
        except BaseException:
            if self._own.get(key) is lease:
                del self._own[key]
            raise
        if self._own.get(key) is lease:
            lease.start()
        else:  # cancelled meanwhile
            await lease.cancel()

    async def set_metadata(self, appid: str, hostname: str, metadata: dict[str, str]) -> None:
        """Merge metadata; a registry that is away gets it when it is back."""
        lease = self._own.get((appid, hostname))
        if lease is None:
            raise LookupError(f"{appid} {hostname} is not registered here")
        await lease.set_metadata(metadata)

    async def cancel(self, appid: str, hostname: str) -> None:
        lease = self._own.pop((appid, hostname), None)
        if lease is not None:
            await lease.stop()
            await lease.cancel()

    def watch(self, appid: str, callback: WatchCallback) -> PolledWatch:
        return self._watching.watch(appid, callback)

    async def close(self) -> None:
        await self._watching.close()
        leases, self._own = tuple(self._own.values()), {}
        await asyncio.gather(*(lease.stop() for lease in leases))
        await asyncio.gather(*(lease.cancel() for lease in leases))
        await self._nodes.close()

    def _returned(self) -> None:
        """The registry is back, perhaps without its memory."""
        for lease in self._own.values():
            lease.hurry()


class _Lease:
    """One own registration and the task that keeps it."""

    def __init__(self, nodes: DiscoveryNodes, instance: Instance, renew_every_s: float) -> None:
        self.instance = instance
        self._nodes = nodes
        self._renew_every_s = renew_every_s
        self._hurry = asyncio.Event()
        self._unsent = False
        self._stopped = False
        self._one_call = asyncio.Lock()  # else a late register could undo a set
        self._task: asyncio.Task[None] | None = None

    async def register(self) -> None:
        """Try until the registry has taken it.

        Raises:
            ImctlError: it was refused, which will not change by itself.
        """
        pause = Backoff()
        told = False
        while not self._stopped:
            try:
                async with self._one_call:
                    self._unsent = False
                    answer = await self._nodes.post("/discovery/register", register_form(self.instance))
            except RegistryUnreachableError as exc:
                # Once: a node that waits for its registry is not to be silent, nor to speak of nothing else.
                _log.log(logging.DEBUG if told else logging.WARNING, "cannot register yet, trying again: %s", exc)
                told = True
                await asyncio.sleep(pause.next())
                continue
            if answer.code != Code.OK:
                raise ImctlError(
                    f"the registry refused {self.instance.appid} {self.instance.hostname} with code {answer.code}"
                )
            return

    def start(self) -> None:
        name = f"registry renew {self.instance.appid} {self.instance.hostname}"
        self._task = asyncio.create_task(self._keep(), name=name)

    def hurry(self) -> None:
        """Renew now instead of at the next turn."""
        self._hurry.set()

    async def set_metadata(self, metadata: dict[str, str]) -> None:
        instance = self.instance = replace(self.instance, metadata={**self.instance.metadata, **metadata})
        # All of it, as goim's comet does: what a lost call would have set comes with the next one.
        text = dump_json(dict(sorted(instance.metadata.items()))).decode()
        try:
            async with self._one_call:
                form = self._form(metadata=text, status=str(instance.status))
                answer = await self._nodes.post("/discovery/set", form)
        except RegistryUnreachableError as exc:
            _log.info("set of %s %s waits: %s", instance.appid, instance.hostname, exc)
            self._unsent = True
        else:
            self._unsent = answer.code != Code.OK  # the registry does not know the instance
        if self._unsent:
            self._hurry.set()

    async def cancel(self) -> None:
        """Tell the registry, once a node and for at most 2 s; without it the lease runs out by itself."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                for _ in range(len(self._nodes)):
                    try:
                        await self._nodes.post("/discovery/cancel", self._form(), timeout_s=_CLOSE_S)
                        return
                    except RegistryUnreachableError as exc:
                        _log.debug("cancel: %s", exc)
        except TimeoutError:
            _log.info("registry did not take the cancel of %s in time", self.instance.hostname)

    async def stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._renew_every_s):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()
            try:
                await self._renew()
            except ImctlError as exc:
                _log.warning("%s; trying again in %.0f s", exc, self._renew_every_s)

    async def _renew(self) -> None:
        pause = Backoff()
        while not self._unsent:
            try:
                answer = await self._nodes.post("/discovery/renew", self._form())
            except RegistryUnreachableError as exc:
                _log.debug("renew: %s", exc)
                await asyncio.sleep(pause.next())
                continue
            if answer.code == Code.OK:
                return
            break
        await self.register()  # forgotten, or with metadata that it does not have

    def _form(self, **more: str) -> str:
        """Return a form as goim's client sends it, ordered by name."""
        own = self.instance
        place = {"appid": own.appid, "env": own.env, "hostname": own.hostname, "region": own.region, "zone": own.zone}
        return urlencode(sorted({**place, **more}.items()))
