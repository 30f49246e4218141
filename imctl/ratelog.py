"""Log lines that a stranger can cause, at a bounded rate."""

from __future__ import annotations

import logging
import time

__all__ = ["LimitedLogger"]


class LimitedLogger:
    """Passes at most `per_s` lines a second to a logger and says how many it left out.

    Args:
        logger: Where the lines go.
        per_s: Lines a second.
    """

    __slots__ = ("_count", "_left_out", "_logger", "_per_s", "_second")

    def __init__(self, logger: logging.Logger, per_s: int = 10) -> None:
        self._logger = logger
        self._per_s = per_s
        self._second = 0
        self._count = 0
        self._left_out = 0

    def info(self, message: str, *args: object) -> None:
        """Log at info, or count the line as left out."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._count = 0
            if self._left_out:
                self._logger.info("%d further lines left out", self._left_out)
                self._left_out = 0
        if self._count >= self._per_s:
            self._left_out += 1
            return
        self._count += 1
        self._logger.info(message, *args)
