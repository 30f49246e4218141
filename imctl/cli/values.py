"""Values that several commands take, in the words a user types them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TextIO

import typer

__all__ = ["parse_duration", "parse_hex", "parse_operation", "parse_operations", "parse_percent", "read_bytes"]

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")


def parse_duration(text: str | float) -> float:
    """Return seconds of `500ms`, `10s`, `4m`, `1m30s`; for `typer.Option(parser=parse_duration)`.

    Raises:
        typer.BadParameter: it is something else, also a number without a unit.
    """
    if isinstance(text, (int, float)):  # typer hands defaults through the parser too
        return float(text)
    parts = _DURATION.findall(text.strip())
    total_s = math.fsum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise typer.BadParameter(f"{text!r} is not a duration; expected such as 500ms, 10s or 4m")
    return total_s


def parse_percent(text: str | float) -> float:
    """Return 10.0 of `10%`; for `typer.Option(parser=parse_percent)`.

    Raises:
        typer.BadParameter: it is something else, also a number without the sign: 0.1 could be either.
    """
    if isinstance(text, (int, float)):
        return float(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a share; expected such as 10%")
    return float(match[1])


def parse_hex(text: str) -> bytes:
    """Return the bytes of hex digits, with anything usual between them: `0a 0b`, `0a:0b`, `0x0a,0x0b`.

    Raises:
        typer.BadParameter: it is something else.
    """
    from imctl.decode import SourceError, parse_text

    try:
        source = parse_text(text)
        if source.form == "hex":
            return source.data
    except SourceError:
        pass
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    raise typer.BadParameter(f"{shown!r} is not hex; expected pairs of hex digits, such as 0a0b")


def parse_operation(text: str | int) -> int:
    """Return the operation of `7`, `auth` or `change-room`; for `typer.Option(parser=parse_operation)`.

    Raises:
        typer.BadParameter: it is neither a number of 32 bits nor one of goim's names.
    """
    from protocol.errors import LocalError
    from protocol.operation import operation_number

    if isinstance(text, int):
        return text
    try:
        return operation_number(text)
    except LocalError as exc:
        raise typer.BadParameter(str(exc)) from exc


def parse_operations(text: str) -> tuple[int, ...]:
    """Return the operations of `1000,1001`; "" is none.

    Raises:
        typer.BadParameter: one is no number of 32 bits.
    """
    from protocol.bodies import parse_operations as parse
    from protocol.errors import BodyError

    try:
        return parse(text.replace(" ", "").encode())
    except BodyError as exc:
        raise typer.BadParameter(f"{exc.problem}; expected such as 1000,1001") from exc


def read_bytes(name: str, stdin: TextIO, *, option: str, limit: int | None = None) -> bytes:
    """Return what is in a file, or on stdin when its name is `-`.

    Args:
        name: Of the file.
        stdin: Read as bytes where it can be.
        option: Names the option in an error.
        limit: Most bytes that are read; None for all.

    Raises:
        typer.BadParameter: the file cannot be read.
    """
    size = -1 if limit is None else limit
    if name == "-":
        return stdin.buffer.read(size) if hasattr(stdin, "buffer") else stdin.read(size).encode()
    try:
        with Path(name).open("rb") as file:
            return file.read(size)
    except OSError as exc:
        raise typer.BadParameter(f"{name}: {exc.strerror}", param_hint=option) from exc
