"""The sorts of values that only publishing has; the others are in sim.language.kinds."""

from __future__ import annotations

import re

from sim.language import units
from sim.language.feed_file import SUFFIXES
from sim.language.fields import Kind
from sim.language.yaml_tree import Scalar
from sim.publish.feeder import Column
from sim.publish.payload import Template, parse_template

__all__ = [
    "BODY",
    "BODY_FILE",
    "FEED_FILE",
    "JITTER",
    "MIX_WEIGHT",
    "PUBLISHERS",
    "SHAPE",
    "TARGETS",
    "THINK",
]

MAX_PUBLISHERS = 10_000
"""Of one closed loop; each has a connection of its own."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}"
_POPULATION = re.compile(_NAME)
_COLUMN = re.compile(rf"\$\{{({_NAME})\.([^{{}}]+)\}}")
_SUFFIX = "|".join(re.escape(suffix) for suffix in SUFFIXES)


def _parse_targets(value: Scalar) -> str | Column:
    """Return the name of a population, or the column of `${user.mid}`."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and (match := _COLUMN.fullmatch(text.strip())):
        return Column(match[1], match[2].strip())
    if not isinstance(text, str) or not _POPULATION.fullmatch(text):
        raise ValueError
    return text


def _parse_body(value: Scalar) -> Template:
    text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError
    return parse_template(text)


def _parse_path(value: Scalar) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _parse_feed_file(value: Scalar) -> str:
    path = _parse_path(value)
    if not path.lower().endswith(tuple(SUFFIXES)):
        raise ValueError
    return path


def _parse_weight(value: Scalar) -> tuple[float, bool]:
    """Return a weight over 0, and whether it is a share."""
    if isinstance(value, str):
        weight, is_share = units.parse_share(value) * 100, True
    else:
        weight, is_share = float(value or 0) if units.is_number(value) else 0.0, False
    if not 0 < weight <= 1e9:
        raise ValueError
    return weight, is_share


def _parse_jitter(value: Scalar) -> float:
    share = units.parse_share(value)
    if not share:
        raise ValueError(f"{units.SHARE}, over 0%")
    return share


def _parse_shape(value: Scalar) -> float:
    if not units.is_number(value) or not 0.05 <= float(value or 0) <= 100:
        raise ValueError
    return float(value or 0)


def _parse_think(value: Scalar) -> float:
    seconds = units.parse_duration_s(value)
    if seconds > 3600:
        raise ValueError(f"{units.DURATION}, at most 1h")
    return seconds


def _parse_publishers(value: Scalar) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_PUBLISHERS:
        raise ValueError
    return value


_SHARE_SCHEMA = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$"}

TARGETS = Kind(
    "the name of an entry of clients, or a column of a feed such as ${user.mid}",
    "viewers",
    _parse_targets,
    {"anyOf": [{"type": "string", "pattern": f"^{_NAME}$"}, {"type": "string", "pattern": r"^\$\{[^{}]+\.[^{}]+\}$"}]},
)
BODY = Kind(
    "a text, with fields such as ${seq} or ${user.name}",
    "hello from ${mid}",
    _parse_body,
    {"anyOf": [{"type": "string", "pattern": r"\S"}, {"type": "number"}]},
)
BODY_FILE = Kind(
    "the path of a file, from this one's folder",
    "bodies/hello.json",
    _parse_path,
    {"type": "string", "pattern": r".*\S.*"},
)
FEED_FILE = Kind(
    f"the path of a file with one of the suffixes {', '.join(SUFFIXES)}, from this one's folder",
    "users.csv",
    _parse_feed_file,
    {"type": "string", "pattern": rf"\S.*({_SUFFIX})$|^({_SUFFIX})$"},
)
MIX_WEIGHT = Kind(
    "a weight over 0 such as 4, or a share such as 80%",
    "80%",
    _parse_weight,
    {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1e9}, _SHARE_SCHEMA]},
)
JITTER = Kind(units.SHARE, "20%", _parse_jitter, _SHARE_SCHEMA)
SHAPE = Kind("a number from 0.05 to 100", "0.3", _parse_shape, {"type": "number", "minimum": 0.05, "maximum": 100})
THINK = Kind(
    units.DURATION, "100ms", _parse_think, {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h))+$"}
)
PUBLISHERS = Kind(
    f"a whole number from 1 to {MAX_PUBLISHERS}",
    "20",
    _parse_publishers,
    {"type": "integer", "minimum": 1, "maximum": MAX_PUBLISHERS},
)
