"""TCP bytes to rows and problems: frames back to back, and those in an op 9 body."""

from __future__ import annotations

from dataclasses import replace

from imctl.decode.items import Kind, Problem, Row, body_note
from imctl.decode.stream import CUT_HINT, Items, StreamWalker, plural
from protocol.frame import HEADER, HEADER_LEN, MAX_BODY
from protocol.operation import Operation

__all__ = ["TcpWalker", "large_note", "next_header", "walk_container"]

_FROM_CLIENT = frozenset(
    {Operation.HEARTBEAT, Operation.AUTH, Operation.CHANGE_ROOM, Operation.SUB, Operation.UNSUB, Operation.SEND_MSG}
)
_INT32_MIN = -(2**31)
_HEADER_LEN_BYTES = HEADER_LEN.to_bytes(2, "big")


class TcpWalker(StreamWalker):
    """Walks frames back to back.

    Args:
        base: As of StreamWalker.
        max_kept: As of StreamWalker.
        lost: As of StreamWalker.
        depth: 1 inside an op 9 container, else 0.
    """

    def __init__(self, base: int = 0, *, max_kept: int | None = None, lost: bool = False, depth: int = 0) -> None:
        super().__init__(base, max_kept=max_kept, lost=lost)
        self._depth = depth

    def _take(self) -> Items | None:
        data, at = self._data, self._at
        left, offset = len(data) - at, self._base + at
        if left < HEADER_LEN:
            if not self._ended:
                return self._wait(HEADER_LEN)
            self._pass(left)
            what = f"{plural(left)} left, too few for a header"
            return [Problem(offset, left, what, f"{HEADER_LEN} bytes", CUT_HINT, incomplete=True)]
        pack_len, header_len, ver, op, seq = HEADER.unpack_from(data, at)
        size = max(pack_len, HEADER_LEN)
        if header_len != HEADER_LEN or pack_len < _INT32_MIN + HEADER_LEN:
            return self._take_bad(pack_len, header_len)
        if self._max_kept is not None and size > self._max_kept:
            self._pass(size)
            note = "; ".join(filter(None, [_length_note(pack_len, op), large_note(size - HEADER_LEN, self._max_kept)]))
            return [Row(Kind.FRAME, offset, size, self._depth, ver, op, seq, note=note)]
        if size > left:
            return self._take_end(pack_len, op) if self._ended else self._wait(size, frame=True)
        body = data[at + HEADER_LEN : at + size]
        inner, about = _container(op, body, offset + HEADER_LEN, self._depth)
        note = "; ".join(filter(None, [_length_note(pack_len, op), about, body_note(op, body)]))
        self._pass(size)
        return [Row(Kind.FRAME, offset, size, self._depth, ver, op, seq, body, note=note, inner=len(inner)), *inner]

    def _take_bad(self, pack_len: int, header_len: int) -> Items:
        data, at, end = self._data, self._at, len(self._data)
        following = next_header(data, at + 1, end)
        problem = _bad_header(data[at:following], self._base, at, following, end, pack_len, header_len)
        if following == end and not self._ended:
            self._lose()
        else:
            self._pass(following - at)
        return [problem]

    def _take_end(self, pack_len: int, op: int) -> Items:
        """Take a frame that is longer than what is left."""
        data, at, end = self._data, self._at, len(self._data)
        offset = self._base + at
        following = next_header(data, at + 1, end)
        self._pass(following - at)
        if following == end:
            return [_incomplete(offset, end - at, pack_len, op)]
        what = f"pack length {pack_len} reaches over a frame that begins at offset {self._base + following}"
        hint = f"was it meant to be {following - at}? goim would wait for more bytes"
        return [Problem(offset, following - at, what, "the length of header and body together", hint)]

    def _cut(self) -> Items:
        if not self._frame:
            return super()._cut()
        self._join()
        _, _, ver, op, seq = HEADER.unpack_from(self._data)
        body = self._data[HEADER_LEN:]
        note = f"{len(body)} of {plural(self._frame - HEADER_LEN)} of the body are here"
        return [Row(Kind.FRAME, self._base, self._frame, self._depth, ver, op, seq, body, note=note)]

    def _find(self, data: bytes, at: int) -> int:
        start = next_header(data, at, len(data))
        return start if start < len(data) else -1


