"""What decoding gives: rows for what was understood, problems for what was not, both at their offset."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from protocol.bodies import parse_online, parse_operations, parse_token
from protocol.errors import BodyError
from protocol.operation import Operation, operation_name

__all__ = ["Kind", "Problem", "Report", "Row", "body_note", "body_text"]


_TEXT_CONTROLS = "\t\n\r\f\x1b"
"""Those that a text may have: white space, and ESC, with which a colour begins."""


class Kind(enum.Enum):
    """What a row shows."""

    FRAME = "frame"
    UPGRADE_REQUEST = "upgrade request"
    UPGRADE_RESPONSE = "upgrade response"
    FRAGMENT = "fragment"
    PING = "ping"
    PONG = "pong"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Row:
    """Something that was understood.

    Args:
        kind: What it is.
        offset: Where in the input it begins.
        size: Bytes it takes there, the head of a WebSocket frame included.
        depth: 1 for a frame inside an op 9 container, else 0.
        ver: Of the goim frame; the three numbers are 0 for other kinds.
        op: As ver.
        seq: As ver.
        body: Of the goim frame, unmasked; for other kinds their payload.
        ws: The WebSocket frame around it, such as `binary masked`; "" on TCP and inside a container.
        note: What is worth knowing although it is not wrong.
        inner: Frames in the op 9 container that this is; their rows follow.
    """

    kind: Kind
    offset: int
    size: int
    depth: int = 0
    ver: int = 0
    op: int = 0
    seq: int = 0
    body: bytes = b""
    ws: str = ""
    note: str = ""
    inner: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON; the body as body_text where it is text, else as body_hex."""
        found: dict[str, Any] = {"kind": self.kind.value, "offset": self.offset, "bytes": self.size}
        if self.kind is Kind.FRAME:
            found |= {"depth": self.depth, "ver": self.ver, "op": self.op, "name": operation_name(self.op)}
            found |= {"seq": self.seq}
            if self.op == Operation.HEARTBEAT_REPLY and len(self.body) == 4:
                found["online"] = parse_online(self.body)
        found["body_len"] = len(self.body)
        text = _printable(self.body)
        found |= {"body_hex": self.body.hex()} if text is None else {"body_text": text}
        if self.inner:
            found["inner_frames"] = self.inner
        if self.ws:
            found["ws"] = self.ws
        if self.note:
            found["note"] = self.note
        return found


@dataclass(frozen=True, slots=True)
class Problem:
    """Bytes that could not be understood.

    Args:
        offset: Where in the input they begin.
        size: How many there are.
        what: What is wrong.
        expected: What should be there.
        hint: What may be behind it; "" when nothing can be said.
        incomplete: The input ends too early and is not wrong so far.
        depth: 1 inside an op 9 container, whose row covers these bytes too; else 0.
    """

    offset: int
    size: int
    what: str
    expected: str
    hint: str = ""
    incomplete: bool = False
    depth: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the problem as JSON."""
        kind = "incomplete" if self.incomplete else "bad"
        found = {"kind": kind, "offset": self.offset, "bytes": self.size, "what": self.what, "expected": self.expected}
        return found | ({"hint": self.hint} if self.hint else {})


@dataclass(frozen=True, slots=True)
class Report:
    """All there is in some input.

    Args:
        transport: `tcp` or `ws`.
        size: Bytes of input.
        items: Rows and problems by offset.
    """

    transport: str
    size: int
    items: tuple[Row | Problem, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong; () means that every byte was understood."""
        return tuple(item for item in self.items if isinstance(item, Problem))

    @property
    def frames(self) -> int:
        """Number of goim frames, those inside containers included."""
        return sum(isinstance(item, Row) and item.kind is Kind.FRAME for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "ok": not self.problems,
            "transport": self.transport,
            "bytes": self.size,
            "frames": self.frames,
            "items": [item.to_json() for item in self.items],
        }


def body_text(row: Row) -> str:
    """Return a row's body for people, in one line: what it means, its JSON or text, or hex."""
    body = row.body
    if row.inner:
        return f"{row.inner} frame{'s' * (row.inner > 1)}:"
    if row.kind in (Kind.UPGRADE_REQUEST, Kind.UPGRADE_RESPONSE):
        return _one_line(body.partition(b"\n")[0].rstrip())
    if row.kind is Kind.CLOSE and len(body) >= 2:
        return f"code {int.from_bytes(body[:2], 'big')} {_one_line(body[2:])}".rstrip()
    if row.kind is Kind.FRAME and row.op == Operation.HEARTBEAT_REPLY and len(body) == 4:
        return f"online {parse_online(body)}"
    return _one_line(body)


def body_note(op: int, body: bytes) -> str:
    """Return what a comet or logic would say to a body; "" when it is fine."""
    try:
        if op == Operation.AUTH:
            parse_token(body)
        elif op in (Operation.SUB, Operation.UNSUB):
            parse_operations(body)
        elif op == Operation.HEARTBEAT_REPLY and body:
            parse_online(body)
        elif op == Operation.CHANGE_ROOM:
            body.decode()
    except BodyError as exc:
        return str(exc)
    except UnicodeDecodeError:
        return "room: not UTF-8"
    return ""


def _one_line(body: bytes) -> str:
    if body[:1] in (b"{", b"["):
        try:
            return _visible(json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")))
        except (ValueError, RecursionError):
            pass
    text = _printable(body)
    if text is None:
        return f"hex {body.hex(' ', -4)}"
    return _visible(text)


def _visible(text: str) -> str:
    """Return text in one line, with what a terminal would act on as an escape."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _printable(body: bytes) -> str | None:
    """Return the text of a body, None when it is no text: not UTF-8, or with a control that no text has."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    if text.isprintable():
        return text
    return None if any(category(letter) == "Cc" and letter not in _TEXT_CONTROLS for letter in text) else text
