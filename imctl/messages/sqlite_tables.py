"""Queues and cursors as tables of SQLite: what each call does within a transaction.

`users.messages` and `users.bytes` are kept up to date with `queue`, whose rows
of one user are without gaps: the first id is `last - messages + 1`.
`users.waits` says whether there are any; it is a column of its own so that the
index of those who have some is written only when a queue begins or ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from imctl.messages.contract import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    Batch,
    Cursor,
    Entry,
    KeptMessage,
    Limits,
    Offer,
    Placed,
    Sweep,
    Waiting,
    mid_scope,
)
from imctl.messages.ids import FIRST_UNBOUND, epoch_of, id_of
from imctl.messages.sqlite_history import HISTORY_SCHEMA, Histories
from imctl.messages.sqlite_many import select_many

__all__ = ["APPLICATION_ID", "VERSION", "Tables"]

APPLICATION_ID = 0x696D6D73
"""Marks a file as one of ours: "imms"."""
VERSION = 1

_SCHEMA = """
CREATE TABLE users (mid INTEGER PRIMARY KEY, last INTEGER NOT NULL, messages INTEGER NOT NULL, bytes INTEGER NOT NULL,
  waits INTEGER NOT NULL DEFAULT 0, acked INTEGER NOT NULL DEFAULT 0);
