"""`imctl decode`: what bytes on goim's wire mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from imctl.cli.capture import show_capture
from imctl.cli.columns import Columns, op_cell
from imctl.cli.context import Context, examples
from imctl.cli.exits import Exit
from imctl.cli.traffic import Filter
from imctl.cli.values import parse_operations

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from imctl.decode import Problem, Report, Row, Source, Walk

__all__ = ["DecodeResult", "DecodeTable", "read_source", "register"]

_BATCH_ROWS = 1000
"""Shown together, so that they share their columns."""
_FEW_BODY_COLUMNS = 24
_HEADS = ("offset", "bytes", "ws", "ver", "op", "seq")


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """A report, as a document.

    Args:
        source: Where the bytes come from: `file`, `stdin` or `argument`, and their form.
        report: What they are.
    """

    source: str
    report: Report

    def to_json(self) -> dict[str, Any]:
        """Return the document; Any because it is JSON."""
        return {"source": self.source, **self.report.to_json()}


class DecodeTable:
    """What is found in some input, for people: shown while it is being read.

    Args:
        source: As of DecodeResult.
        found: What the bytes are.
    """

    def __init__(self, source: str, found: Walk) -> None:
        self.problems = 0
        """How many were shown."""
        self._source = source
        self._found = found
        self._frames = 0

    def render(self, console: Console) -> None:
        """Print a line a frame, each problem where it is, and a sum at the end."""
        from rich.text import Text

        table = _Table(self._found.size)
        while items := list(islice(self._found.items, _BATCH_ROWS)):
            self._count(items)
            lines = table.lines(items)
            if console.is_terminal:
                for line in lines:
                    line.truncate(max(console.width, table.body_column + _FEW_BODY_COLUMNS), overflow="ellipsis")
                console.print(Text("\n").join(lines), soft_wrap=True)
            else:  # nothing is coloured or cut: rich would only take its time
                console.file.write("".join(f"{line.plain}\n" for line in lines))
                console.file.flush()
        self._print_sum(console)

    def _count(self, items: Sequence[Row | Problem]) -> None:
        from imctl.decode import Kind, Problem

        problems = sum(isinstance(item, Problem) for item in items)
        self.problems += problems
        self._frames += sum(not isinstance(item, Problem) and item.kind is Kind.FRAME for item in items)

    def _print_sum(self, console: Console) -> None:
        from rich.text import Text

        count, size = self.problems, self._found.size
        problems = f"{count} problem{'s' * (count != 1)}" if count else "nothing wrong"
        name = {"tcp": "TCP", "ws": "WebSocket"}[self._found.transport]
        frames = f"{self._frames} frame{'s' * (self._frames != 1)}"
        form = " (read as base64)" if self._source.endswith("base64") else ""
        total = f"{frames} in {size} byte{'s' * (size != 1)} of {name}{form}, {problems}"
        console.print(Text(total, style="red" if count else "green"), soft_wrap=True)


class _Table:
    """The lines of rows and problems.

    Args:
        size: Bytes of input, which no offset is beyond.
    """

    def __init__(self, size: int) -> None:
        # The column of WebSocket frames is left out where there are none.
        self._columns = Columns(_HEADS, left=("ws", "op"), hidden=("ws",))
        self._columns.widen((str(size - 1), *[""] * (len(_HEADS) - 1)))
        self._has_head = False

    @property
    def body_column(self) -> int:
        """Where bodies begin."""
        return self._columns.width

    def lines(self, items: Sequence[Row | Problem]) -> list[Text]:
        """Return the lines of some items, before the first of all with the head."""
        from rich.text import Text

        from imctl.decode import Problem
        from imctl.decode.items import body_text

        rows = [None if isinstance(item, Problem) else self._cells(item) for item in items]
        for cells in rows:
            if cells is not None:
                self._columns.widen(cells)
        lines: list[Text] = []
        if not self._has_head:
            self._has_head = True
            lines.append(Text(f"{self._columns.join(_HEADS)}body", style="bold"))
        for item, cells in zip(items, rows, strict=True):
            if isinstance(item, Problem):
                lines += self._problem_lines(item)
                continue
            assert cells is not None, "only a problem has none"
            line = Text(self._columns.join(cells), style="" if item.depth == 0 else "cyan")
            line.append(body_text(item))
            if item.note:
                line.append(f"  ({item.note})", style="yellow")
            line.rstrip()
            lines.append(line)
        return lines

    def _problem_lines(self, problem: Problem) -> Iterator[Text]:
        from rich.text import Text

        start = self._columns.join((str(problem.offset), str(problem.size)))
        mark = "incomplete: " if problem.incomplete else "bad: "
        yield Text.assemble(start, (f"{mark}{problem.what}; expected {problem.expected}", "red"))
        if problem.hint:
            yield Text.assemble(" " * len(start), (f"hint: {problem.hint}", "cyan"))

    def _cells(self, row: Row) -> tuple[str, ...]:
        from imctl.decode import Kind

        start = (str(row.offset), str(row.size) if row.size else "", row.ws)
        if row.kind is not Kind.FRAME:
            return (*start, "", op_cell(row), "")
        return (*start, str(row.ver), op_cell(row), str(row.seq))


def read_source(words: list[str], stdin: TextIO, *, as_base64: bool) -> tuple[str, Source]:
    """Return where the bytes come from, and the bytes.

    Raises:
        SourceError: they are in no form that can be read.
        typer.BadParameter: there are none, or the file cannot be read.
    """
    from imctl.decode import parse_bytes, parse_text
    from imctl.decode.source import MAX_INPUT_BYTES

    if words in ([], ["-"]):
        if not words and stdin.isatty():
            raise typer.BadParameter("nothing to decode: give hex, a file, or - for stdin")
        raw = stdin.buffer.read(MAX_INPUT_BYTES + 1) if hasattr(stdin, "buffer") else stdin.read().encode()
        return "stdin", parse_bytes(raw, as_base64=as_base64)
    if len(words) == 1 and words[0]:
        try:
            with Path(words[0]).open("rb") as file:
                return "file", parse_bytes(file.read(MAX_INPUT_BYTES + 1), as_base64=as_base64)
        except OSError as exc:
            # Hex is no file's name, and may be too long for one.
            if exc.errno not in (errno.ENOENT, errno.ENAMETOOLONG, errno.ENOTDIR):
                raise typer.BadParameter(f"{words[0]}: {exc.strerror}") from exc
    return "argument", parse_text(" ".join(words), as_base64=as_base64)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "decode",
        epilog=examples(
            "imctl decode 0000001a 0010 0001 000003e8 00000000 7b2274657374223a317d",
            "imctl decode capture.bin --ws",
            "nc -l 3101 | imctl decode --json",
            "imctl decode --pcap capture.pcapng --port 3101 --port 3102",
            "tcpdump -i lo -U -w - port 3101 | imctl decode --pcap - --op 1000",
        ),
    )
    def decode(
        ctx: typer.Context,
        words: Annotated[
            list[str] | None,
            typer.Argument(metavar="HEX|FILE|-", help="Hex in any usual form, base64, a file, or - for stdin"),
        ] = None,
        ws: Annotated[
            bool | None, typer.Option("--ws/--tcp", help="WebSocket or TCP bytes; found out when left out")
        ] = None,
        base64: Annotated[bool, typer.Option("--base64", help="The input is base64, also if it could be hex")] = False,
        pcap: Annotated[
            str | None,
            typer.Option("--pcap", metavar="FILE|-", help="A capture (pcap or pcapng): all connections of goim in it"),
        ] = None,
        ports: Annotated[
            list[int] | None,
            typer.Option(
                "--port",
                metavar="PORT",
                min=1,
                max=65535,
                help="With --pcap: a comet's; found out when left out, 3101 and 3102 always",
            ),
        ] = None,
        ops: Annotated[
            str, typer.Option("--op", metavar="OPS", help="With --pcap: only frames with these operations")
        ] = "",
        heartbeats: Annotated[
            bool, typer.Option("--heartbeats/--no-heartbeats", help="With --pcap: also heartbeats, pings and pongs")
        ] = True,
    ) -> None:
        """Show what TCP or WebSocket bytes mean, frame by frame; exit 1 when some are bad or missing

        With --pcap each line is a frame in the order of the capture, --> from a client or <-- from a comet.
        """
        from imctl.decode import SourceError, walk
        from imctl.decode import decode as decode_bytes

        imctl = Context.of(ctx)
        if pcap is not None:
            if words or base64 or ws is not None:
                raise typer.BadParameter("--pcap takes its file alone: no HEX|FILE, --base64, --ws or --tcp beside it")
            wanted = Filter(parse_operations(ops) if ops else (), heartbeats)
            if show_capture(imctl, pcap, ports, wanted):
                return
            raise typer.Exit(Exit.FAILED)
        if ports or ops or not heartbeats:
            raise typer.BadParameter("--port, --op and --no-heartbeats belong to --pcap")
        try:
            where, source = read_source(words or [], imctl.stdin, as_base64=base64)
        except SourceError as exc:
            raise typer.BadParameter(f"{exc}; {exc.hint}" if exc.hint else str(exc)) from exc
        if not source.data:
            raise typer.BadParameter("nothing to decode: the input is empty")
        origin = f"{where}, {source.form}"
        if imctl.json:
            report = decode_bytes(source.data, ws=ws)
            imctl.printer.result(DecodeResult(origin, report))
            problems = len(report.problems)
        else:
            table = DecodeTable(origin, walk(source.data, ws=ws))
            imctl.printer.result(table)
            problems = table.problems
        if problems:
            raise typer.Exit(Exit.FAILED)
