"""The session store on one Redis or Valkey, through redis-py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterCrossSlotError, ClusterError, RedisError, WatchError
from redis.exceptions import ConnectionError as RedisConnectionError

from imctl.redis_cluster.url import cluster_hint
from imctl.redis_url import failure_hint
from imctl.store.contract import StoreError
from imctl.store.redis_layout import Command, RedisSessions, Removal, ids_name, key_name, mid_name

__all__ = ["RedisStore"]

_REMOVE_TRIES = 5


class RedisStore(RedisSessions):
    """Sessions and room counts over any client of redis.asyncio.

    Redis before 8.4 has no command that compares before it deletes, and not every server has scripts. So remove()
    watches the keys, reads them, and deletes in a transaction that Redis refuses when somebody wrote in between;
    then it looks again.

    Args:
        client: Replies decoded to str; the store closes it.
        url: Shown to people, without secrets.
        expire_s: Time to live of every key, whole seconds.
        persistent: Whether what is behind the client outlives this process.
        timeout_s: Limit for one answer, with connecting and retries.
        on_close: Awaited when the client is closed, for what it was made of.
    """

    def __init__(
        self,
        client: Redis,
        *,
        url: str,
        expire_s: float = 1800,
        persistent: bool = True,
        timeout_s: float = 5.0,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(url=url, expire_s=expire_s, persistent=persistent, timeout_s=timeout_s)
        self._client = client
        self._on_close = on_close

    async def _servers(self, names: Sequence[str]) -> Sequence[str | None]:
        [servers] = await self._commands.call([("MGET", *names)])
        return servers  # type: ignore[no-any-return]  # replies have no types

    async def _send(self, calls: Sequence[Sequence[Command]]) -> list[list[Any] | StoreError]:
        pipeline = self._client.pipeline(transaction=False)
        for commands in calls:
            for command in commands:
                pipeline.execute_command(*command)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc
        results: list[list[Any] | StoreError] = []
        at = 0
        for commands in calls:
            part = replies[at : at + len(commands)]
            at += len(commands)
            error = next((reply for reply in part if isinstance(reply, Exception)), None)
            results.append(part if error is None else self._error(error))
        return results

    async def _remove_all(self, removals: Sequence[Removal], tries: int = _REMOVE_TRIES) -> list[bool | StoreError]:
        try:
            return await self._try_remove(removals)
        except WatchError:
            pass
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc
        if len(removals) > 1:
            # Halves: only those near the key that changed are done again and again.
            half = len(removals) // 2
            return [*await self._remove_all(removals[:half]), *await self._remove_all(removals[half:])]
        if tries > 1:
            return await self._remove_all(removals, tries - 1)
        return [StoreError(f"{self._what}: key {removals[0].key!r} changes too often to be removed")]

    async def _try_remove(self, removals: Sequence[Removal]) -> list[bool | StoreError]:
        names = [key_name(removal.key) for removal in removals]
        # Any: a redis pipeline has no types to speak of.
        pipeline: Any
        async with self._client.pipeline(transaction=True) as pipeline:
            hashes = {mid_name(removal.mid) for removal in removals if removal.mid > 0}
            hashes |= {ids_name(removal.mid) for removal in removals if removal.session}
            await pipeline.watch(*names, *hashes)
            # Watching, so these are carried out at once and not queued.
            servers = await pipeline.execute_command("MGET", *names)
            fields = await self._orphans(removals, servers)
            newer = await self._of_others(removals)
            pipeline.multi()
            removed: list[bool | StoreError] = []
            for removal, server in zip(removals, servers, strict=True):
                owned = server == removal.server and not removal.superseded and removal not in newer
                if removal.mid > 0 and (owned or removal in fields - newer):
                    pipeline.execute_command("HDEL", mid_name(removal.mid), removal.key)
                    if removal.session:
                        pipeline.execute_command("HDEL", ids_name(removal.mid), removal.key)
                if owned:
                    pipeline.execute_command("DEL", key_name(removal.key))
                removed.append(owned)
            if len(pipeline):
                await pipeline.execute()
        return removed

    async def _orphans(self, removals: Sequence[Removal], servers: Sequence[str | None]) -> set[Removal]:
        """Return those whose key has expired while the user's hash still names the server."""
        asked = [
            removal
            for removal, server in zip(removals, servers, strict=True)
            if server is None and removal.mid > 0 and not removal.superseded
        ]
        if not asked:
            return set()
        found = await self._commands.call([("HGET", mid_name(removal.mid), removal.key) for removal in asked])
        return {removal for removal, server in zip(asked, found, strict=True) if server == removal.server}

    async def _of_others(self, removals: Sequence[Removal]) -> set[Removal]:
        """Return those whose key has begun another session."""
        asked = [removal for removal in removals if removal.session]
        if not asked:
            return set()
        found = await self._commands.call([("HGET", ids_name(removal.mid), removal.key) for removal in asked])
        return {
            removal
            for removal, session in zip(asked, found, strict=True)
            if session is not None and int(session) != removal.session
        }

    async def _take_hold(self, name: str, owner: str, time_ms: int) -> bool:
        try:
            return bool(await self._client.set(name, owner, nx=True, px=time_ms))
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc

    async def _give_hold(self, name: str, owner: str) -> None:
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                await pipeline.watch(name)
                if await pipeline.get(name) == owner:
                    pipeline.multi()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
                    pipeline.delete(name)
                    await pipeline.execute()
        except WatchError:
            pass  # it is somebody else's now
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc

    async def _close(self) -> None:
        await self._client.aclose()
        if self._on_close is not None:
            await self._on_close()

    def _error(self, exc: Exception) -> StoreError:
        text = str(exc)
        hint = failure_hint(text, away=isinstance(exc, OSError | RedisConnectionError))
        if isinstance(exc, AskError | ClusterCrossSlotError | ClusterError):
            hint = cluster_hint(self.url)
            if isinstance(exc, AskError):
                text = f"the key is on {exc.host}:{exc.port}"
        return StoreError(f"{self._what}: {text}", hint=hint)
