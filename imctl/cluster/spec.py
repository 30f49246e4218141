"""What a cluster is made of, as values that travel as JSON: options in, one ProcessSpec a process out.

Ports: comet i and logic i get goim's ports plus 100 x (i - 1), so a second
comet listens on 3201, 3202, ... and nothing meets goim's 3111 and 3119. With
--port-base P all of them move so that the first comet's TCP port is P + 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from imctl.bus.factory import check_bus
from imctl.bus.url import parse_bus_url, show_url
from imctl.cluster.node_config import config_class, make_config
from imctl.cluster.ports import Wanted
from imctl.cluster.services import SERVICES, ServiceSpec, embedded, located
from imctl.errors import ConfigError
from imctl.messages.factory import messages_hook
from imctl.registry.factory import node_urls
from imctl.store.factory import check_store

__all__ = [
    "ClusterOptions",
    "ClusterSpec",
    "OptionsError",
    "ProcessSpec",
    "plan",
    "shareable",
    "without_password",
]

_DEFAULT_BASE = 3100
_BLOCK = 100
_OFFSETS = {
    "comet": {"tcp_port": 1, "ws_port": 2, "grpc_port": 9},
    "logic": {"http_port": 11, "grpc_port": 19},
    "registry": {"port": 71},
    "job": {},
}
_SERVICE_OFFSETS = {"valkey": 79, "mqtt": 83}
_TLS_OFFSETS = {"wss_port": 3, "tls_port": 4}
_LISTENS = {
    "comet": ("tcp_port", "ws_port", "wss_port", "tls_port", "grpc_port"),
    "logic": ("http_port", "grpc_port"),
    "registry": ("port",),
    "job": (),
}
"""Settings that are ports to listen on; logic's tcp_port is not, it is what clients are told."""
_DEFAULT_REGISTRY_PORT = 7171


class OptionsError(ConfigError):
    """Options of a cluster that do not go together."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process.

    Args:
        name: Its name in the cluster, such as core or comet-1.
        kind: core, or the kind of the one node in it.
        parts: Settings of each node in it by kind; what is left out has its default.
        bus: URL, used by logic and job.
        store: URL, used by logic.
        registry: URL of a registry that is already there; None when it is a part, or told at start.
    """

    name: str
    kind: str
    parts: Mapping[str, Mapping[str, Any]]  # Any: as the fields of the config classes
    bus: str = "memory://"
    store: str = "memory://"
    registry: str | None = None

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> ProcessSpec:
        """Return the spec that dump() wrote. Any: JSON."""
        return cls(**document)

    def dump(self) -> dict[str, Any]:
        """Return JSON-ready values. Any: JSON."""
        return dataclasses.asdict(self)

    def with_hook(self, old: str, new: str) -> ProcessSpec:
        """Return the spec with one hook of its logic, if it has one, in place of another."""
        if "logic" not in self.parts:
            return self
        settings = self.parts["logic"]
        hooks = [new if hook == old else hook for hook in settings.get("hooks", ())]
        return dataclasses.replace(self, parts={**self.parts, "logic": {**settings, "hooks": hooks}})

    def wanted(self) -> list[Wanted]:
        """Return the fixed addresses it will listen on."""
        found = []
        for part, settings in self.parts.items():
            config = make_config(part, settings)
            for name in _LISTENS[part]:
                if port := getattr(config, name):
                    node = f"{self.name} {part}" if len(self.parts) > 1 else self.name
                    found.append(Wanted(f"{node} {_short(part, name)}", config.host, port))
        return found

    def pinned(self, addresses: Mapping[str, str | None]) -> ProcessSpec:
        """Return the spec with the ports it got, so that after a restart others find it where it was."""
        parts = {}
        for part, settings in self.parts.items():
            prefix = f"{part}." if len(self.parts) > 1 else ""
            got = {}
            for name in _LISTENS[part]:
                if address := addresses.get(prefix + _short(part, name)):
                    got[name] = int(address.rpartition(":")[2])
            parts[part] = {**settings, **got}
        return dataclasses.replace(self, parts=parts)


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A whole cluster; `processes` in the order in which they start.

    Args:
        services: Embedded servers, which start before all else.
        bus: URL; without a host where it is an embedded one's, until located().
        store: As bus.
        messages: As bus; None when nothing keeps messages.
    """

    cluster: str
    processes: tuple[ProcessSpec, ...]
    bus: str
    store: str
    registry: str | None
    services: tuple[ServiceSpec, ...] = ()
    messages: str | None = None

    @property
    def certificate(self) -> str:
        """Path of the certificate that its comets show to TLS clients; empty without TLS."""
        found = (process.parts.get("comet", {}).get("tls_cert") for process in self.processes)
        return next((str(path) for path in found if path), "")

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> ClusterSpec:
        """Return the spec that dump() wrote. Any: JSON."""
        processes = tuple(ProcessSpec.load(process) for process in document["processes"])
        services = tuple(ServiceSpec.load(service) for service in document["services"])
        return cls(**{**document, "processes": processes, "services": services})

    def dump(self) -> dict[str, Any]:
        """Return JSON-ready values. Any: JSON."""
        return dataclasses.asdict(self)

    def located(self, addresses: Mapping[str, str]) -> ClusterSpec:
        """Return the spec with URLs that say where the embedded servers are.

        Args:
            addresses: `host:port` by service.
        """
        bus, store = located(self.bus, addresses), located(self.store, addresses)
        processes = tuple(dataclasses.replace(process, bus=bus, store=store) for process in self.processes)
        messages = self.messages
        if messages is not None:
            messages = located(messages, addresses)
            old, new = messages_hook(str(self.messages), self.cluster), messages_hook(messages, self.cluster)
            processes = tuple(process.with_hook(old, new) for process in processes)
        return dataclasses.replace(self, processes=processes, bus=bus, store=store, messages=messages)


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What `imctl up` can be told.

    Args:
        cluster: Its name.
        comets: How many; each is a process.
        logics: How many; more than one needs a bus and a store that processes share.
        jobs: As logics.
        split: Every node in a process of its own.
        bus: URL; `mqtt` and `valkey`, also as a URL without a host, start a server as one of the processes.
        store: URL; `valkey` as for bus, and the same server serves both.
        messages: URL of a message store, see imctl.messages.factory.messages_hook; `valkey` as for bus.
        registry: URL of a registry to join; None starts one.
        port_base: Moves all ports, see the module's text; None for goim's own.
        any_port: Let the system choose every port.
        host: Address to bind.
        compat_goim: goim's own timing and answers where ours are better by default.
        tls_cert: PEM file; with tls_key opens WSS and TLS over TCP on every comet.
        hooks: Hooks of every logic, as `--hooks` takes them; after those in `settings`.
        settings: More settings by kind of node, as the fields of its config class.
    """

    cluster: str = "default"
    comets: int = 1
    logics: int = 1
    jobs: int = 1
    split: bool = False
    bus: str = "memory://"
    store: str = "memory://"
    messages: str | None = None
    registry: str | None = None
    port_base: int | None = None
    any_port: bool = False
    host: str = "127.0.0.1"
    compat_goim: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    hooks: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _short(part: str, setting: str) -> str:
    """Return the name of an address, such as tcp, for the setting that is its port, such as tcp_port."""
    return "http" if part == "registry" else setting.removesuffix("_port")


