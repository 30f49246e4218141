"""`imctl push`: a message to users, connections, rooms or everybody."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.target import logic_address, parse_room, parse_target
from imctl.cli.values import read_bytes
from imctl.errors import ImctlError

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cli.logic_http import LogicHttp
    from protocol.push_api import PushAll, PushKeys, PushMids, PushRoom

    _Push = PushAll | PushKeys | PushMids | PushRoom

__all__ = ["PushResult", "Receiver", "Receivers", "find_receivers", "push", "register"]

_INT32 = 2**31
_INT64 = 2**63
_OP = 1000
"""What `imctl listen` accepts too when it is not told."""


@dataclass(frozen=True, slots=True)
class Receivers:
    """Whom a message is for; rooms as (type, room).

    Args:
        everybody: Push to all connections too.
        speed: Of that push, messages a second for the whole cluster; 0 is as fast as it goes.
    """

    mids: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    rooms: tuple[tuple[str, str], ...] = ()
    everybody: bool = False
    speed: int = 0

    def requests(self, op: int) -> list[_Push]:
        """Return the requests that push one message to all of them."""
        from protocol.push_api import PushAll, PushKeys, PushMids, PushRoom

        found: list[_Push] = []
        if self.mids:
            found.append(PushMids(op, self.mids))
        if self.keys:
            found.append(PushKeys(op, self.keys))
        found += [PushRoom(op, kind, room) for kind, room in self.rooms]
        if self.everybody:
            found.append(PushAll(op, self.speed))
        return found


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver as it was when the push began.

    Args:
        kind: `mid`, `key`, `room` or `all`.
        name: Which; "" for all.
        online: Its connections; None when this logic cannot tell.
        servers: Comet by key, for a mid or key that is online.
        waiting: Messages that are kept for a mid that is not online, once the push has ended.
    """

    kind: str
    name: str
    online: int | None
    servers: Mapping[str, str]
    waiting: int = 0

    @property
    def title(self) -> str:
        """How people are told of it."""
        return f"{self.kind} {self.name}" if self.name else "everybody"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON. Any: a mid is a number."""
        name: Any = int(self.name) if self.kind == "mid" else self.name or True
        found = {self.kind: name, "online": self.online}
        found |= {"waiting": self.waiting} if self.waiting else {}
        return found | ({"connections": dict(self.servers)} if self.kind in ("mid", "key") else {})


@dataclass(frozen=True, slots=True)
class PushResult:
    """What came of a push.

    Args:
        messages: Times the body was pushed to each receiver.
        size: Bytes of the body.
        took_ms: From the first request to the last answer.
        span_s: From the begin of the first message to the begin of the last.
    """

    messages: int
    op: int
    size: int
    took_ms: float
    receivers: tuple[Receiver, ...]
    span_s: float = 0.0

    @property
    def rate_per_s(self) -> float:
        """Messages a second, by how far their begins are apart; 0 for a single one."""
        return (self.messages - 1) / self.span_s if self.span_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the document; Any because it is JSON."""
        found: dict[str, Any] = {"accepted": True, "messages": self.messages, "op": self.op, "bytes": self.size}
        found |= {"took_ms": round(self.took_ms, 2)}
        if self.messages > 1:
            found["rate_per_s"] = round(self.rate_per_s, 1)
        return found | {"receivers": [receiver.to_json() for receiver in self.receivers]}

    def render(self, console: Console) -> None:
        """Print a line, and one for each receiver."""
        from rich.text import Text

        what = "1 message" if self.messages == 1 else f"{self.messages} messages, {self.rate_per_s:.1f}/s"
        facts = f": {what}, op {self.op}, {self.size} bytes, {self.took_ms:.1f} ms"
        console.print(Text.assemble(("accepted", "green"), facts), soft_wrap=True)
        for receiver in self.receivers:
            console.print(Text(f"  {receiver.title}: {_online_text(receiver)}"), soft_wrap=True)


