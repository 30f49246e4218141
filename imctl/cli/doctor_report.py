"""What `imctl doctor` found, as people and programs read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imctl.doctor.contract import Condition, Section, Status

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DoctorReport"]

_STYLES: Mapping[Status, str] = {
    Status.OK: "green",
    Status.INFO: "dim",
    Status.UNKNOWN: "dim",
    Status.WARNING: "yellow",
    Status.FAILED: "bold red",
}


_WIDE = 110


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All conditions.

    Args:
        clients: For how many they are judged.
        subject: The cluster or target that was looked at; empty when there was none.
        sections: In the order in which they are shown.
    """

    clients: int
    subject: str
    sections: tuple[Section, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of all sections."""
        return tuple(condition for section in self.sections for condition in section.conditions)

    @property
    def has_failed(self) -> bool:
        """Whether anything stands in the way."""
        return any(condition.status is Status.FAILED for condition in self.conditions)

    @property
    def counts(self) -> dict[str, int]:
        """How many conditions there are of each status."""
        found = Counter(condition.status for condition in self.conditions)
        return {status.value: found[status] for status in Status}

    def to_json(self) -> dict[str, Any]:
        """Return the document. Any: JSON."""
        return {
            "clients": self.clients,
            "subject": self.subject or None,
            "counts": self.counts,
            "conditions": [
                {
                    "section": section.name,
                    "condition": one.name,
                    "status": one.status.value,
                    "required": one.required,
                    "found": one.found,
                    "fix": one.fix,
                    "facts": dict(one.facts),
                }
                for section in self.sections
                for one in section.conditions
            ],
        }

    def render(self, console: Console) -> None:
        """Print a table, a section after the other, and a summary."""
        from rich.table import Table
        from rich.text import Text

        from imctl.cli.tables import print_table

        # Where five columns are too narrow to read, what to do stands under what was found.
        is_wide = not console.is_terminal or console.width >= _WIDE
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        for name in (
            ("", "Condition", "Required", "Found", "Fix") if is_wide else ("", "Condition", "Required", "Found")
        ):
            table.add_column(name, no_wrap=not name)
        for section in self.sections:
            table.add_row("", Text(section.title, style="bold"))
            for one in section.conditions:
                style = _STYLES[one.status]
                cells = [Text(one.status.value, style), Text(one.name), Text(one.required), Text(one.found)]
                if is_wide:
                    cells.append(Text(one.fix))
                elif one.fix:
                    cells[-1].append(f"\nfix: {one.fix}", style)
                table.add_row(*cells)
        print_table(console, table)
        console.print()
        counts = ", ".join(f"{count} {status}" for status, count in reversed(self.counts.items()) if count)
        verdict = "something stands in the way" if self.has_failed else f"good for {self.clients:,} clients"
        console.print(Text(f"{verdict}: {counts}", style="red" if self.has_failed else "green"), soft_wrap=True)
