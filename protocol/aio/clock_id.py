"""Whose monotonic clock this is."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

__all__ = ["clock_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")


def clock_id() -> str:
    """Return a name of this machine's monotonic clock: times of processes that give the same one can be compared."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        return platform.node()
    with contextlib.suppress(OSError):
        # A container shares the clock, unless it has a time namespace of its own.
        return f"{boot} {_TIME_NAMESPACE.readlink()}"
    return boot
