"""What each message of a publisher is: whom it is for and what is in it.

All of it follows from the message's number and a seeded generator, so a
message is the same whenever, and after whatever, it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from sim.clients.plan import Plan
from sim.publish.feeder import Feed, pick_row
from sim.publish.payload import Facts, Template, compile_template
from sim.scenario.publishing import FileBodies, FileOrder
from sim.scenario.shapes import draw_size

__all__ = ["Composer", "Draft"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has its place in a stream.

    Args:
        publisher: Index of its publisher.
        stream: Whom it is for.
        content: Its content; None for filler.
        size_bytes: Length of a body of filler.
    """

    publisher: int
    stream: int
    content: bytes | None
    size_bytes: int = 0


class Composer:
    """Makes the messages of one publisher.

    Args:
        plan: The scenario's plan.
        publisher: Index of the publisher.
    """

    def __init__(self, plan: Plan, publisher: int) -> None:
        self._index = publisher
        self._publisher = plan.scenario.publish[publisher]
        self._streams = plan.publishers[publisher]
        self._names = [stream.target for stream in plan.streams]
        self._feeds = _feeds_of(plan, publisher)
        self._write = self._writer(plan)

    def compose(self, number: int, rng: Random) -> Draft | None:
        """Return the publisher's message of a number, from 0; None when the rows of a feed are used up."""
        rows: dict[str, int] = {}
        for feed in self._feeds:
            row = pick_row(feed, number, rng)
            if row is None:
                return None
            rows[feed.name] = row
        targets = self._publisher.targets
        at = rows[targets.feed] if targets is not None else number % len(self._streams)
        stream = self._streams[at]
        if self._write is None:
            return Draft(self._index, stream, None, draw_size(self._publisher.size_bytes, rng))
        return Draft(self._index, stream, self._write(Facts(number, self._names[stream], rows), rng))

    def _writer(self, plan: Plan) -> Callable[[Facts, Random], bytes] | None:
        body = self._publisher.body
        match body:
            case None:
                return None
            case Template():
                values = {(feed.name, column): feed.column(column) for feed in self._feeds for column in feed.columns}
                return compile_template(body, values)
            case FileBodies(contents, FileOrder.RANDOM):
                return lambda facts, rng: rng.choice(contents)
            case FileBodies(contents):
                return lambda facts, rng: contents[facts.number % len(contents)]


def _feeds_of(plan: Plan, publisher: int) -> tuple[Feed, ...]:
    """Return the feeds that a publisher's messages take rows of."""
    one = plan.scenario.publish[publisher]
    names = {one.targets.feed} if one.targets is not None else set()
    if isinstance(one.body, Template):
        names |= {filling.arguments[0] for filling in one.body.fillings if filling.kind == "column"}
    return tuple(feed for feed in plan.scenario.feeds if feed.name in names)
