"""Rows of data that messages take their texts and targets from, and which row is whose.

Each publisher, and each entry of a mix, goes through a feed by itself: its
message number n takes row n (`sequential` begins anew at the end, `once` has
no more), or one drawn by chance. All that one message uses of a feed is of one
row. So a row depends on the seed and the message's number alone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from random import Random

__all__ = ["Column", "Feed", "FeedOrder", "pick_row"]


class FeedOrder(enum.StrEnum):
    """In which order a publisher takes the rows of a feed."""

    SEQUENTIAL = "sequential"
    """One after the other, and from the first again."""

    RANDOM = "random"
    """Each time any, by the seed."""

    ONCE = "once"
    """One after the other; a publisher that has had the last one sends no more."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A file of rows, as read.

    Args:
        name: What templates and targets call it.
        path: Where it came from.
        order: Which row is next.
        columns: Their names, in the file's order.
        values: For each column its values, by row; all of them equally many, at least one.
        lines: For each row the line of the file it begins in, from 1.
    """

    name: str
    path: str
    order: FeedOrder
    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.lines)

    def column(self, name: str) -> tuple[str, ...]:
        """Return the values of a column, by row.

        Raises:
            ValueError: there is none of that name.
        """
        return self.values[self.columns.index(name)]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a feed, by their names: `${user.mid}`."""

    feed: str
    column: str

    def __str__(self) -> str:
        return f"${{{self.feed}.{self.column}}}"


def pick_row(feed: Feed, number: int, rng: Random) -> int | None:
    """Return the index of the row that a publisher's message takes; None when its rows are used up.

    Args:
        feed: The feed.
        number: The message's number among those of its publisher, from 0.
        rng: Draws the row where chance does.
    """
    match feed.order:
        case FeedOrder.RANDOM:
            return rng.randrange(feed.rows)
        case FeedOrder.SEQUENTIAL:
            return number % feed.rows
        case FeedOrder.ONCE:
            return number if number < feed.rows else None
