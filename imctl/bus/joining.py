"""How a bus takes in a new member of a consumer group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from imctl.bus.contract import BusError

__all__ = ["joined"]


class _Member(Protocol):
    async def join(self) -> None: ...

    async def close(self) -> None: ...


M = TypeVar("M", bound=_Member)


async def joined(member: M, is_closed: Callable[[], bool]) -> M:
    """Have a member join its group and return it; it is closed when that fails.

    Args:
        member: New.
        is_closed: Whether the bus has been closed, which may happen meanwhile.

    Raises:
        BusError: it could not join, or the bus has been closed.
    """
    try:
        await member.join()
    except BaseException:
        await member.close()
        raise
    if is_closed():
        await member.close()
        raise BusError("the bus is closed")
    return member
