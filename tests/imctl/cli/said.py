"""What a command says on stderr, as it says it."""

from __future__ import annotations

import asyncio
import io

__all__ = ["Said"]


class Said(io.StringIO):
    """A stderr that tells of its first line."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def flush(self) -> None:
        self.written.set()
