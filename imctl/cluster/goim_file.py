"""goim's own comet.toml, logic.toml and job.toml: what has a meaning here is taken over, the rest is named.

Durations are strings such as "1s"; names match in any case, as BurntSushi/toml
does it. Nothing is left out in silence: a key that is not used here comes out
in one warning, sorted by why.

Source of the names: cmd/{comet,logic,job}/*-example.toml and the conf packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imctl.errors import ConfigError

__all__ = ["GoimFile", "goim_kind", "read_goim"]

_Document = Mapping[str, Any]
"""A TOML document. Any: TOML."""

_TABLES = {
    "comet": {"tcp", "websocket", "bucket", "protocol"},
    "logic": {"httpserver", "backoff", "node", "regions", "redis"},
    "job": {"room", "kafka"},
}
_LISTENERS = {
    "comet": ("tcp.bind", "websocket.bind", "rpcserver.addr"),
    "logic": ("httpserver.addr", "rpcserver.addr"),
    "job": (),
}
_TLS = ("websocket.tlsopen", "websocket.tlsbind", "websocket.certfile", "websocket.privatefile")

_NO_EFFECT_THERE = frozenset(
    {
        *("rpcserver.network", "rpcserver.timeout", "rpcclient.dial", "rpcclient.timeout"),
        *("httpserver.network", "httpserver.readtimeout", "httpserver.writetimeout"),
    }
)
"""Keys that goim reads and never uses; so are the lists of [regions], whose look-up of addresses is empty."""

_RPC = frozenset(
    f"rpcserver.{key}"
    for key in ("idletimeout", "maxlifetime", "forceclosewait", "keepaliveinterval", "keepalivetimeout")
)
_PLACE = frozenset(f"discovery.{key}" for key in ("region", "zone", "env", "host"))
_NOT_HERE: Mapping[str, frozenset[str]] = {
    "comet": _RPC
    | _PLACE
    | {"debug", "whitelist.whitelist", "whitelist.whitelog"}
    | {f"tcp.{key}" for key in ("sndbuf", "rcvbuf", "keepalive", "reader", "readbuf", "readbufsize")}
    | {f"tcp.{key}" for key in ("writer", "writebuf", "writebufsize")}
    | {f"protocol.{key}" for key in ("timer", "timersize", "svrproto", "cliproto")}
    | {f"bucket.{key}" for key in ("size", "channel", "room", "routineamount", "routinesize")},
    "logic": _RPC
    | _PLACE
    | {f"redis.{key}" for key in ("active", "idle", "dialtimeout", "readtimeout", "writetimeout", "idletimeout")},
    "job": _PLACE | {"comet.routinechan", "comet.routinesize", "room.idle"},
}
"""Keys of goim without a counterpart: buffer pools, timer heaps, sharding, queues counted in another unit."""


@dataclass(frozen=True, slots=True)
class GoimFile:
    """What a file of goim says.

    Args:
        cluster: Fields of ClusterOptions: registry, bus, store, host. Any: as they are there.
        settings: Of the node, as the fields of its config class.
        warning: One text that names every key that is not used, with the reason; empty when there is none.
    """

    cluster: Mapping[str, Any]
    settings: Mapping[str, Any]
    warning: str


def goim_kind(document: _Document) -> str | None:
    """Return whose file it is: comet, logic or job; None when it is none of goim's."""
    tables = {name.lower() for name in document}
    if "discovery" not in tables and "rpcserver" not in tables:
        return None
    return next((kind for kind in ("comet", "logic", "job") if _TABLES[kind] & tables), None)