def walk_container(body: bytes, offset: int) -> Items:
    """Return the items of an op 9 body that begins at this offset."""
    walker = TcpWalker(offset, depth=1)
    walker.feed(body)
    return [replace(item, depth=1) if isinstance(item, Problem) else item for item in walker.end()]


def large_note(size: int, kept: int) -> str:
    """Return what is said of a frame whose body is not kept."""
    return f"body of {size} bytes, not shown: over {kept // 1024} KiB"


def next_header(data: bytes, first: int, end: int) -> int:
    """Return where the first whole frame that begins at `first` or later does, the end when there is none."""
    at = data.find(_HEADER_LEN_BYTES, first + 4, end)
    while at >= 0:
        start = at - 4
        following = start + int.from_bytes(data[start:at], "big", signed=True)
        fits = following - start >= HEADER_LEN and following <= end
        if fits and _HEADER_LEN_BYTES.startswith(data[following + 4 : min(following + 6, end)]):
            return start
        at = data.find(_HEADER_LEN_BYTES, at + 1, end)
    return end


def _container(op: int, body: bytes, offset: int, depth: int) -> tuple[Items, str]:
    """Return the frames in an op 9 frame met outside WebSocket, and a note when it holds none."""
    if op != Operation.RAW or not body:
        return [], ""
    if depth:
        return [], "op 9 of an application"
    inner = walk_container(body, offset)
    if any(isinstance(item, Problem) for item in inner):
        return [], "op 9 of an application: its body is no frames"
    return inner, "over TCP comet sends the frames of a container without it"


def _length_note(pack_len: int, op: int) -> str:
    if pack_len < HEADER_LEN:
        return f"pack length {pack_len}: goim reads it as an empty body"
    if pack_len > MAX_BODY + HEADER_LEN and op in _FROM_CLIENT:
        return f"body over {MAX_BODY} bytes: comet closes on it"
    return ""


def _incomplete(offset: int, left: int, pack_len: int, op: int) -> Problem:
    hint = CUT_HINT
    if pack_len > MAX_BODY + HEADER_LEN and op in _FROM_CLIENT:
        hint = f"comet takes at most {MAX_BODY + HEADER_LEN} from a client and closes"
    what = f"frame of pack length {pack_len}, and {left} bytes are here"
    return Problem(offset, left, what, f"{pack_len - left} bytes more", hint, incomplete=True)


def _bad_header(
    bad: bytes, base: int, position: int, following: int, end: int, pack_len: int, header_len: int
) -> Problem:
    if header_len != HEADER_LEN:
        what, expected = f"header length is {header_len}", f"{HEADER_LEN} (00 10) at offset {base + position + 4}"
    else:
        what, expected = f"pack length {pack_len} is not possible", f"at least {HEADER_LEN} at offset {base + position}"
    hint = _guess(bad) or "comet closes the connection on this"
    if following < end:
        hint += f"; frames begin again at offset {base + following}"
    return Problem(base + position, following - position, what, expected, hint)


def _guess(bad: bytes) -> str:
    """Say what bytes that are no frame may be."""
    if bad.startswith(b"PRI * HTTP/2"):
        return "this is HTTP/2, such as gRPC between nodes"
    if bad.startswith((b"GET ", b"POST ", b"HTTP/")):
        return "this is HTTP; is it WebSocket (--ws), or logic's HTTP port?"
    if bad[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") and bad[1:2] == b"\x03":
        return "this is TLS: what is inside cannot be read here"
    if bad[4:6] == HEADER_LEN.to_bytes(2, "little"):
        return "the numbers are little-endian; goim's are big-endian"
    if bad[0] & 0x70 == 0 and bad[0] & 0x0F in (1, 2, 8, 9, 10):
        return "this may be WebSocket (--ws)"
    return ""
