"""Named locks that all users of one Redis share.

A hold ends by itself after HOLD_S, so that a logic that dies with one keeps
nobody out for longer. Who waits in the same process waits for its turn; only
one of them at a time asks Redis again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from redis.exceptions import RedisError, WatchError

from imctl.store.contract import StoreError
from imctl.store.holding import LocalHolds

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["HOLD_S", "RedisHolds"]

HOLD_S = 5.0
_PREFIX = "imctl:hold:"
_ASK_EVERY_S = 0.01
_AT_A_TIME = 8


class RedisHolds:
    """Holds over one Redis client.

    Args:
        client: Its connections are the opener's to close.
        what: Names the store in errors.
    """

    def __init__(self, client: Redis, what: str) -> None:
        self._client = client
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
                while not await self._set(key, owner):  # noqa: ASYNC110  # Redis tells nobody that a key has gone
                    await asyncio.sleep(_ASK_EVERY_S)
        except TimeoutError as exc:
            raise StoreError(f"{self._what}: {key} is held by others for {2 * HOLD_S:g} s") from exc
        except (RedisError, OSError) as exc:
            raise StoreError(f"{self._what}: {exc}") from exc

    async def _set(self, key: str, owner: str) -> bool:
        async with self._turns:
            return bool(await self._client.set(key, owner, nx=True, px=round(HOLD_S * 1000)))

    async def _release(self, key: str, owner: str) -> None:
        """Delete the key if it is still ours; when Redis is away it ends by itself."""
        try:
            async with self._turns, self._client.pipeline(transaction=True) as pipeline:
                await pipeline.watch(key)
                if await pipeline.get(key) == owner:
                    pipeline.multi()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
                    pipeline.delete(key)
                    await pipeline.execute()
        except (WatchError, RedisError, OSError):
            return
