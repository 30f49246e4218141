"""`imctl hooks`: what people see of the hooks that are loaded."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from imctl.cli.commands.hooks import Loaded
from imctl.hooks.contract import POINTS
from tests.imctl.cli.background import Background, FakeLogic


def stats(calls: int = 0, **others: float) -> dict[str, Any]:
    return {"calls": calls, "failed": 0, "timeouts": 0, "under_way": 0, "mean_us": 0.0, "max_us": 0.0} | others


JWT = {
    "name": "jwt",
    "source": "imctl.hooks.jwt_auth:JwtAuthenticator",
    "points": {"authenticate": stats(12_345, mean_us=431.2, max_us=12_345.6)},
}
MINE = {
    "name": "MyPolicyWithALongName",
    "source": "a/path/of/a/file/that/does/not/fit/beside/the/numbers/in/80/columns.py:MyPolicyWithALongName",
    "points": {"enter_room": stats(7, failed=3, timeouts=2, under_way=1, mean_us=2_000_000.0, max_us=3_000_000.0)},
}


def shown(*hooks: dict[str, Any], terminal: bool = False) -> list[str]:
    out = io.StringIO()
    Loaded({"127.0.0.1:3111": hooks}).render(Console(file=out, width=80, force_terminal=terminal, color_system=None))
    return out.getvalue().splitlines()


@pytest.fixture
def logic() -> Iterator[FakeLogic]:
    answers = {"/imctl/hooks": (200, json.dumps({"code": 0, "message": "", "data": [JWT, MINE]}))}
    with Background(lambda: FakeLogic(answers)) as found:
        yield found


@pytest.mark.parametrize("terminal", [False, True])
def test_every_number_of_every_method_is_there_at_80_columns(terminal):
    head, names, jwt, authenticate, mine, enter_room = shown(JWT, MINE, terminal=terminal)

    assert head == "logic 127.0.0.1:3111"
    assert names.split("  ")[-1] == "longest"
    assert jwt == "jwt  imctl.hooks.jwt_auth:JwtAuthenticator"
    assert authenticate.split() == ["authenticate", "12,345", "0", "0", "0", "431", "us", "12.3", "ms"]
    assert mine == f"{MINE['name']}  {MINE['source']}"
    assert enter_room.split() == ["enter_room", "7", "3", "2", "1", "2.00", "s", "3.00", "s"]
    assert len(names) == len(authenticate) == len(enter_room) <= 80


def test_large_numbers_of_every_method_fit_into_80_columns():
    busy = stats(999_999_999, failed=99_999_999, timeouts=99_999_999, under_way=1000, mean_us=3e6, max_us=3e6)

    lines = shown({**JWT, "points": dict.fromkeys(POINTS, busy)})

    assert len(lines) == 3 + len(POINTS)
    assert max(map(len, lines)) <= 80


def test_a_logic_without_hooks_says_so():
    assert shown() == ["logic 127.0.0.1:3111  no hooks"]


def test_the_command_asks_the_logic_it_is_told_of(invoke, logic):
    result = invoke("hooks", "--target", logic.address)

    assert result.exit_code == 0
    assert f"logic {logic.address}\n" in result.stdout
    assert json.loads(invoke("hooks", "--target", logic.address, "--json").stdout) == {
        "logics": [{"address": logic.address, "hooks": [JWT, MINE]}]
    }


def test_what_is_installed_is_listed_with_where_it_is(invoke):
    assert "logins   imctl.hooks.login_policy:LoginPolicy\n" in invoke("hooks", "--installed").stdout
