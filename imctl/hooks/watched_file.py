"""A file of settings that is read again when it changes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from imctl.errors import ConfigError

__all__ = ["WatchedFile"]

_T = TypeVar("_T")

_LOOK_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class WatchedFile(Generic[_T]):
    """What a file says now, looked at once a second at most.

    Args:
        path: The file.
        parse: Turns its bytes into a value; raises ValueError with what is wrong.
        clock: Monotonic seconds.

    Raises:
        ConfigError: it cannot be read or parsed the first time.
    """

    def __init__(
        self, path: Path, parse: Callable[[bytes], _T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        try:
            self._seen = self._mark()
            self._value = parse(path.read_bytes())
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{path}: {exc}") from exc
        self._looked_s = clock()
        self._problem = ""

    def value(self) -> _T:
        """Return what the file says; while it cannot be read or parsed, what it said before."""
        now_s = self._clock()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            mark = self._mark()
            if mark != self._seen:
                self._value = self._parse(self._path.read_bytes())
                # Only now: a file that could not be read may be as old and as long when it can be.
                self._seen = mark
                logger.info("%s has changed and counts from now on", self._path)
            elif self._problem:
                logger.info("%s is again as it was before", self._path)
            self._problem = ""
        except (OSError, ValueError) as exc:
            if str(exc) != self._problem:
                self._problem = str(exc)
                logger.warning("%s: %s; what it said before goes on", self._path, exc)

    def _mark(self) -> tuple[int, int, int]:
        stat = os.stat(self._path)
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
