"""Long polls: what is new for a poller, and holding it until there is something.

discovery keys its waiters by host name and compares timestamps that a set does
not move, so it mixes up two polls of one host, gives answers to pollers who
have gone, and loses a set that comes between two polls. Here a waiter belongs
to the connection that asked, and so does the memory of what it has been told:
the next poll on that connection is answered at once with all it has missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imctl.registry.memory import Change, MemoryRegistry
from protocol.discovery_api import AppInfo, Status
from protocol.discovery_forms import Poll

__all__ = ["Cursor", "HeldPoll", "PollAnswer", "ask"]

_MAX_SEEN = 1024  # apps one cursor remembers, the oldest leave first


class Cursor:
    """The last change of each app that a poller on one connection knows of."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], int] = {}

    def seen(self, poll: Poll, appid: str) -> int | None:
        """Return the number of the last change it was told; None when it has never asked."""
        return self._seen.get((poll.env, appid, poll.zone))

    def note(self, poll: Poll, appid: str, change: int) -> None:
        """Remember that the poller has been told of everything up to `change`."""
        self._seen[poll.env, appid, poll.zone] = change
        if len(self._seen) > _MAX_SEEN:
            del self._seen[next(iter(self._seen))]


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """Apps with news and the apps nobody has registered; without news the poll is to be held."""

    infos: Mapping[str, AppInfo]
    missing: tuple[str, ...]


def ask(registry: MemoryRegistry, poll: Poll, cursor: Cursor) -> PollAnswer:
    """Return what is new for a poller.

    An app whose last instance has left since the poller was told of it comes
    without instances, once; goim's client does not take the timestamp of such
    an answer, so going by its timestamp would answer it for ever.
    """
    infos: dict[str, AppInfo] = {}
    missing: list[str] = []
    for appid, timestamp in zip(poll.appids, poll.timestamps, strict=True):
        info = registry.info(poll.env, appid, poll.zone, Status.UP)
        change, seen = registry.change_of(poll.env, appid), cursor.seen(poll, appid)
        cursor.note(poll, appid, change)
        if info is None or not info.instances:
            missing.append(appid)
            if seen and seen < change and timestamp:
                infos[appid] = AppInfo({}, registry.latest_of(poll.env, appid))
        elif timestamp < info.latest_timestamp or (seen is not None and seen < change):
            infos[appid] = info
    return PollAnswer(infos, tuple(missing))


class HeldPoll:
    """A poll that waits for the first change of one of its apps.

    Args:
        missing: What ask() found missing; part of the answer.
        on_answer: Called once, in the midst of the change.
    """

    __slots__ = ("_cursor", "_missing", "_on_answer", "_poll", "_registry")

    def __init__(
        self,
        registry: MemoryRegistry,
        poll: Poll,
        cursor: Cursor,
        missing: tuple[str, ...],
        on_answer: Callable[[PollAnswer], None],
    ) -> None:
        self._registry = registry
        self._poll = poll
        self._cursor = cursor
        self._missing = missing
        self._on_answer = on_answer
        for appid in poll.appids:
            registry.listen(poll.env, appid, self._changed)

    def close(self) -> None:
        """Stop waiting; safe to call twice."""
        for appid in self._poll.appids:
            self._registry.unlisten(self._poll.env, appid, self._changed)

    def _changed(self, change: Change) -> None:
        poll = self._poll
        info = self._registry.info(poll.env, change.appid, poll.zone, Status.UP)
        if info is None or not info.instances:
            if not change.left or poll.zone not in ("", change.zone):
                return  # another zone's business
            info = AppInfo({}, self._registry.latest_of(poll.env, change.appid))
        self._cursor.note(poll, change.appid, change.number)
        self.close()
        self._on_answer(PollAnswer({change.appid: info}, self._missing))