def read_goim(path: Path, kind: str, document: _Document, *, is_bound: bool = False) -> GoimFile:
    """Return what the file of a kind of node says; hosts to listen on do not count when that `is_bound` already.

    Raises:
        ConfigError: values are not acceptable; all of them are told at once.
    """
    values, written = _flat(document)
    settings: dict[str, Any] = {}
    problems = []
    used = set()
    for name, (field, convert) in _RULES[kind].items():
        if name not in values:
            continue
        used.add(name)
        outer, _, inner = field.rpartition(".")
        try:
            (settings.setdefault(outer, {}) if outer else settings)[inner] = convert(values[name])
        except (ValueError, TypeError, IndexError) as exc:
            problems.append(f"{path}: {written[name]} is {values[name]!r}: {exc}")
    notes: list[str] = []
    if kind == "comet":
        used |= set(_TLS)
        if values.get("websocket.tlsopen"):
            settings |= _tls(path, values, notes, problems)
    cluster = _outside(kind, values, used)
    host, host_notes = ("", []) if is_bound else _host(kind, values, written)
    if host:
        cluster["host"] = host
    if problems:
        raise ConfigError("\n".join(problems))
    notes += _further_addresses(kind, values, written) + host_notes
    return GoimFile(
        cluster, settings, _warning(path, kind, [name for name in values if name not in used], written, notes)
    )


def _flat(document: _Document) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values by `table.key` in lower case, and how each name is written in the file."""
    values: dict[str, Any] = {}
    written: dict[str, str] = {}
    for table, content in document.items():
        if not isinstance(content, Mapping):
            values[table.lower()], written[table.lower()] = content, table
            continue
        for key, value in content.items():
            name = f"{table}.{key}".lower()
            values[name], written[name] = value, f"{table}.{key}"
    return values, written


# --- values -------------------------------------------------------------------


def _seconds(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value) / 1e9  # a bare number is a Go duration: nanoseconds
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    parts = re.findall(r"([\d.]+)(ns|us|ms|h|m|s)", str(value))
    if not parts or "".join(number + unit for number, unit in parts) != str(value):
        raise ValueError("expected a duration such as 10s")
    return sum(float(number) * units[unit] for number, unit in parts)


def _addresses(value: Any) -> list[str]:
    return [str(address) for address in value] if isinstance(value, list) else [str(value)]


def _port(value: Any) -> int:
    port = _addresses(value)[0].rpartition(":")[2]
    if not port.isdecimal() or not int(port) < 65536:
        raise ValueError("expected an address such as :3101")
    return int(port)


def _words(value: Any) -> list[str]:
    return [word for word in value.split(",") if word] if isinstance(value, str) else [str(word) for word in value]


_Rule = tuple[str, Callable[[Any], Any]]
_ENV: Mapping[str, _Rule] = {
    "env.region": ("region", str),
    "env.zone": ("zone", str),
    "env.deployenv": ("env", str),
    "env.host": ("hostname", str),
    "env.weight": ("weight", int),
}
_RULES: Mapping[str, Mapping[str, _Rule]] = {
    "comet": {
        **_ENV,
        "env.offline": ("offline", bool),
        "env.addrs": ("public_addrs", _words),
        "tcp.bind": ("tcp_port", _port),
        "websocket.bind": ("ws_port", _port),
        "rpcserver.addr": ("grpc_port", _port),
        "protocol.handshaketimeout": ("handshake_timeout_s", _seconds),
    },
    "logic": {
        **_ENV,
        "httpserver.addr": ("http_port", _port),
        "rpcserver.addr": ("grpc_port", _port),
        "node.heartbeat": ("heartbeat_s", _seconds),
        "node.heartbeatmax": ("heartbeat_max", int),
        "node.defaultdomain": ("default_domain", str),
        "node.hostdomain": ("host_domain", str),
        "node.tcpport": ("tcp_port", int),
        "node.wsport": ("ws_port", int),
        "node.wssport": ("wss_port", int),
        "node.regionweight": ("region_weight", float),
        "backoff.maxdelay": ("backoff.max_delay_s", int),
        "backoff.basedelay": ("backoff.base_delay_s", int),
        "backoff.factor": ("backoff.factor", float),
        "backoff.jitter": ("backoff.jitter", float),
    },
    "job": {
        **_ENV,
        "kafka.group": ("group", str),
        "room.batch": ("room_batch", int),
        "room.signal": ("room_signal_s", _seconds),
    },
}
"""goim's `table.key` in lower case to a field of our config class, dotted for one inside another."""


