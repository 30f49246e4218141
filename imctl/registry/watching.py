"""The long poll of a registry client: one loop for all watched apps.

A poll answers with the apps that have news. On a new connection, and after
each poll without news, the loop asks for everything once (timestamp 0): that
bounds to one hold (30 s) the age of what a real discovery loses between two
polls. Our own registry loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from imctl.registry.calls import Answer, Backoff, DiscoveryNodes, RegistryUnreachableError
from imctl.registry.contract import WatchCallback
from protocol.discovery_api import AppInfo, Code, DiscoveryFormatError, Instance, parse_apps

__all__ = ["PolledWatch", "WatchLoop"]

_log = logging.getLogger(__name__)

_POLL_S = 40.0  # a poll is held for 30 s


@dataclass(slots=True)
class _App:
    timestamp: int = 0
    instances: tuple[Instance, ...] = ()
    unknown_since: float | None = None
    watches: list[PolledWatch] = field(default_factory=list)


class PolledWatch:
    """One subscription."""

    def __init__(self, loop: WatchLoop, appid: str, callback: WatchCallback) -> None:
        self._loop = loop
        self._appid = appid
        self._callback = callback

    @property
    def instances(self) -> tuple[Instance, ...]:
        return self._loop.instances(self._appid)

    def close(self) -> None:
        self._loop.leave(self._appid, self)

    def report(self, instances: tuple[Instance, ...]) -> None:
        try:
            self._callback(instances)
        except Exception:
            _log.exception("a watcher of %s failed", self._appid)


class WatchLoop:
    """Polls for all watched apps together.

    Args:
        hostname: Of the polls, unique to this loop.
        on_return: Called when the registry answers again after it did not.
        unknown_s: An app that the registry has not known for so long has no instances any more.
        settle_s: After an outage nobody who has not yet come back is taken for gone for so long.
    """

    def __init__(
        self,
        nodes: DiscoveryNodes,
        *,
        env: str,
        hostname: str,
        on_return: Callable[[], None],
        unknown_s: float = 29.0,
        settle_s: float = 5.0,
    ) -> None:
        self._nodes = nodes
        self._env = env
        self._hostname = hostname
        self._on_return = on_return
        self._unknown_s = unknown_s
        self._settle_s = settle_s
        self._apps: dict[str, _App] = {}
        self._task: asyncio.Task[None] | None = None
        self._request: asyncio.Task[Answer] | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._series = 0  # of polls on one connection
        self._was_away = False
        self._answered = False
        self._settle_until = 0.0

    def instances(self, appid: str) -> tuple[Instance, ...]:
        app = self._apps.get(appid)
        return app.instances if app is not None else ()

    def watch(self, appid: str, callback: WatchCallback) -> PolledWatch:
        watch = PolledWatch(self, appid, callback)
        app = self._apps.get(appid)
        if app is None:
            app = self._apps[appid] = _App()
            self._restart_poll()
        elif app.instances:
            asyncio.get_running_loop().call_soon(self._report_first, app, watch)
        app.watches.append(watch)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="registry polls")
        return watch

    def leave(self, appid: str, watch: PolledWatch) -> None:
        app = self._apps.get(appid)
        if app is None or watch not in app.watches:
            return
        app.watches.remove(watch)
        if not app.watches:
            del self._apps[appid]
            self._restart_poll()

    async def close(self) -> None:
        self._apps.clear()
        if self._settling is not None:
            self._settling.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def _restart_poll(self) -> None:
        if self._request is not None:
            self._request.cancel()

    async def _run(self) -> None:
        pause = Backoff()
        while self._apps:
            try:
                answer = await self._poll()
                if answer is not None:
                    await self._take(answer)
            except (RegistryUnreachableError, DiscoveryFormatError) as exc:
                if not self._was_away:
                    _log.log(logging.WARNING if self._answered else logging.DEBUG, "%s", exc)
                self._was_away = True
                self._forget_timestamps()
                await asyncio.sleep(pause.next())
            else:
                pause.reset()
        self._task = None

    async def _poll(self) -> Answer | None:
        """Return the answer, or None when the set of apps changed meanwhile."""
        asked = list(self._apps.items())
        if self._was_away:
            await self._return()
        query = [("appid", appid) for appid, _ in asked]
        query += [("env", self._env), ("hostname", f"{self._hostname}-{self._series}")]
        query += [("latest_timestamp", str(app.timestamp)) for _, app in asked]
        started = asyncio.get_running_loop().time()
        self._request = asyncio.create_task(
            self._nodes.get("/discovery/polls", query, timeout_s=_POLL_S), name="registry poll"
        )
        try:
            await asyncio.wait([self._request])
        finally:
            request, self._request = self._request, None
            if not request.done():  # close()
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)
        if request.cancelled():
            self._forget_timestamps()
            return None
        answer = request.result()
        self._answered = True
        unknown = answer.missing
        if answer.code == Code.NOT_MODIFIED:  # then ask for everything, see above
            unknown = tuple(appid for appid, app in asked if app.timestamp == 0)
            self._forget_timestamps()
        self._note_unknown(unknown, started)
        return answer

    async def _return(self) -> None:
        """Ask for something that is answered at once: a poll may be held although the registry is back."""
        await self._nodes.get("/discovery/nodes", [], timeout_s=5.0)
        self._was_away = False
        if self._answered:
            # It may have lost its memory, and then all nodes are about to register anew.
            loop = asyncio.get_running_loop()
            self._settle_until = loop.time() + self._settle_s
            if self._settling is not None:
                self._settling.cancel()
            self._settling = loop.call_at(self._settle_until, self._restart_poll)
        self._on_return()

    async def _take(self, answer: Answer) -> None:
        if answer.code == Code.OK:
            for appid, info in parse_apps(answer.data).items():
                self._apply(appid, info)
        elif answer.code == Code.NOT_FOUND:
            # discovery up to v1.0: one unknown app fails the whole poll.
            await self._fetch_each()
        elif answer.code != Code.NOT_MODIFIED:
            raise RegistryUnreachableError(f"registry {self._nodes.current} answered a poll with code {answer.code}")

    async def _fetch_each(self) -> None:
        for appid in tuple(self._apps):
            query = [("appid", appid), ("env", self._env), ("status", "1")]
            answer = await self._nodes.get("/discovery/fetch", query, timeout_s=5.0)
            if answer.code == Code.OK:
                self._apply(appid, parse_apps({appid: answer.data})[appid])
        self._forget_timestamps()
        await asyncio.sleep(1.0)

    def _apply(self, appid: str, info: AppInfo) -> None:
        app = self._apps.get(appid)
        if app is None:
            return
        app.timestamp = info.latest_timestamp
        app.unknown_since = None
        found = {(each.zone, each.hostname): _split_addrs(each) for each in info.flat()}
        if asyncio.get_running_loop().time() < self._settle_until:
            for old in app.instances:
                found.setdefault((old.zone, old.hostname), old)
        self._update(app, tuple(found[key] for key in sorted(found)))

    def _note_unknown(self, unknown: tuple[str, ...], started: float) -> None:
        now = asyncio.get_running_loop().time()
        for appid in unknown:
            app = self._apps.get(appid)
            if app is None:
                continue
            if app.unknown_since is None:
                app.unknown_since = started
            if now - app.unknown_since >= self._unknown_s:
                self._update(app, ())

    def _update(self, app: _App, instances: tuple[Instance, ...]) -> None:
        old, app.instances = app.instances, instances
        if _visible(old) != _visible(instances):
            for watch in tuple(app.watches):
                watch.report(instances)

    def _forget_timestamps(self) -> None:
        """Ask for everything, under a new name: a real discovery gives the news of the old one to a poll given up."""
        self._series += 1
        for app in self._apps.values():
            app.timestamp = 0

    @staticmethod
    def _report_first(app: _App, watch: PolledWatch) -> None:
        if watch in app.watches:
            watch.report(app.instances)


def _split_addrs(instance: Instance) -> Instance:
    """Undo what discovery's v1.0 client does to several addresses: it joins them by commas."""
    if not any("," in addr for addr in instance.addrs):
        return instance
    return replace(instance, addrs=tuple(part for addr in instance.addrs for part in addr.split(",") if part))


def _visible(instances: tuple[Instance, ...]) -> list[Instance]:
    """Return the instances without what a mere renewal changes."""
    return [replace(instance, renew_timestamp=0) for instance in instances]
