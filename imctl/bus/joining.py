"""The members of consumer groups that one bus object has taken in."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from imctl.bus.contract import BusError

__all__ = ["Members"]


class _Member(Protocol):
    @property
    def closed(self) -> bool: ...

    @property
    def unacked(self) -> int: ...

    async def join(self) -> None: ...

    async def close(self, reason: str = ...) -> None: ...


M = TypeVar("M", bound=_Member)


class Members(Generic[M]):
    """Members of this process, and whether the bus is closed."""

    def __init__(self) -> None:
        self.closed = False
        self._members: list[M] = []

    @property
    def unacked(self) -> int:
        """Records that they have read and not acknowledged."""
        return sum(member.unacked for member in self._members)

    def check_open(self) -> None:
        """Raise BusError when the bus is closed."""
        if self.closed:
            raise BusError("the bus is closed")

    async def join(self, member: M) -> M:
        """Have a new member join its group and return it; it is closed when that fails.

        Raises:
            BusError: it could not join, or the bus is closed, which may happen meanwhile.
        """
        self._members = [other for other in self._members if not other.closed]
        self._members.append(member)
        try:
            self.check_open()
            await member.join()
            self.check_open()
        except BaseException:
            await member.close()
            raise
        return member

    async def close(self) -> None:
        """Close all; their receive() then raises BusError."""
        self.closed = True
        for member in self._members:
            await member.close("the bus is closed")
