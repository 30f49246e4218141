"""Kept messages as JSON, for logic's HTTP API."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from imctl.messages.contract import KeptMessage, Waiting

__all__ = ["dump_history", "dump_waiting"]


def dump_history(messages: Sequence[KeptMessage]) -> dict[str, Any]:
    """Return the data of a reply to GET /imctl/history. Any: JSON."""
    return {"messages": [_message(message) for message in messages]}


def dump_waiting(waiting: Waiting) -> dict[str, Any]:
    """Return the data of a reply to GET /imctl/offline. Any: JSON."""
    return {
        "mid": waiting.mid,
        "messages": waiting.messages,
        "bytes": waiting.bytes,
        "oldest_ms": waiting.oldest_ms,
        "last_id": waiting.last_id,
        "connections": [
            {"key": cursor.key, "server": cursor.server, "handed": cursor.handed} for cursor in waiting.cursors
        ],
    }


def _message(message: KeptMessage) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": message.id, "operation": message.operation, "time_ms": message.time_ms}
    try:
        shown["body"] = message.body.decode()
    except UnicodeDecodeError:
        shown["body_base64"] = base64.b64encode(message.body).decode()
    return shown
