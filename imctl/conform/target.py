"""The addresses that cases talk to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import parse_qsl, urlsplit

from imctl.errors import ClusterError, ConfigError

__all__ = ["DEFAULT_PORTS", "PARTS", "Target", "parse_target", "probe", "split_address"]

PARTS: Mapping[str, str] = {
    "tcp": "comet tcp",
    "ws": "comet ws",
    "http": "logic http",
    "grpc": "logic grpc",
    "comet_grpc": "comet grpc",
    "discovery": "discovery",
}
"""Fields of Target and what people call them."""

DEFAULT_PORTS: Mapping[str, int] = {
    "tcp": 3101,
    "ws": 3102,
    "http": 3111,
    "grpc": 3119,
    "comet_grpc": 3109,
    "discovery": 7171,
}
"""goim's."""

_EXAMPLE = "goim://HOST?tcp=3101&ws=3102&http=3111&grpc=3119&comet-grpc=3109&discovery=7171"
_PROBE_S = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """`host:port` of each part; None is not tested. tcp, ws and comet_grpc are of one comet."""

    tcp: str | None = None
    ws: str | None = None
    http: str | None = None
    grpc: str | None = None
    comet_grpc: str | None = None
    discovery: str | None = None

    def address(self, part: str) -> str | None:
        """Return the address of a part by its name."""
        found: str | None = getattr(self, part)
        return found

    def given(self) -> dict[str, str]:
        """Return the addresses of the parts that are tested."""
        return {part: address for part in PARTS if (address := self.address(part)) is not None}

    def missing(self, parts: Iterable[str]) -> list[str]:
        """Return which of these parts are not tested, as people call them."""
        return [PARTS[part] for part in parts if self.address(part) is None]

    def with_parts(self, parts: Mapping[str, str | None]) -> Target:
        """Return a target with some addresses instead of its own; None leaves its own."""
        return replace(self, **{name: address for name, address in parts.items() if address is not None})


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`; an IPv6 host stands in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def parse_target(text: str) -> Target:
    """Return the target of `goim://HOST?tcp=3101&ws=3102&...`; parts that are left out are not tested.

    A port may also be HOST:PORT when a node is somewhere else than HOST, and
    empty for goim's own port.

    Raises:
        ConfigError: the text is not of that form, or names nothing to test.
    """
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query, strict_parsing=True, keep_blank_values=True) if parts.query else []
        odd = parts.port is not None or parts.username is not None or parts.path not in ("", "/") or parts.fragment
    except ValueError as exc:
        raise ConfigError(f"target {text!r}: {exc}", hint=_EXAMPLE) from exc
    names = {field.name.replace("_", "-") for field in fields(Target)}
    if parts.scheme != "goim" or not parts.hostname or odd:
        raise ConfigError(f"target {text!r} is not of the form goim://HOST?PART=PORT", hint=_EXAMPLE)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    found: dict[str, str] = {}
    for name, value in query:
        if name not in names or name.replace("-", "_") in found:
            raise ConfigError(f"target {text!r}: {name!r} is not one of {', '.join(sorted(names))}", hint=_EXAMPLE)
        part = name.replace("-", "_")
        where, colon, port = (value or str(DEFAULT_PORTS[part])).rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536 or (colon and not where):
            raise ConfigError(f"target {text!r}: {name}={value} is not a port or HOST:PORT")
        found[part] = f"{where or host}:{int(port)}"
    if not found:
        raise ConfigError(f"target {text!r} names no part to test", hint=_EXAMPLE)
    return Target(**found)


async def probe(target: Target) -> None:
    """Connect once to every part.

    Raises:
        ClusterError: one of them does not answer; the text names each.
    """
    problems = await asyncio.gather(*(_probe_one(part, address) for part, address in target.given().items()))
    found = [problem for problem in problems if problem]
    if found:
        raise ClusterError("; ".join(found), hint="are they running, and are these their addresses?")


async def _probe_one(part: str, address: str) -> str:
    host, port = split_address(address)
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as exc:
        reason = f"no connection within {_PROBE_S:g} s" if isinstance(exc, TimeoutError) else exc.strerror or exc
        return f"{PARTS[part]} {address} cannot be reached: {reason}"
    writer.close()
    return ""
