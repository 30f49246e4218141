"""Which way a frame goes, seen from a client."""

from __future__ import annotations

import enum

__all__ = ["Direction"]


class Direction(enum.Enum):
    """Which way a frame goes."""

    SENT = "sent"
    RECEIVED = "received"
