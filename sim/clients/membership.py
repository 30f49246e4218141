"""When a client was a member of which streams, once that is more than one whole connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from sim.measure.ledger import Stay, Trouble

__all__ = ["Change", "Membership"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a client has asked its comet for.

    Args:
        reply: Operation of the answer.
        asked_ns: When it asked.
        leaves: Streams that it is to leave, as far as it is in them.
        enters: Streams that it is to be in.
    """

    reply: int
    asked_ns: int
    leaves: Callable[[int], bool]
    enters: tuple[int, ...] = ()


class Membership:
    """The changing part of a client's membership.

    A stream that a client leaves is left when it asks, one that it enters is
    entered when it reads the answer; see sim.measure.ledger for what follows from that.
    Several changes may wait for their answers, which come in the order of the
    requests; of those with one kind of answer the oldest is meant.

    Attributes:
        stays: When it was a member of which stream, on this connection and those before it.
    """

    __slots__ = ("_asked", "_left", "stays")

    def __init__(self, stays: list[Stay]) -> None:
        self.stays = stays
        self._asked: list[Change] = []
        self._left: dict[int, int] = {}  # stream: when it was sure that it was left, on this connection

    def enter(self, streams: Iterable[int], now_ns: int, comet: int) -> None:
        """Note that it is a member of streams from now on, on that comet of the target."""
        self.stays += [Stay(stream, now_ns, comet=comet) for stream in streams]

    def ask(self, change: Change) -> None:
        """Note a request that was sent."""
        self._asked.append(change)

    def confirm(self, reply: int, streams: tuple[int, ...], now_ns: int, comet: int) -> tuple[int, ...] | None:
        """Carry out the oldest change with this kind of answer.

        Args:
            reply: Operation of the answer.
            streams: Of which it is a member until now.
            now_ns: When the answer was read.
            comet: Place of its comet in the target.

        Returns:
            The streams of which it is a member from now on; None when no such answer is waited for.
        """
        change = next((one for one in self._asked if one.reply == reply), None)
        if change is None:
            return None
        self._asked.remove(change)
        left = self.leave([stream for stream in streams if change.leaves(stream)], change.asked_ns, now_ns)
        stayed = tuple(stream for stream in streams if stream not in left)
        entered = tuple(stream for stream in change.enters if stream not in stayed)
        self.enter(entered, now_ns, comet)
        return stayed + entered

    def leave(self, streams: Collection[int], asked_ns: int, now_ns: int) -> Collection[int]:
        """Close the books of streams at the time it was asked for; until now it may have got their messages."""
        self._left.update((stream, now_ns) for stream in streams)
        self._end(lambda stream: stream in streams, asked_ns)
        return streams

    def admits(self, stream: int, intended_ns: int) -> bool:
        """Whether a message may come of a stream that it is not in: one it enters, or left after the message."""
        return intended_ns <= self._left.get(stream, 0) or any(stream in change.enters for change in self._asked)

    def close(self, until_ns: int | None, *, by_will: bool, trouble: Trouble | None = None) -> list[Stay]:
        """Return the stays, those that are open ended with the connection; None: it did not end."""
        for change in self._asked:
            self._end(change.leaves, change.asked_ns)  # the answer never came
        for stay in self.stays:
            if stay.until_ns is None:
                stay.until_ns, stay.by_will, stay.trouble = until_ns, by_will, trouble
        return self.stays

    def _end(self, leaves: Callable[[int], bool], at_ns: int) -> None:
        for stay in self.stays:
            if stay.until_ns is None and leaves(stay.stream):
                stay.until_ns, stay.by_will = at_ns, True
