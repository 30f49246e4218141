"""The message log in a file: SQLite, one thread, many calls a transaction.

All calls of a process go through one thread and one connection. Those that are
made while a transaction is under way share the next one, so under load a
commit costs each of them little. Several processes of a machine may share the
file; SQLite lets one write at a time.

With `synchronous=normal` (the default) what was committed survives the end of
the process however it comes, and a power failure may take the last moments;
with `full` it survives that too, at the price of a disk flush a transaction.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from imctl.messages.contract import Batch, Cursor, Entry, KeptMessage, Limits, Offer, Placed, Sweep, Waiting
from imctl.messages.reserve import RESERVE_BYTES, Reserve
from imctl.messages.sqlite_tables import APPLICATION_ID, VERSION, Tables
from imctl.store.batcher import Batcher
from imctl.store.contract import StoreError

__all__ = ["SqliteLog"]

logger = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 2.0  # before the time for a decision of a hook is over, so that the reason is told
_LOOK_EVERY_S = 0.002
_TIMEOUT_S = 15.0
_MAX_WAL_BYTES = 16_777_216

# The latter two for numbers and texts that SQLite cannot take.
_FAILURES = (sqlite3.Error, OverflowError, ValueError)

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class _Call:
    """What to do within a transaction: some work, or messages to place. Any: results differ by call.

    Args:
        work: Does it.
        offers: Pushes to users.
        entries: Pushes for histories.
    """

    work: Callable[[Tables], Any] | None = None
    offers: Sequence[Offer] = ()
    entries: Sequence[Entry] = ()


class SqliteLog:
    """Follows imctl.messages.contract.MessageLog.

    Args:
        path: The file, made with its folder when it is not there; `:memory:` for none.
        url: Shown to people.
        limits: How much is kept.
        flush: Flush the disk with every transaction.
        max_bytes: Size the file may grow to; 0 for no bound but the disk's.
    """

    def __init__(self, path: str, *, url: str, limits: Limits, flush: bool = False, max_bytes: int = 0) -> None:
        self.url = url
        self.closed = False
        self._path = path
        self._limits = limits
        self._flush = flush
        self._max_bytes = max_bytes
        self._what = f"message store {url}"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="messages")
        self._reserve = Reserve(Path(f"{path}-reserve")) if path != ":memory:" else None
        self._is_short = False
        self._tables: Tables | None = None
        self._db: sqlite3.Connection | None = None
        self._calls: Batcher[_Call, Any] = Batcher(self._carry_out, what=self._what, timeout_s=_TIMEOUT_S)

    async def check(self) -> None:
        """See MessageLog.check."""
        await self._call(lambda tables: None)

    async def offer(self, offers: Sequence[Offer]) -> Sequence[Placed]:
        """See MessageLog.offer."""
        return cast(Sequence[Placed], await self._calls.call(_Call(offers=offers)))

    async def record(self, entry: Entry) -> None:
        """See MessageLog.record."""
        await self._calls.call(_Call(entries=(entry,)))

    async def open_cursor(self, mid: int, key: str, server: str, *, again: bool, session: int = 0) -> Cursor | None:
        """See MessageLog.open_cursor."""
        return await self._call(lambda tables: tables.open_cursor(mid, key, server, again, session))

    async def close_cursor(self, mid: int, key: str, server: str, *, session: int = 0) -> None:
        """See MessageLog.close_cursor."""
        await self._call(lambda tables: tables.close_cursor(mid, key, server, session))

    async def drop_cursor(self, cursor: Cursor) -> None:
        """See MessageLog.drop_cursor."""
        await self._call(lambda tables: tables.drop_cursor(cursor))

    async def waiting(self, mid: int, key: str, oldest_ms: int) -> Batch | None:
        """See MessageLog.waiting."""
        return await self._call(lambda tables: tables.waiting(mid, key, oldest_ms))

    async def advance(self, cursor: Cursor, handed: int, ignore: Collection[str] = ()) -> bool:
        """See MessageLog.advance."""
        return await self._call(lambda tables: tables.advance(cursor, handed, ignore))

    async def acknowledge(self, mid: int, sequence: int) -> int:
        """See MessageLog.acknowledge."""
        return await self._call(lambda tables: tables.acknowledge(mid, sequence))

    async def history(self, scope: str, limit: int, before: int, oldest_ms: int) -> Sequence[KeptMessage]:
        """See MessageLog.history."""
        return await self._call(lambda tables: tables.history(scope, limit, before, oldest_ms))

    async def queue(self, mid: int) -> Waiting:
        """See MessageLog.queue."""
        return await self._call(lambda tables: tables.queue(mid))

    async def delete(self, mid: int) -> int:
        """See MessageLog.delete."""
        return await self._call(lambda tables: tables.delete(mid))

    async def sweep(self, now_ms: int, limit: int, ignore: Collection[str] = ()) -> Sweep:
        """See MessageLog.sweep."""
        return await self._call(lambda tables: tables.sweep(now_ms, limit, ignore))

    async def close(self) -> None:
        """See MessageLog.close."""
        if self.closed:
            return
        self.closed = True
        await self._calls.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[[Tables], _R]) -> _R:
        return cast(_R, await self._calls.call(_Call(work)))

    async def _carry_out(self, calls: Sequence[_Call]) -> Sequence[Any]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, calls)

    # --- in the thread ------------------------------------------------------

    def _run(self, calls: Sequence[_Call]) -> list[Any]:
        """Carry out calls in one transaction; when that fails, each in its own, so that one cannot fail others."""
        try:
            if self._tables is None:
                _patiently(self._open)
            if not self._is_short or self._may_grow():
                return self._transaction(calls)
        except _FAILURES as exc:
            if self._tables is None or _is_busy(exc) or (len(calls) == 1 and not _is_full(exc)):
                raise self._error(exc) from exc
            if _is_full(exc):
                self._run_short()
        results: list[Any] = []
        for call in calls:
            if self._is_short and call.work is None:
                # Without a try: each costs as much as a transaction, and publishers may be many.
                results.append(self._unrecorded(call))
                continue
            try:
                results += self._transaction([call])
            except _FAILURES as exc:
                results.append(self._error(exc))
        return results

    def _transaction(self, calls: Sequence[_Call]) -> list[Any]:
        db, tables = self._db, self._tables
        assert db is not None
        assert tables is not None
        _patiently(lambda: db.execute("BEGIN IMMEDIATE"))
        try:
            results = _carry_out(tables, calls)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # some errors have rolled back already
                db.execute("ROLLBACK")
            raise
        return results

    def _unrecorded(self, call: _Call) -> list[Placed] | StoreError:
        """Find that all pushes to users can go over the bus, where only their histories need space."""
        db, tables = self._db, self._tables
        assert db is not None
        assert tables is not None
        if not call.offers:
            return self._is_full()
        try:
            db.execute("BEGIN")  # reads only: all of one moment
            try:
                all_live = tables.all_live(call.offers)
            finally:
                db.execute("ROLLBACK")
        except _FAILURES as exc:
            return self._error(exc)
        return [Placed(0, recorded=not self._limits.history)] * len(call.offers) if all_live else self._is_full()

    def _run_short(self) -> None:
        """Take no more messages, and make space for deletions: empty the write-ahead log, which then begins anew."""
        assert self._db is not None
        self._is_short = True
        if self._reserve is not None:
            self._reserve.give()
        try:
            self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except sqlite3.Error as exc:
            logger.info("%s: the write-ahead log stays as it is: %s", self._what, exc)

    def _may_grow(self) -> bool:
        """Whether there is space again, on the disk or within the file."""
        assert self._db is not None
        [(free_pages,)] = self._db.execute("PRAGMA freelist_count").fetchall()
        [(page_bytes,)] = self._db.execute("PRAGMA page_size").fetchall()
        reserved = self._reserve is None or self._reserve.make()
        self._is_short = not reserved and free_pages * page_bytes < RESERVE_BYTES
        return not self._is_short

    def _open(self) -> None:
        if self._path != ":memory:":
            self._make_file(Path(self._path))
        # Opened and used in the one thread of the pool, closed there too.
        db = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            db.execute(f"PRAGMA synchronous = {'FULL' if self._flush else 'NORMAL'}")
            db.execute(f"PRAGMA journal_size_limit = {_MAX_WAL_BYTES}").fetchall()
            if self._max_bytes:
                [(page_bytes,)] = db.execute("PRAGMA page_size").fetchall()
                db.execute(f"PRAGMA max_page_count = {max(self._max_bytes // page_bytes, 1)}").fetchall()
            tables = Tables(db, self._limits)
            self._prepare(db, tables)
            db.execute("PRAGMA busy_timeout = 20").fetchall()  # ms; from here on it is _patiently() that waits for long
        except BaseException:
            db.close()
            raise
        self._db, self._tables = db, tables
        if self._reserve is not None and not self._reserve.make():
            logger.warning("%s: the disk is full, or nearly", self._what)

    def _make_file(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Messages are private; SQLite gives its own files beside it the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as exc:
            raise StoreError(f"{self._what}: {exc.strerror}: {exc.filename}") from exc

    def _prepare(self, db: sqlite3.Connection, tables: Tables) -> None:
        """Make the tables of a new file, and refuse one that is not ours."""
        db.execute("BEGIN IMMEDIATE")
        try:
            [(application,)] = db.execute("PRAGMA application_id").fetchall()
            [(version,)] = db.execute("PRAGMA user_version").fetchall()
            [(objects,)] = db.execute("SELECT count(*) FROM sqlite_master").fetchall()
            if not objects:
                tables.create()
            elif application != APPLICATION_ID:
                raise StoreError(f"{self._what}: this database is something else's", hint="name another file")
            elif version != VERSION:
                raise StoreError(f"{self._what}: has version {version} of the tables; expected {VERSION}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _close(self) -> None:
        db, self._db, self._tables = self._db, None, None
        if db is not None:
            db.close()

    def _is_full(self) -> StoreError:
        return StoreError(f"{self._what} is full", hint="make space, or give it a smaller max_messages or max_age_s")

    def _error(self, exc: Exception) -> StoreError:
        if _is_full(exc):
            return self._is_full()
        if _is_busy(exc):
            return StoreError(f"{self._what} is locked by another process for {_BUSY_TIMEOUT_S:g} s")
        return StoreError(f"{self._what}: {exc}")


def _carry_out(tables: Tables, calls: Sequence[_Call]) -> list[Any]:
    """Do everything in its order; what is to be placed without a pause goes together, which costs far less."""
    results: list[Any] = []
    for is_work, group in itertools.groupby(calls, lambda call: call.work is not None):
        run = list(group)
        if is_work:
            results += [call.work(tables) for call in run if call.work is not None]
            continue
        offers = [offer for call in run for offer in call.offers]
        placed = tables.place(offers, [entry for call in run for entry in call.entries])
        at = 0
        for call in run:
            results.append(placed[at : at + len(call.offers)])
            at += len(call.offers)
    return results


def _is_full(exc: Exception) -> bool:
    # A disk without space for the write-ahead log is told as an I/O error.
    return _name(exc) == "SQLITE_FULL" or _name(exc).startswith("SQLITE_IOERR_WRITE")


def _patiently(work: Callable[[], object]) -> None:
    """Do what another process may keep us from, again and again for a while.

    SQLite's own waiting looks ever more seldom, every 100 ms in the end:
    beside a process that writes all the time it may never find the moment in
    between. And where two open a new file at once it does not wait at all.
    """
    deadline_s = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            work()
        except sqlite3.OperationalError as exc:
            if not _is_busy(exc) or time.monotonic() >= deadline_s:
                raise
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _is_busy(exc: Exception) -> bool:
    return _name(exc).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _name(exc: Exception) -> str:
    return getattr(exc, "sqlite_errorname", "")
