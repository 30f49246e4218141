"""The message log in one Redis or Valkey, through redis-py."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ClusterError, NoScriptError, OutOfMemoryError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from imctl.messages.contract import Limits
from imctl.messages.redis_log import Call, ScriptLog
from imctl.messages.redis_script import PREFIX, SCRIPT
from imctl.redis_cluster.url import cluster_hint
from imctl.store.contract import StoreError

__all__ = ["RedisLog"]

_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisLog(ScriptLog):
    """Follows imctl.messages.contract.MessageLog.

    Args:
        client: Replies as bytes, and no retries: a call that was carried out must not be carried out again.
        url: Shown to people, without secrets.
        limits: How much is kept.
        timeout_s: Limit for one answer, with connecting.
        on_close: Awaited when the client is closed, for what it was made of.
    """

    def __init__(
        self,
        client: Redis,
        *,
        url: str,
        limits: Limits,
        timeout_s: float = 2.5,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(url=url, limits=limits, timeout_s=timeout_s)
        self._client = client
        self._on_close = on_close
        self._swept = 0

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        try:
            replies = await self._send(calls)
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                # The server is new to us, or has been restarted.
                await self._client.script_load(SCRIPT)
                again = await self._send([calls[at] for at in unknown])
                for at, reply in zip(unknown, again, strict=True):
                    replies[at] = reply
        except (RedisError, OSError) as exc:
            raise self._translated(exc) from exc
        return [self._translated(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command("EVALSHA", _SHA, 0, *call)
        return await pipeline.execute(raise_on_error=False)

    async def _waiting_users(self, limit: int) -> Sequence[int]:
        try:
            self._swept, mids = await self._client.sscan(f"{PREFIX}waiting", self._swept, count=limit)
        except (RedisError, OSError) as exc:
            raise self._translated(exc) from exc
        return [int(mid) for mid in mids]

    async def _claim(self, mid: int, key: str, epoch: int) -> None:
        """Nothing to do: the script has."""

    async def _release(self, mid: int, key: str, epoch: int) -> None:
        """Nothing to do: the script has."""

    async def _close(self) -> None:
        await self._client.aclose()
        if self._on_close is not None:
            await self._on_close()

    def _translated(self, exc: Exception) -> StoreError:
        # A script that finds the key of another node says so in words only.
        clustered = isinstance(exc, ClusterError) or "cluster node" in str(exc)
        return self._error(
            str(exc),
            full=isinstance(exc, OutOfMemoryError),
            away=isinstance(exc, OSError | RedisConnectionError),
            hint=cluster_hint(self.url) if clustered else "",
        )
