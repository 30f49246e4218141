"""From the text of --hooks to a hook."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imctl.errors import ConfigError
from imctl.hooks.loader import GROUP, available_hooks, load_hook, load_hooks

SOURCE = """
from pathlib import Path
from imctl.hooks.contract import RoomReply

class Policy:
    def __init__(self, limit: int = 1, names: tuple[str, ...] = (), file: Path | None = None, deep: bool = False):
        self.given = (limit, names, file, deep)

    async def enter_room(self, event):
        return RoomReply(True)

class Needy:
    def __init__(self, secret: str):
        pass

    async def enter_room(self, event):
        return RoomReply(True)

class Nothing:
    pass

class Broken:
    def __init__(self):
        raise RuntimeError("no such table")

    async def enter_room(self, event):
        return RoomReply(True)

not_callable = 3
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.py"
    path.write_text(SOURCE)
    return path


def test_a_class_of_a_file_is_made_with_its_options(policy):
    loaded = load_hook(f"{policy}:Policy?limit=3&names=a,b&file=/tmp/x&deep=true")

    assert loaded.name == "Policy"
    assert loaded.source == f"{policy}:Policy"
    assert loaded.points == ("enter_room",)
    assert loaded.hook.given == (3, ("a", "b"), Path("/tmp/x"), True)


def test_a_module_of_the_working_folder_is_found(policy, monkeypatch):
    monkeypatch.chdir(policy.parent)
    policy.rename(policy.with_name("imctl_test_policy.py"))
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    loaded = load_hook("imctl_test_policy:Policy")

    assert loaded.source == "imctl_test_policy:Policy"
    assert loaded.hook.given == (1, (), None, False)


def test_an_installed_hook_is_found_by_name():
    loaded = load_hook("logins?duplicate=reject")

    assert (loaded.name, loaded.points) == ("logins", ("open_session",))
    assert loaded.source == "imctl.hooks.login_policy:LoginPolicy"
    assert GROUP == "imctl.hooks"
    assert {"http", "jwt", "logins", "rooms"} <= set(available_hooks())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nobody", "hook 'nobody' is not installed; expected one of http, jwt"),
        ("no_such_module_of_mine:Policy", "cannot be imported: ModuleNotFoundError"),
        ("no/such/file.py:Policy", "there is no file"),
        ("logins?duplicate=maybe", "option duplicate is 'maybe'"),
        ("rooms?allow=*&again_s=nan", "option again_s is 'nan'; expected a number"),
        ("rooms?allow=*&again_s=inf", "option again_s is 'inf'; expected a number"),
        ("logins?dupliacte=kick", "option 'dupliacte' is unknown; expected duplicate, keys"),
    ],
)
def test_what_cannot_be_loaded_says_why(text, problem):
    with pytest.raises(ConfigError) as caught:
        load_hook(text)

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        ("Missing", "has no class 'Missing'"),
        ("not_callable", "has no class 'not_callable'"),
        ("Needy", "needs secret"),
        ("Nothing", "has no method of a hook"),
        ("Broken", "cannot be made: RuntimeError: no such table"),
        ("Policy?limit=many", "option limit is 'many'"),
    ],
)
def test_a_class_that_is_no_hook_says_why(policy, attribute, problem):
    with pytest.raises(ConfigError) as caught:
        load_hook(f"{policy}:{attribute}")

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("source", "problem"), [("1 / 0", "ZeroDivisionError"), ("raise SystemExit(3)", "SystemExit: 3")]
)
def test_a_file_that_does_not_run_says_why(tmp_path, source, problem):
    path = tmp_path / "broken.py"
    path.write_text(source)

    with pytest.raises(ConfigError, match=f"cannot be imported: {problem}"):
        load_hook(f"{path}:Policy")


def test_names_are_unique_among_those_loaded(policy):
    loaded = load_hooks([f"{policy}:Policy", f"{policy}:Policy?limit=2", "logins"])

    assert [hook.name for hook in loaded] == ["Policy", "Policy#2", "logins"]


def test_two_session_policies_are_one_too_many():
    with pytest.raises(ConfigError, match="logins and logins#2 are both session policies"):
        load_hooks(["logins", "logins?duplicate=allow"])