def without_password(url: str) -> str:
    """Return a URL that can be shown: its passwords are ***."""
    return show_url(url)


def shareable(url: str) -> bool:
    """Whether several processes can use the bus or the store of this URL together."""
    return urlsplit(url).scheme not in ("memory", "fakeredis")


def plan(options: ClusterOptions) -> ClusterSpec:
    """Return which processes make up the cluster.

    Raises:
        OptionsError: the options do not go together.
        ConfigError: a setting is unknown or not acceptable.
    """
    _check_urls(options)
    _check(options)
    split = options.split or options.logics > 1 or options.jobs > 1
    groups: list[tuple[str, str, dict[str, int]]] = []  # name, kind, {part: its number}
    own_registry = {} if options.registry else {"registry": 1}
    if split:
        groups += [("registry", "registry", own_registry)] if own_registry else []
        groups += [(f"logic-{i}", "logic", {"logic": i}) for i in range(1, options.logics + 1)]
        groups += [(f"job-{i}", "job", {"job": i}) for i in range(1, options.jobs + 1)]
    else:
        groups.append(("core", "core", {**own_registry, "logic": 1, "job": 1}))
    groups += [(f"comet-{i}", "comet", {"comet": i}) for i in range(1, options.comets + 1)]
    processes = tuple(
        ProcessSpec(
            name=name,
            kind=kind,
            parts={part: _settings(options, part, number) for part, number in numbers.items()},
            bus=options.bus,
            store=options.store,
            registry=options.registry,
        )
        for name, kind, numbers in groups
    )
    for process in processes:
        process.wanted()  # makes every config object: a bad setting is told before anything starts
    return ClusterSpec(
        options.cluster,
        processes,
        options.bus,
        options.store,
        options.registry,
        _services(options),
        _messages(options),
    )


def _check_urls(options: ClusterOptions) -> None:
    """Tell what can be told of the URLs without asking their servers, before anything starts."""
    for url, what, check in ((options.bus, "bus", check_bus), (options.store, "session store", check_store)):
        parse_bus_url(url, what)
        if not embedded(url):
            check(url)
    if options.messages:
        parse_bus_url(options.messages, "message store")
    if options.registry is not None:
        node_urls(options.registry)


