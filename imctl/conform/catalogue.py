"""All cases, and how they are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from imctl.conform import (
    auth,
    comet_grpc,
    discovery,
    discovery_polls,
    frames,
    logic_grpc,
    logic_http,
    operations,
    push_rooms,
    pushes,
    sessions,
    timers,
    upgrade,
    websocket,
)
from imctl.conform.case import Case

__all__ = ["CASES", "select_cases"]

CASES: tuple[Case, ...] = (
    *frames.CASES,
    *operations.CASES,
    *auth.CASES,
    *upgrade.CASES,
    *websocket.CASES,
    *sessions.CASES,
    *pushes.CASES,
    *push_rooms.CASES,
    *timers.CASES,
    *logic_http.CASES,
    *logic_grpc.CASES,
    *comet_grpc.CASES,
    *discovery.CASES,
    *discovery_polls.CASES,
)
"""In the order in which they are listed."""


def select_cases(patterns: Sequence[str]) -> list[Case]:
    """Return the cases whose id matches one of the patterns, or has it as a part where it has no wildcard."""
    if not patterns:
        return list(CASES)
    return [
        case
        for case in CASES
        if any(
            fnmatchcase(case.id, pattern) if set(pattern) & set("*?[") else pattern in case.id for pattern in patterns
        )
    ]
