"""The registry's state: instances, their leases, and a feed of changes.

No clock, no I/O: every call that needs the time is given it, in nanoseconds
since the epoch from a clock that does not run backwards. An app's
`latest_timestamp` grows with each register and cancel; a set changes only that
of the instance, as in discovery, so beside it each app has a change number
that grows with everything a watcher wants to see.

Source: bilibili discovery registry/registry.go, model/instance.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from imctl.node import Counters
from imctl.registry.config import LeaseRules
from protocol.discovery_api import AppInfo, Code, Instance, Status
from protocol.discovery_forms import Cancel, Register, Renew, Set, merge_metadata

__all__ = ["Change", "Listener", "MemoryRegistry", "Renewed"]

_NS = 1_000_000_000
_MAX_METADATA = 65_536  # characters of one instance; set merges, so that it could grow for ever
_MAX_DEPARTED = 1024  # apps without instances that are remembered


@dataclass(frozen=True, slots=True)
class Change:
    """Something a watcher of the app wants to see.

    Args:
        number: Grows over the whole registry.
        left: An instance went, so that its zone or the app may be gone with it.
    """

    env: str
    appid: str
    zone: str
    number: int
    left: bool


Listener = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class Renewed:
    """The outcome of a renewal.

    Args:
        instance: As it is now; None when the host is not known.
        zone_known: Whether the app has any instance in that zone.
    """

    code: Code
    instance: Instance | None = None
    zone_known: bool = True


@dataclass(slots=True)
class _App:
    latest: int = 0
    change: int = 0
    zones: dict[str, dict[str, Instance]] = field(default_factory=dict)

    def raise_latest(self, stamp: int) -> None:
        """Take a newer timestamp; one that is not newer still counts as a step."""
        self.latest = max(stamp, self.latest + 1)


class MemoryRegistry:
    """All apps of all environments.

    Args:
        shuffle: Puts the instances to evict in random order, in place.
    """

    def __init__(
        self,
        rules: LeaseRules | None = None,
        *,
        max_instances: int = 10_000,
        shuffle: Callable[[list[Instance]], None] = random.shuffle,
    ) -> None:
        self._rules = rules or LeaseRules()
        self._max_instances = max_instances
        self._shuffle = shuffle
        self._apps: dict[tuple[str, str], _App] = {}
        self._departed: dict[tuple[str, str], _App] = {}
        self._listeners: dict[tuple[str, str], dict[Listener, None]] = {}
        self._change = 0
        self._renews = 0
        self.size = 0
        self.preserving = False
        self.counters = Counters("registered", "renewed", "cancelled", "sets", "evicted")
        self.drops = Counters()

    # --- writes ---

    def register(self, request: Register, now_ns: int) -> Code:
        """Take a registration; one of a known host replaces it, unless a peer's is older than what is held."""
        given = request.instance
        key = (given.env, given.appid)
        app = self._apps.get(key)
        old = app.zones.get(given.zone, {}).get(given.hostname) if app is not None else None
        if old is None and self.size >= self._max_instances:
            self.drops.add("registry.instances_over_limit")
            return Code.SERVER_ERROR
        if _metadata_size(given.metadata) > _MAX_METADATA:
            self.drops.add("registry.metadata_over_limit")
            return Code.BAD_REQUEST
        if app is None:
            # Its timestamp goes on from where it was, so that no poller misses the return.
            app = self._apps[key] = self._departed.pop(key) if key in self._departed else _App()
        dirty = request.dirty_timestamp or now_ns
        if old is None or dirty >= old.dirty_timestamp:
            app.zones.setdefault(given.zone, {})[given.hostname] = replace(
                given,
                reg_timestamp=now_ns,
                up_timestamp=old.up_timestamp if old is not None else now_ns,
                renew_timestamp=now_ns,
                dirty_timestamp=dirty,
                latest_timestamp=now_ns,
            )
        self.size += old is None
        app.raise_latest(request.latest_timestamp or now_ns)
        self.counters.add("registered")
        self._changed(key, app, given.zone)
        return Code.OK

    def renew(self, request: Renew, now_ns: int) -> Renewed:
        """Extend a lease; pollers are not woken."""
        app = self._apps.get((request.env, request.appid))
        zone = app.zones.get(request.zone) if app is not None else None
        if zone is None:
            return Renewed(Code.NOT_FOUND, zone_known=False)
        old = zone.get(request.hostname)
        if old is None:
            return Renewed(Code.NOT_FOUND)
        instance = zone[request.hostname] = replace(old, renew_timestamp=now_ns)
        self._renews += 1
        self.counters.add("renewed")
        code = Code.OK
        if request.replication and request.dirty_timestamp != instance.dirty_timestamp:
            # A peer that has a newer one must register it here; one that has an older one learns ours.
            code = Code.NOT_FOUND if request.dirty_timestamp > instance.dirty_timestamp else Code.CONFLICT
        return Renewed(code, instance)

    def cancel(self, request: Cancel) -> Code:
        """Take an instance out."""
        if not self._remove(request.env, request.appid, request.zone, request.hostname, request.latest_timestamp):
            return Code.NOT_FOUND
        self.counters.add("cancelled")
        return Code.OK

    def set(self, request: Set, now_ns: int) -> Code:
        """Change status and metadata of instances, in order, up to the first that cannot be changed.

        What was changed before that one stays, and metadata with a value that is
        no string is merged although the answer is -400, as in discovery.
        """
        key = (request.env, request.appid)
        app = self._apps.get(key)
        zone = app.zones.get(request.zone) if app is not None else None
        if app is None or zone is None or not request.lengths_match():
            return Code.BAD_REQUEST
        stamp, code = request.set_timestamp or now_ns, Code.OK
        for at, hostname in enumerate(request.hostnames):
            instance = zone.get(hostname)
            if instance is None:
                code = Code.BAD_REQUEST
                break
            if request.statuses:
                if request.statuses[at] not in (Status.UP, Status.WAITING):
                    code = Code.BAD_REQUEST
                    break
                up = stamp if request.statuses[at] == Status.UP else instance.up_timestamp
                instance = replace(instance, status=request.statuses[at], up_timestamp=up)
            fits = True
            if request.metadata:
                merged = merge_metadata(instance.metadata, request.metadata[at])
                if merged is not None and _metadata_size(merged[0]) > _MAX_METADATA:
                    self.drops.add("registry.metadata_over_limit")
                    merged = None
                if merged is None:
                    code = Code.BAD_REQUEST
                    break
                metadata, fits = merged
                instance = replace(instance, metadata=metadata)
            if fits:
                # A clock that stands still must not hide the change: goim compares these.
                latest = request.set_timestamp or max(stamp, instance.latest_timestamp + 1)
                instance = replace(instance, latest_timestamp=latest, dirty_timestamp=latest)
            zone[hostname] = instance
            if not fits:
                code = Code.BAD_REQUEST
                break
        if code == Code.OK:
            self.counters.add("sets")
            self._changed(key, app, request.zone)
        return code

    def evict(self, now_ns: int) -> list[Instance]:
        """Do one pass and return who went; self-preservation counts the renewals since the pass before."""
        rules = self._rules
        expected = int(self.size * rules.evict_every_s / 30 * rules.keep_share)  # a node renews every 30 s
        self.preserving = rules.self_preservation and self._renews < expected
        self._renews = 0
        limit_s = rules.ceiling_s if self.preserving else min(rules.silent_s, rules.ceiling_s)
        expired = [
            instance
            for app in self._apps.values()
            for zone in app.zones.values()
            for instance in zone.values()
            if now_ns - instance.renew_timestamp > limit_s * _NS
        ]
        self._shuffle(expired)  # else one app would go as a whole before the cap is reached
        gone = expired[: self.size - int(self.size * rules.keep_share)]
        for instance in gone:
            self._remove(instance.env, instance.appid, instance.zone, instance.hostname, now_ns)
            self.counters.add("evicted")
        return gone

    # --- reads ---

    def info(self, env: str, appid: str, zone: str = "", status: int = Status.UP) -> AppInfo | None:
        """Return an app's instances of that status; None when nobody is registered.

        An app that has none in `zone` has no zones in its info.
        """
        app = self._apps.get((env, appid))
        if app is None:
            return None
        zones = {
            name: tuple(instance for instance in hosts.values() if instance.status & status)
            for name, hosts in app.zones.items()
            if zone in ("", name)
        }
        return AppInfo(zones, app.latest)

    def change_of(self, env: str, appid: str) -> int:
        """Return the number of the app's last change, also after its last instance left; 0 when there was none."""
        app = self._apps.get((env, appid)) or self._departed.get((env, appid))
        return app.change if app is not None else 0

    def latest_of(self, env: str, appid: str) -> int:
        """Return the app's latest_timestamp, also after its last instance left; 0 when there was none."""
        app = self._apps.get((env, appid)) or self._departed.get((env, appid))
        return app.latest if app is not None else 0

    def every(self) -> dict[str, list[Instance]]:
        """Return all instances by appid, of all environments, zones and states."""
        found: dict[str, list[Instance]] = {}
        for (_, appid), app in self._apps.items():
            for zone in app.zones.values():
                found.setdefault(appid, []).extend(zone.values())
        return found

    # --- the feed ---

    def listen(self, env: str, appid: str, listener: Listener) -> None:
        """Call `listener` in the midst of every change of that app; it must be quick and not raise."""
        self._listeners.setdefault((env, appid), {})[listener] = None

    def unlisten(self, env: str, appid: str, listener: Listener) -> None:
        """End the calls; not an error when there are none."""
        listeners = self._listeners.get((env, appid))
        if listeners is not None:
            listeners.pop(listener, None)
            if not listeners:
                del self._listeners[env, appid]

    def _remove(self, env: str, appid: str, zone: str, hostname: str, stamp: int) -> bool:
        key = (env, appid)
        app = self._apps.get(key)
        if app is None or app.zones.get(zone, {}).pop(hostname, None) is None:
            return False
        self.size -= 1
        app.raise_latest(stamp)
        if not app.zones[zone]:
            del app.zones[zone]
        if not app.zones:
            del self._apps[key]
            self._departed[key] = app
            if len(self._departed) > _MAX_DEPARTED:
                del self._departed[next(iter(self._departed))]
        self._changed(key, app, zone, left=True)
        return True

    def _changed(self, key: tuple[str, str], app: _App, zone: str, *, left: bool = False) -> None:
        self._change += 1
        app.change = self._change
        change = Change(*key, zone, self._change, left)
        for listener in tuple(self._listeners.get(key, ())):
            listener(change)


def _metadata_size(metadata: Mapping[str, str]) -> int:
    return sum(map(len, metadata)) + sum(map(len, metadata.values()))
