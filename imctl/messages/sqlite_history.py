"""Histories as tables of SQLite.

`sum` of a row is the bytes of its body and of all before it since the history
began, so what a range of rows holds is the difference of two. `floor` of a
history is such a sum at or before its first row: `sum - floor` is never less
than what is there, and only when that is over the bound is it looked up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from imctl.messages.contract import Entry, KeptMessage, Limits
from imctl.messages.sqlite_many import select_many

__all__ = ["HISTORY_SCHEMA", "Histories"]

HISTORY_SCHEMA = """
CREATE TABLE histories (scope TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, sum INTEGER NOT NULL,
  floor INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE history (scope TEXT, id INTEGER, operation INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  sum INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (scope, id)) WITHOUT ROWID;
"""

_MAX_SWEPT = 1000


class _Head:
    __slots__ = ("first", "floor", "kept_first", "last", "sum")

    def __init__(self, first: int = 1, last: int = 0, total: int = 0, floor: int = 0) -> None:
        self.first = self.kept_first = first
        self.last = last
        self.sum = total
        self.floor = floor


class Histories:
    """What a log does with histories, over one connection; every method belongs into a transaction.

    Args:
        db: The connection.
        limits: How much is kept.
    """

    def __init__(self, db: sqlite3.Connection, limits: Limits) -> None:
        self._db = db
        self._limits = limits
        self._next = ""

    def record(self, entries: Sequence[Entry]) -> None:
        """Enter pushes in their order."""
        most = self._limits.history
        if most <= 0 or not entries:
            return
        heads = {
            scope: _Head(*row)
            for scope, *row in select_many(
                self._db, "SELECT scope, first, last, sum, floor FROM histories WHERE scope", {e.scope for e in entries}
            )
        }
        rows = []
        for entry in entries:
            head = heads.get(entry.scope)
            if head is None:
                head = heads[entry.scope] = _Head()
            head.last += 1
            head.sum += len(entry.body)
            head.first = max(head.first, head.last - most + 1)
            rows.append((entry.scope, head.last, entry.operation, entry.time_ms, head.sum, entry.body))
        self._db.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)", rows)
        for scope, head in heads.items():
            if head.sum - head.floor > self._limits.max_bytes:
                self._bound_bytes(scope, head)
        self._db.executemany(
            "INSERT INTO histories VALUES (?, ?, ?, ?, ?) ON CONFLICT (scope) DO UPDATE SET"
            " first = excluded.first, last = excluded.last, sum = excluded.sum, floor = excluded.floor",
            [(scope, head.first, head.last, head.sum, head.floor) for scope, head in heads.items()],
        )
        self._db.executemany(
            "DELETE FROM history WHERE scope = ? AND id < ?",
            [(scope, head.first) for scope, head in heads.items() if head.first > head.kept_first],
        )

    def _bound_bytes(self, scope: str, head: _Head) -> None:
        """Move the beginning up to where the rest is within the bound; the newest stays, however large."""
        # What is before a row is its sum without its body: the first row with little enough behind it begins.
        begin, total, size = self._db.execute(
            "SELECT id, sum, length(body) FROM history WHERE scope = ? AND id >= ?"
            " AND (? - sum + length(body) <= ? OR id = ?) ORDER BY id LIMIT 1",
            (scope, head.first, head.sum, self._limits.max_bytes, head.last),
        ).fetchone()
        head.first, head.floor = begin, total - size

    def read(self, scope: str, limit: int, before: int, oldest_ms: int) -> list[KeptMessage]:
        """See MessageLog.history."""
        rows = self._db.execute(
            "SELECT id, operation, body, time_ms FROM history WHERE scope = ? AND id < ? AND time_ms >= ?"
            " ORDER BY id DESC LIMIT ?",
            (scope, before or 2**63 - 1, oldest_ms, limit),
        )
        return [KeptMessage(*row) for row in rows][::-1]

    def delete(self, scope: str) -> None:
        """Forget what was entered; ids go on where they were."""
        self._db.execute("DELETE FROM history WHERE scope = ?", (scope,))
        self._db.execute("UPDATE histories SET first = last + 1, floor = sum WHERE scope = ?", (scope,))

    def sweep(self, oldest_ms: int, limit: int) -> None:
        """Delete what is too old in the next histories."""
        scopes: list[tuple[str, int, int]] = self._db.execute(
            "SELECT scope, first, last FROM histories WHERE scope > ? ORDER BY scope LIMIT ?", (self._next, limit)
        ).fetchall()
        self._next = scopes[-1][0] if len(scopes) == limit else ""
        for scope, first, last in scopes:
            fresh = self._db.execute(
                "SELECT id FROM history WHERE scope = ? AND time_ms >= ? ORDER BY id LIMIT 1", (scope, oldest_ms)
            ).fetchone()
            begin = min(fresh[0] if fresh else last + 1, first + _MAX_SWEPT)
            if first > last:
                self._db.execute("DELETE FROM histories WHERE scope = ?", (scope,))
            elif begin > first:
                self._db.execute("DELETE FROM history WHERE scope = ? AND id < ?", (scope, begin))
                self._db.execute("UPDATE histories SET first = ? WHERE scope = ?", (begin, scope))
