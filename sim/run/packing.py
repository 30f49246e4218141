"""Messages between the processes of a run as bytes.

They are pickled, and what is unpickled may come over a network from whoever
reaches the port of a Locust master. So nothing is looked up but values: the
dataclasses and enumerations of this package and of the wire, and a few
containers. A pickle that names anything else, a function first of all, is
refused before it is called.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
import sys
from typing import Any

from sim.errors import SimError

__all__ = ["LENGTH_BYTES", "UnpackError", "frame", "pack", "unpack"]

LENGTH_BYTES = 4
"""What stands before a message in a stream: its length, big-endian."""

_PACKAGES = ("sim.", "protocol.")
_CONTAINERS = frozenset(
    {
        ("array", "_array_reconstructor"),
        ("array", "array"),
        ("builtins", "bytearray"),
        ("builtins", "frozenset"),
        ("builtins", "range"),
        ("builtins", "set"),
        ("collections", "Counter"),
        ("collections", "OrderedDict"),
        ("collections", "deque"),
    }
)
# Classes with counts of their own that are neither.
_COUNTERS = frozenset({"Arrivals", "Histogram", "Reads"})


class UnpackError(SimError):
    """Bytes that are no message of a run."""


def pack(message: object) -> bytes:
    """Return a message as bytes."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def frame(data: bytes) -> bytes:
    """Return a packed message as it stands in a stream."""
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def unpack(data: bytes) -> Any:
    """Return the message of these bytes; Any, as only the receiver knows what it can be.

    Raises:
        UnpackError: they are cut short, or hold something that is no part of a message.
    """
    try:
        return _Values(io.BytesIO(data)).load()
    except UnpackError:
        raise
    except Exception as exc:  # broken bytes can raise anything
        raise UnpackError(f"a message of a run cannot be read: {type(exc).__name__}: {exc}") from exc


class _Values(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CONTAINERS:
            return super().find_class(module, name)
        if module.startswith(_PACKAGES) and "." not in name:
            # Only from what is imported already: importing is code that runs, too.
            found = getattr(sys.modules.get(module), name, None)
            if isinstance(found, type) and found.__module__ == module and _is_value(found):
                return found
        raise UnpackError(f"a message of a run names {module}.{name}, which is no part of one")


def _is_value(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum) or kind.__name__ in _COUNTERS
