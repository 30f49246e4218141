"""Config files of `imctl up` and `imctl node`: our imctl.toml, and goim's own *.toml.

imctl.toml has a table [cluster] (the options of `imctl up`) and one a kind of
node, [comet], [logic], [job], [registry], with the fields of its config
class. A goim file is known by its tables, see goim_file.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imctl.cluster.goim_file import goim_kind, read_goim
from imctl.cluster.node_config import PARTS, setting_problems
from imctl.cluster.spec import ClusterOptions
from imctl.errors import ConfigError

__all__ = ["FileSettings", "load_settings"]

_CLUSTER_KEYS = {
    "comet": "comets",
    "logic": "logics",
    "job": "jobs",
    "split": "split",
    "bus": "bus",
    "store": "store",
    "messages": "messages",
    "registry": "registry",
    "port_base": "port_base",
    "any_port": "any_port",
    "host": "host",
}
_WORDS = {int: "a whole number", bool: "true or false", str: "text"}
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
        goim: Whose file it is when it is one of goim's, such as comet; else "".
        warning: What the file asks for that is not done, for the people who start it; empty when there is nothing.
    """

    cluster: Mapping[str, Any]
    nodes: Mapping[str, Mapping[str, Any]]
    goim: str = ""
    warning: str = ""


def load_settings(path: Path, kind: str | None = None, *, is_bound: bool = False) -> FileSettings:
    """Read a config file.

    Args:
        path: The file.
        kind: Whose goim file it is, if it is one of goim's; None looks at its tables.
        is_bound: The address to listen on has been given by other means, and the file's does not count.

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
    theirs = goim_kind(document)
    if theirs is None:
        return _from_ours(path, document)
    node = kind if kind in ("comet", "logic", "job") else theirs
    found = read_goim(path, node, document, is_bound=is_bound)
    return FileSettings(found.cluster, {node: found.settings}, node, found.warning)


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
            problems += [f"{path}: {problem}" for problem in setting_problems(name, table)]
            nodes[name] = table
    if problems:
        raise ConfigError("\n".join(problems))
    return FileSettings(cluster, nodes)


def _cluster(path: Path, table: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key == "compat" and value in ("goim", ""):
            found["compat_goim"] = value == "goim"
        elif key == "compat":
            problems.append(f"{path}: cluster.compat is {value!r}; expected 'goim'")
        elif key not in _CLUSTER_KEYS:
            expected = ", ".join([*_CLUSTER_KEYS, "compat"])
            problems.append(f"{path}: cluster.{key} = {value!r}; expected one of {expected} (compat: goim)")
        else:
            field = _CLUSTER_KEYS[key]
            types = _TYPES.get(field, (str,))
            if type(value) in types:
                found[field] = value
            else:
                problems.append(f"{path}: cluster.{key} is {value!r}; expected {_WORDS[types[0]]}")
    assert set(found) <= {field.name for field in dataclasses.fields(ClusterOptions)}
    return found
