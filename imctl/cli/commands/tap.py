"""`imctl tap`: a proxy before a comet that shows every frame."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.exits import Exit, TimedOutError
from imctl.cli.patient import PatientOutput
from imctl.cli.printer import Printer
from imctl.cli.target import comet_address, parse_target
from imctl.cli.traffic import Filter, TrafficTable
from imctl.cli.values import parse_duration, parse_operations
from imctl.errors import ImctlError

if TYPE_CHECKING:
    import asyncio

    from imctl.pcap import Endpoint
    from imctl.tap import Backlog, FileThread, Tap, TapEvent

__all__ = ["TapSession", "register"]

_NEAR = 100
"""Where it listens when nothing was said: so far above the comet's port, if that is free."""
_LISTEN = re.compile(r"(?:(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):)?(\d{1,5})")
_END_S = 2.0
"""Longest wait for who reads what is shown, once the tap ends."""


class TapSession:
    """One run: the proxy, what shows its traffic, and what writes it down.

    Args:
        printer: Shows.
        to: Host and port of the comet.
        wanted: Which frames are shown.
        write: A pcapng file, open and unbuffered.
        count: Frames shown after which it ends; None for no end.
    """

    def __init__(
        self,
        printer: Printer,
        to: Endpoint,
        wanted: Filter,
        *,
        write: BinaryIO | None = None,
        count: int | None = None,
    ) -> None:
        self.interrupted = False
        """SIGTERM or SIGHUP has ended it."""
        self._printer = printer
        self._to = to
        self._write = write
        self._count = count
        self._output = PatientOutput(printer.stdout)
        shown = Printer(json=printer.json, color=printer.color, stdout=self._output, stderr=printer.stderr)  # type: ignore[arg-type]  # as much of a TextIO as print and rich use
        self._table = TrafficTable(shown, wanted)
        self._has_enough = False
        self._done: asyncio.Future[None] | None = None
        self._late_error: Exception | None = None  # of what was shown after the end
        self._write_error: Exception | None = None

    async def run(self, listen: Endpoint, *, fall_back: bool = False, timeout_s: float | None = None) -> None:
        """Pass on until there is enough.

        Args:
            listen: Host and port to listen on.
            fall_back: Take any port when this one is taken.
            timeout_s: Longest time.

        Raises:
            TimedOutError: not enough within the time limit.
            StartError: it cannot listen there.
            ImctlError: what was seen could not be shown or written.
        """
        import asyncio

        from imctl.cli.interrupts import told_to_end
        from imctl.errors import StartError
        from imctl.tap import FileThread, Tap

        self._done = asyncio.get_running_loop().create_future()
        file = FileThread(self._write) if self._write is not None else None
        backlogs = [self._shows(), *([self._records(file)] if file is not None else [])]
        tap = Tap(self._to, [backlog.watch for backlog in backlogs])
        try:
            here = await tap.start(*listen)
        except StartError:
            if not fall_back:
                raise
            here = await tap.start(listen[0], 0)
        self._say_start(here)
        try:
            with told_to_end(self._interrupt):
                async with asyncio.timeout(timeout_s):
                    await self._done
        except TimeoutError:
            wanted = f" of {self._count}" if self._count is not None else ""
            raise TimedOutError(f"{self._table.totals.shown}{wanted} frames within {timeout_s:g} s") from None
        finally:
            await tap.stop()
            for backlog in backlogs:
                await backlog.drain(_END_S)
            self._close_file(file)
            self._say_end(tap, backlogs)
        if self._late_error is not None:
            raise self._late_error
        if self._write_error is not None:
            raise ImctlError(f"--write: {self._write_error}")

    def _shows(self) -> Backlog:
        from imctl.tap import Backlog, Understanding

        understanding = Understanding()

        def show(event: TapEvent) -> None:
            for seen in understanding.take(event):
                if self._has_enough:
                    continue
                self._table.show(seen)
                if self._table.totals.shown == self._count:
                    self._has_enough = True
                    self._end(None)
            self._table.flush()

        return Backlog(show, self._output.send, self._end)

    def _records(self, file: FileThread) -> Backlog:
        from imctl.tap import Backlog, Recorder

        return Backlog(Recorder(file).take, file.ready, self._not_written)

    def _end(self, exc: Exception | None) -> None:
        """End the run, with an error when there is one."""
        assert self._done is not None, "it runs"
        if self._done.done():
            self._late_error = exc
        elif exc is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(exc)

    def _interrupt(self) -> None:
        self.interrupted = True
        self._end(None)

    def _not_written(self, exc: Exception) -> None:
        self._write_error = exc
        self._printer.warn(
            f"--write: {exc}; nothing more is written", hint="what passes is passed on and shown as before"
        )

    def _close_file(self, file: FileThread | None) -> None:
        if file is None:
            return
        try:
            file.close(_END_S)
        except OSError as exc:
            self._write_error = exc

    def _say_start(self, here: Endpoint) -> None:
        from imctl.pcap import address_text

        listening, to = address_text(here), address_text(self._to)
        if self._printer.json:
            self._printer.line({"kind": "listening", "address": listening, "to": to})
        ways = "--> is from a client, <-- from the comet"
        self._printer.note(f"listening on {listening}, passing on to {to}; {ways}; Ctrl-C ends it")

    def _say_end(self, tap: Tap, backlogs: Sequence[Backlog]) -> None:
        from imctl.decode.stream import plural

        found = [self._table.totals.text()]
        if tap.refused:
            found.append(f"{plural(tap.refused, 'connection')} got no comet")
        for backlog, done in zip(backlogs, ("shown", "written"), strict=False):
            if backlog.connections_left_out:
                count = plural(backlog.connections_left_out, "connection")
                found.append(f"{count} not {done}: they came too fast")
            if backlog.bytes_left_out:
                found.append(f"{plural(backlog.bytes_left_out)} passed on and not {done}: they came too fast")
        self._printer.note("; ".join(found))


