"""Log files of a cluster: written with a bound, read back merged, followed while they grow."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from imctl.cluster.state import usable

__all__ = ["LOG_FORMAT", "LOG_TIME", "MAX_LOG_BYTES", "LogFile", "LogLine", "follow_logs", "log_nodes", "read_logs"]

LOG_TIME = "%Y-%m-%dT%H:%M:%S"
LOG_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
"""Starts with the time, so that lines of several nodes sort; a line that does not belongs to the one before."""

MAX_LOG_BYTES = 4 * 1024 * 1024
"""Of one file; a node has two."""
_FOLLOW_S = 0.2


class LogFile:
    """An append-only file that is moved to `<name>.1` when it is full; at most two times `max_bytes` on disk.

    Args:
        path: The file; its folder exists.
        max_bytes: Size at which it is moved away.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        with usable("a log cannot be written"):
            self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append bytes now. Whole lines, or a rotation may cut one."""
        if self._file.tell() + len(data) > self._max_bytes and self._file.tell():
            self._file.close()
            self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))
            self._file = self._path.open("ab", buffering=0)
        self._file.write(data)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()


@dataclass(frozen=True, slots=True, order=True)
class LogLine:
    """One line of one node's log.

    Args:
        time: ISO time with milliseconds; a line without one has that of the line before.
        node: Whose.
        text: The rest of the line.
    """

    time: str
    node: str = field(compare=False)
    text: str = field(compare=False)


def log_nodes(folder: Path) -> list[str]:
    """Return the names of the nodes that have a log."""
    return sorted(path.stem for path in folder.glob("*.log"))


def read_logs(folder: Path, nodes: Iterable[str], *, tail: int = 0) -> list[LogLine]:
    """Return the lines of several nodes in order of time, the last `tail` of them when above 0."""
    lines: list[LogLine] = []
    for node in nodes:
        time = ""
        for path in (folder / f"{node}.log.1", folder / f"{node}.log"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            for raw in data.splitlines():
                line = _parse(node, raw, time)
                time = line.time
                lines.append(line)
    lines.sort()  # stable: lines of one node stay in their order
    return lines[-tail:] if tail else lines


async def follow_logs(folder: Path, nodes: Iterable[str]) -> AsyncIterator[LogLine]:
    """Yield lines written from now on, across rotations and restarts, until cancelled."""
    tails = [_Tail(folder / f"{node}.log", node) for node in nodes]
    try:
        while True:
            for line in sorted(line for tail in tails for line in tail.read()):
                yield line
            await asyncio.sleep(_FOLLOW_S)
    finally:
        for tail in tails:
            tail.close()


class _Tail:
    """Reads what is appended to one file after this was made."""

    def __init__(self, path: Path, node: str) -> None:
        self._path = path
        self._node = node
        self._time = ""
        self._rest = b""
        self._file = path.open("rb") if path.exists() else None
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def read(self) -> list[LogLine]:
        data = self._file.read() if self._file is not None else b""
        if self._moved():
            self.close()
            self._file = self._path.open("rb")
            data += self._file.read()
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = []
        for raw in whole:
            line = _parse(self._node, raw, self._time)
            self._time = line.time
            lines.append(line)
        return lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _moved(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or os.fstat(self._file.fileno()).st_ino != there.st_ino


def _parse(node: str, raw: bytes, before: str) -> LogLine:
    text = raw.decode("utf-8", "replace")
    time, _, rest = text.partition(" ")
    if len(time) == 23 and time[10] == "T" and time[19] == ".":
        return LogLine(time, node, rest)
    return LogLine(before, node, text)
