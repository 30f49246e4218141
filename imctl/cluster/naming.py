"""What clusters may be called, and how a command that a hint recommends names the one it is about."""

from __future__ import annotations

import re

from imctl.errors import ConfigError

__all__ = ["DEFAULT_CLUSTER", "check_cluster_name", "command_for", "start_hint"]

DEFAULT_CLUSTER = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_cluster_name(name: str) -> str:
    """Return the name.

    Raises:
        ConfigError: it cannot be a folder's name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"cluster name {name!r}: expected letters, digits, '.', '_' and '-', at most 64, a letter or digit first"
        )
    return name


def command_for(cluster: str, command: str) -> str:
    """Return a command as it is typed for a cluster: `imctl down --cluster c`, without the option for the default."""
    return command if cluster == DEFAULT_CLUSTER else f"{command} --cluster {cluster}"


def start_hint(cluster: str) -> str:
    """Return the command that starts a cluster; one beside the default one cannot have goim's ports too."""
    any_port = "" if cluster == DEFAULT_CLUSTER else " --any-port"
    return command_for(cluster, "imctl up") + any_port
