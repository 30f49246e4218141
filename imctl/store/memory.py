"""Sessions in plain dicts of this process; gone when it ends.

Every session gets the same time to live, so the order in which sessions were
added or refreshed is the order in which they expire. One ordered dict is
therefore the whole expiry wheel: each write drops at most two sessions from
its old end, which is more than it adds, and no timer runs. Readers check the
deadline themselves, so what is expired but still held is never seen.

Unlike goim's Redis layout, where a user's hash lives as long as its youngest
key, each session of a user expires by itself, and a key that connects again
under another user is no longer found under the first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from imctl.store.contract import OnlineReport
from imctl.store.holding import LocalHolds

__all__ = ["MemoryStore"]


class _Session:
    __slots__ = ("deadline_s", "id", "key", "mid", "server")

    def __init__(self, mid: int, key: str, server: str, session: int, deadline_s: float) -> None:
        self.mid = mid
        self.key = key
        self.server = server
        self.id = session
        self.deadline_s = deadline_s


@dataclass(frozen=True, slots=True)
class _Online:
    report: OnlineReport
    deadline_s: float


class MemoryStore:
    """Sessions and room counts in this process.

    Args:
        expire_s: How long a mapping or report holds without a refresh.
        clock: Monotonic seconds.
        url: What it was opened as.
    """

    persistent = False

    def __init__(
        self, *, expire_s: float = 1800, clock: Callable[[], float] = time.monotonic, url: str = "memory://"
    ) -> None:
        self.url = url
        self.closed = False
        self._expire_s = expire_s
        self._clock = clock
        # Oldest deadline first.
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        # A user with one session, nearly all of them, costs no dict of its own.
        self._mids: dict[int, _Session | dict[str, _Session]] = {}
        self._online: dict[str, _Online] = {}
        self._holds = LocalHolds()

    @property
    def held(self) -> int:
        """How many sessions are held; some may have expired."""
        return len(self._sessions)

    def add_now(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """Map key (and mid, when above 0) to server."""
        now_s = self._clock()
        sessions = self._sessions
        old = sessions.get(key)
        if old is not None:
            self._forget(old)
        added = _Session(mid, key, server, session, now_s + self._expire_s)
        sessions[key] = added
        if mid > 0:
            self._add_to_mid(mid, added)
        # Two a write: one makes room for the new session, one catches up.
        for _ in range(2):
            oldest = next(iter(sessions.values()))
            if oldest.deadline_s > now_s:
                break
            self._forget(oldest)

    def refresh_now(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """Extend the mapping, or make it again; a mapping to another server stays that server's."""
        now_s = self._clock()
        held = self._sessions.get(key)
        if held is None or held.deadline_s <= now_s:
            self.add_now(mid, key, server, session)
            return
        held.deadline_s = now_s + self._expire_s
        self._sessions.move_to_end(key)

    def remove_now(self, mid: int, key: str, server: str, session: int = 0) -> bool:
        """Remove the mapping if it still names this server, and no other session; return whether it did."""
        held = self._sessions.get(key)
        if held is None or held.server != server or (session and held.id not in (0, session)):
            return False
        self._forget(held)
        return held.deadline_s > self._clock()

    def servers_by_key_now(self, keys: Sequence[str]) -> dict[str, str]:
        """Return {key: server id} of the keys that are online."""
        now_s = self._clock()
        sessions = self._sessions
        found = {}
        for key in keys:
            session = sessions.get(key)
            if session is not None and session.deadline_s > now_s:
                found[key] = session.server
        return found

    def sessions_by_mid_now(self, mids: Iterable[int]) -> dict[int, dict[str, str]]:
        """Return {mid: {key: server id}} of the mids that are online."""
        now_s = self._clock()
        found = {}
        for mid in mids:
            servers = {one.key: one.server for one in self._of_mid(mid) if one.deadline_s > now_s}
            if servers:
                found[mid] = servers
        return found

    async def add(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """See add_now()."""
        self.add_now(mid, key, server, session)

    async def refresh(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """See refresh_now()."""
        self.refresh_now(mid, key, server, session)

    async def remove(self, mid: int, key: str, server: str, session: int = 0) -> bool:
        """See remove_now()."""
        return self.remove_now(mid, key, server, session)

    async def servers_by_key(self, keys: Sequence[str]) -> dict[str, str]:
        """See servers_by_key_now()."""
        return self.servers_by_key_now(keys)

    async def sessions_by_mid(self, mids: Iterable[int]) -> dict[int, dict[str, str]]:
        """See sessions_by_mid_now()."""
        return self.sessions_by_mid_now(mids)

    async def session_ids(self, mid: int) -> dict[str, int]:
        """Return {key: id} of a user's sessions that have one."""
        now_s = self._clock()
        return {one.key: one.id for one in self._of_mid(mid) if one.id and one.deadline_s > now_s}

    async def set_online(self, server: str, report: OnlineReport) -> None:
        """Replace the report of a server."""
        self._online[server] = _Online(report, self._clock() + self._expire_s)

    async def online(self, server: str) -> OnlineReport | None:
        """Return the report of a server, None when there is none."""
        held = self._online.get(server)
        if held is None:
            return None
        if held.deadline_s <= self._clock():
            del self._online[server]
            return None
        return held.report

    async def drop_online(self, server: str) -> None:
        """Forget the report of a server."""
        self._online.pop(server, None)

    def hold(self, name: str) -> AbstractAsyncContextManager[None]:
        """Keep everybody else in this process out."""
        return self._holds.hold(name)

    async def close(self) -> None:
        """Forget everything."""
        self.closed = True
        self._sessions.clear()
        self._mids.clear()
        self._online.clear()

    def _of_mid(self, mid: int) -> Iterable[_Session]:
        held = self._mids.get(mid)
        if held is None:
            return ()
        return held.values() if isinstance(held, dict) else (held,)

    def _add_to_mid(self, mid: int, session: _Session) -> None:
        held = self._mids.get(mid)
        if held is None:
            self._mids[mid] = session
        elif isinstance(held, dict):
            held[session.key] = session
        else:
            self._mids[mid] = {held.key: held, session.key: session}

    def _forget(self, session: _Session) -> None:
        del self._sessions[session.key]
        mid = session.mid
        if mid <= 0:
            return
        held = self._mids[mid]
        if isinstance(held, dict):
            del held[session.key]
            if held:
                return
        del self._mids[mid]