def parse_listen(text: str) -> str:
    """Return `PORT` or `HOST:PORT`; for `typer.Option(parser=parse_listen)`.

    Raises:
        typer.BadParameter: it is something else.
    """
    match = _LISTEN.fullmatch(text.strip())
    if match is None or int(match[2]) > 65535:
        raise typer.BadParameter(f"{text!r} is no port; expected PORT or HOST:PORT, such as 3201 or 0.0.0.0:3201")
    return text.strip()


def _listen_address(text: str | None, to: Endpoint) -> Endpoint:
    if text is None:
        return "127.0.0.1", to[1] + _NEAR if to[1] + _NEAR < 65536 else 0
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextlib.contextmanager
def _writing(path: Path | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("wb", buffering=0)
    except OSError as exc:
        raise typer.BadParameter(f"--write {path}: {exc.strerror}") from exc
    with file:
        yield file


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "tap",
        epilog=examples(
            "imctl tap",
            "imctl tap --listen 4101 --to 10.0.0.7:3101 --write traffic.pcapng",
            "imctl tap --ws --op 1000,9 --no-heartbeats --json",
        ),
    )
    def tap(
        ctx: typer.Context,
        listen: Annotated[
            str | None,
            typer.Option(
                "--listen",
                parser=parse_listen,
                metavar="[HOST:]PORT",
                help="Where clients connect to; 0 is any port. Left out: the comet's port + 100 if free, else any",
            ),
        ] = None,
        to: Annotated[
            str | None,
            typer.Option(
                "--to",
                parser=parse_target,
                metavar="HOST:PORT",
                help="Any goim comet, TCP or WebSocket; left out: the one of the running cluster",
            ),
        ] = None,
        ws: Annotated[bool, typer.Option("--ws", help="Without --to: the comet's port for WebSocket")] = False,
        write: Annotated[
            Path | None,
            typer.Option("--write", metavar="FILE", help="Write all to a pcapng file, for Wireshark or decode --pcap"),
        ] = None,
        ops: Annotated[str, typer.Option("--op", metavar="OPS", help="Show only frames with these operations")] = "",
        heartbeats: Annotated[
            bool, typer.Option("--heartbeats/--no-heartbeats", help="Show heartbeats, pings and pongs")
        ] = True,
        count: Annotated[
            int | None, typer.Option("-n", metavar="COUNT", min=1, help="End after so many frames were shown")
        ] = None,
        timeout: Annotated[
            float | None, typer.Option(parser=parse_duration, metavar="TIME", help="End after that time with exit 27")
        ] = None,
    ) -> None:
        """Stand between clients and a comet, pass every byte on unchanged, and show every frame

        A line a frame: time, connection, --> from the client or <-- from the comet, op, bytes, body. What cannot be
        understood is explained, and passed on too.
        """
        from protocol.aio.open_files import raise_open_files

        imctl = Context.of(ctx)
        wanted = Filter(parse_operations(ops) if ops else (), heartbeats)
        target = comet_address(imctl, to, ws=ws)
        raise_open_files()
        with _writing(write) as file:
            session = TapSession(imctl.printer, target, wanted, write=file, count=count)
            address = _listen_address(listen, target)
            run(session.run(address, fall_back=listen is None, timeout_s=timeout))
        if session.interrupted:
            raise typer.Exit(Exit.INTERRUPTED)
