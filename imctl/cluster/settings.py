"""Config files of `imctl up` and `imctl node`: our imctl.toml, and goim's own *.toml.

imctl.toml has a table [cluster] (the options of `imctl up`) and one a kind of
node, [comet], [logic], [job], [registry], with the fields of its config
class. A goim file is known by its tables; what has a meaning here is taken
over, and what has none (buffer pools, timer counts) is left out, as goim
leaves out what it does not know. Durations of goim are strings such as "1s".

Source of goim's names: cmd/{comet,logic,job}/*-example.toml and the conf
packages; BurntSushi/toml matches names without regard to case.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imctl.cluster.spec import PARTS, ClusterOptions, config_class
from imctl.errors import ConfigError

__all__ = ["FileSettings", "load_settings"]

_GOIM_TABLES = {
    "comet": {"tcp", "websocket", "bucket", "protocol"},
    "logic": {"httpserver", "backoff", "node", "regions"},
    "job": {"room", "kafka"},
}
_CLUSTER_KEYS = {
    "comet": "comets",
    "logic": "logics",
    "job": "jobs",
    "split": "split",
    "bus": "bus",
    "store": "store",
    "registry": "registry",
    "port_base": "port_base",
    "any_port": "any_port",
    "host": "host",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "comets": (int,),
    "logics": (int,),
    "jobs": (int,),
    "port_base": (int,),
    "split": (bool,),
    "any_port": (bool,),
}


@dataclasses.dataclass(frozen=True, slots=True)
class FileSettings:
    """What a config file says.

    Args:
        cluster: Fields of ClusterOptions. Any: as they are there.
        nodes: Settings by kind of node, as the fields of its config class.
    """

    cluster: Mapping[str, Any]
    nodes: Mapping[str, Mapping[str, Any]]


def load_settings(path: Path) -> FileSettings:
    """Read a config file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has a name or value that is not acceptable;
            all such problems are told at once.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: not TOML: {exc}") from exc
    tables = {name.lower(): table for name, table in document.items()}
    kind = _goim_kind(tables)
    return _from_goim(path, kind, tables) if kind else _from_ours(path, document)


def _from_ours(path: Path, document: Mapping[str, Any]) -> FileSettings:
    problems = []
    cluster: dict[str, Any] = {}
    nodes: dict[str, dict[str, Any]] = {}
    for name, table in document.items():
        if name not in ("cluster", *PARTS) or not isinstance(table, dict):
            problems.append(f"{path}: {name!r} is not a table of imctl.toml; expected [cluster], [comet], [logic], ...")
        elif name == "cluster":
            cluster = _cluster(path, table, problems)
        else:
            known = {setting.name for setting in dataclasses.fields(config_class(name))}
            problems += [f"{path}: {name}.{key} is unknown" for key in table if key not in known]
            nodes[name] = table
    if problems:
        raise ConfigError("\n".join(problems))
    return FileSettings(cluster, nodes)


def _cluster(path: Path, table: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key == "compat" and value in ("goim", ""):
            found["compat_goim"] = value == "goim"
        elif key not in _CLUSTER_KEYS:
            expected = ", ".join([*_CLUSTER_KEYS, "compat"])
            problems.append(f"{path}: cluster.{key} = {value!r}; expected one of {expected} (compat: goim)")
        else:
            field = _CLUSTER_KEYS[key]
            types = _TYPES.get(field, (str,))
            if type(value) in types:
                found[field] = value
            else:
                problems.append(f"{path}: cluster.{key} is {value!r}; expected {types[0].__name__}")
    assert set(found) <= {field.name for field in dataclasses.fields(ClusterOptions)}
    return found


def _goim_kind(tables: Mapping[str, Any]) -> str | None:
    if "discovery" not in tables and "rpcserver" not in tables:
        return None
    return next((kind for kind in ("comet", "logic", "job") if _GOIM_TABLES[kind] & set(tables)), None)


def _seconds(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value) / 1e9  # a bare number is a Go duration: nanoseconds
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    parts = re.findall(r"([\d.]+)(ns|us|ms|h|m|s)", str(value))
    if not parts or "".join(number + unit for number, unit in parts) != str(value):
        raise ValueError(f"{value!r} is not a duration such as 10s")
    return sum(float(number) * units[unit] for number, unit in parts)


def _port(value: Any) -> int:
    address = value[0] if isinstance(value, list) else value
    return int(str(address).rpartition(":")[2])


def _words(value: Any) -> list[str]:
    return [word for word in value.split(",") if word] if isinstance(value, str) else list(value)


_Rule = tuple[str, Callable[[Any], Any]]
_ENV: dict[str, _Rule] = {
    "env.region": ("region", str),
    "env.zone": ("zone", str),
    "env.deployenv": ("env", str),
    "env.host": ("hostname", str),
    "env.weight": ("weight", int),
}
# goim's `table.key` in lower case -> our field; one that the config class lacks is left out.
_RULES: dict[str, dict[str, _Rule]] = {
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


def _from_goim(path: Path, kind: str, tables: Mapping[str, Any]) -> FileSettings:
    flat: dict[str, Any] = {}
    for table, content in tables.items():
        flat[table] = content
        if isinstance(content, dict):
            flat |= {f"{table}.{key.lower()}": value for key, value in content.items()}
    known = {setting.name for setting in dataclasses.fields(config_class(kind))}
    settings: dict[str, Any] = {}
    problems = []
    for name, (field, convert) in _RULES[kind].items():
        outer, _, inner = field.rpartition(".")
        if name in flat and (outer or inner) in known:
            try:
                (settings.setdefault(outer, {}) if outer else settings)[inner] = convert(flat[name])
            except (ValueError, TypeError, IndexError) as exc:
                problems.append(f"{path}: {name} is {flat[name]!r}: {exc}")
    if kind == "comet" and flat.get("websocket.tlsopen"):
        settings["wss_port"] = _port(flat.get("websocket.tlsbind", ":3103"))
        for name, field in (("websocket.certfile", "tls_cert"), ("websocket.privatefile", "tls_key")):
            settings[field] = str((path.parent / str(flat.get(name, ""))).resolve())
    if problems:
        raise ConfigError("\n".join(problems))
    return FileSettings(_outside(kind, flat), {kind: settings})


def _outside(kind: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goim's file says of registry, bus and store, as our URLs."""
    found: dict[str, Any] = {}
    if nodes := flat.get("discovery.nodes"):
        found["registry"] = f"http://{nodes[0]}"
    if brokers := flat.get("kafka.brokers"):
        found["bus"] = f"kafka://{','.join(brokers)}/{flat.get('kafka.topic', 'goim-push-topic')}"
    if kind == "logic" and (address := flat.get("redis.addr")):
        auth = flat.get("redis.auth")
        found["store"] = f"redis://{f':{auth}@' if auth else ''}{address}"
    return found
