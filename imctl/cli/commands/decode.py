"""`imctl decode`: what bytes on goim's wire mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from imctl.cli.context import Context, examples
from imctl.cli.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from imctl.decode import Problem, Report, Row, Source

__all__ = ["DecodeResult", "read_source", "register"]

_FEW_BODY_COLUMNS = 24


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """A report, as a table for people.

    Args:
        source: Where the bytes come from: `file`, `stdin` or `argument`, and their form.
        report: What they are.
    """

    source: str
    report: Report

    def to_json(self) -> dict[str, Any]:
        """Return the document; Any because it is JSON."""
        return {"source": self.source, **self.report.to_json()}

    def render(self, console: Console) -> None:
        """Print a line a frame, each problem where it is, and a sum at the end."""
        from rich.text import Text

        table = _Table(self.report)
        for line in table.lines():
            if console.is_terminal:
                line.truncate(max(console.width, table.body_column + _FEW_BODY_COLUMNS), overflow="ellipsis")
            console.print(line, soft_wrap=True)
        count = len(self.report.problems)
        problems = f"{count} problem{'s' * (count != 1)}" if count else "nothing wrong"
        name = {"tcp": "TCP", "ws": "WebSocket"}[self.report.transport]
        frames = f"{self.report.frames} frame{'s' * (self.report.frames != 1)}"
        size = f"{self.report.size} byte{'s' * (self.report.size != 1)}"
        form = " (read as base64)" if self.source.endswith("base64") else ""
        total = f"{frames} in {size} of {name}{form}, {problems}"
        console.print(Text(total, style="red" if count else "green"), soft_wrap=True)


class _Table:
    """Columns wide enough for all rows, and no wider."""

    def __init__(self, report: Report) -> None:
        from imctl.decode import Row

        self._items = report.items
        rows = [self._cells(item) for item in report.items if isinstance(item, Row)]
        heads = ("offset", "bytes", "ws", "ver", "op", "seq")
        columns = list(zip(heads, *rows, strict=True))
        # The column of WebSocket frames is left out where there are none.
        self._widths = [max(map(len, column)) if any(column[1:]) or i != 2 else 0 for i, column in enumerate(columns)]
        self._heads = heads

    @property
    def body_column(self) -> int:
        """Where bodies begin."""
        return sum(width + 2 for width in self._widths if width)

    def lines(self) -> Iterator[Text]:
        """Return the lines of the table with its head."""
        from rich.text import Text

        from imctl.decode import Row
        from imctl.decode.items import body_text

        yield Text(f"{self._join(self._heads)}body", style="bold")
        for item in self._items:
            if not isinstance(item, Row):
                yield from self._problem_lines(item)
                continue
            line = Text(self._join(self._cells(item)), style="" if item.depth == 0 else "cyan")
            line.append(body_text(item))
            if item.note:
                line.append(f"  ({item.note})", style="yellow")
            line.rstrip()
            yield line

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

    def _join(self, cells: tuple[str, ...]) -> str:
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
        from imctl.decode import SourceError
        from imctl.decode import decode as decode_bytes

        imctl = Context.of(ctx)
        try:
            where, source = read_source(words or [], imctl.stdin, as_base64=base64)
        except SourceError as exc:
            raise typer.BadParameter(f"{exc}; {exc.hint}" if exc.hint else str(exc)) from exc
        if not source.data:
            raise typer.BadParameter("nothing to decode: the input is empty")
        report = decode_bytes(source.data, ws=ws)
        imctl.printer.result(DecodeResult(f"{where}, {source.form}", report))
        if report.problems:
            raise typer.Exit(Exit.FAILED)
