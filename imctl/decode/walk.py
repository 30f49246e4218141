"""From bytes to rows and problems: which transport it is, then frame by frame.

Unlike the decoders of `protocol`, which end a connection at the first bad
byte, this one explains it and goes on where frames begin again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imctl.decode.items import Kind, Problem, Report, Row
from imctl.decode.tcp import TcpWalker
from imctl.decode.ws import WebSocketWalker

__all__ = ["Walk", "decode", "guess_websocket", "walk"]

_PROBE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Walk:
    """Some input that is being explained.

    Args:
        transport: `tcp` or `ws`.
        size: Bytes of input.
        items: Rows and problems by offset, each made when it is asked for; can be gone through once.
    """

    transport: str
    size: int
    items: Iterator[Row | Problem]


def walk(data: bytes, *, ws: bool | None = None) -> Walk:
    """Explain bytes of a connection between a client and a comet, one direction or a mix of both.

    Args:
        data: TCP or WebSocket bytes, from the start of a frame on.
        ws: Whether they are of WebSocket; None finds out.
    """
    if ws is None:
        ws = bool(guess_websocket(data))
    return Walk("ws" if ws else "tcp", len(data), _items(data, ws=ws))


def decode(data: bytes, *, ws: bool | None = None) -> Report:
    """Explain bytes as walk() does, all of them at once."""
    found = walk(data, ws=ws)
    return Report(found.transport, found.size, tuple(found.items))


def guess_websocket(data: bytes, *, lost: bool = False) -> bool | None:
    """Return whether bytes make more sense as WebSocket than as TCP, None when they make none as either.

    Args:
        data: What there is.
        lost: It may begin in the middle of a frame.
    """
    if data.startswith((b"GET ", b"HTTP/1.")):
        return True
    head = data[:_PROBE_BYTES]
    as_ws, as_tcp = (_understood(_items(head, ws=ws, lost=lost)) for ws in (True, False))
    return as_ws > as_tcp if as_ws or as_tcp else None


def _understood(items: Iterable[Row | Problem]) -> int:
    """Return how many bytes are in rows; fragments, which random bytes make up easily, do not count."""
    return sum(
        item.size for item in items if isinstance(item, Row) and not item.depth and item.kind is not Kind.FRAGMENT
    )


def _items(data: bytes, *, ws: bool, lost: bool = False) -> Iterator[Row | Problem]:
    walker = WebSocketWalker(lost=lost) if ws else TcpWalker(lost=lost)
    walker.feed(data)
    return walker.end()
