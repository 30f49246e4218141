"""The cluster a scenario runs against."""

from __future__ import annotations

from dataclasses import dataclass

from sim.clients.spread import GOLDEN
from sim.errors import SimError
from sim.scenario.scenario import Transport

__all__ = ["Target", "comet_of", "parse_target"]

_DEFAULT_TCP = 3101
_DEFAULT_WS = 3102
_DEFAULT_HTTP = 3111
_DEFAULT_WSS = 3103
_DEFAULT_TLS = 3104  # goim has none; here it is the port after that of WSS


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses of a goim cluster, ours or a Go one.

    Args:
        name: What the report calls it.
        tcp, ws: (host, port) of each comet; clients are spread over them evenly.
        http: (host, port) of each logic's push API.
        tls, wss: As tcp and ws, for clients that encrypt.
        ca: PEM file with certificates that its comets can be known by; empty where the system's are enough.
        names: What the nodes of the report call the comets, in the order of their addresses; () when nobody knows.
    """

    name: str
    tcp: tuple[tuple[str, int], ...]
    ws: tuple[tuple[str, int], ...]
    http: tuple[tuple[str, int], ...]
    tls: tuple[tuple[str, int], ...] = ()
    wss: tuple[tuple[str, int], ...] = ()
    ca: str = ""
    names: tuple[str, ...] = ()

    def comets(self, transport: Transport) -> tuple[tuple[str, int], ...]:
        """Return where each comet listens for a transport."""
        match transport:
            case Transport.TCP:
                return self.tcp
            case Transport.WS:
                return self.ws
            case Transport.TLS:
                return self.tls
            case Transport.WSS:
                return self.wss


def comet_of(client: int, comets: int) -> int:
    """Return the place of a client's comet among so many; clients are spread evenly."""
    # Not the remainder: rooms and transports go in turn too, and every member of a room would be on one comet.
    return int(client * GOLDEN % 1.0 * comets)


def parse_target(text: str) -> Target:
    """Return the target of `goim://HOST?tcp=3101&ws=3102&tls=3104&wss=3103&http=3111`; the ports may repeat.

    A port may also be HOST:PORT when a node is somewhere else than HOST.

    Raises:
        SimError: the text is not of that form.
    """
    from urllib.parse import parse_qs, urlsplit

    try:
        parts = urlsplit(text)
        query = parse_qs(parts.query, strict_parsing=True, keep_blank_values=True) if parts.query else {}
        odd = parts.port is not None or parts.username is not None or parts.path not in ("", "/") or parts.fragment
    except ValueError as exc:
        raise SimError(f"target {text!r}: {exc}", hint="goim://HOST?tcp=3101&ws=3102&http=3111") from exc
    if parts.scheme != "goim" or not parts.hostname or set(query) - {"tcp", "ws", "tls", "wss", "http"} or odd:
        raise SimError(
            f"target {text!r} is not of the form goim://HOST?tcp=PORT&ws=PORT&tls=PORT&wss=PORT&http=PORT",
            hint="goim://127.0.0.1?tcp=3101&ws=3102&http=3111",
        )

    def addresses(name: str, default: int) -> tuple[tuple[str, int], ...]:
        found = []
        for one in query.get(name, [str(default)]):
            host, colon, port = one.rpartition(":")
            if not port.isdecimal() or not 0 < int(port) < 65536 or (colon and not host):
                raise SimError(f"target {text!r}: {name}={one} is not a port or HOST:PORT")
            found.append((host.strip("[]") if colon else str(parts.hostname), int(port)))
        return tuple(found)

    return Target(
        text,
        addresses("tcp", _DEFAULT_TCP),
        addresses("ws", _DEFAULT_WS),
        addresses("http", _DEFAULT_HTTP),
        addresses("tls", _DEFAULT_TLS),
        addresses("wss", _DEFAULT_WSS),
    )
