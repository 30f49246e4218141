"""A push that is kept: CPU of the message store for each, on SQLite and on Redis."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from redis.asyncio import Redis

from benchmarks.measure import Line, cpu_s, ratio_of_medians
from imctl.messages.contract import Limits, MessageLog, Offer
from imctl.messages.factory import open_messages

__all__ = ["run"]

_MIDS = 1000
_TOGETHER = 256
_MESSAGES = 256 * 20
_ROUNDS = 3
_BODY = b"x" * 64


async def run() -> list[Line]:
    """Keep 64-byte messages for 1,000 users, 256 pushes at a time, in turn with the barest way into the same server."""
    with tempfile.TemporaryDirectory(prefix="imctl-bench-") as folder:
        lines = [await _sqlite(Path(folder))]
        if program := shutil.which("redis-server", path="/usr/bin:/usr/local/bin"):
            lines.append(await _redis(program, Path(folder)))
    return lines


async def _sqlite(folder: Path) -> Line:
    raw = sqlite3.connect(folder / "raw.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA synchronous = NORMAL")
    raw.execute("CREATE TABLE m (mid, id, operation, time_ms, body, PRIMARY KEY (mid, id)) WITHOUT ROWID")
    number = 0

    async def insert() -> None:
        nonlocal number
        rows = [(number % _MIDS, number + i, 1000, 1, _BODY) for i in range(_TOGETHER)]
        number += _TOGETHER
        raw.execute("BEGIN")
        raw.executemany("INSERT INTO m VALUES (?, ?, ?, ?, ?)", rows)
        raw.execute("COMMIT")

    line = await _compare("message kept, SQLite", f"sqlite:///{folder}/messages.db", insert)
    raw.close()
    return line


async def _redis(program: str, folder: Path) -> Line:
    socket = folder / "redis.sock"
    server = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    async with AsyncExitStack() as stack:
        stack.callback(server.wait)
        stack.callback(server.kill)
        while not socket.exists():
            await asyncio.sleep(0.01)
        client: Redis = Redis(unix_socket_path=str(socket), protocol=2)
        stack.push_async_callback(client.aclose)

        async def insert() -> None:
            pipeline = client.pipeline(transaction=False)
            for i in range(_TOGETHER):
                pipeline.rpush(f"m{i}", _BODY)
            await pipeline.execute()

        return await _compare("message kept, Redis", f"unix://{socket}", insert, server.pid)
    raise AssertionError


async def _compare(name: str, url: str, raw: Callable[[], Awaitable[None]], pid: int | None = None) -> Line:
    """Measure both in turn; `pid` is the server, whose CPU counts too."""
    with_history, plain = open_messages(url, Limits()), open_messages(url, Limits(history=0))

    def spent() -> float:
        return cpu_s() + (cpu_s(pid) if pid is not None else 0.0)

    async def measure(work: Callable[[], Awaitable[None]]) -> float:
        before = spent()
        for _ in range(_MESSAGES // _TOGETHER):
            await work()
        return (spent() - before) / _MESSAGES * 1e6

    async def keep(log: MessageLog) -> None:
        await asyncio.gather(*(log.offer([Offer(mid, 1000, _BODY, 1)]) for mid in range(1, _TOGETHER + 1)))

    for log in (with_history, plain):
        await keep(log)
    ours, raws, histories = [], [], []
    for _ in range(_ROUNDS):
        raws.append(await measure(raw))
        ours.append(await measure(lambda: keep(plain)))
        histories.append(await measure(lambda: keep(with_history)))
    await with_history.close()
    await plain.close()
    return Line(
        name,
        "us CPU",
        statistics.median(ours),
        statistics.median(raws),
        ratio_of_medians(raws, ours),
        detail={"with_history_us": round(statistics.median(histories), 1)},
    )
