from __future__ import annotations

import subprocess
import sys

import pytest

from imctl.errors import ConfigError
from imctl.store.factory import hide_password, open_store
from imctl.store.memory import MemoryStore
from imctl.store.redis import RedisStore


@pytest.mark.parametrize(
    ("url", "kind", "persistent"),
    [
        ("memory://", MemoryStore, False),
        ("memory://x", MemoryStore, False),
        ("fakeredis://", RedisStore, False),
        ("redis://127.0.0.1:6379/1", RedisStore, True),
        ("rediss://h", RedisStore, True),
        ("valkey://h:1", RedisStore, True),
        ("valkeys://h:1", RedisStore, True),
        ("unix:///tmp/redis.sock?db=1", RedisStore, True),
    ],
)
async def test_each_url_has_its_store(url, kind, persistent):
    store = open_store(url)

    assert type(store) is kind
    assert store.url == url
    assert store.persistent is persistent
    await store.close()


@pytest.mark.parametrize(
    ("url", "seconds", "shown"),
    [
        ("redis://h?expire_s=600", 600, "redis://h"),
        ("redis://h/1?expire_s=600&db=2", 600, "redis://h/1?db=2"),
        ("unix:///tmp/redis.sock?db=1&expire_s=7", 7, "unix:///tmp/redis.sock?db=1"),
        ("fakeredis://x?expire_s=60", 60, "fakeredis://x"),
        ("redis://h", 1800, "redis://h"),
    ],
)
async def test_the_url_may_say_how_long_a_session_lives(url, seconds, shown):
    store = open_store(url)

    assert isinstance(store, RedisStore)
    assert (store._expire_s, store.url) == (seconds, shown)
    await store.close()


@pytest.mark.parametrize("text", ["x", "0", "-5", "nan", "inf"])
def test_a_time_to_live_that_is_none_is_said(text):
    with pytest.raises(ConfigError, match="expire_s|expiry"):
        open_store(f"memory://?expire_s={text}")


@pytest.mark.parametrize("url", ["", "memory", "mysql://x", "redis:/x", "redis://h:port"])
def test_what_is_no_store_is_said(url):
    with pytest.raises(ConfigError, match="session store"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://h?bogus=1", "session store redis://h\\?bogus=1: unknown parameter 'bogus'"),
        ("redis://h/x", "database 'x' is not a number"),
        ("redis://h:0", "port 0"),
        ("redis://[::1", "Invalid IPv6 URL"),
        ("memory://?bogus=1", "unknown parameter 'bogus'"),
        ("fakeredis://?bogus=1", "unknown parameter 'bogus'"),
        ("redis://:secret@h?bogus=1", r"redis://:\*\*\*@h"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url, problem):
    with pytest.raises(ConfigError, match=problem):
        open_store(url)


def test_an_expiry_under_a_second_is_refused():
    with pytest.raises(ConfigError, match="session expiry is 0.5 s"):
        open_store("memory://", expire_s=0.5)


@pytest.mark.parametrize("scheme", ["memory", "fakeredis"])
async def test_a_private_store_is_shared_by_name_until_it_is_closed(scheme):
    first, again, other = open_store(f"{scheme}://a"), open_store(f"{scheme}://a"), open_store(f"{scheme}://b")
    assert first is again
    assert first is not other

    await first.close()
    fresh = open_store(f"{scheme}://a")

    assert fresh is not first
    await fresh.close()
    await other.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:secret@h:1", "redis://:***@h:1"),
        ("redis://user:se:c@ret@h:1/0", "redis://user:***@h:1/0"),
        ("unix:///x.sock?db=0&password=secret", "unix:///x.sock?db=0&password=***"),
        ("bad://u:secret@[::1", "bad://u:***@[::1"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert hide_password(url) == shown


def test_a_memory_store_does_without_the_redis_client():
    code = (
        "import sys; from imctl.store.factory import open_store; open_store('memory://'); print('redis' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout.strip() == "False"
