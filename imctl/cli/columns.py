"""Lines of a table that grows while it is shown: columns wide enough for the rows so far, and no wider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imctl.decode import Row

__all__ = ["Columns", "op_cell"]


class Columns:
    """The columns before the last one, which has any width.

    Args:
        heads: Their names.
        left: Those of them that are aligned to the left.
        hidden: Those of them that are left out until a row has something for them.
    """

    def __init__(self, heads: Sequence[str], left: Sequence[str], hidden: Sequence[str] = ()) -> None:
        self.heads = tuple(heads)
        self._left = [head in left for head in heads]
        self._widths = [0 if head in hidden else len(head) for head in heads]

    @property
    def width(self) -> int:
        """Where the last column begins."""
        return sum(width + 2 for width in self._widths if width)

    def widen(self, cells: Sequence[str]) -> None:
        """Make room for a row."""
        self._widths = [
            max(width, len(cell), len(head) if cell and not width else 0)
            for width, cell, head in zip(self._widths, cells, self.heads, strict=True)
        ]

    def join(self, cells: Sequence[str]) -> str:
        """Return the begin of a line: some of the first columns, or all."""
        found = ""
        for cell, width, left in zip(cells, self._widths, self._left, strict=False):
            if width:
                found += f"{cell:<{width}}  " if left else f"{cell:>{width}}  "
        return found


def op_cell(row: Row) -> str:
    """Return operation and name of a frame, indented in a container; of other rows what they are."""
    from imctl.decode import Kind
    from protocol.operation import operation_name

    if row.kind is not Kind.FRAME:
        return str(row.kind.value)
    name = operation_name(row.op)
    return f"{'  ' * row.depth}{row.op}{'' if name.startswith('op ') else f' {name}'}"
