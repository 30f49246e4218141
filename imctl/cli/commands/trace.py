"""`imctl trace`: one push, followed through logic, bus, job, comet and client."""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.commands.push import Receivers, find_receivers
from imctl.cli.context import Context, examples, run
from imctl.cli.exits import Exit, TimedOutError
from imctl.cli.target import comet_address, logic_address, parse_room, parse_target
from imctl.cli.values import parse_duration
from imctl.errors import ClusterError
from protocol.trace import TRACE_HEADER, dump_trace_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from imctl.cli.logic_http import LogicHttp
    from imctl.cli.trace_report import Read, TraceReport
    from protocol.aio import Client
    from protocol.bodies import AuthToken
    from protocol.trace import Journey, TracePoint

    _Ask = Callable[[], Awaitable["Told"]]

__all__ = ["Told", "Tracer", "register"]

_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True)
class Told:
    """What the nodes that can be asked tell of a push.

    Args:
        points: Where they saw it.
        same_clock: Whether their times can be compared with ours.
        logic_why: Why logic would tell nothing.
        nodes_why: Why others would tell nothing.
        all_there: Whether more may come: nodes beside logic can be asked.
    """

    points: Sequence[TracePoint]
    same_clock: bool
    logic_why: str
    nodes_why: str
    all_there: bool