def _tls(path: Path, values: Mapping[str, Any], notes: list[str], problems: list[str]) -> dict[str, Any]:
    """Return what opens the WSS listener. Any: as the fields of CometConfig."""
    found: dict[str, Any] = {}
    try:
        found["wss_port"] = _port(values.get("websocket.tlsbind", ":3103"))
    except ValueError as exc:
        problems.append(f"{path}: websocket.tlsBind is {values['websocket.tlsbind']!r}: {exc}")
    for name, field in (("certfile", "tls_cert"), ("privatefile", "tls_key")):
        files = _words(values.get(f"websocket.{name}", ""))
        found[field] = str((path.parent / (files[0] if files else "")).resolve())
        if len(files) > 1:
            notes.append(f"one certificate is used, the first of websocket.{name}")
    return found


def _outside(kind: str, values: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    """Return what the file says of registry, bus and store, as our URLs, and note the keys it took."""
    found: dict[str, Any] = {}
    used |= {"discovery.nodes"}
    if nodes := values.get("discovery.nodes"):
        found["registry"] = ",".join(f"http://{node}" for node in _addresses(nodes))
    if kind in ("logic", "job"):
        used |= {"kafka.brokers", "kafka.topic"}
        if brokers := values.get("kafka.brokers"):
            found["bus"] = f"kafka://{','.join(_addresses(brokers))}/{values.get('kafka.topic', 'goim-push-topic')}"
    if kind == "logic":
        used |= {"redis.network", "redis.addr", "redis.auth", "redis.expire"}
        if address := values.get("redis.addr"):
            user = f":{quote(str(values['redis.auth']), safe='')}@" if values.get("redis.auth") else ""
            scheme = "unix" if values.get("redis.network") == "unix" else "redis"
            expire_s = _seconds(values.get("redis.expire", "30m"))
            found["store"] = f"{scheme}://{user}{address}" + (f"?expire_s={expire_s:g}" if expire_s != 1800 else "")
    return found


# --- what is not used ---------------------------------------------------------


def _host(kind: str, values: Mapping[str, Any], written: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the address to listen on where the file names one, and what to say of those that it cannot be."""
    hosts = {name: _addresses(values[name])[0].rpartition(":")[0] for name in _LISTENERS[kind] if name in values}
    named = [host for host in hosts.values() if host]
    if not hosts or (named and set(hosts.values()) == {named[0]}):
        return (named[0] if named else ""), []
    if not named:
        where = ", ".join(f"{written[name]} = {_addresses(values[name])[0]!r}" for name in hosts)
        return "", [f"{where}: every address of the machine in goim, loopback here (imctl node --bind 0.0.0.0: all)"]
    others = ", ".join(
        f"{written[name]} at {host or 'every address'}" for name, host in hosts.items() if host != named[0]
    )
    return named[0], [f"all listeners are at {named[0]} (--bind changes it), not {others}"]


def _further_addresses(kind: str, values: Mapping[str, Any], written: Mapping[str, str]) -> list[str]:
    names = (*_LISTENERS[kind], *(("websocket.tlsbind",) if values.get("websocket.tlsopen") else ()))
    return [
        f"one address is listened on, the first of {written[name]}: not {', '.join(_addresses(values[name])[1:])}"
        for name in names
        if len(_addresses(values.get(name, ""))) > 1
    ]


def _warning(path: Path, kind: str, unused: list[str], written: Mapping[str, str], notes: list[str]) -> str:
    """Return one text about all that is not done as the file says, "" when that is nothing."""
    reasons: dict[str, list[str]] = {}
    for name in unused:
        if name in _NO_EFFECT_THERE or (kind == "logic" and name.startswith("regions.")):
            reason = "without an effect in goim too"
        elif name in _NOT_HERE[kind]:
            reason = "not used here"
        else:
            reason = f"not a key of goim's {kind}"
        reasons.setdefault(reason, []).append(written[name])
    lines = [f"{reason}: {', '.join(names)}" for reason, names in sorted(reasons.items())] + notes
    return "\n  ".join([f"{path}: not everything in it is used:", *lines]) if lines else ""
