"""How numbers and addresses look in what people read."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["address_text", "bytes_text", "duration_text"]


def bytes_text(count: float) -> str:
    """Return 512 B, 40.1 MB, 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration_text(seconds: float) -> str:
    """Return 4.2s, 3m05s, 2h10m."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest_s:02d}s"


def address_text(addresses: Mapping[str, str | None]) -> str:
    """Return a line an address, `tcp            127.0.0.1:3101`, without what is off."""
    return "\n".join(f"{name:<13} {address}" for name, address in addresses.items() if address)
