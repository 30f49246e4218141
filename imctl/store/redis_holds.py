"""Named locks that all users of one Redis share.

A hold ends by itself after HOLD_S, so that a logic that dies with one keeps
nobody out for longer. Who waits in the same process waits for its turn; only
one of them at a time asks Redis again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from imctl.store.contract import StoreError
from imctl.store.holding import LocalHolds

__all__ = ["HOLD_S", "RedisHolds"]

logger = logging.getLogger(__name__)

HOLD_S = 5.0
_PREFIX = "imctl:hold:"
_ASK_EVERY_S = 0.01
_AT_A_TIME = 8


class RedisHolds:
    """Holds as keys of Redis.

    Args:
        take: Sets a key that is not there to its owner, for some milliseconds; returns whether it was not.
        give: Deletes a key if it is this owner's.
        what: Names the store in errors.
    """

    def __init__(
        self,
        take: Callable[[str, str, int], Awaitable[bool]],
        give: Callable[[str, str], Awaitable[None]],
        what: str,
    ) -> None:
        self._take_now = take
        self._give_now = give
        self._what = what
        self._local = LocalHolds()
        # Each command has a connection of its own meanwhile, and the client's are for sessions too.
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Keep everybody else out, for at most HOLD_S.

        Raises:
            StoreError: Redis does not answer, or others hold it for twice HOLD_S.
        """
        async with self._local.hold(name):
            key, owner = _PREFIX + name, uuid4().hex
            await self._take(key, owner)
            try:
                yield
            finally:
                await self._release(key, owner)

    async def _take(self, key: str, owner: str) -> None:
        try:
            async with asyncio.timeout(2 * HOLD_S):
                while not await self._try(key, owner):  # noqa: ASYNC110  # Redis tells nobody that a key has gone
                    await asyncio.sleep(_ASK_EVERY_S)
        except TimeoutError as exc:
            raise StoreError(f"{self._what}: {key} is held by others for {2 * HOLD_S:g} s") from exc

    async def _try(self, key: str, owner: str) -> bool:
        async with self._turns:
            return await self._take_now(key, owner, round(HOLD_S * 1000))

    async def _release(self, key: str, owner: str) -> None:
        """Delete the key if it is still ours; when Redis is away it ends by itself."""
        try:
            async with self._turns:
                await self._give_now(key, owner)
        except StoreError as exc:
            logger.debug("a hold ends by itself: %s", exc.message)
