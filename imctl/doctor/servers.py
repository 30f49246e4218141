"""Whether the servers that keep messages and sessions can be reached, without leaving anything there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from imctl.bus.url import parse_bus_url
from imctl.doctor.contract import Condition, Status, judged, unknown
from imctl.errors import ConfigError

__all__ = ["check_address", "check_file", "check_server"]

_ANSWER_S = 3.0
_IN_PROCESS = ("memory", "fakeredis")
_PORTS: Mapping[str, int] = {"kafka": 9092, "kafka+ssl": 9092, "mqtt": 1883, "mqtts": 8883}
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
_PING = b"PING\r\n"


async def check_server(what: str, url: str) -> Condition:
    """Judge one server, or one of several that is enough to find the others.

    Args:
        what: bus, session store or messages: its last word is the option that names another.
        url: Its URL, with or without its password.
    """
    parts = urlsplit(url)
    scheme = parts.scheme
    if scheme in _IN_PROCESS:
        return Condition(what, Status.OK, "reachable", f"{scheme}://, inside the cluster")
    if scheme == "unix":
        return _socket(what, Path(parts.path))
    try:
        found = parse_bus_url(url, what)
    except ConfigError as exc:
        return unknown(what, "reachable", exc.message)
    default = _default_port(scheme)
    hosts = [(host, port or default) for host, port in found.hosts or [("127.0.0.1", None)]]
    problems = [await _reach(host, port, speaks_redis=_speaks_redis(scheme)) for host, port in hosts]
    fix = f"start it there, or imctl up with another --{what.split()[-1]}"
    if all(problems):
        return Condition(what, Status.FAILED, "reachable", f"{found.shown}: {problems[0]}", fix)
    silent = [f"{host}:{port}: {why}" for (host, port), why in zip(hosts, problems, strict=True) if why]
    return judged(what, not silent, "reachable", silent[0] if silent else found.shown, fix, otherwise=Status.WARNING)


def _default_port(scheme: str) -> int:
    if "sentinel" in scheme:
        return _SENTINEL_PORT
    return _PORTS.get(scheme, _REDIS_PORT)


def _speaks_redis(scheme: str) -> bool:
    """Whether PING in clear text gets an answer: Redis of any kind, without TLS."""
    return scheme not in _PORTS and not scheme.startswith(("rediss", "valkeys"))


async def _reach(host: str, port: int, *, speaks_redis: bool) -> str:
    """Return why a server cannot be used; empty when it can."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                if not speaks_redis:
                    return ""
                writer.write(_PING)
                answer = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        return f"no answer within {_ANSWER_S:g} s"
    except OSError as exc:
        return exc.strerror or str(exc) or type(exc).__name__
    # An error is an answer too: who asks for a password is there.
    return "" if answer[:1] in (b"+", b"-") else "it is no Redis"


def _socket(what: str, path: Path) -> Condition:
    fix = "start the server that makes it"
    return judged(what, path.is_socket(), "a socket", f"{path}" if path.is_socket() else f"no socket {path}", fix)


def check_file(what: str, path: Path) -> Condition:
    """Judge whether a file can be written; it need not exist yet."""
    folder = next((one for one in (path, *path.parents) if one.exists()), path)
    return judged(what, os.access(folder, os.W_OK), "can be written", str(path), f"chmod u+w {folder}")


async def check_address(what: str, address: str, fix: str) -> Condition:
    """Judge whether something takes connections at `host:port`."""
    host, _, port = address.rpartition(":")
    problem = await _reach(host.strip("[]"), int(port), speaks_redis=False)
    return judged(what, not problem, "takes connections", problem or address, fix, address=address)
