"""What a proxy saw, to what people and programs are shown: frames, problems, begin and end of connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from imctl.decode.stream import plural
from imctl.decode.traffic import Began, Conversation, Ended, Event, Peers, Seen, Side
from imctl.pcap import address_text
from imctl.tap.seen import Accepted, Finished, Gone, Left, Passed, Refused, TapEvent

__all__ = ["Understanding"]


@dataclass(slots=True, eq=False)
class _Open:
    """A connection that is open.

    Args:
        peers: Its number and ends.
        began_ns: When the client came.
        talk: What it says.
        sent: Bytes of each side.
        finished: Sides that will send no more.
    """

    peers: Peers
    began_ns: int
    talk: Conversation = field(default_factory=Conversation)
    sent: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    finished: set[Side] = field(default_factory=set)


class Understanding:
    """Follows the connections of one proxy."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}

    def take(self, event: TapEvent) -> Iterator[Event]:
        """Yield what an event tells; has to be gone through to its end."""
        if isinstance(event, Accepted):
            peers = Peers(event.number, address_text(event.client), address_text(event.comet))
            self._open[event.number] = _Open(peers, event.time_ns)
            yield Began(event.time_ns, peers)
            return
        if isinstance(event, Refused):
            peers = Peers(event.number, address_text(event.client), event.comet)
            yield Began(event.time_ns, peers)
            yield Ended(event.time_ns, peers, f"the comet was not reached: {event.why}", 0, 0, 0)
            return
        found = self._open.get(event.number)
        if found is None:
            return
        if isinstance(event, Passed):
            found.sent[event.side] += len(event.data)
            for item in found.talk.feed(event.side, event.data):
                yield Seen(event.time_ns, found.peers, event.side, item)
        elif isinstance(event, Left):
            found.sent[event.side] += event.size
            what = f"{plural(event.size)} were passed on and are not shown"
            for item in found.talk.gap(event.side, event.size, what, "they came faster than they could be shown"):
                yield Seen(event.time_ns, found.peers, event.side, item)
        elif isinstance(event, Finished):
            yield from _finish(found, event.side, event.time_ns)
        else:
            yield from self._end(found, event)

    def _end(self, found: _Open, event: Gone) -> Iterator[Event]:
        del self._open[event.number]
        for side in Side:
            yield from _finish(found, side, event.time_ns)
        who = f"the {event.side.value}" if event.side is not None else "imctl tap"
        why = f"{'reset' if event.reset else 'closed'} by {who}"
        lasted_ns = event.time_ns - found.began_ns
        yield Ended(event.time_ns, found.peers, why, lasted_ns, found.sent[Side.CLIENT], found.sent[Side.COMET])


def _finish(found: _Open, side: Side, time_ns: int) -> Iterator[Event]:
    if side in found.finished:
        return
    found.finished.add(side)
    for item in found.talk.end(side):
        yield Seen(time_ns, found.peers, side, item)
