"""`imctl encode`: the bytes of frames on goim's wire."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from imctl.cli.context import Context, examples
from imctl.cli.values import parse_hex, parse_operation, read_bytes

if TYPE_CHECKING:
    from imctl.cli.printer import Printer
    from imctl.decode import Report
    from protocol.frame import Frame

__all__ = ["Encoded", "encode", "register"]

_INT16 = 2**15
_INT32 = 2**31
_MASK_BYTES = 4
_ANY_MASK = "random"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Frames as bytes.

    Args:
        pieces: One a frame, over WebSocket one a message.
        ws: Over WebSocket.
    """

    pieces: tuple[bytes, ...]
    ws: bool

    @property
    def data(self) -> bytes:
        """All of them."""
        return b"".join(self.pieces)

    def report(self) -> Report:
        """Return what `imctl decode` finds in them."""
        from imctl.decode import decode

        return decode(self.data, ws=self.ws)

    def to_json(self) -> dict[str, Any]:
        """Return the bytes as hex, and what decode's document says of them. Any: JSON."""
        return {"hex": self.data.hex(), **self.report().to_json()}


def encode(
    frames: Sequence[Frame], *, ws: bool = False, batch: bool = False, mask: Callable[[], bytes] | None = None
) -> Encoded:
    """Return frames as a comet or a client sends them.

    Args:
        frames: At least one.
        ws: Each as one WebSocket message.
        batch: All in one op 9 container, of which TCP has only the body: the frames, back to back.
        mask: Gives the four bytes for each message of a client; None for those of a comet.
    """
    from protocol.raw import pack_batch, wrap_batch
    from protocol.websocket import serialize_message

    if not ws:
        return Encoded(tuple(frame.pack() for frame in frames), ws)
    payloads = [wrap_batch(pack_batch(frames))] if batch else [frame.pack() for frame in frames]
    return Encoded(tuple(serialize_message(payload, mask=mask() if mask else None) for payload in payloads), ws)


def _parse_mask(text: str) -> str:
    """Return `random`, or the mask as eight hex digits; for `typer.Option(parser=...)`."""
    if text == _ANY_MASK:
        return text
    try:
        mask = parse_hex(text)
    except typer.BadParameter:
        mask = b""
    if len(mask) != _MASK_BYTES:
        raise typer.BadParameter(f"{text!r} is no mask; expected four bytes as hex, such as 37fa213d, or {_ANY_MASK}")
    return mask.hex()


def _mask_of(text: str) -> Callable[[], bytes]:
    if text == _ANY_MASK:
        return lambda: os.urandom(_MASK_BYTES)
    return lambda: bytes.fromhex(text)


def _read_bodies(texts: Sequence[str], hexes: Sequence[str], files: Sequence[str], stdin: TextIO) -> list[bytes]:
    """Return the bodies, which come by one of the three options; b"" when none does."""
    from imctl.decode.source import MAX_INPUT_BYTES

    if sum(map(bool, (texts, hexes, files))) > 1:
        raise typer.BadParameter("give bodies by only one of --body, --body-hex and --body-file")
    if files.count("-") > 1:
        raise typer.BadParameter("stdin can be read only once", param_hint="--body-file")
    bodies = [text.encode("utf-8", "surrogateescape") for text in texts]
    try:
        bodies += map(parse_hex, hexes)
    except typer.BadParameter as exc:
        raise typer.BadParameter(exc.message, param_hint="--body-hex") from exc
    bodies += (read_bytes(name, stdin, option="--body-file", limit=MAX_INPUT_BYTES + 1) for name in files)
    if sum(map(len, bodies)) > MAX_INPUT_BYTES:
        raise typer.BadParameter(f"the bodies have over {MAX_INPUT_BYTES // 2**20} MiB")
    return bodies or [b""]


def _warn(printer: Printer, report: Report) -> None:
    """Say what a comet or a client would not take; it may be just what is wanted."""
    from imctl.decode import Problem

    warnings = {
        f"{item.what}; expected {item.expected}" if isinstance(item, Problem) else item.note for item in report.items
    }
    for text in sorted(warnings - {""}):
        printer.warn(text)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "encode",
        epilog=examples(
            """imctl encode --op auth --body '{"mid":1,"accepts":[1000]}'""",
            "imctl encode --op 1000 --body one --body two --batch --ws --json",
            "imctl encode --op change-room --body live://2 --ws --mask 37fa213d | imctl decode",
            """imctl encode --op auth --body '{"mid":1}' --raw | nc -w 1 127.0.0.1 3101 | imctl decode""",
        ),
    )
    def encode_command(
        ctx: typer.Context,
        op: Annotated[
            int,
            typer.Option("--op", parser=parse_operation, metavar="OP", help="Operation: a number, or goim's name"),
        ],
        body: Annotated[
            list[str] | None, typer.Option("--body", metavar="TEXT", help="Text as the body; repeat for more frames")
        ] = None,
        body_hex: Annotated[
            list[str] | None, typer.Option("--body-hex", metavar="HEX", help="The same as bytes in hex")
        ] = None,
        body_file: Annotated[
            list[str] | None, typer.Option("--body-file", metavar="FILE|-", help="The same from a file; - is stdin")
        ] = None,
        ver: Annotated[int, typer.Option("--ver", metavar="N", min=-_INT16, max=_INT16 - 1, help="Version")] = 1,
        seq: Annotated[int, typer.Option("--seq", metavar="N", min=-_INT32, max=_INT32 - 1, help="Sequence")] = 0,
        ws: Annotated[bool, typer.Option("--ws", help="Each frame as a WebSocket message")] = False,
        mask: Annotated[
            str | None,
            typer.Option(
                "--mask", parser=_parse_mask, metavar="HEX", help="With --ws: as a client sends it; or `random`"
            ),
        ] = None,
        batch: Annotated[
            bool, typer.Option("--batch", help="All in one op 9 container, of which TCP has only what is inside")
        ] = False,
        raw: Annotated[bool, typer.Option("--raw", help="Bytes, for a pipe")] = False,
        as_base64: Annotated[bool, typer.Option("--base64", help="Base64 instead of hex")] = False,
    ) -> None:
        """Print the bytes of frames as hex, a line each: the opposite of decode

        Frames differ in their bodies only. Without a body there is one frame with an empty one. What a comet would
        refuse is encoded all the same, with a warning.
        """
        from protocol.frame import Frame

        imctl = Context.of(ctx)
        if sum((imctl.json, raw, as_base64)) > 1:
            raise typer.BadParameter("only one of --json, --raw and --base64 can be printed")
        if raw and imctl.printer.stdout.isatty():
            raise typer.BadParameter("stdout is a terminal; bytes are for a pipe or a file", param_hint="--raw")
        if mask is not None and not ws:
            raise typer.BadParameter("only WebSocket messages have one: add --ws", param_hint="--mask")
        bodies = _read_bodies(body or (), body_hex or (), body_file or (), imctl.stdin)
        frames = [Frame(ver, op, seq, one) for one in bodies]
        encoded = encode(frames, ws=ws, batch=batch, mask=None if mask is None else _mask_of(mask))
        if imctl.json:
            imctl.printer.result(encoded)
        elif raw:
            imctl.printer.write_bytes(encoded.data)
        elif as_base64:
            imctl.printer.write(f"{base64.b64encode(encoded.data).decode()}\n")
        else:
            imctl.printer.write("".join(f"{piece.hex()}\n" for piece in encoded.pieces))
        _warn(imctl.printer, encoded.report())
