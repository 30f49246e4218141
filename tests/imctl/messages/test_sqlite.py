from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from imctl.messages import sqlite
from imctl.messages.contract import Limits, Offer
from imctl.messages.sqlite import SqliteLog
from imctl.store.contract import StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "messages.db"


def open_log(path: Path, **options: object) -> SqliteLog:
    return SqliteLog(str(path), url=f"sqlite://{path}", limits=Limits(history=0, max_bytes=10**9), **options)  # type: ignore[arg-type]  # as given


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqliteLog]:
    log = open_log(path)
    yield log
    await log.close()


def message(mid: int, body: bytes = b"x") -> list[Offer]:
    return [Offer(mid, 1000, body, 1)]


async def test_the_file_is_for_its_user_alone(log, path):
    await log.offer(message(1))

    files = list(path.parent.iterdir())
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_was_committed_is_there_after_a_process_has_died(log, path):
    await log.offer(message(1))

    # Its own connection, while the first is still open and never says goodbye.
    after = open_log(path)

    assert (await after.queue(1)).messages == 1
    await after.close()


async def test_another_programs_database_is_left_alone(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    log = open_log(path)

    with pytest.raises(StoreError, match="something else's"):
        await log.check()

    await log.close()


async def test_a_file_that_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"these are not the pages you are looking for" * 100)
    log = open_log(path)

    with pytest.raises(StoreError, match="not a database"):
        await log.check()

    await log.close()


async def test_another_version_of_the_tables_is_refused(log, path):
    await log.check()
    await log.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    later = open_log(path)

    with pytest.raises(StoreError, match="has version 99 of the tables; expected 1"):
        await later.check()

    await later.close()


async def test_a_lock_that_somebody_holds_for_too_long_is_told(log, path, monkeypatch):
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_S", 0.05)
    await log.check()
    await log.close()
    log = open_log(path)
    await log.check()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="locked by another process for 0.05 s"):
        await log.offer(message(1))
    other.execute("ROLLBACK")
    other.close()

    assert [placed.id for placed in await log.offer(message(1))] == [1]
    await log.close()


async def is_taken(log: SqliteLog, size: int) -> bool:
    try:
        await log.offer(message(1, b"x" * size))
    except StoreError as exc:
        return "is full" not in exc.message
    return True


async def fill(log: SqliteLog, size: int = 500) -> int:
    """Place messages for user 1 until the log is full; return how many there was space for."""
    count = 0
    while await is_taken(log, size):
        count += 1
    return count


async def test_a_full_log_refuses_loses_nothing_and_takes_again_when_there_is_space(path):
    log = open_log(path, max_bytes=400_000)
    count = await fill(log)

    assert count > 100
    assert (await log.queue(1)).messages == count
    assert await log.acknowledge(1, 50) == 50
    assert [placed.id for placed in await log.offer(message(1))] == [count + 1]
    assert (await log.queue(1)).messages == count - 49
    await log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if not made or made.returncode != 0:
        pytest.skip("cannot mount a tmpfs; needs root")
    yield folder
    # Lazily: a test that failed may have left a file open, and a mount would break the removal of old folders.
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_on_a_full_disk_it_refuses_loses_nothing_and_goes_on_deleting(small_disk):
    log = open_log(small_disk / "messages.db")
    (small_disk / "others").write_bytes(bytes(4_000_000))
    count = await fill(log, 20_000)
    with pytest.raises(StoreError, match="is full"):
        await log.offer(message(1))

    assert count > 100
    assert (await log.queue(1)).messages == count
    cursor = await log.open_cursor(1, "k", "c", again=False)
    assert cursor is not None
    assert await log.advance(cursor, 100) is True
    for upto in range(1, 101):
        assert await log.acknowledge(1, upto) == 1
    (small_disk / "others").unlink()
    assert await is_taken(log, 20_000)
    assert await fill(log, 20_000) > 50
    assert (await log.queue(1)).messages == (await log.queue(1)).last_id - 100
    await log.close()


async def test_in_a_full_log_acknowledgements_are_taken_along_with_pushes_that_are_refused(path):
    log = open_log(path, max_bytes=400_000)
    count = await fill(log)

    results = await asyncio.gather(
        *(log.offer(message(mid, b"y" * 100_000)) for mid in range(10, 15)),
        log.acknowledge(1, 20),
        *(log.offer(message(mid, b"y" * 100_000)) for mid in range(15, 20)),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [StoreError] * 5 + [int] + [StoreError] * 5
    assert results[5] == 20
    assert (await log.queue(1)).messages == count - 20
    await log.close()


@pytest.mark.parametrize("history", [0, 10])
async def test_in_a_full_log_pushes_that_need_no_keeping_go_over_the_bus(path, history):
    log = SqliteLog(str(path), url="x", limits=Limits(history=history, max_bytes=10**9), max_bytes=400_000)
    large, live = b"x" * 500_000, {"k": "c"}
    await log.open_cursor(1, "k", "c", again=False)

    results = await asyncio.gather(
        log.offer([Offer(2, 1000, large, 1)]),
        log.offer([Offer(1, 1000, large, 1, live), Offer(1, 1000, large, 1, live)]),
        log.offer([Offer(1, 1000, large, 1, live), Offer(2, 1000, large, 1)]),
        log.offer([Offer(1, 1000, large, 1)]),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [StoreError, list, StoreError, StoreError]
    assert [(placed.id, placed.recorded) for placed in results[1]] == [(0, not history)] * 2
    assert (await log.queue(1)).last_id == 0
    await log.close()


async def test_in_a_full_log_a_push_behind_what_waits_is_refused(path):
    log = open_log(path, max_bytes=400_000)
    await log.open_cursor(1, "k", "c", again=False)
    await log.offer(message(1))
    await fill(log, 100_000)

    with pytest.raises(StoreError, match="is full"):
        await log.offer([Offer(1, 1000, b"x" * 500_000, 1, {"k": "c"})])

    await log.close()


async def test_a_call_that_cannot_be_carried_out_fails_no_other(log):
    results = await asyncio.gather(
        log.offer(message(1)), log.offer(message(2**70)), log.offer(message(2)), return_exceptions=True
    )

    assert isinstance(results[1], StoreError)
    assert [results[0][0].id, results[2][0].id] == [1, 1]


async def test_calls_of_one_turn_share_a_transaction(log):
    await log.check()
    transactions = 0

    def count(statement: str) -> None:
        nonlocal transactions
        transactions += statement.startswith("COMMIT")

    log._db.set_trace_callback(count)
    await asyncio.gather(*(log.offer(message(mid)) for mid in range(1, 201)))

    assert transactions == 1


async def test_a_closed_log_takes_nothing(log):
    await log.close()

    with pytest.raises(StoreError, match="closed"):
        await log.offer(message(1))
