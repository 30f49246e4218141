"""`imctl decode`: what bytes on goim's wire mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from imctl.cli.context import Context, examples
from imctl.cli.exits import Exit

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
    """Columns wide enough for the rows so far, and no wider: what comes later may need more.

    Args:
        size: Bytes of input, which no offset is beyond.
    """

    def __init__(self, size: int) -> None:
        # The column of WebSocket frames is left out where there are none.
        self._widths = [0 if head == "ws" else len(head) for head in _HEADS]
        self._widths[0] = max(self._widths[0], len(str(size - 1)))
        self._has_head = False

    @property
    def body_column(self) -> int:
        """Where bodies begin."""
        return sum(width + 2 for width in self._widths if width)

    def lines(self, items: Sequence[Row | Problem]) -> list[Text]:
        """Return the lines of some items, before the first of all with the head."""
        from rich.text import Text

        from imctl.decode import Problem
        from imctl.decode.items import body_text

        rows = [None if isinstance(item, Problem) else self._cells(item) for item in items]
        for cells in rows:
            if cells is not None:
                self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        lines: list[Text] = []
        if not self._has_head:
            self._has_head = True
            if self._widths[2]:
                self._widths[2] = max(self._widths[2], len(_HEADS[2]))
            lines.append(Text(f"{self._join(_HEADS)}body", style="bold"))
        for item, cells in zip(items, rows, strict=True):
            if isinstance(item, Problem):
                lines += self._problem_lines(item)
                continue
            assert cells is not None, "only a problem has none"
            line = Text(self._join(cells), style="" if item.depth == 0 else "cyan")
            line.append(body_text(item))
            if item.note:
                line.append(f"  ({item.note})", style="yellow")
            line.rstrip()
            lines.append(line)
        return lines

    def _problem_lines(self, problem: Problem) -> Iterator[Text]:
        from rich.text import Text

        start = f"{problem.offset:>{self._widths[0]}}  {problem.size:>{self._widths[1]}}  "
        mark = "incomplete: " if problem.incomplete else "bad: "
        yield Text.assemble(start, (f"{mark}{problem.what}; expected {problem.expected}", "red"))
        if problem.hint:
            yield Text.assemble(" " * len(start), (f"hint: {problem.hint}", "cyan"))

    def _cells(self, row: Row) -> tuple[str, ...]:
        from imctl.decode import Kind
        from protocol.operation import operation_name

        start = (str(row.offset), str(row.size) if row.size else "", row.ws)
        if row.kind is not Kind.FRAME:
            return (*start, "", row.kind.value, "")
        name = operation_name(row.op)
        op = f"{'  ' * row.depth}{row.op}" + ("" if name.startswith("op ") else f" {name}")
        return (*start, str(row.ver), op, str(row.seq))

    def _join(self, cells: Sequence[str]) -> str:
        found = ""
        for i, (cell, width) in enumerate(zip(cells, self._widths, strict=True)):
            if width:
                found += f"{cell:<{width}}  " if i in (2, 4) else f"{cell:>{width}}  "
        return found


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
    ) -> None:
        """Show what TCP or WebSocket bytes mean, frame by frame; exit 1 when some are bad or missing"""
        from imctl.decode import SourceError, walk
        from imctl.decode import decode as decode_bytes

        imctl = Context.of(ctx)
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
