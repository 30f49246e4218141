"""Traffic between clients and comets for people and programs: which of it, and a line for each event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imctl.cli.columns import Columns, op_cell

if TYPE_CHECKING:
    from rich.text import Text

    from imctl.cli.printer import Printer
    from imctl.decode import Problem, Row
    from imctl.decode.traffic import Began, Ended, Event, Seen

__all__ = ["Filter", "Totals", "TrafficTable"]

_HEADS = ("time", "conn", "client", "way", "bytes", "ws", "ver", "op", "seq")
_LEFT = ("time", "client", "way", "ws", "op")
_WIDE_COLUMNS = 120
"""A terminal has to have as many for the column of clients."""
_FEW_BODY_COLUMNS = 24
_MANY_LINES = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """Which frames are shown; problems, and begin and end of connections, always are.

    Args:
        ops: Operations; () for all, and for what is no frame of goim.
        heartbeats: Show op 2 and 3, and WebSocket's ping and pong.
    """

    ops: tuple[int, ...] = ()
    heartbeats: bool = True

    def takes(self, event: Event) -> bool:
        """Whether an event is shown."""
        from imctl.decode import Kind, Row
        from imctl.decode.traffic import Seen
        from protocol.operation import Operation

        if not isinstance(event, Seen) or not isinstance(event.item, Row):
            return True
        row = event.item
        if row.kind is not Kind.FRAME:
            return not self.ops and (self.heartbeats or row.kind not in (Kind.PING, Kind.PONG))
        if self.ops and row.op not in self.ops:
            return False
        return self.heartbeats or row.op not in (Operation.HEARTBEAT, Operation.HEARTBEAT_REPLY)


@dataclass(slots=True)
class Totals:
    """What was there, whether or not it was shown.

    Args:
        connections: That began.
        frames: Of goim, those in containers included.
        shown: Frames that were shown.
        problems: What is bad or missing.
    """

    connections: int = 0
    frames: int = 0
    shown: int = 0
    problems: int = 0

    def text(self) -> str:
        """Return such as `2 connections, 10 frames (4 shown), nothing wrong`."""
        from imctl.decode.stream import plural

        shown = f" ({self.shown} shown)" if self.shown != self.frames else ""
        problems = plural(self.problems, "problem") if self.problems else "nothing wrong"
        return f"{plural(self.connections, 'connection')}, {plural(self.frames, 'frame')}{shown}, {problems}"


class TrafficTable:
    """Shows events: JSON lines with --json, else a line each, and what is wrong where it is.

    Args:
        printer: Shows them.
        wanted: Which.
        digits: Of the fraction of a second, 3 or 6.
    """

    def __init__(self, printer: Printer, wanted: Filter, *, digits: int = 3) -> None:
        self.totals = Totals()
        self._printer = printer
        self._wanted = wanted
        self._digits = digits
        self._columns: Columns | None = None
        self._lines: list[Text] = []

    def show(self, event: Event) -> bool:
        """Show an event, by the next flush() at the latest; return whether it is a frame that is shown."""
        takes = self._wanted.takes(event)
        is_frame = self._count(event, takes=takes)
        if not takes:
            return False
        if self._printer.json:
            from imctl.cli.printer import to_jsonable

            self._printer.stdout.write(json.dumps(to_jsonable(event), ensure_ascii=False) + "\n")
        else:
            self._lines += self._event_lines(event)
            if len(self._lines) >= _MANY_LINES:
                self.flush()
        return is_frame

    def flush(self) -> None:
        """Send what was shown on its way."""
        console = None if self._printer.json else self._printer.console()
        lines, self._lines = self._lines, []
        if console is not None and lines:
            if console.is_terminal:
                from rich.text import Text

                assert self._columns is not None, "the head is the first line"
                longest = max(console.width, self._columns.width + _FEW_BODY_COLUMNS)
                for line in lines:
                    line.truncate(longest, overflow="ellipsis")
                console.print(Text("\n").join(lines), soft_wrap=True)
            else:  # nothing is coloured or cut: rich would only take its time
                self._printer.stdout.write("".join(f"{line.plain}\n" for line in lines))
        self._printer.stdout.flush()

    def _count(self, event: Event, *, takes: bool) -> bool:
        """Count an event; return whether it is a frame."""
        from imctl.decode import Kind, Row
        from imctl.decode.traffic import Began, Seen

        totals = self.totals
        if isinstance(event, Began):
            totals.connections += 1
        elif isinstance(event, Seen):
            if not isinstance(event.item, Row):
                totals.problems += 1
            elif event.item.kind is Kind.FRAME:
                totals.frames += 1
                totals.shown += takes
                return True
        return False

    def _event_lines(self, event: Event) -> list[Text]:
        from rich.text import Text

        from imctl.decode import Problem
        from imctl.decode.traffic import Seen

        head = []
        if self._columns is None:
            hidden = ["ws"] if self._is_wide() else ["ws", "client"]
            self._columns = Columns(_HEADS, _LEFT, hidden)
            # Room for what is likely to come, so that columns move less.
            self._columns.widen((*self._start(event, "<--"), "", "", "", "12 change_room", ""))
            head = [Text(f"{self._columns.join(self._columns.heads)}body", style="bold")]
        if not isinstance(event, Seen):
            return [*head, self._connection_line(event)]
        if isinstance(event.item, Problem):
            return [*head, *self._problem_lines(event, event.item)]
        return [*head, self._row_line(event, event.item)]

    def _is_wide(self) -> bool:
        console = self._printer.console()
        return not console.is_terminal or console.width >= _WIDE_COLUMNS

    def _start(self, event: Event, way: str) -> tuple[str, ...]:
        """Return the cells that every line has."""
        from imctl.decode.traffic import time_of

        time = f"{time_of(event.time_ns):%H:%M:%S.%f}"[: 9 + self._digits]
        client = event.peers.client if self._is_wide() else ""
        return (time, str(event.peers.number), client, way)

    def _row_line(self, event: Seen, row: Row) -> Text:
        from rich.text import Text

        from imctl.decode import Kind
        from imctl.decode.items import body_text

        numbers = ("", op_cell(row), "") if row.kind is not Kind.FRAME else (str(row.ver), op_cell(row), str(row.seq))
        cells = (*self._start(event, _way(event)), str(row.size) if row.size else "", row.ws, *numbers)
        line = Text(self._joined(cells), style="" if row.depth == 0 else "cyan")
        line.append(body_text(row))
        if row.note:
            line.append(f"  ({row.note})", style="yellow")
        line.rstrip()
        return line

    def _problem_lines(self, event: Seen, problem: Problem) -> list[Text]:
        from rich.text import Text

        start = self._joined(self._start(event, _way(event)))
        mark = "incomplete" if problem.incomplete else "bad"
        what = f"{mark} at offset {problem.offset}: {problem.what}; expected {problem.expected}"
        lines = [Text.assemble(start, (what, "red"))]
        if problem.hint:
            lines.append(Text.assemble(" " * len(start), (f"hint: {problem.hint}", "cyan")))
        return lines

    def _connection_line(self, event: Began | Ended) -> Text:
        from rich.text import Text

        from imctl.decode.stream import plural
        from imctl.decode.traffic import Began

        if isinstance(event, Began):
            what = f"{event.peers.client} to {event.peers.comet}" + (f"; {event.note}" if event.note else "")
            return Text.assemble(self._joined(self._start(event, "begin")), (what, "dim"))
        sent = f"{plural(event.from_client)} to the comet, {event.from_comet} to the client"
        what = f"{event.why} after {event.duration_ns / 1e9:.3f} s; {sent}"
        return Text.assemble(self._joined(self._start(event, "end")), (what, "dim"))

    def _joined(self, cells: Sequence[str]) -> str:
        assert self._columns is not None, "the head is the first line"
        self._columns.widen((*cells, *[""] * (len(_HEADS) - len(cells))))
        return self._columns.join(cells)


def _way(event: Seen) -> str:
    from imctl.decode.traffic import Side

    return "-->" if event.side is Side.CLIENT else "<--"