def _online_text(receiver: Receiver) -> str:
    online = receiver.online
    if online is None:
        return "this logic does not tell who is online"
    text = f"{online} online connection{'s' * (online != 1)}"
    if receiver.kind in ("room", "all"):
        return f"{text} when last counted"
    if receiver.waiting:
        return f"{text}, {receiver.waiting} message{'s' * (receiver.waiting != 1)} kept"
    few = list(receiver.servers.items())[:3]
    where = ", ".join(f"{key} on {server}" for key, server in few) + ", ..." * (len(receiver.servers) > 3)
    return f"{text} ({where})" if where else text


async def push(
    address: str, receivers: Receivers, op: int, body: bytes, *, count: int = 1, rate_per_s: float | None = None
) -> PushResult:
    """Push a message, or the same one several times and in order, over logic's HTTP API.

    Args:
        address: Of logic's HTTP API.
        receivers: Whom it is for.
        op: Operation of the message.
        body: The message.
        count: How many times.
        rate_per_s: Messages a second, by a schedule that does not wait for a slow logic; None for one after another.

    Raises:
        ImctlError: logic refused it, or cannot be reached.
    """
    import asyncio

    from imctl.cli.logic_http import LogicHttp

    requests = receivers.requests(op)
    async with LogicHttp(address) as logic:
        found = await find_receivers(logic, receivers)
        began_s = last_s = time.monotonic()
        for number in range(count):
            if rate_per_s is not None:
                await asyncio.sleep(max(began_s + number / rate_per_s - time.monotonic(), 0))
            last_s = time.monotonic()
            try:
                for request in requests:
                    await logic.call(request, body)
            except ImctlError as exc:
                if number:
                    exc.args = (f"{number} of {count} messages were accepted, then {exc}",)
                raise
        took_ms = (time.monotonic() - began_s) * 1000
        found = [await _with_waiting(logic, receiver) for receiver in found]
    return PushResult(count, op, len(body), took_ms, tuple(found), last_s - began_s)


async def find_receivers(logic: LogicHttp, receivers: Receivers) -> list[Receiver]:
    """Ask where the receivers are; what this logic does not tell is None."""
    from imctl.cli.logic_http import LogicRefusedError, NotServedError
    from protocol.push_api import OnlineRoom, OnlineTotal, Sessions

    found: list[Receiver] = []
    if receivers.mids or receivers.keys:
        try:
            data = await logic.call(Sessions(receivers.mids, receivers.keys))
        except (NotServedError, LogicRefusedError):
            found += [Receiver("mid", str(mid), None, {}) for mid in receivers.mids]
            found += [Receiver("key", key, None, {}) for key in receivers.keys]
        else:
            for mid in receivers.mids:
                servers = data["mids"].get(str(mid), {})
                found.append(Receiver("mid", str(mid), len(servers), servers))
            for key in receivers.keys:
                servers = {key: data["keys"][key]} if key in data["keys"] else {}
                found.append(Receiver("key", key, len(servers), servers))
    for kind, room in receivers.rooms:
        counts = await logic.call(OnlineRoom(kind, (room,)))
        found.append(Receiver("room", f"{kind}://{room}", counts.get(room, 0), {}))
    if receivers.everybody:
        total = await logic.call(OnlineTotal())
        found.append(Receiver("all", "", total["conn_count"], {}))
    return found


async def _with_waiting(logic: LogicHttp, receiver: Receiver) -> Receiver:
    """Add what is kept for a user who is away, where there is a store of messages."""
    from dataclasses import replace

    from imctl.cli.logic_http import LogicRefusedError, NotServedError
    from protocol.imctl_api import Offline

    if receiver.kind != "mid" or receiver.online != 0 or int(receiver.name) <= 0:
        return receiver
    try:
        return replace(receiver, waiting=(await logic.call(Offline(int(receiver.name))))["messages"])
    except (NotServedError, LogicRefusedError):
        return receiver


def _read_body(body: str | None, file: str | None, stdin: TextIO) -> bytes:
    if (body is None) == (file is None):
        raise typer.BadParameter("give the message either as BODY or by --file (- is stdin); '' is an empty one")
    if body is not None:
        return body.encode("utf-8", "surrogateescape")
    return read_bytes(str(file), stdin, option="--file")


