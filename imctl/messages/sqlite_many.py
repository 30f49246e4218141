"""One SELECT for many keys."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any

__all__ = ["select_many"]

# Few lengths, so that few statements are prepared; those between repeat a key.
_LENGTHS = (1, 8, 64, 512)


def select_many(db: sqlite3.Connection, select: str, keys: Collection[int] | Collection[str]) -> Iterator[Any]:
    """Yield the rows whose key is one of those asked for. Any: rows.

    Args:
        db: The connection.
        select: A SELECT up to the name of the key, such as `SELECT * FROM users WHERE mid`.
        keys: Each once.
    """
    remaining = iter(keys)
    while chunk := list(itertools.islice(remaining, _LENGTHS[-1])):
        length = next(length for length in _LENGTHS if length >= len(chunk))
        chunk += chunk[-1:] * (length - len(chunk))
        yield from db.execute(f"{select} IN ({','.join('?' * length)})", chunk)
