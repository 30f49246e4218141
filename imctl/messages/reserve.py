"""Disk space that is set aside, so that a full disk does not keep a log from deleting.

SQLite writes everything, deletions too, into its write-ahead log first, and
needs space to empty that into the file. On a full disk there is none, and then
nothing could be handed over or deleted any more. So a file of a few MB lies
beside the log; when the disk is full it is deleted, and comes back later.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["RESERVE_BYTES", "Reserve"]

RESERVE_BYTES = 8_388_608
"""More than the write-ahead log holds before it is emptied."""


class Reserve:
    """The file.

    Args:
        path: Where it lies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> bool:
        """Set the space aside unless it is already; return whether it is now."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return False
        try:
            if os.fstat(fd).st_size < RESERVE_BYTES:
                _allocate(fd)
        except OSError:
            self.give()
            return False
        finally:
            os.close(fd)
        return True

    def give(self) -> None:
        """Free the space."""
        self._path.unlink(missing_ok=True)


def _allocate(fd: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, RESERVE_BYTES)
    else:
        # macOS has none. Written, and not only made long: a hole takes no space.
        os.write(fd, bytes(RESERVE_BYTES))