def _warn(imctl: Context, receiver: Receiver, op: int) -> None:
    """Say that a message goes nowhere, and who would get the next one."""
    listen = ["imctl", "listen", *([] if receiver.kind == "all" else [f"--{receiver.kind}", receiver.name])]
    if op != _OP and receiver.kind != "room":  # a room's messages come whatever is accepted
        listen += ["--accepts", str(op)]
    counted = " when last counted (counts are up to 20 s old)" if receiver.kind in ("room", "all") else ""
    nobody = "nobody is online" if receiver.kind == "all" else f"{receiver.title} has no online connection"
    imctl.printer.warn(f"{nobody}{counted}", hint=imctl.command(shlex.join(listen)))


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "push",
        epilog=examples(
            'imctl push --mid 1 "hi"',
            'imctl push --room live://1 --op 1001 --count 100 --rate 40 "to a room"',
            "imctl push --all --speed 1000 --file - < message.json",
        ),
    )
    def push_command(
        ctx: typer.Context,
        body: Annotated[str | None, typer.Argument(metavar="BODY", help="The message")] = None,
        mid: Annotated[list[int] | None, typer.Option("--mid", metavar="M", help="To a user; may be repeated")] = None,
        key: Annotated[
            list[str] | None, typer.Option("--key", metavar="K", help="To a connection; may be repeated")
        ] = None,
        room: Annotated[
            list[str] | None, typer.Option("--room", metavar="ROOM", help="To a room, TYPE://ID; may be repeated")
        ] = None,
        everybody: Annotated[bool, typer.Option("--all", help="To every connection")] = False,
        speed: Annotated[int, typer.Option("--speed", metavar="N", min=0, help="With --all: messages a second")] = 0,
        op: Annotated[int, typer.Option("--op", metavar="OP", min=-_INT32, max=_INT32 - 1, help="Operation")] = _OP,
        count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Push it N times")] = 1,
        rate: Annotated[
            float | None, typer.Option("--rate", metavar="R", min=0.001, help="With --count: times a second")
        ] = None,
        file: Annotated[
            str | None, typer.Option("--file", metavar="FILE", help="A file that is the message; - is stdin")
        ] = None,
        target: Annotated[
            str | None, typer.Option(parser=parse_target, metavar="HOST:PORT", help="HTTP address of any goim logic")
        ] = None,
    ) -> None:
        """Push a message, and say how many online connections it is for; nobody online is only a warning"""
        imctl = Context.of(ctx)
        receivers = Receivers(
            mids=tuple(dict.fromkeys(mid or ())),
            keys=tuple(dict.fromkeys(key or ())),
            rooms=tuple(parse_room(text) for text in dict.fromkeys(room or ())),
            everybody=everybody,
            speed=speed,
        )
        if not all(receivers.keys):
            raise typer.BadParameter("no connection has an empty key", param_hint="--key")
        if wrong := [mid for mid in receivers.mids if not -_INT64 <= mid < _INT64]:
            raise typer.BadParameter(f"{wrong[0]} is no mid; expected a number of 64 bits", param_hint="--mid")
        if not receivers.requests(op):
            raise typer.BadParameter("nobody to push to: give --mid, --key, --room or --all")
        if speed and not everybody:
            raise typer.BadParameter("only a push to --all has one", param_hint="--speed")
        if rate is not None and count == 1:
            raise typer.BadParameter("one message has no rate: add --count N", param_hint="--rate")
        if op == 0 and (receivers.rooms or everybody):
            raise typer.BadParameter("goim takes no op 0 for rooms and all", param_hint="--op")
        message = _read_body(body, file, imctl.stdin)
        result = run(push(logic_address(imctl, target), receivers, op, message, count=count, rate_per_s=rate))
        imctl.printer.result(result)
        for receiver in result.receivers:
            if receiver.online == 0 and not receiver.waiting:
                _warn(imctl, receiver, op)
        if rate is not None and count > 1 and result.rate_per_s < 0.9 * rate:
            imctl.printer.warn(f"{result.rate_per_s:.1f} messages a second were pushed, {rate:g} were asked for")
