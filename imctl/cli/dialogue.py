"""The commands of `imctl connect`: what can be asked of a connection, a line each."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import typer

from imctl.cli.exits import TimedOutError
from imctl.cli.frame_log import FrameLog
from imctl.cli.target import parse_room
from imctl.cli.values import parse_duration, parse_hex, parse_operation, parse_operations
from imctl.errors import ImctlError
from protocol.aio import Client
from protocol.bodies import serialize_operations
from protocol.operation import MESSAGES_ACK, Operation, operation_name

__all__ = ["Dialogue", "ScriptError", "complete_line", "help_text"]

_INT32 = 2**31
_WAIT_S = 10.0


class ScriptError(ImctlError):
    """A line of a script is no command, or has not what its command needs."""


@dataclass(frozen=True, slots=True)
class _Verb:
    """A command.

    Args:
        usage: Its name, and what follows it.
        help: What it does.
        obey: Does it, told what follows the name.
    """

    usage: str
    help: str
    obey: Callable[[Dialogue, str], Awaitable[None]]


class Dialogue:
    """Obeys lines on one connection.

    Args:
        client: The connection, observed by the log.
        accepts: Operations that it accepts so far.
        log: Shows frames, and knows which came.
        show_help: Shows the list of commands.
    """

    def __init__(self, client: Client, accepts: Sequence[int], log: FrameLog, show_help: Callable[[str], None]) -> None:
        self.ended = False
        """The user has said `quit`."""
        self._client = client
        self._accepts = list(accepts)
        self._log = log
        self._show_help = show_help

    async def obey(self, line: str) -> None:
        """Do what a line says; an empty one and a `#` comment say nothing.

        Raises:
            typer.BadParameter: it is no command, or has not what the command needs.
            TimedOutError: what it waits for did not come.
        """
        name, _, rest = line.strip().partition(" ")
        if not name or name.startswith("#"):
            return
        verb = _VERBS.get(name)
        if verb is None:
            close = get_close_matches(name, _VERBS, 1)
            expected = f"is {close[0]} meant?" if close else f"expected one of {', '.join(_VERBS)}"
            raise typer.BadParameter(f"{name!r} is no command; {expected}")
        try:
            await verb.obey(self, rest.lstrip())
        except typer.BadParameter as exc:
            raise typer.BadParameter(f"{verb.usage}: {exc.message}") from exc

    async def _send(self, op: int, body: bytes = b"", *, seq: int | None = None) -> None:
        with self._log.by_hand():
            await self._client.send(op, body, seq=seq)

    async def room(self, text: str) -> None:
        """Change the room."""
        room = text.strip()
        if room:
            parse_room(room)
        await self._send(Operation.CHANGE_ROOM, _body(room))

    async def sub(self, text: str) -> None:
        """Accept further operations."""
        operations = _operations(text)
        if not operations:
            raise typer.BadParameter("no operation is given; expected such as 1001,1002")
        self._accepts += operations
        await self._send(Operation.SUB, serialize_operations(operations))

    async def unsub(self, text: str) -> None:
        """Accept some no more, or all that were accepted."""
        operations = _operations(text) or tuple(dict.fromkeys(self._accepts))
        if not operations:
            raise typer.BadParameter("nothing is accepted")
        self._accepts = [op for op in self._accepts if op not in operations]
        await self._send(Operation.UNSUB, serialize_operations(operations))

    async def beat(self, text: str) -> None:
        """Send a heartbeat."""
        _nothing(text)
        await self._send(Operation.HEARTBEAT)

    async def send(self, text: str) -> None:
        """Send any operation with a text, which is taken as it is."""
        op, body = _first(text, "an operation")
        await self._send(parse_operation(op), _body(body))

    async def sendhex(self, text: str) -> None:
        """Send any operation with bytes."""
        op, body = _first(text, "an operation")
        await self._send(parse_operation(op), parse_hex(body))

    async def ack(self, text: str) -> None:
        """Acknowledge kept messages."""
        await self._send(MESSAGES_ACK, seq=_int32(text))

    async def raw(self, text: str) -> None:
        """Send bytes as they are."""
        data = parse_hex(text)
        if not data:
            raise typer.BadParameter("no bytes are given; `imctl encode` prints those of a frame")
        self._log.sent_raw(data)
        await self._client.send_raw(data)

    async def wait(self, text: str) -> None:
        """Wait for a frame."""
        name, limit = _first(text, "an operation")
        op = parse_operation(name)
        limit_s = parse_duration(limit) if limit.strip() else _WAIT_S
        try:
            async with asyncio.timeout(limit_s):
                await self._log.came(op)
        except TimeoutError:
            name = operation_name(op)
            title = name if name.startswith("op ") else f"op {op} {name}"
            raise TimedOutError(f"no {title} within {limit_s:g} s") from None

    async def sleep(self, text: str) -> None:
        """Let time pass."""
        await asyncio.sleep(parse_duration(text))

    async def help(self, text: str) -> None:
        """Show the commands."""
        self._show_help(help_text())

    async def quit(self, text: str) -> None:
        """End."""
        _nothing(text)
        self.ended = True


def _body(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _operations(text: str) -> tuple[int, ...]:
    return parse_operations(",".join(text.replace(",", " ").split()))


def _first(text: str, what: str) -> tuple[str, str]:
    word, _, rest = text.partition(" ")
    if not word:
        raise typer.BadParameter(f"{what} is missing")
    return word, rest


def _nothing(text: str) -> None:
    if text.strip():
        raise typer.BadParameter(f"takes nothing, and {text.strip()!r} came")


def _int32(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = _INT32
    if not -_INT32 <= number < _INT32:
        raise typer.BadParameter(f"{text.strip()!r} is no sequence; expected a number of 32 bits")
    return number


_VERBS = {
    verb.usage.partition(" ")[0]: verb
    for verb in (
        _Verb("room [ROOM]", "Go to a room, TYPE://ID; without one leave the room", Dialogue.room),
        _Verb("sub OPS", "Accept further operations, such as 1001,1002", Dialogue.sub),
        _Verb("unsub [OPS]", "Accept them no more; without OPS all that are accepted", Dialogue.unsub),
        _Verb("beat", "Send a heartbeat; the answer counts the clients of the room", Dialogue.beat),
        _Verb("send OP [BODY]", "Send an operation, by number or goim's name, with a text", Dialogue.send),
        _Verb("sendhex OP HEX", "Send an operation with bytes", Dialogue.sendhex),
        _Verb("ack SEQ", "Acknowledge kept messages up to this sequence", Dialogue.ack),
        _Verb("raw HEX", "Send bytes as they are; over WebSocket they are one message", Dialogue.raw),
        _Verb("wait OP [TIME]", "Wait for a frame that no earlier wait had; without TIME 10s", Dialogue.wait),
        _Verb("sleep TIME", "Wait that long", Dialogue.sleep),
        _Verb("help", "Show this", Dialogue.help),
        _Verb("quit", "Close the connection, as Ctrl-D does", Dialogue.quit),
    )
}
_TAKE_OPERATION = ("send", "sendhex", "wait")


def help_text() -> str:
    """Return the commands, a line each."""
    width = max(len(verb.usage) for verb in _VERBS.values())
    return textwrap.indent("\n".join(f"{verb.usage:<{width}}  {verb.help}" for verb in _VERBS.values()), "  ")


def complete_line(text: str) -> list[str]:
    """Return the words that fit in place of the last one of a line."""
    words = text.lstrip().split(" ")
    if len(words) == 1:
        return [name for name in _VERBS if name.startswith(words[0])]
    if len(words) == 2 and words[0] in _TAKE_OPERATION:
        return [name for name in map(operation_name, Operation) if name.startswith(words[1])]
    return []
