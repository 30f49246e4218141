"""`imctl listen`: connect as a client and print what it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.comet_client import (
    CONNECT_S,
    AcceptsOption,
    CometOption,
    KeyOption,
    MidOption,
    RoomOption,
    WsOption,
    client_token,
    clock_text,
    connect_hint,
    connected_text,
    translate_error,
)
from imctl.cli.context import Context, examples, run
from imctl.cli.exits import TimedOutError
from imctl.cli.target import comet_address
from imctl.cli.values import parse_duration
from imctl.errors import ClusterError

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime

    from rich.console import Console

    from imctl.cli.printer import Printer
    from protocol.aio import Client
    from protocol.bodies import AuthToken
    from protocol.frame import Frame

__all__ = ["Listener", "Message", "register"]

_BACKOFF_S = (0.1, 5.0)
_HINT = "--reconnect goes on when it is back"


@dataclass(frozen=True, slots=True)
class Message:
    """One message received."""

    frame: Frame
    received_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the message as JSON: `body` where it is UTF-8, else `body_hex`. Any: JSON."""
        from imctl.cli.frame_log import frame_json

        return {"time": self.received_at.isoformat(timespec="microseconds"), **frame_json(self.frame)}

    def render(self, console: Console) -> None:
        """Print one line: time, operation, bytes, body."""
        from rich.text import Text

        from imctl.cli.frame_log import frame_text

        body = frame_text(self.frame)
        line = Text.assemble(
            (clock_text(self.received_at), "dim"), f"  {self.frame.op:>4}  {len(self.frame.body):>5}  ", body
        )
        console.print(line, soft_wrap=True)


class _NoTimeLeftError(TimeoutError):
    """The command's time limit came while it was connecting."""