CREATE INDEX users_waiting ON users (mid) WHERE waits;
CREATE TABLE queue (mid INTEGER, id INTEGER, operation INTEGER NOT NULL, time_ms INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (mid, id)) WITHOUT ROWID;
CREATE TABLE cursors (key TEXT PRIMARY KEY, mid INTEGER NOT NULL, server TEXT NOT NULL, epoch INTEGER NOT NULL,
  handed INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX cursors_of_user ON cursors (mid);
"""

_CURSORS = "SELECT mid, key, server, epoch, handed FROM cursors WHERE "
_MAX_SWEPT = 1000


class _User:
    """A row of `users` on its way to change."""

    __slots__ = ("acked", "bytes", "count", "last", "mid", "waited", "written_last")

    def __init__(self, mid: int, last: int, count: int, size: int, acked: int) -> None:
        self.mid = mid
        self.acked = acked
        self.last = self.written_last = last
        self.count = count
        self.bytes = size
        self.waited = count > 0


class Tables:
    """What a log does, over one connection; every method belongs into a transaction.

    Args:
        db: The connection.
        limits: How much is kept.
    """

    def __init__(self, db: sqlite3.Connection, limits: Limits) -> None:
        self._db = db
        self._limits = limits
        self._next_mid = -(2**63)
        self._histories = Histories(db, limits)

    def create(self) -> None:
        """Make the tables."""
        for statement in (_SCHEMA + HISTORY_SCHEMA).split(";\n"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    # --- pushes -------------------------------------------------------------

    def place(self, offers: Sequence[Offer], entries: Sequence[Entry]) -> list[Placed]:
        """See MessageLog.offer and .record; for many together at little more than the cost of the rows."""
        placed = self._offer(offers) if offers else []
        if self._limits.history > 0:
            mine = [Entry(mid_scope(o.mid), o.operation, o.body, o.time_ms) for o in offers]
            self._histories.record([*mine, *entries])
        return placed

    def all_live(self, offers: Sequence[Offer]) -> bool:
        """Whether all of them can go over the bus; writes nothing."""
        users, cursors = self._users_of(offers)
        return not any(user.count for user in users.values()) and all(
            _is_live(offer, cursors.get(offer.mid, ())) for offer in offers
        )

    def _users_of(self, offers: Sequence[Offer]) -> tuple[dict[int, _User], dict[int, tuple[Cursor, ...]]]:
        mids = {offer.mid for offer in offers}
        users = {
            mid: _User(mid, *row)
            for mid, *row in select_many(
                self._db, "SELECT mid, last, messages, bytes, acked FROM users WHERE mid", mids
            )
        }
        cursors: dict[int, tuple[Cursor, ...]] = {}
        for row in select_many(self._db, _CURSORS + "mid", mids):
            cursors[row[0]] = (*cursors.get(row[0], ()), Cursor(*row))
        return users, cursors

    def _offer(self, offers: Sequence[Offer]) -> list[Placed]:
        users, cursors = self._users_of(offers)
        placed = []
        waiting: list[tuple[int, int, int, int, bytes]] = []
        for offer in offers:
            mid = offer.mid
            user = users.get(mid)
            if user is None:
                user = users[mid] = _User(mid, 0, 0, 0, 0)
            found = cursors.get(mid, ())
            if not user.count and _is_live(offer, found):
                placed.append(Placed(0))
                continue
            user.last += 1
            user.count += 1
            user.bytes += len(offer.body)
            waiting.append((mid, user.last, offer.operation, offer.time_ms, offer.body))
            if user.count > self._limits.max_messages or user.bytes > self._limits.max_bytes:
                self._write(users, waiting)
                placed.append(self._bound(user, found))
            else:
                placed.append(Placed(user.last, found))
        self._write(users, waiting)
        return placed

    def _write(self, users: Mapping[int, _User], waiting: list[tuple[int, int, int, int, bytes]]) -> None:
        """Write the messages, and what has changed of the users."""
        changed = [user for user in users.values() if user.last != user.written_last]
        self._db.executemany("INSERT INTO queue VALUES (?, ?, ?, ?, ?)", waiting)
        self._db.executemany(
            "INSERT INTO users (mid, last, messages, bytes) VALUES (?, ?, ?, ?) ON CONFLICT (mid) DO UPDATE SET"
            " last = excluded.last, messages = excluded.messages, bytes = excluded.bytes",
            [(user.mid, user.last, user.count, user.bytes) for user in changed],
        )
        self._db.executemany(
            "UPDATE users SET waits = 1 WHERE mid = ?", [(user.mid,) for user in changed if not user.waited]
        )
        for user in changed:
            user.written_last, user.waited = user.last, True
        waiting.clear()

    def _bound(self, user: _User, cursors: tuple[Cursor, ...]) -> Placed:
        """Delete what is over the bounds of a user who has been written."""
        before = max(user.last - user.count, user.acked)
        upto = user.last - self._limits.max_messages
        if user.count > self._limits.max_messages:
            user.bytes -= self._delete_first(user.mid, upto)
            user.count = self._limits.max_messages
        over_count = max(upto - before, 0)
        over_bytes = 0
        if user.bytes > self._limits.max_bytes:
            # The newest stays, however large.
            count = self._too_many(self._sizes(user.mid), user.bytes - self._limits.max_bytes, user.count - 1)
            upto = user.last - user.count + count
            user.bytes -= self._delete_first(user.mid, upto)
            user.count -= count
            over_bytes = max(upto - before - over_count, 0)
        return Placed(user.last, cursors, over_count, over_bytes)

    # --- connections --------------------------------------------------------

    def open_cursor(self, mid: int, key: str, server: str, again: bool, session: int) -> Cursor | None:
        """See MessageLog.open_cursor."""
        last, count, acked = self._head(mid)
        old = self._cursor(key)
        if old is not None and (old.mid, old.server) == (mid, server) and (old.epoch == session if session else again):
            cursor = old
        else:
            cursor = Cursor(mid, key, server, epoch_of(session), acked)
            self._db.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?)", (key, mid, server, cursor.epoch, acked)
            )
        return cursor if count and cursor.handed < last else None

    def close_cursor(self, mid: int, key: str, server: str, session: int) -> None:
        """See MessageLog.close_cursor."""
        self._db.execute(
            "DELETE FROM cursors WHERE key = ? AND mid = ? AND server = ? AND (? IN (0, epoch) OR epoch >= ?)",
            (key, mid, server, session, FIRST_UNBOUND),
        )
        self._delete_done(mid)

    def drop_cursor(self, cursor: Cursor) -> None:
        """See MessageLog.drop_cursor."""
        self._db.execute("DELETE FROM cursors WHERE key = ? AND epoch = ?", (cursor.key, cursor.epoch))
        self._delete_done(cursor.mid)

    def waiting(self, mid: int, key: str, oldest_ms: int) -> Batch | None:
        """See MessageLog.waiting."""
        cursor = self._cursor(key)
        if cursor is None or cursor.mid != mid:
            return None
        found: list[KeptMessage] = []
        size = 0
        rows = self._db.execute(
            "SELECT id, operation, body, time_ms FROM queue WHERE mid = ? AND id > ? ORDER BY id", (mid, cursor.handed)
        )
        for row in rows:
            message = KeptMessage(*row)
            if message.time_ms < oldest_ms and not found:
                continue
            size += len(message.body)
            if found and (len(found) >= MAX_BATCH_MESSAGES or size > MAX_BATCH_BYTES):
                break
            found.append(message)
        rows.close()
        return Batch(cursor, tuple(found))

    def advance(self, cursor: Cursor, handed: int, ignore: Collection[str]) -> bool:
        """See MessageLog.advance."""
        moved = self._db.execute(
            "UPDATE cursors SET handed = ? WHERE key = ? AND epoch = ? AND handed = ?",
            (handed, cursor.key, cursor.epoch, cursor.handed),
        )
        if moved.rowcount != 1:
            return False
        self._delete_done(cursor.mid, ignore)
        return True

    def _delete_done(self, mid: int, ignore: Collection[str] = ()) -> None:
        """Delete what is acknowledged, or need not be, and has been handed to every connection."""
        last, count, acked = self._head(mid)
        if not count:
            return
        handed = [cursor.handed for cursor in self._cursors_of(mid) if cursor.server not in ignore]
        upto = min([acked, *handed])
        if self._limits.delete_taken:
            upto = max(upto, min(handed, default=0))
        if upto > last - count:
            self._delete_first(mid, upto)

    # --- users --------------------------------------------------------------

    def acknowledge(self, mid: int, sequence: int) -> int:
        """See MessageLog.acknowledge."""
        last, count, acked = self._head(mid)
        upto = id_of(sequence, last)
        acknowledged = max(upto - max(acked, last - count), 0)
        if acknowledged:
            self._db.execute("UPDATE users SET acked = ? WHERE mid = ?", (upto, mid))
            self._delete_done(mid)
        return acknowledged

    def queue(self, mid: int) -> Waiting:
        """See MessageLog.queue."""
        row = self._db.execute("SELECT last, messages, bytes FROM users WHERE mid = ?", (mid,)).fetchone()
        last, count, size = row or (0, 0, 0)
        oldest = self._db.execute("SELECT time_ms FROM queue WHERE mid = ? ORDER BY id LIMIT 1", (mid,)).fetchone()
        return Waiting(mid, count, size, oldest[0] if oldest else None, last, self._cursors_of(mid))

    def history(self, scope: str, limit: int, before: int, oldest_ms: int) -> list[KeptMessage]:
        """See MessageLog.history."""
        return self._histories.read(scope, limit, before, oldest_ms)

    def delete(self, mid: int) -> int:
        """See MessageLog.delete."""
        last, count, _ = self._head(mid)
        self._delete_first(mid, last)
        self._histories.delete(mid_scope(mid))
        return count

    # --- cleaning up --------------------------------------------------------

    def sweep(self, now_ms: int, limit: int, ignore: Collection[str]) -> Sweep:
        """See MessageLog.sweep."""
        mids = [
            mid
            for (mid,) in self._db.execute(
                "SELECT mid FROM users WHERE waits AND mid > ? ORDER BY mid LIMIT ?", (self._next_mid, limit)
            )
        ]
        self._next_mid = mids[-1] if len(mids) == limit else -(2**63)
        oldest_ms = now_ms - round(self._limits.max_age_s * 1000)
        over_age = 0
        cursors: dict[int, tuple[Cursor, ...]] = {}
        behind: list[Cursor] = []
        for mid in mids:
            over_age += self._expire(mid, oldest_ms)
            if ignore:
                self._delete_done(mid, ignore)
            last, count, _ = self._head(mid)
            if count:
                found = cursors[mid] = self._cursors_of(mid)
                behind += [cursor for cursor in found if cursor.handed < last]
        self._histories.sweep(now_ms - round(self._limits.history_age_s * 1000), limit)
        return Sweep(over_age, cursors, tuple(behind))

    def _expire(self, mid: int, oldest_ms: int) -> int:
        """Delete what is too old; return how many of those were not acknowledged."""
        rows = self._db.execute("SELECT id, time_ms FROM queue WHERE mid = ? ORDER BY id LIMIT ?", (mid, _MAX_SWEPT))
        first = upto = 0
        for number, time_ms in rows:
            if time_ms >= oldest_ms:
                break
            first, upto = first or number, number
        rows.close()
        if not upto:
            return 0
        acked = self._head(mid)[2]
        self._delete_first(mid, upto)
        return max(upto - max(acked, first - 1), 0)

    # --- parts --------------------------------------------------------------

    def _head(self, mid: int) -> tuple[int, int, int]:
        """Return the number of the last message, how many there are, and up to which they are acknowledged."""
        row: tuple[int, int, int] | None = self._db.execute(
            "SELECT last, messages, acked FROM users WHERE mid = ?", (mid,)
        ).fetchone()
        return row or (0, 0, 0)

    def _cursor(self, key: str) -> Cursor | None:
        row = self._db.execute(_CURSORS + "key = ?", (key,)).fetchone()
        return Cursor(*row) if row else None

    def _cursors_of(self, mid: int) -> tuple[Cursor, ...]:
        return tuple([Cursor(*row) for row in self._db.execute(_CURSORS + "mid = ?", (mid,))])

    def _sizes(self, mid: int) -> Iterable[tuple[int]]:
        return self._db.execute("SELECT length(body) FROM queue WHERE mid = ? ORDER BY id", (mid,))

    @staticmethod
    def _too_many(sizes: Iterable[tuple[int]], over: int, at_most: int) -> int:
        """Return how many of the first, `at_most` of them, have to go for `over` bytes less."""
        count = 0
        for (size,) in sizes:
            if over <= 0 or count >= at_most:
                break
            over -= size
            count += 1
        return count

    def _delete_first(self, mid: int, upto: int) -> int:
        """Delete the messages of a queue up to an id; return their bytes."""
        gone = _lengths(
            self._db.execute("DELETE FROM queue WHERE mid = ? AND id <= ? RETURNING length(body)", (mid, upto))
        )
        if gone:
            [(left,)] = self._db.execute(
                "UPDATE users SET messages = messages - ?, bytes = bytes - ? WHERE mid = ? RETURNING messages",
                (len(gone), sum(gone), mid),
            ).fetchall()
            if not left:
                self._db.execute("UPDATE users SET waits = 0 WHERE mid = ?", (mid,))
        return sum(gone)


def _is_live(offer: Offer, cursors: Sequence[Cursor]) -> bool:
    """Whether a session that can get it over the bus is registered."""
    return any(offer.live.get(cursor.key) == cursor.server for cursor in cursors)


def _lengths(rows: sqlite3.Cursor) -> Sequence[int]:
    return [length for (length,) in rows.fetchall()]
