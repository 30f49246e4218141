from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imctl.errors import ConfigError
from imctl.messages import factory
from imctl.messages.contract import Offer
from imctl.messages.factory import default_path, open_messages


async def test_without_a_path_the_file_is_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    log = open_messages("sqlite://")

    await log.check()
    await log.close()

    assert default_path() == tmp_path / "imctl" / "messages.db"
    assert default_path().exists()


def test_without_a_data_folder_it_is_below_the_home_folder(monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")

    assert default_path("a") == Path("/home/somebody/.local/share/imctl/a.db")


@pytest.mark.parametrize("relative", [False, True])
async def test_a_path_is_absolute_or_relative_and_may_be_escaped(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    log = open_messages(f"sqlite:///{'' if relative else f'{tmp_path}/'}sub/my%20messages.db")

    await log.check()
    await log.close()

    assert (tmp_path / "sub" / "my messages.db").exists()


async def test_private_logs_are_shared_by_name_until_they_are_closed():
    one, two, other = (open_messages(f"memory://{name}") for name in ("a", "a", "b"))

    await one.offer([Offer(1, 1000, b"x", 1)])

    assert two is one
    assert (await other.queue(1)).messages == 0
    await one.close()
    again = open_messages("memory://a")
    assert (await again.queue(1)).messages == 0
    await again.close()
    await other.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://x", "message store 'mysql://x' is not known; expected one of sqlite://, memory://"),
        ("/var/messages.db", "is not known"),
        ("", "is not known"),
        ("nothing://user:secret@host", "user:\\*\\*\\*@host"),
        ("redis://host:port", "message store redis://host:port: 'host:port' is not host:port"),
        ("redis://localhost?nonsense=1", "message store redis://localhost\\?nonsense=1: unknown parameter 'nonsense'"),
        ("redis://localhost/x", "database 'x' is not a number"),
        ("redis://[::1", "message store redis://\\[::1: Invalid IPv6 URL"),
        ("memory://?nonsense=1", "unknown parameter 'nonsense'"),
        ("sqlite://a.db", "expected sqlite:///relative/path.db, sqlite:////absolute/path.db or sqlite://"),
        ("sqlite:///", "expected sqlite:///relative/path.db"),
        ("sqlite:///a.db?synchronous=off", "synchronous is 'off'; expected normal or full"),
        ("sqlite:///a.db?max_file_bytes=1MB", "max_file_bytes is '1MB'; expected a number of bytes"),
        ("sqlite:///a.db?mode=rwc&cache=x", "unknown parameter 'cache', 'mode'"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url, problem):
    with pytest.raises(ConfigError, match=problem):
        open_messages(url)


def test_an_old_sqlite_is_told_at_once(monkeypatch):
    monkeypatch.setattr(factory.sqlite3, "sqlite_version_info", (3, 34, 1))

    with pytest.raises(ConfigError, match=r"expected 3\.35 or later"):
        open_messages("sqlite://")


async def test_fakeredis_needs_lua(monkeypatch):
    import fakeredis  # noqa: F401  # it looks for Lua once, for all tests of this process

    monkeypatch.setitem(sys.modules, "lupa", None)

    with pytest.raises(ConfigError, match="needs Lua") as error:
        open_messages("fakeredis://without-lua")
    assert "pip install lupa" in error.value.hint
