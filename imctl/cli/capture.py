"""`imctl decode --pcap`: the traffic in a capture file, shown while it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from imctl.cli.context import Context
from imctl.cli.traffic import Filter, TrafficTable

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.pcap import Capture, CaptureError

__all__ = ["show_capture"]


@dataclass(frozen=True, slots=True)
class _Sum:
    """What a capture was, once it is read; also the last line with --json.

    Args:
        capture: The file.
        table: What was shown of it.
        damage: Why it could not be read to its end.
    """

    capture: Capture
    table: TrafficTable
    damage: CaptureError | None

    @property
    def ok(self) -> bool:
        """Whether there is something of goim's, and nothing of it is bad or missing."""
        return self.damage is None and not self.table.totals.problems and bool(self.capture.connections)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; Any because it is JSON."""
        totals, capture = self.table.totals, self.capture
        found: dict[str, Any] = {"kind": "summary", "ok": self.ok, "packets": capture.packets}
        found |= {"connections": totals.connections, "frames": totals.frames, "shown": totals.shown}
        found |= {"problems": totals.problems, "repeated_segments": capture.repeated}
        found["unread_packets"] = {why.name.lower(): count for why, count in capture.unread.items()}
        found["other_connections"] = {str(port): count for port, count in sorted(capture.others.items())}
        if self.damage is not None:
            found["damage"] = {"offset": self.damage.offset, "what": self.damage.message, "hint": self.damage.hint}
        return found

    def render(self, console: Console) -> None:
        """Print what is wrong with the file, what was left out, and the sum."""
        from rich.text import Text

        from imctl.decode.stream import plural

        if self.damage is not None:
            console.print(Text(f"bad: {self.damage}", style="red"), soft_wrap=True)
            if self.damage.hint:
                console.print(Text(f"hint: {self.damage.hint}", style="cyan"), soft_wrap=True)
        for line in self._left_out():
            console.print(Text(line, style="yellow"), soft_wrap=True)
        total = f"{self.table.totals.text()} in {plural(self.capture.packets, 'packet')}"
        console.print(Text(total, style="green" if self.ok else "red"), soft_wrap=True)

    def _left_out(self) -> Iterator[str]:
        from imctl.decode.stream import plural

        capture = self.capture
        for why, count in capture.unread.most_common():
            types = f" ({', '.join(map(str, sorted(capture.link_types)))})" if why.name == "LINK" else ""
            yield f"not read: {plural(count, 'packet')}, {why.value}{types}"
        if capture.others:
            ports = ", ".join(str(port) for port, _ in capture.others.most_common(5))
            yield f"not goim: {plural(capture.others.total(), 'connection')}, of servers on port {ports}"
        if not capture.connections:
            yield "no connection of goim; hint: --port tells a comet's port if it is another than 3101 and 3102"


def show_capture(imctl: Context, name: str, ports: Sequence[int] | None, wanted: Filter) -> bool:
    """Show the traffic in a capture file; return whether all of it was good.

    Args:
        imctl: The global options.
        name: Of the file, - for stdin.
        ports: As of Capture.
        wanted: Which frames.

    Raises:
        typer.BadParameter: the file cannot be opened.
    """
    from imctl.pcap import Capture, CaptureError

    with _opened(imctl, name) as file:
        capture = Capture(file, ports)
        table = TrafficTable(imctl.printer, wanted, digits=6)
        damage = None
        live = name == "-"
        try:
            for event in capture.events():
                table.show(event)
                if live:  # who writes into the pipe may take its time
                    table.flush()
        except CaptureError as exc:
            damage = exc
        for event in capture.finish():
            table.show(event)
        table.flush()
    found = _Sum(capture, table, damage)
    imctl.printer.line(found)
    return found.ok


@contextmanager
def _opened(imctl: Context, name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield imctl.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115  closed below; only the opening is a wrong option
    except OSError as exc:
        raise typer.BadParameter(f"{name}: {exc.strerror}") from exc
    with file:
        yield file