def _messages(options: ClusterOptions) -> str | None:
    """Return the URL of the message store; `valkey` is short for `valkey://`."""
    return "valkey://" if options.messages == "valkey" else options.messages


def _services(options: ClusterOptions) -> tuple[ServiceSpec, ...]:
    bus, store = embedded(options.bus), embedded(options.store)
    messages = embedded(options.messages or "")
    if store == "mqtt":
        raise OptionsError(f"--store {options.store}: sessions cannot be kept in MQTT", hint="--store valkey")
    base = _DEFAULT_BASE if options.port_base is None else options.port_base
    return tuple(
        ServiceSpec(name, 0 if options.any_port else base + _SERVICE_OFFSETS[name])
        for name in SERVICES
        if name in (bus, store, messages)
    )


def _check(options: ClusterOptions) -> None:
    for name, count, least in (("comet", options.comets, 0), ("logic", options.logics, 1), ("job", options.jobs, 1)):
        if not least <= count <= 99:
            raise OptionsError(f"--{name} {count}: expected {least} to 99")
    if options.any_port and options.port_base is not None:
        raise OptionsError("--any-port and --port-base exclude each other")
    most = 65535 - _BLOCK * max(options.comets, options.logics)
    if options.port_base is not None and not 1024 <= options.port_base <= most:
        raise OptionsError(f"--port-base {options.port_base}: expected 1024 to {most}")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise OptionsError("a TLS certificate needs its key, and the key its certificate")
    reason = (
        "--split"
        if options.split
        else f"--logic {options.logics}"
        if options.logics > 1
        else f"--job {options.jobs}"
        if options.jobs > 1
        else ""
    )
    if not reason:
        return
    if not shareable(options.bus):
        raise OptionsError(
            f"{reason} puts logic and job into processes of their own, and {options.bus} lives in one process only",
            hint="start a broker with it: --bus mqtt or --bus valkey; or use one that runs: --bus redis://HOST:PORT "
            "(or kafka://, mqtt://); --comet N needs none",
        )
    if options.logics > 1 and not shareable(options.store):
        raise OptionsError(
            f"{reason}: logics share their sessions, and {options.store} lives in one process only",
            hint="start a server with it: --store valkey; or use one that runs: --store redis://HOST:PORT",
        )
    if options.logics > 1 and not shareable(options.messages or ""):
        raise OptionsError(
            f"{reason}: logics share the messages they keep, and {options.messages} lives in one process only",
            hint="a file: --messages sqlite://; or a server: --messages redis://HOST:PORT",
        )


def _settings(options: ClusterOptions, part: str, number: int) -> dict[str, Any]:
    """Return the settings of one node: what the options imply, then what the user set."""
    names = {setting.name for setting in dataclasses.fields(config_class(part))}
    # Hostnames must be unique in a registry; in somebody else's there may be a comet-1 already.
    hostname = f"{part}-{number}" if options.registry is None else f"{options.cluster}-{part}-{number}"
    implied: dict[str, Any] = {"hostname": hostname, "host": options.host, "compat_goim": options.compat_goim}
    implied |= _ports(options, part, number)
    if part == "comet" and options.tls_cert:
        implied |= {"tls_cert": options.tls_cert, "tls_key": options.tls_key}
    if part == "job" and options.registry is None:
        # A registry that starts with the cluster knows no comet yet: nothing to wait for.
        implied["discover_timeout_s"] = 0.0
    if part == "logic" and options.port_base is not None:
        # What clients are told: goim's reply has one set of ports for all comets, so the first one's.
        implied |= {name: port for name, port in _ports(options, "comet", 1).items() if name != "grpc_port"}
    settings = {name: value for name, value in implied.items() if name in names} | dict(options.settings.get(part, {}))
    if part == "logic" and (options.hooks or options.messages):
        messages = _messages(options)
        kept = (messages_hook(messages, options.cluster),) if messages else ()
        settings["hooks"] = (*settings.get("hooks", ()), *options.hooks, *kept)
    return settings


def _ports(options: ClusterOptions, part: str, number: int) -> dict[str, int]:
    offsets = dict(_OFFSETS[part])
    if part == "comet" and options.tls_cert:
        offsets |= _TLS_OFFSETS
    if options.any_port:
        return dict.fromkeys(offsets, 0)
    base = _DEFAULT_BASE if options.port_base is None else options.port_base
    ports = {name: base + offset + _BLOCK * (number - 1) for name, offset in offsets.items()}
    if part == "registry" and options.port_base is None:
        ports["port"] = _DEFAULT_REGISTRY_PORT
    return ports
