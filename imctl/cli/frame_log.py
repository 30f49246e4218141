"""Every frame of a connection, both ways: shown as it goes, and known to who waits for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from imctl.cli.comet_client import clock_text
from imctl.cli.output import OutputError
from protocol.aio.direction import Direction
from protocol.bodies import parse_online
from protocol.errors import RemoteError
from protocol.frame import Frame, parse_frames
from protocol.operation import Operation, operation_name, reply_operation

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from imctl.cli.printer import Printer

__all__ = ["FrameHead", "FrameLine", "FrameLog", "RawLine", "frame_json", "frame_text"]

_ARROWS = {Direction.SENT: ("->", "cyan"), Direction.RECEIVED: ("<-", "green")}
_BEATS = (Operation.HEARTBEAT, Operation.HEARTBEAT_REPLY)
_MAX_CAME = 10_000
"""Received operations that no wait has asked for; older ones are forgotten."""
_MAX_UNANSWERED = 1000
_NAME_COLUMNS = max(len(operation_name(op)) for op in Operation)


def frame_json(frame: Frame) -> dict[str, Any]:
    """Return a frame as JSON: `body` where it is UTF-8, else `body_hex`. Any: JSON."""
    found: dict[str, Any] = {"op": frame.op, "ver": frame.ver, "seq": frame.seq, "bytes": len(frame.body)}
    try:
        return found | {"body": frame.body.decode()}
    except UnicodeDecodeError:
        return found | {"body_hex": frame.body.hex()}


def frame_text(frame: Frame) -> str:
    """Return a frame's body for people, in one line."""
    from imctl.decode.items import Kind, Row, body_text

    return body_text(Row(Kind.FRAME, 0, 0, op=frame.op, body=frame.body))


class FrameHead:
    """What stands above the columns."""

    def render(self, console: Console) -> None:
        """Print one line."""
        from rich.text import Text

        head = f"{'time':<16}{'op':>4} {'':{_NAME_COLUMNS}}  ver  seq  body"
        console.print(Text(head, style="bold"), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class FrameLine:
    """One frame."""

    direction: Direction
    frame: Frame
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; `online` is the count of a heartbeat reply. Any: JSON."""
        frame = self.frame
        found = _start_json(self.direction, self.at) | {"op": frame.op, "name": operation_name(frame.op)}
        found |= frame_json(frame)
        if frame.op == Operation.HEARTBEAT_REPLY and len(frame.body) == 4:
            found["online"] = parse_online(frame.body)
        return found

    def render(self, console: Console) -> None:
        """Print one line: time, direction, operation, version, sequence, body."""
        frame = self.frame
        name = operation_name(frame.op)
        name = "" if name.startswith("op ") else name
        facts = f"{frame.op:>4} {name:<{_NAME_COLUMNS}}  {frame.ver:>3}  {frame.seq:>3}  {frame_text(frame)}"
        console.print(_line(self.direction, self.at, facts), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class RawLine:
    """Bytes that were sent and are no whole frames."""

    data: bytes
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON. Any: JSON."""
        return _start_json(Direction.SENT, self.at) | {"bytes": len(self.data), "raw_hex": self.data.hex()}

    def render(self, console: Console) -> None:
        """Print one line, the bytes where other lines have the body."""
        facts = f"{'raw':>4} {'':{_NAME_COLUMNS}}  {'':>3}  {'':>3}  hex {self.data.hex(' ', -4)}"
        console.print(_line(Direction.SENT, self.at, facts), soft_wrap=True)


def _start_json(direction: Direction, at: datetime) -> dict[str, Any]:
    return {"time": at.isoformat(timespec="microseconds"), "direction": direction.value}


def _line(direction: Direction, at: datetime, facts: str) -> Text:
    from rich.text import Text

    return Text.assemble((clock_text(at), "dim"), " ", _ARROWS[direction], f" {facts}".rstrip())


class FrameLog:
    """Shows frames, and tells who waits for one.

    Args:
        printer: Shows each as a line of a stream.
        above: Printing is done in such a block.
        show_beats: Show heartbeats; those sent by hand are shown always.
    """

    def __init__(
        self, printer: Printer, above: Callable[[], AbstractContextManager[None]], *, show_beats: bool = True
    ) -> None:
        self.sent = 0
        self.received = 0
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has the OutputError, once a frame cannot be shown; nothing more is then."""
        self._printer = printer
        self._above = above
        self._show_beats = show_beats
        self._by_hand = False
        self._beats_by_hand: deque[int] = deque(maxlen=_MAX_UNANSWERED)
        self._came: deque[int] = deque(maxlen=_MAX_CAME)
        self._unanswered: dict[tuple[int, int], None] = {}
        self._news = asyncio.Event()

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """What is sent during this block the user has asked for."""
        self._by_hand = True
        try:
            yield
        finally:
            self._by_hand = False

    def observe(self, direction: Direction, frame: Frame) -> None:
        """Take a frame, as `observe` of protocol.aio.Client."""
        if direction is Direction.SENT:
            self.sent += 1
            self._note_request(frame)
        else:
            self.received += 1
            self._came.append(frame.op)
            self._unanswered.pop((frame.op, frame.seq), None)
            self._news.set()
        if not self._hidden(frame):
            self._show(FrameLine(direction, frame, _now()))

    def sent_raw(self, data: bytes) -> None:
        """Take bytes that were sent as they are; they are shown as frames where they are such."""
        try:
            frames, end = parse_frames(data)
        except RemoteError:
            frames, end = [], 0
        if not frames or end < len(data):
            self._show(RawLine(data, _now()))
            return
        with self.by_hand():
            for frame in frames:
                self.observe(Direction.SENT, frame)

    async def came(self, op: int) -> None:
        """Wait for a frame of an operation: the oldest received one, unless an earlier wait had it."""
        while op not in self._came:
            await self._next()
        self._came.remove(op)

    async def answered(self) -> None:
        """Wait until everything that was sent has its answer."""
        while self._unanswered:
            await self._next()

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _note_request(self, frame: Frame) -> None:
        # The first op 7 is over before anybody can wait, and a container has no answer over TCP.
        if frame.op in (Operation.AUTH, Operation.RAW):
            return
        if frame.op in _BEATS and self._by_hand:
            self._beats_by_hand.append(frame.seq)
        if len(self._unanswered) < _MAX_UNANSWERED:
            self._unanswered[reply_operation(frame.op), frame.seq] = None

    def _hidden(self, frame: Frame) -> bool:
        return not self._show_beats and frame.op in _BEATS and frame.seq not in self._beats_by_hand

    def _show(self, line: FrameLine | RawLine) -> None:
        if self.failed.done():
            return
        try:
            with self._above():
                if self.sent + self.received <= 1 and not self._printer.json:
                    self._printer.line(FrameHead())
                self._printer.line(line)
        except OutputError as exc:  # not for the connection, in whose callback this is
            self.failed.set_exception(exc)
            self.failed.exception()  # seen, also when the connection ends first


def _now() -> datetime:
    return datetime.now(UTC).astimezone()
