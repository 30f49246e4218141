"""From the text of an option to a hook.

| text | is |
|---|---|
| `jwt?secret_file=key.txt` | the hook that an installed package names `jwt` in entry point group `imctl.hooks` |
| `my.module:MyPolicy?limit=3` | a class (or function) of a module, called with what follows the `?` |
| `hooks/policy.py:MyPolicy` | the same, of a file |

Options are keyword arguments: text is converted to what the annotation says
(int, float, bool, a tuple of texts from `a,b`, a path).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

from imctl.errors import ConfigError
from imctl.hooks.contract import POINTS

__all__ = ["GROUP", "LoadedHook", "available_hooks", "load_hook", "load_hooks"]

GROUP = "imctl.hooks"
"""Entry point group of installed hooks."""


@dataclass(frozen=True, slots=True)
class LoadedHook:
    """A hook and where it came from.

    Args:
        name: Short name, unique among those loaded together.
        source: `imctl.hooks.jwt:JwtAuthenticator`, or the file.
        points: Which of POINTS it has.
        hook: The object. Any: it is a hook by its methods.
    """

    name: str
    source: str
    points: tuple[str, ...]
    hook: Any


def available_hooks() -> dict[str, EntryPoint]:
    """Return the installed hooks by name; two packages with one name: the last wins, as pip installs."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load_hooks(texts: Iterable[str]) -> tuple[LoadedHook, ...]:
    """Load hooks in their order; a name that comes twice gets a number.

    Raises:
        ConfigError: see load_hook; two session policies.
    """
    loaded: list[LoadedHook] = []
    for text in texts:
        hook = load_hook(text)
        same = sum(other.name.partition("#")[0] == hook.name for other in loaded)
        if same:
            hook = LoadedHook(f"{hook.name}#{same + 1}", hook.source, hook.points, hook.hook)
        loaded.append(hook)
    policies = [hook.name for hook in loaded if "open_session" in hook.points]
    if len(policies) > 1:
        raise ConfigError(f"hooks {' and '.join(policies)} are both session policies; expected one at most")
    return tuple(loaded)


def load_hook(text: str) -> LoadedHook:
    """Load one hook, see the module's table.

    Raises:
        ConfigError: there is no such hook, it cannot be imported or made, an
            option is unknown or of the wrong type, or it has no method of a hook.
    """
    reference, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if ":" in reference:
        where, _, attribute = reference.rpartition(":")
        module = _file(where) if where.endswith(".py") else _module(where)
        factory = _attribute(module, attribute, reference)
        name, source = attribute, reference
    else:
        entry = available_hooks().get(reference)
        if entry is None:
            raise ConfigError(
                f"hook {reference!r} is not installed; expected one of {', '.join(sorted(available_hooks()))}",
                hint="a hook of your own is module:Class or file.py:Class",
            )
        factory, name, source = _entry(entry), entry.name, entry.value
    hook = _make(factory, reference, options)
    points = tuple(method for method in POINTS if callable(getattr(hook, method, None)))
    if not points:
        raise ConfigError(f"hook {reference}: has no method of a hook", hint=f"expected some of {', '.join(POINTS)}")
    return LoadedHook(name, source, points, hook)


def _module(name: str) -> ModuleType:
    # As a web server finds an application: the folder a command is given in counts.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:  # a script may end itself
        raise ConfigError(f"hook {name}: cannot be imported: {type(exc).__name__}: {exc}") from exc


def _file(name: str) -> ModuleType:
    path = Path(name).resolve()
    spec = importlib.util.spec_from_file_location(f"imctl_hook_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"hook {name}: there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        raise ConfigError(f"hook {name}: cannot be imported: {type(exc).__name__}: {exc}") from exc
    return module


def _attribute(module: ModuleType, attribute: str, reference: str) -> Callable[..., Any]:
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ConfigError(f"hook {reference}: {module.__name__} has no class {attribute!r}")
    return typing.cast(Callable[..., Any], found)


def _entry(entry: EntryPoint) -> Callable[..., Any]:
    try:
        return typing.cast(Callable[..., Any], entry.load())
    except (Exception, SystemExit) as exc:
        raise ConfigError(f"hook {entry.name}: {entry.value} cannot be imported: {exc}") from exc


def _make(factory: Callable[..., Any], reference: str, options: Mapping[str, str]) -> object:
    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    arguments: dict[str, Any] = {}
    for name, text in options.items():
        if name not in parameters and not takes_any:
            expected = ", ".join(parameters) or "none"
            raise ConfigError(f"hook {reference}: option {name!r} is unknown; expected {expected}")
        arguments[name] = _convert(reference, name, text, hints.get(name, str))
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name not in arguments
    ]
    if missing:
        raise ConfigError(f"hook {reference}: needs {', '.join(missing)}", hint=f"{reference}?{missing[0]}=...")
    try:
        return typing.cast(object, factory(**arguments))
    except ConfigError:
        raise
    except (Exception, SystemExit) as exc:
        raise ConfigError(f"hook {reference}: cannot be made: {type(exc).__name__}: {exc}") from exc


def _convert(reference: str, name: str, text: str, kind: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    value: Any = text
    if typing.get_origin(kind) in (tuple, list, frozenset, set):
        value = [part.strip() for part in text.split(",") if part.strip()]
    try:
        found = TypeAdapter(kind).validate_python(value)
    except ValidationError as exc:
        problem = exc.errors()[0]["msg"]
        raise ConfigError(f"hook {reference}: option {name} is {text!r}: {problem}") from exc
    if isinstance(found, float) and not math.isfinite(found):
        # Every comparison with nan is false: a limit of it would be none.
        raise ConfigError(f"hook {reference}: option {name} is {text!r}; expected a number")
    return found
