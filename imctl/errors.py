"""The errors a user of imctl sees; `imctl.cli.exits` maps them to exit codes."""

from __future__ import annotations

__all__ = ["ClusterError", "ConfigError", "ImctlError", "PortInUseError", "StartError"]


class ImctlError(Exception):
    """Base of all errors of imctl.

    Args:
        message: What is wrong: the thing, what came, what was expected.
        hint: What to do about it, one line; empty when there is nothing to say.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(ImctlError):
    """A configuration value, file or option is not acceptable."""


class ClusterError(ImctlError):
    """There is no cluster, it cannot be reached, or a node of it does not answer."""


class StartError(ImctlError):
    """A node or a cluster could not start."""


class PortInUseError(StartError):
    """A listening address is taken.

    Args:
        address: `host:port` that was asked for.
        what: What it was for, such as `comet tcp`.
        holder: Who holds it, such as `python3 (pid 123)`; empty when it cannot be told.
        instead: How to take another port, as a command says it.
    """

    def __init__(
        self, address: str, what: str, holder: str = "", *, instead: str = "--any-port or another --port-base"
    ) -> None:
        by = f" by {holder}" if holder else ""
        super().__init__(f"{what}: address {address} is in use{by}", hint=f"stop what holds it, or use {instead}")
        self.address = address
        self.what = what
        self.holder = holder
