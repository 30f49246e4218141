"""Values that several commands take, in the words a user types them."""

from __future__ import annotations

import math
import re

import typer

__all__ = ["parse_duration", "parse_percent"]

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
