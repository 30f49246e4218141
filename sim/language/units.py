"""Numbers with a unit, as scenario files write them: `500ms`, `40/s`, `70%`, `1KB`.

Each function takes what YAML gave (text or a number) and raises ValueError
with the form that it expected, which a problem quotes as `expected ...`.
"""

from __future__ import annotations

import math
import re

__all__ = [
    "BANDWIDTH",
    "DURATION",
    "DURATION_RANGE",
    "RAMP",
    "RATE",
    "SHARE",
    "SIZE",
    "TIMES",
    "format_bytes",
    "format_duration",
    "parse_bandwidth_bytes_per_s",
    "parse_duration_range_s",
    "parse_duration_s",
    "parse_ramp",
    "parse_rate_per_s",
    "parse_share",
    "parse_size_bytes",
    "parse_times",
]

DURATION = "a duration such as 500ms, 10s or 4m"
RATE = "a rate such as 40/s or 1000/m"
BANDWIDTH = "bytes a second such as 64KB/s or 1MB/s"
SHARE = "a share such as 70%"
SIZE = "a size such as 64 or 1KB"
TIMES = "a factor such as x4 or x0.5"
DURATION_RANGE = "a duration such as 500ms, or a range of them such as 100ms..2s"
RAMP = "a factor such as x4 or x0.5, or a ramp such as x1..x4"

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}

_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_DURATION_PART = re.compile(rf"({_NUMBER})(us|ms|s|m|h)")
_RATE = re.compile(rf"({_NUMBER})\s*/\s*(s|m|h)")
_SHARE = re.compile(rf"({_NUMBER})\s*%")
_SIZE = re.compile(rf"({_NUMBER})\s*([a-zA-Z]*)")
_TIMES = re.compile(rf"x\s*({_NUMBER})")


def is_number(value: object) -> bool:
    """Whether YAML gave a finite number; its booleans are ints in Python, and are none here."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def parse_duration_s(value: object) -> float:
    """Return seconds of `500ms`, `10s`, `1m30s`; a bare number is refused, because its unit is a guess."""
    text = value.strip() if isinstance(value, str) else ""
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(DURATION)
    return _finite(math.fsum(float(number) * _SECONDS[unit] for number, unit in parts), DURATION)


def parse_duration_range_s(value: object) -> tuple[float, float]:
    """Return both ends of `100ms..2s` in seconds; of a single duration, that one twice."""
    first, dots, second = value.partition("..") if isinstance(value, str) else ("", "", "")
    try:
        low = parse_duration_s(first)
        high = parse_duration_s(second) if dots else low
    except ValueError:
        raise ValueError(DURATION_RANGE) from None
    if high < low:
        raise ValueError(f"{DURATION_RANGE}, the shorter one first")
    return low, high


def parse_rate_per_s(value: object) -> float:
    """Return events a second of `40/s`, `1000/m`, `90/h`."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(RATE)
    return _finite(float(match[1]) / _SECONDS[match[2]], RATE)


def parse_bandwidth_bytes_per_s(value: object) -> float:
    """Return bytes a second of `64KB/s`, `1MiB/s`; bits are refused, whose `Mb/s` would look the same."""
    size, slash, unit = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash or unit.strip() != "s" or not size.strip()[-1:] == "B":
        raise ValueError(BANDWIDTH)
    try:
        return float(parse_size_bytes(size))
    except ValueError:
        raise ValueError(BANDWIDTH) from None


def parse_share(value: object) -> float:
    """Return 0.0 to 1.0 of `0%` to `100%`."""
    match = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    share = float(match[1]) / 100 if match else -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(SHARE)
    return share


def parse_size_bytes(value: object) -> int:
    """Return bytes of `64`, `64B`, `1KB` (1000), `1KiB` (1024)."""
    match = _SIZE.fullmatch(str(value).strip()) if isinstance(value, str) or is_number(value) else None
    unit = _BYTES.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(SIZE)
    size = _finite(float(match[1]) * unit, SIZE)
    if size != int(size):
        raise ValueError(f"{SIZE}, in whole bytes")
    return int(size)


def parse_times(value: object) -> float:
    """Return the number of `x4`."""
    match = _TIMES.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(TIMES)
    return _finite(float(match[1]), TIMES)


def parse_ramp(value: object) -> tuple[float, float]:
    """Return both ends of `x1..x4`; of a single factor, that one twice."""
    first, dots, second = value.partition("..") if isinstance(value, str) else ("", "", "")
    try:
        start = parse_times(first)
        return start, parse_times(second) if dots else start
    except ValueError:
        raise ValueError(RAMP) from None


def format_duration(seconds: float) -> str:
    """Return a duration as a scenario writes it, in its largest whole unit: `500ms`, `10s`, `1m30s`."""
    if seconds < 1:
        return f"{seconds * 1000:.4g}ms"
    if seconds < 60:
        return f"{seconds:.4g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m"), (rest, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def format_bytes(size: float) -> str:
    """Return a size with three digits: `64 B`, `1.5 KB`, `212 MB`."""
    for limit, unit in ((1000**3, "GB"), (1000**2, "MB"), (1000, "KB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size:.0f} B"


def _finite(number: float, expected: str) -> float:
    if not math.isfinite(number):
        raise ValueError(expected)
    return number
