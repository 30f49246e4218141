from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Iterator

import pytest

from imctl.cli.frame_log import FrameLog
from imctl.cli.output import OutputError
from imctl.cli.printer import Printer
from protocol.aio import Direction
from protocol.frame import Frame

SENT, RECEIVED = Direction.SENT, Direction.RECEIVED


def log_to(out: io.StringIO, *, json: bool = True, show_beats: bool = True) -> FrameLog:
    return FrameLog(Printer(json=json, stdout=out, stderr=io.StringIO()), contextlib.nullcontext, show_beats=show_beats)


def shown(out: io.StringIO) -> list[tuple[str, int, int]]:
    lines = map(json.loads, out.getvalue().splitlines())
    return [(line["direction"], line["op"], line["seq"]) for line in lines]


async def test_hidden_heartbeats_are_those_that_go_by_themselves():
    out = io.StringIO()
    log = log_to(out, show_beats=False)

    log.observe(SENT, Frame(1, 2, 1))
    with log.by_hand():
        log.observe(SENT, Frame(1, 2, 2))
    log.observe(RECEIVED, Frame(1, 3, 1, bytes(4)))
    log.observe(RECEIVED, Frame(1, 3, 2, bytes(4)))
    log.sent_raw(Frame(1, 2, 3).pack())
    log.observe(RECEIVED, Frame(1, 3, 3, bytes(4)))
    log.observe(RECEIVED, Frame(1, 1000, 0))

    assert shown(out) == [
        *(("sent", 2, 2), ("received", 3, 2), ("sent", 2, 3), ("received", 3, 3), ("received", 1000, 0)),
    ]
    assert (log.sent, log.received) == (3, 4)


async def test_everything_is_answered_once_each_request_has_its_own_answer():
    log = log_to(io.StringIO())
    for frame in (Frame(1, 7, 1), Frame(1, 12, 2, b"live://1"), Frame(1, 1000, 3), Frame(1, 9, 4)):
        log.observe(SENT, frame)
    waiting = asyncio.ensure_future(log.answered())

    for frame in (Frame(1, 13, 1), Frame(1, 1000, 0), Frame(1, 1000, 3)):
        log.observe(RECEIVED, frame)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not waiting.done()
    log.observe(RECEIVED, Frame(1, 13, 2, b"live://1"))

    async with asyncio.timeout(10):
        await waiting


async def test_printing_is_done_above_the_prompt():
    out = io.StringIO()

    @contextlib.contextmanager
    def above() -> Iterator[None]:
        out.write("[")
        yield
        out.write("]")

    log = FrameLog(Printer(stdout=out, stderr=io.StringIO()), above)

    log.observe(SENT, Frame(1, 7, 1, b"\x1b[2J"))
    log.observe(RECEIVED, Frame(1, 8, 1))

    first, second, rest = out.getvalue().split("]")
    assert first.startswith("[time ")
    assert first.endswith("  \\x1b[2J\n")  # shown, and not obeyed
    assert second.startswith("[")
    assert second.endswith(" <-    8 auth_reply           1    1\n")
    assert rest == ""


async def test_a_stdout_that_fails_is_told_once_and_not_to_the_connection():
    class Full(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise OutputError("stdout cannot be written: No space left on device")

    out = Full()
    log = log_to(out)

    log.observe(SENT, Frame(1, 7, 1))
    log.observe(RECEIVED, Frame(1, 8, 1))

    with pytest.raises(OutputError, match="No space left"):
        await log.failed
    assert (out.writes, log.received) == (1, 1)


async def test_what_nobody_asks_for_is_forgotten_in_the_end(monkeypatch):
    monkeypatch.setattr("imctl.cli.frame_log._MAX_CAME", 3)
    log = log_to(io.StringIO())

    for op in (1000, 1001, 1002, 1003):
        log.observe(RECEIVED, Frame(1, op, 0))

    await log.came(1001)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await log.came(1000)
