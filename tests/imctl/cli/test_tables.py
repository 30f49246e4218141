"""Tables on narrow terminals and in files."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from imctl.cli.tables import print_table

LONG_NAME = "comet-eu-west-production-17.example.com"


def table() -> Table:
    made = Table(box=None, pad_edge=False)
    made.add_column("name")
    made.add_column("count", no_wrap=True, justify="right")
    made.add_column("state", no_wrap=True)
    made.add_row(LONG_NAME, "12,345,678,901", "[red]restarting[/]")
    return made


def shown(width: int, *, terminal: bool) -> list[str]:
    out = io.StringIO()
    print_table(Console(file=out, width=width, force_terminal=terminal, color_system=None), table())
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_file_has_every_row_on_one_line_whatever_its_length():
    assert shown(20, terminal=False)[1].split() == [LONG_NAME, "12,345,678,901", "restarting"]


def test_a_terminal_folds_text_and_never_a_number():
    head, first, *rest = shown(50, terminal=True)

    assert head.split() == ["name", "count", "state"]
    assert first.split()[1:] == ["12,345,678,901", "restarting"]
    assert "".join([first.split()[0], *rest]) == LONG_NAME
    assert max(map(len, [head, first, *rest])) <= 50


@pytest.mark.parametrize("width", [10, 20, 40])
def test_a_terminal_that_is_too_narrow_for_the_numbers_gets_them_all_the_same(width):
    lines = shown(width, terminal=True)

    assert lines[1].split()[-2:] == ["12,345,678,901", "restarting"]
    assert "…" not in "".join(lines)
