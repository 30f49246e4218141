"""What logic wants of a session store.

A session maps a connection key to the server id of the comet that holds it,
and, for a mid above 0, the mid to all its keys. Both expire when they are not
refreshed. A key can be used again, so a session of a mid above 0 may also have
an id, 1 to 2**61 - 1, that no other has: what is late and meant for the one
before then does not touch it. Room counts are one report a server, see goim's `ol_` hash.
Every method may raise StoreError; then nothing is known about its effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from imctl.errors import ImctlError

__all__ = ["OnlineReport", "SessionStore", "StoreError"]


class StoreError(ImctlError):
    """The store cannot be reached or answered with an error."""


@dataclass(frozen=True, slots=True)
class OnlineReport:
    """Room counts of one comet: {room key: members}, and when it said so (unix seconds)."""

    rooms: Mapping[str, int]
    updated_s: int


class SessionStore(Protocol):
    """Sessions and room counts; `url` shows which store, without secrets."""

    url: str
    persistent: bool
    """Whether sessions survive the end of this process."""

    async def add(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """Map key (and mid, when above 0) to server, for the expiry time; keep the session's id, unless it is 0."""

    async def refresh(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """Extend both mappings; make them again, as add() does, when they had expired."""

    async def remove(self, mid: int, key: str, server: str, session: int = 0) -> bool:
        """Remove the mapping if it still names this server, and no other session; return whether it did."""

    async def servers_by_key(self, keys: Sequence[str]) -> dict[str, str]:
        """Return {key: server id} of the keys that are online; () gives {}."""

    async def sessions_by_mid(self, mids: Iterable[int]) -> dict[int, dict[str, str]]:
        """Return {mid: {key: server id}}; a mid that is offline is left out."""

    async def session_ids(self, mid: int) -> dict[str, int]:
        """Return {key: id} of a user's sessions; those that were added without an id are left out."""

    async def set_online(self, server: str, report: OnlineReport) -> None:
        """Replace the whole report of a server, also slots that are empty now."""

    async def online(self, server: str) -> OnlineReport | None:
        """Return the report of a server, None when there is none."""

    async def drop_online(self, server: str) -> None:
        """Forget the report of a server."""

    def hold(self, name: str) -> AbstractAsyncContextManager[None]:
        """`async with store.hold(name):` keeps out everybody else who uses this store, for at most 5 s.

        Entering may raise StoreError; leaving never does.
        """

    async def close(self) -> None:
        """Close connections."""
