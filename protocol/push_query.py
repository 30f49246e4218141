"""The query of goim's HTTP API: how its parameters are written, read, and refused in the words of a goim logic."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote as percent_quote

from protocol.errors import RemoteError
from protocol.golang import GoNumberError, parse_int

__all__ = ["Pairs", "ParamError", "escape", "every", "first", "many", "number", "require"]

Pairs = Sequence[tuple[str, str]]
"""The parameters of a query in their order, as protocol.golang.parse_query() reads them."""

_REQUIRED = "Key: '{0}' Error:Field validation for '{0}' failed on the 'required' tag"


class ParamError(RemoteError):
    """The parameters of a request cannot be used; `str()` is the message of the envelope."""

    reason = "param"


def escape(text: object) -> str:
    """Return a value as it stands in a query."""
    return percent_quote(str(text), safe="")


def many(name: str, values: Sequence[object]) -> str:
    """Return `&name=value` for each value."""
    return "".join([f"&{name}={escape(value)}" for value in values])


def first(pairs: Pairs, name: str) -> str:
    """Return the first value of a parameter, "" without one."""
    for key, value in pairs:
        if key == name:
            return _text(name, value)
    return ""


def every(pairs: Pairs, name: str) -> list[str]:
    """Return every value of a parameter."""
    return [_text(name, value) for key, value in pairs if key == name]


def _text(name: str, value: str) -> str:
    # Protobuf and JSON cannot carry it; goim accepts such a room and then
    # fails at the bus, with the same outcome for the caller.
    if not value.isascii() and any("\udc80" <= letter <= "\udcff" for letter in value):
        raise ParamError(f"{name} is not UTF-8")
    return value


def number(text: str, bits: int) -> int:
    """Return a parameter that is a whole number."""
    try:
        return parse_int(text, bits)
    except GoNumberError as exc:
        raise ParamError(str(exc)) from None


def require(**fields: object) -> None:
    """Refuse what is empty or 0, under the names that goim has for the parameters."""
    missing = [name for name, value in fields.items() if not value]
    if missing:
        raise ParamError("\n".join(map(_REQUIRED.format, missing)))
