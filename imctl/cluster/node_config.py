"""The config objects of the kinds of node, from settings as JSON and TOML have them.

A setting is checked by the type of its field, and a number whose name ends in
`port` for being one, so that what is wrong in a file or on a command line is
told before anything starts.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from imctl.errors import ConfigError

__all__ = ["PARTS", "config_class", "make_config", "setting_problems"]

PARTS = ("registry", "logic", "job", "comet")
"""The kinds of node, in the order in which they start."""

_CONFIG_CLASSES = {"registry": "RegistryConfig", "logic": "LogicConfig", "job": "JobConfig", "comet": "CometConfig"}
_MAX_PORT = 65535
_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list of texts",
}


def config_class(part: str) -> Any:
    """Return the config class of a kind of node. Any: the four have no common base.

    Raises:
        ConfigError: there is no such kind.
    """
    if part not in _CONFIG_CLASSES:
        raise ConfigError(f"unknown kind of node {part!r}; expected one of {', '.join(PARTS)}")
    return getattr(importlib.import_module(f"imctl.{part}.config"), _CONFIG_CLASSES[part])


def make_config(part: str, settings: Mapping[str, Any]) -> Any:
    """Return the config object of a node; Any as in config_class().

    Raises:
        ConfigError: settings are unknown or not acceptable; tells all of them.
    """
    cls = config_class(part)
    kinds = typing.get_type_hints(cls)
    if problems := setting_problems(part, settings):
        raise ConfigError("\n".join(problems), hint=f"{part} has the settings {', '.join(kinds)}")
    try:
        return cls(**{name: _as_field(kinds[name], value) for name, value in settings.items()})
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{part}: {exc}") from exc


def setting_problems(part: str, settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings of a node, such as `comet.tcp_port is "x"; expected ...`. Any: JSON.

    Raises:
        ConfigError: there is no such kind of node.
    """
    return _problems(part, config_class(part), settings)


def _problems(path: str, cls: Any, settings: Mapping[str, Any]) -> list[str]:
    kinds = typing.get_type_hints(cls)
    found = []
    for name, value in settings.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            found.append(f"{path}.{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else ""))
        elif dataclasses.is_dataclass(kinds[name]) and isinstance(value, Mapping):
            found += _problems(f"{path}.{name}", kinds[name], value)
        elif (expected := _expected(name, kinds[name], value)) is not None:
            shown = json.dumps(value, ensure_ascii=False, default=str)
            found.append(f"{path}.{name} is {shown}; expected {expected}")
    return found


def _expected(name: str, kind: Any, value: Any) -> str | None:
    """Return what a value should have been, None when it is that."""
    if isinstance(kind, types.UnionType):  # int | None
        if value is None:
            return None
        kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        is_list = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        return None if is_list else _WORDS[tuple]
    if dataclasses.is_dataclass(kind):
        names = ", ".join(field.name for field in dataclasses.fields(kind))
        return None if isinstance(value, kind) else f"a table with some of {names}"  # type: ignore[arg-type]  # a class
    if kind is int and (name == "port" or name.endswith("_port")):
        return None if type(value) is int and 0 <= value <= _MAX_PORT else f"a port from 0 to {_MAX_PORT}"
    if kind is float and type(value) is int:
        return None
    return None if type(value) is kind and not (kind is float and math.isnan(value)) else _WORDS[kind]


def _as_field(kind: Any, value: Any) -> Any:
    """Return a JSON value as a config class wants it: JSON has no tuples and no nested classes."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping) and dataclasses.is_dataclass(kind):
        return kind(**value)  # type: ignore[operator]  # a class, and no instance
    return value
