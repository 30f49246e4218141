"""A connection to Redis that comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

import hiredis

from imctl.bus.contract import BusError
from imctl.bus.redis_master import RedisPlace
from imctl.bus.resp import Command, RespConnection, open_resp

__all__ = ["NotTakenError", "RedisLink"]

logger = logging.getLogger(__name__)

# Said by a master of which another connection to the same place would be none other.
_STAYING = ("NOREPLICAS", "TRYAGAIN", "ASK")
_FIRST_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 1.0


class NotTakenError(BusError):
    """Redis has refused a command because of the state that it is in, which passes.

    Args:
        message: What it said.
        replies: To all commands of the call. Any: RESP values.
    """

    def __init__(self, message: str, replies: list[Any]) -> None:
        super().__init__(message)
        self.replies = replies


class RedisLink:
    """Connects when it is asked to.

    Args:
        place: Where.
        what: How it is called in messages, without secrets.
        timeout_s: Longest wait for a connection, and for replies.
    """

    def __init__(self, place: RedisPlace, *, what: str, timeout_s: float) -> None:
        self.what = what
        self.connects = 0
        self.used_s = 0.0
        """When there was last an answer, by the clock of the loop."""
        self._place = place
        self._timeout_s = timeout_s
        self._connection: RespConnection | None = None
        self._connecting = asyncio.Lock()
        self._error: BusError | None = None
        self._failures = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.closed

    async def connect(self) -> None:
        """Connect unless connected; raises BusError."""
        if self.connected:
            return
        async with self._connecting:
            # Somebody else may have done it meanwhile.
            if not self.connected:
                await self._connect()

    async def _connect(self) -> None:
        self._connection = None
        try:
            address = await self._place.find(self._timeout_s)
            self._connection = await open_resp(address, timeout_s=self._timeout_s)
        except BusError as exc:
            self._error = exc
            self._failures += 1
            if self._failures == 1 and self.connects:
                logger.warning("%s has gone, trying again until it is back: %s", self.what, exc)
            raise
        if self._failures and self.connects:
            logger.warning("%s is back after %d attempts", self.what, self._failures + 1)
        self.connects += 1
        self.used_s = asyncio.get_running_loop().time()
        self._failures = 0
        self._error = None

    async def try_connect(self) -> bool:
        """Connect unless connected; False when that fails."""
        try:
            await self.connect()
        except BusError:
            return False
        return True

    def backoff_s(self) -> float:
        """Return how long to wait before the next attempt."""
        return min(_FIRST_BACKOFF_S * 2.0 ** min(self._failures, 10), _MAX_BACKOFF_S) * random.uniform(0.5, 1.0)

    def why_not(self) -> str:
        """Return the last reason that there is no connection; empty when there is one."""
        return self._error.message if self._error is not None else ""

    def is_not_taken(self, reply: Any) -> bool:
        """Whether a reply says that this Redis cannot take the command now, and another or a later one can."""
        return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(self._place.passing)

    async def call(self, commands: Sequence[Command], *, wait_s: float = 0.0) -> list[Any]:
        """See RespConnection.call; connects first, and raises BusError. Any: RESP values.

        Args:
            commands: As there.
            wait_s: How long the server may block on them.

        Raises:
            NotTakenError: a command was refused for one of the reasons that the place calls passing, such as
                that this is no master; the others have been carried out. Where another Redis may be meant,
                the next call looks for it.
        """
        await self.connect()
        assert self._connection is not None
        replies = await self._connection.call(commands, timeout_s=self._timeout_s + wait_s)
        self.used_s = asyncio.get_running_loop().time()
        refusal = next((reply for reply in replies if self.is_not_taken(reply)), None)
        if refusal is not None:
            if not str(refusal).startswith(_STAYING):
                await self.close()
            raise NotTakenError(f"{self.what}: {refusal}", replies)
        return replies

    async def close(self) -> None:
        """Close the connection if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
