"""A session store that answers without waiting, which lets logic answer a connect inside its batch.

Every method does what the method of SessionStore without `_now` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

__all__ = ["ImmediateStore"]


@runtime_checkable
class ImmediateStore(Protocol):
    """The session half of SessionStore as plain calls; none of them can fail."""

    def add_now(self, mid: int, key: str, server: str, session: int = 0) -> None: ...

    def refresh_now(self, mid: int, key: str, server: str, session: int = 0) -> None: ...

    def remove_now(self, mid: int, key: str, server: str, session: int = 0) -> bool: ...

    def servers_by_key_now(self, keys: Sequence[str]) -> dict[str, str]: ...

    def sessions_by_mid_now(self, mids: Iterable[int]) -> dict[int, dict[str, str]]: ...
