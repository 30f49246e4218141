"""What a proxy sees of its connections, before anybody has looked into the bytes; times are Unix time."""

from __future__ import annotations

from dataclasses import dataclass

from imctl.decode.traffic import Side
from imctl.pcap import Endpoint

__all__ = ["Accepted", "Finished", "Gone", "Left", "Passed", "Refused", "TapEvent"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A client came, and the comet took it."""

    time_ns: int
    number: int
    client: Endpoint
    comet: Endpoint


@dataclass(frozen=True, slots=True)
class Refused:
    """A client came, and the comet could not be reached."""

    time_ns: int
    number: int
    client: Endpoint
    comet: str
    why: str


@dataclass(frozen=True, slots=True)
class Passed:
    """Bytes of one side went to the other."""

    time_ns: int
    number: int
    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Left:
    """Bytes went to the other side, and there was no room to keep them for who wants to know."""

    time_ns: int
    number: int
    side: Side
    size: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A side will send no more; the other one may."""

    time_ns: int
    number: int
    side: Side


@dataclass(frozen=True, slots=True)
class Gone:
    """A connection ended.

    Args:
        time_ns: When.
        number: Which.
        side: Who ended it; None for the proxy itself.
        reset: At once (TCP reset), which may lose what was on its way.
    """

    time_ns: int
    number: int
    side: Side | None
    reset: bool


TapEvent = Accepted | Refused | Passed | Left | Finished | Gone