class Tracer:
    """Pushes one message and follows it.

    Args:
        imctl: Which cluster.
        receivers: Whom it is for; one.
        op: Operation of the message.
        body: The message; None for one with the id in it.
        target: Address of a logic's HTTP API, in the place of the cluster.
        timeout_s: Longest wait for what nodes tell, and for the client of `listen`.
    """

    def __init__(
        self,
        imctl: Context,
        receivers: Receivers,
        op: int,
        body: bytes | None,
        *,
        target: str | None,
        timeout_s: float,
    ) -> None:
        self._imctl = imctl
        self._receivers = receivers
        self._op = op
        self._target = target
        self._timeout_s = timeout_s
        self._trace = secrets.randbits(63) + 1
        self._body = f"imctl trace {dump_trace_id(self._trace)}".encode() if body is None else body

    async def trace(self, *, listen: bool, ws: bool, comet: str | None) -> tuple[TraceReport, bool]:
        """Return what became of it, and whether our own client, if there is one, has read it.

        Args:
            listen: Connect a client that the message is for.
            ws: That client over WebSocket.
            comet: Address of its comet; None for one of the cluster, or one that the logic of `target` names.

        Raises:
            ClusterError: no cluster, or a node of it cannot be reached.
            ImctlError: logic refused the push.
        """
        import asyncio

        from imctl.cli.logic_http import LogicHttp
        from imctl.cli.trace_report import TraceReport, hidden_hops, hops_of

        async with AsyncExitStack() as stack:
            address = logic_address(self._imctl, self._target)
            logic = await stack.enter_async_context(LogicHttp(address))
            ask = await self._asking(stack, logic, address)
            reading: asyncio.Task[Read] | None = None
            if listen:
                client, server = await self._connect(stack, logic, comet, ws=ws)
                reading = asyncio.create_task(self._read(client, server, ws=ws), name="trace client")
                stack.callback(reading.cancel)
            (receiver,) = await find_receivers(logic, self._receivers)
            (request,) = self._receivers.requests(self._op)
            began_ns = time.monotonic_ns()
            await logic.call(request, self._body, headers={TRACE_HEADER: dump_trace_id(self._trace)})
            answered_ms = (time.monotonic_ns() - began_ns) / 1e6
            deadline_ns = began_ns + int(self._timeout_s * 1e9)
            read = await _until(reading, deadline_ns)
            told, journey = await self._follow(ask, deadline_ns)
            return (
                TraceReport(
                    trace=self._trace,
                    receiver=receiver.title,
                    online=receiver.online,
                    op=self._op,
                    size=len(self._body),
                    answered_ms=answered_ms,
                    hops=hops_of(journey, began_ns, read, same_clock=told.same_clock),
                    hidden=hidden_hops(
                        journey, logic_why=told.logic_why, nodes_why=told.nodes_why, listens=reading is not None
                    ),
                    lost=_lost(told.points),
                ),
                reading is None or read is not None,
            )

    async def _asking(self, stack: AsyncExitStack, logic: LogicHttp, address: str) -> _Ask:
        """Return what asks the nodes: all of a cluster of `imctl up`, else the one logic."""
        from protocol.trace import TracePoint

        if self._target is not None:
            return lambda: self._ask_logic(logic, address)
        from imctl.cluster.client import ControlClient, find_cluster

        control = await stack.enter_async_context(ControlClient(find_cluster(self._imctl.cluster)))

        async def ask_all() -> Told:
            found = await control.traces(self._trace)
            silent = "; ".join(found["problems"].values())
            why = silent or f"no node of cluster {self._imctl.cluster!r} told; a Go node never does"
            points = [TracePoint.load(point) for point in found["points"]]
            return Told(points, True, why, why, True)

        return ask_all

    async def _ask_logic(self, logic: LogicHttp, address: str) -> Told:
        from imctl.cli.logic_http import NotServedError
        from imctl.trace import clock_id
        from protocol.push_api import Traces
        from protocol.trace import TracePoint

        nodes_why = "only the logic of --target was asked; a cluster of `imctl up` on this machine tells all"
        try:
            found = await logic.call(Traces(self._trace))
        except NotServedError:
            return Told((), True, f"logic {address} is a Go one, which does not tell", nodes_why, False)
        points = [TracePoint.load(point) for point in found["points"]]
        return Told(points, found["clock"] == clock_id(), f"logic {address} did not tell", nodes_why, False)

    async def _follow(self, ask: _Ask, deadline_ns: int) -> tuple[Told, Journey]:
        """Ask until nothing more is to be expected."""
        import asyncio

        from protocol.trace import follow

        while True:
            told = await ask()
            journey = follow(told.points)
            is_over = journey.is_over and journey.accepted is not None
            if is_over or not told.all_there or time.monotonic_ns() > deadline_ns:
                return told, journey
            await asyncio.sleep(_AGAIN_S)

    async def _connect(
        self, stack: AsyncExitStack, logic: LogicHttp, comet: str | None, *, ws: bool
    ) -> tuple[Client, str]:
        """Connect a client that the message is for; return it and the hostname of its comet, "" when nobody tells."""
        from imctl.cli.logic_http import LogicRefusedError, NotServedError
        from protocol.aio import Client, ConnectError, ReplyTimeoutError
        from protocol.errors import UpgradeError
        from protocol.push_api import Sessions

        token = self._token()
        if self._receivers.keys:
            (there,) = await find_receivers(logic, self._receivers)
            if there.online:
                raise typer.BadParameter(
                    f"key {token.key} is connected, and a client of ours would take its place", param_hint="--listen"
                )
        host, port = await self._comet(logic, comet, ws=ws)
        connect = Client.connect_ws if ws else Client.connect_tcp
        try:
            client = await stack.enter_async_context(await connect(host, port, token))
        except (ConnectError, ReplyTimeoutError, UpgradeError) as exc:
            raise ClusterError(f"comet: {exc}", hint="--comet HOST:PORT names another") from exc
        try:
            found = await logic.call(Sessions(keys=(token.key,)))
        except (NotServedError, LogicRefusedError):
            return client, ""
        return client, found["keys"].get(token.key, "")

    def _token(self) -> AuthToken:
        import uuid

        from protocol.bodies import AuthToken, room_key

        receivers = self._receivers
        return AuthToken(
            mid=next(iter(receivers.mids), 0),
            key=next(iter(receivers.keys), f"imctl-{uuid.uuid4().hex[:12]}"),
            room_id=room_key(*receivers.rooms[0]) if receivers.rooms else "",
            platform="imctl",
            accepts=(self._op,),
        )

    async def _comet(self, logic: LogicHttp, comet: str | None, *, ws: bool) -> tuple[str, int]:
        if comet is not None or self._target is None:
            return comet_address(self._imctl, comet, ws=ws)
        from protocol.push_api import NodesWeighted

        # As any client of the cluster finds it.
        found = await logic.call(NodesWeighted())
        return found["nodes"][0], int(found["ws_port" if ws else "tcp_port"])

    async def _read(self, client: Client, server: str, *, ws: bool) -> Read:
        from imctl.cli.trace_report import Read

        while True:
            frame = await client.receive()
            if frame.op == self._op and frame.body == self._body:
                return Read(time.monotonic_ns(), server, "WebSocket" if ws else "TCP")


