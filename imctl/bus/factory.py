"""From a URL to a bus."""

from __future__ import annotations

from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from imctl.bus.contract import Bus
from imctl.bus.memory import MemoryBus
from imctl.errors import ConfigError

__all__ = ["open_bus"]

# Held by those who opened it: a bus that nobody uses any more is gone.
_memory: WeakValueDictionary[str, MemoryBus] = WeakValueDictionary()


def open_bus(url: str) -> Bus:
    """Open a bus.

    `memory://NAME` is private to this process; everyone who opens the same
    name while it is in use and not closed gets the same bus.

    Raises:
        ConfigError: the URL names no backend we have.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        bus = _memory.get(url)
        if bus is None or bus.closed:
            bus = _memory[url] = MemoryBus(url)
        return bus
    raise ConfigError(f'bus is "{url}"; expected memory://', hint="--bus memory://")