class Listener:
    """Listens on one connection at a time.

    Args:
        find: Gives host and port of a comet; asked anew for each connection.
        token: What the client says it is.
        printer: Shows messages, and on stderr what happens.
        ws: Over WebSocket.
        count: Messages wanted; None for no end.
        reconnect: Connect again when the connection is lost.
        ack: Acknowledge kept messages, which are those with a sequence number.
    """

    def __init__(
        self,
        find: Callable[[], tuple[str, int]],
        token: AuthToken,
        printer: Printer,
        *,
        ws: bool = False,
        count: int | None = None,
        reconnect: bool = False,
        ack: bool = False,
    ) -> None:
        self.received = 0
        self._problem = ""
        """Why there is no connection; empty while there is one."""
        self._limit: asyncio.Timeout | None = None
        self._find = find
        self._token = token
        self._printer = printer
        self._ws = ws
        self._count = count
        self._reconnect = reconnect
        self._ack = ack

    async def listen(self, timeout_s: float | None = None) -> None:
        """Print messages until there are enough.

        Raises:
            TimedOutError: not enough within the time limit.
            ClusterError: no comet, or it closed the connection.
            AuthRefusedError: the cluster does not take this client.
        """
        import asyncio

        try:
            async with asyncio.timeout(timeout_s) as limit:
                self._limit = limit
                await self._stay_connected()
        except _NoTimeLeftError as exc:
            raise self._timed_out(timeout_s, hint=connect_hint(exc.__cause__) or _HINT) from exc
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._timed_out(timeout_s) from None

    def _timed_out(self, timeout_s: float | None, *, hint: str = "") -> TimedOutError:
        wanted = f" of {self._count}" if self._count is not None else ""
        why = f": {self._problem}" if self._problem else ""
        return TimedOutError(f"{self.received}{wanted} messages within {timeout_s:g} s{why}", hint=hint)

    async def _stay_connected(self) -> None:
        import asyncio

        from protocol.aio import ConnectError, ConnectionClosedError, ReplyTimeoutError
        from protocol.errors import UpgradeError

        wait_s, longest_s = _BACKOFF_S
        connected = False
        while True:
            try:
                async with await self._connect() as client:
                    self._say_connected(client, again=connected)
                    connected, wait_s, self._problem = True, _BACKOFF_S[0], ""
                    await self._print_messages(client)
                return
            except (ConnectionClosedError, ConnectError, ReplyTimeoutError, UpgradeError, ClusterError) as exc:
                self._problem = str(exc)
                # The first auth says whether this client is welcome; later ones may meet a cluster that starts.
                if not self._reconnect or (isinstance(exc, ConnectionClosedError) and not connected):
                    raise translate_error(exc, hint=_HINT) from exc
                self._printer.note(f"{exc}; connecting again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, longest_s)

    async def _connect(self) -> Client:
        """Return a client that is let in.

        The command's time limit is the client's meanwhile, which alone knows for what it waited in vain.
        """
        import asyncio

        from protocol.aio import Client, ConnectError, ReplyTimeoutError

        host, port = self._find()
        connect = Client.connect_ws if self._ws else Client.connect_tcp
        end_s = self._limit.when() if self._limit is not None else None
        left_s = CONNECT_S if end_s is None else end_s - asyncio.get_running_loop().time()
        if self._limit is None or left_s >= CONNECT_S:
            return await connect(host, port, self._token, timeout_s=CONNECT_S)
        self._limit.reschedule(None)
        try:
            client = await connect(host, port, self._token, timeout_s=max(left_s, 0.0))
        except (ConnectError, ReplyTimeoutError) as exc:
            if not isinstance(exc.__cause__, TimeoutError):
                raise
            what = f"answer to {exc.what} from" if isinstance(exc, ReplyTimeoutError) else "connection to"
            self._problem = f"no {what} comet {host}:{port}"
            raise _NoTimeLeftError from exc
        finally:
            self._limit.reschedule(end_s)
        return client

    def _say_connected(self, client: Client, *, again: bool) -> None:
        text = connected_text(client, self._token, ws=self._ws)
        self._printer.note(f"{'connected again to' if again else 'listening on'} {text}")

    async def _print_messages(self, client: Client) -> None:
        from datetime import UTC, datetime

        from protocol.operation import MESSAGES_ACK

        async for frame in client:
            if self._ack and frame.op == MESSAGES_ACK:
                continue  # the answer to ours
            self._printer.line(Message(frame, datetime.now(UTC).astimezone()))
            self.received += 1
            acknowledged = self._ack and frame.seq > 0
            if acknowledged:
                await client.send(MESSAGES_ACK, seq=frame.seq)
            if self._count is not None and self.received >= self._count:
                if acknowledged:
                    await self._confirmed(client, frame.seq)
                return

    async def _confirmed(self, client: Client, seq: int) -> None:
        """Wait for the answer to the last acknowledgement, since one on its way is lost with the connection."""
        from protocol.operation import MESSAGES_ACK

        while (answer := await client.receive(5.0)).op != MESSAGES_ACK or answer.seq != seq:
            pass


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "listen",
        epilog=examples(
            "imctl listen --mid 1",
            "imctl listen --room live://1 -n 1 --timeout 5s --json",
            "imctl listen --ws --reconnect",
        ),
    )
    def listen(
        ctx: typer.Context,
        mid: MidOption = 0,
        key: KeyOption = "",
        room: RoomOption = "",
        accepts: AcceptsOption = "1000",
        ws: WsOption = False,
        count: Annotated[
            int | None, typer.Option("-n", metavar="COUNT", min=1, help="End after so many messages")
        ] = None,
        timeout: Annotated[
            float | None, typer.Option(parser=parse_duration, metavar="TIME", help="End after that time with exit 27")
        ] = None,
        reconnect: Annotated[bool, typer.Option("--reconnect", help="Connect again when the comet goes away")] = False,
        ack: Annotated[bool, typer.Option("--ack", help="Acknowledge kept messages, so that they are deleted")] = False,
        target: CometOption = None,
    ) -> None:
        """Connect as a client and print each message: time, operation, bytes, body"""
        imctl = Context.of(ctx)
        listener = Listener(
            lambda: comet_address(imctl, target, ws=ws),
            client_token(mid, key, room, accepts),
            imctl.printer,
            ws=ws,
            count=count,
            reconnect=reconnect,
            ack=ack,
        )
        run(listener.listen(timeout))