async def _until(reading: Any, deadline_ns: int) -> Read | None:
    """Wait for the client to read it. Any: the task of a Read, or None.

    Raises:
        ClusterError: comet has closed the connection.
    """
    import asyncio

    from protocol.aio import ConnectionClosedError

    if reading is None:
        return None
    await asyncio.wait((reading,), timeout=max(deadline_ns - time.monotonic_ns(), 0) / 1e9)
    if not reading.done():
        return None
    try:
        read: Read = reading.result()
    except ConnectionClosedError as exc:
        raise ClusterError(f"comet: {exc}") from exc
    return read


def _lost(points: Sequence[TracePoint]) -> tuple[str, ...]:
    from protocol.trace import Place

    return tuple(
        f"{point.node}: {point.reason}" + f" (for {point.server})" * bool(point.server)
        for point in points
        if point.place is Place.DROPPED
    )


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "trace",
        epilog=examples(
            'imctl trace --mid 1 "hi"',
            "imctl trace --room live://1 --listen",
            "imctl trace --all --json",
        ),
    )
    def trace(
        ctx: typer.Context,
        body: Annotated[
            str | None, typer.Argument(metavar="BODY", help="The message; one is made up if left out")
        ] = None,
        mid: Annotated[int | None, typer.Option("--mid", metavar="M", help="To a user")] = None,
        key: Annotated[str | None, typer.Option("--key", metavar="K", help="To a connection")] = None,
        room: Annotated[str | None, typer.Option("--room", metavar="ROOM", help="To a room, TYPE://ID")] = None,
        everybody: Annotated[bool, typer.Option("--all", help="To every connection")] = False,
        op: Annotated[int, typer.Option("--op", metavar="OP", min=-(2**31), max=2**31 - 1, help="Operation")] = 1000,
        listen: Annotated[
            bool,
            typer.Option("--listen", help="Connect a client that gets it, for the last hop; exit 27 if it does not"),
        ] = False,
        ws: Annotated[bool, typer.Option("--ws", help="With --listen: over WebSocket")] = False,
        comet: Annotated[
            str | None,
            typer.Option(parser=parse_target, metavar="HOST:PORT", help="With --listen: address of any goim comet"),
        ] = None,
        timeout: Annotated[
            float,
            typer.Option(
                parser=parse_duration, metavar="TIME", show_default="5s", help="Longest wait for what is on its way"
            ),
        ] = 5.0,
        target: Annotated[
            str | None, typer.Option(parser=parse_target, metavar="HOST:PORT", help="HTTP address of any goim logic")
        ] = None,
    ) -> None:
        """Push one message and show its way: each hop, when it ended and how long it took

        The nodes of a cluster of `imctl up` tell when they saw the message. With --target only that logic is asked,
        and of Go nodes nothing can be seen: such hops are named, with the reason.
        """
        imctl = Context.of(ctx)
        receivers = Receivers(
            mids=() if mid is None else (mid,),
            keys=() if key is None else (key,),
            rooms=() if room is None else (parse_room(room),),
            everybody=everybody,
        )
        if len(receivers.requests(op)) != 1:
            raise typer.BadParameter("give one of --mid, --key, --room and --all")
        if op == 0 and (receivers.rooms or everybody):
            raise typer.BadParameter("goim takes no op 0 for rooms and all", param_hint="--op")
        if (ws or comet is not None) and not listen:
            raise typer.BadParameter("needs --listen", param_hint="--ws" if ws else "--comet")
        message = None if body is None else body.encode("utf-8", "surrogateescape")
        tracer = Tracer(imctl, receivers, op, message, target=target, timeout_s=timeout)
        report, was_read = run(tracer.trace(listen=listen, ws=ws, comet=comet))
        imctl.printer.result(report)
        if report.online == 0 and not listen:
            nothing = "" if room is not None or everybody else ": nothing was published"
            imctl.printer.warn(f"{report.receiver} has no online connection{nothing}", hint="--listen connects one")
        if not was_read:
            # Said here, since the document is out already.
            late = TimedOutError(f"the client did not get the message within {timeout:g} s")
            imctl.printer.error(late, code=Exit.TIMED_OUT)
            raise typer.Exit(Exit.TIMED_OUT)
        if report.lost:
            raise typer.Exit(Exit.FAILED)
