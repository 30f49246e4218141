"""How tables, numbers and addresses look in what people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["address_text", "bytes_text", "duration_text", "print_table"]

_ANY_WIDTH = 100_000
_LEAST_WIDTH = 8  # of text that folds


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


def print_table(console: Console, table: Table) -> None:
    """Print a table of which nothing is cut, however narrow the terminal.

    Columns with `no_wrap`, such as those of numbers, stay as wide as their
    longest cell; the others fold. A file or a pipe has no width: nothing folds there.
    """
    from rich.measure import Measurement

    wide = console.options.update(max_width=_ANY_WIDTH)
    if not console.is_terminal:
        table.width = Measurement.get(console, wide, table).maximum
    for column in table.columns:
        cells = (column.header, *column.cells)
        longest = max(Measurement.get(console, wide, cell).maximum for cell in cells)
        column.min_width = longest if column.no_wrap else min(longest, _LEAST_WIDTH)
        column.overflow = "fold"
    console.print(table, crop=False)
