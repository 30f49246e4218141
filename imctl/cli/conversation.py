"""One connection to a comet that is talked on, by hand or by a script, until either side ends it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import typer

from imctl.cli.comet_client import CONNECT_S, connected_text, translate_error
from imctl.cli.command_lines import open_lines
from imctl.cli.dialogue import Dialogue, ScriptError, complete_line
from imctl.cli.exits import TimedOutError
from imctl.cli.frame_log import FrameLog
from imctl.cli.interrupts import told_to_end
from protocol.aio import Client, ConnectError, ConnectionClosedError, ReplyTimeoutError
from protocol.errors import UpgradeError

if TYPE_CHECKING:
    from imctl.cli.command_lines import CommandLines
    from imctl.cli.context import Context
    from imctl.cli.printer import Printer
    from protocol.bodies import AuthToken

__all__ = ["Conversation", "talk"]

_HINT = "the comet's log has the reason"
_LAST_ANSWERS_S = 1.0


class Conversation:
    """One connection, and who talks on it.

    Args:
        address: Host and port of a comet.
        token: What the client says it is.
        printer: Shows frames, and on stderr what happens.
        lines: What to do.
        log: Observes the connection.
        ws: Over WebSocket.
        heartbeat_s: Time between heartbeats that the client sends by itself; None sends none.
    """

    def __init__(
        self,
        address: tuple[str, int],
        token: AuthToken,
        printer: Printer,
        lines: CommandLines,
        log: FrameLog,
        *,
        ws: bool,
        heartbeat_s: float | None,
    ) -> None:
        self.interrupted = asyncio.Event()
        """Set from outside: close, and end."""
        self._address = address
        self._token = token
        self._printer = printer
        self._lines = lines
        self._log = log
        self._ws = ws
        self._heartbeat_s = heartbeat_s

    async def hold(self) -> None:
        """Connect, do what the lines say, close.

        Raises:
            ScriptError: a line of a script is wrong.
            TimedOutError: what a script waits for did not come.
            ClusterError: no comet, or it closed the connection.
            AuthRefusedError: the cluster does not take this client.
            OutputError: a frame cannot be shown.
        """
        try:
            async with await self._connect() as client:
                self._note(f"connected to {connected_text(client, self._token, ws=self._ws)}")
                if self._lines.interactive:
                    self._note("help shows the commands; Ctrl-D ends")
                await self._first_end(client, Dialogue(client, self._token.accepts, self._log, self._show_help))
        except (ConnectionClosedError, ConnectError, ReplyTimeoutError, UpgradeError) as exc:
            raise translate_error(exc, hint=_HINT) from exc
        self._note(f"closed: {self._log.sent} sent, {self._log.received} received")

    async def _connect(self) -> Client:
        connect = Client.connect_ws if self._ws else Client.connect_tcp
        return await connect(
            *self._address,
            self._token,
            timeout_s=CONNECT_S,
            heartbeat_s=self._heartbeat_s,
            observe=self._log.observe,
        )

    async def _first_end(self, client: Client, dialogue: Dialogue) -> None:
        """Return at the end of the lines or when interrupted; raise what ends it before."""
        tasks: list[asyncio.Task[Any]] = [  # Any: what they return is of no interest
            asyncio.create_task(self._obey(dialogue), name="lines"),
            asyncio.create_task(self._until_closed(client), name="frames"),
            asyncio.create_task(self.interrupted.wait(), name="interrupted"),
        ]
        try:
            ends: list[asyncio.Future[Any]] = [self._log.failed, *tasks]
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for ended in ends:
                if ended in done:
                    await ended
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_closed(self, client: Client) -> None:
        async for _ in client:
            pass  # shown by the log

    async def _obey(self, dialogue: Dialogue) -> None:
        number = 0
        async with contextlib.aclosing(self._lines.lines()) as lines:
            async for line in lines:
                number += 1
                try:
                    await dialogue.obey(line)
                except (typer.BadParameter, TimedOutError) as exc:
                    self._fail(exc, number)
                if dialogue.ended:
                    break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_ANSWERS_S):
                await self._log.answered()

    def _fail(self, exc: typer.BadParameter | TimedOutError, number: int) -> None:
        """Tell a mistake at a prompt; it ends a script."""
        text = exc.message if isinstance(exc, typer.BadParameter) else str(exc)
        if self._lines.interactive:
            with self._lines.above():
                self._printer.warn(text)
            return
        if isinstance(exc, typer.BadParameter):
            raise ScriptError(f"line {number}: {text}", hint="echo help | imctl connect") from exc
        raise TimedOutError(f"line {number}: {text}") from exc

    def _note(self, text: str) -> None:
        with self._lines.above():
            self._printer.note(text)

    def _show_help(self, text: str) -> None:
        # On stderr, like all that is said to people; --quiet does not hide what was asked for.
        with self._lines.above():
            self._printer.answer(text)


async def talk(
    imctl: Context, address: tuple[str, int], token: AuthToken, *, ws: bool, heartbeat_s: float | None, show_beats: bool
) -> bool:
    """Hold a conversation; return whether a signal has ended it."""
    printer = imctl.printer
    with open_lines(imctl.stdin, printer.stderr, "> ", complete_line) as lines:
        log = FrameLog(printer, lines.above, show_beats=show_beats)
        conversation = Conversation(address, token, printer, lines, log, ws=ws, heartbeat_s=heartbeat_s)
        with told_to_end(conversation.interrupted.set):
            await conversation.hold()
        return conversation.interrupted.is_set()
