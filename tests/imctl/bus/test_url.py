from __future__ import annotations

import pytest

from imctl.bus.url import parse_bus_url, show_url
from imctl.errors import ConfigError


def test_a_url_is_taken_apart():
    url = parse_bus_url("kafka://me:p%40ss@a:1,[::1]:2,c/top%2Fic?x=1&y=two")

    assert (url.scheme, url.hosts) == ("kafka", [("a", 1), ("::1", 2), ("c", None)])
    assert (url.username, url.password, url.path) == ("me", "p@ss", "top/ic")
    assert url.whole("x", 5, 0, 10) == 1
    assert url.text("y") == "two"
    assert url.number("z", 0.5, 0, 1) == 0.5
    url.done()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@h:6379/1", "redis://:***@h:6379/1"),
        ("kafka://me:se:cr@et@h:1,h2:2/t?a=b", "kafka://me:***@h:1,h2:2/t?a=b"),
        ("mqtt://h?username=u&password=secret&x=1", "mqtt://h?username=u&password=***&x=1"),
        ("rediss://h?ssl_password=secret", "rediss://h?ssl_password=***"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("memory://", "memory://"),
        ("", ""),
    ],
)
def test_a_shown_url_has_no_password(url, shown):
    assert show_url(url) == shown
    assert "secret" not in repr(parse_bus_url(url))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h:x", "'h:x' is not host:port"),
        ("redis://h:99999", "not host:port"),
        ("redis://h,:1", "has no host"),
        ("redis://h?a=1&a=2", "twice"),
        ("redis://h:0", "port 0 is none to connect to"),
        ("redis://[::1", "redis://\\[::1: Invalid IPv6 URL"),
        ("redis://:secret@[::1", r"redis://:\*\*\*@\[::1: Invalid IPv6 URL"),
    ],
)
def test_a_bad_url_is_told(url, message):
    with pytest.raises(ConfigError, match=message):
        parse_bus_url(url)


def test_bad_parameters_are_told():
    url = parse_bus_url("x://:secret@h?a=fast&b=1.5&c=up&d=1")

    with pytest.raises(ConfigError, match="a is 'fast'; expected a number from 1 to 9"):
        url.number("a", 2, 1, 9)
    with pytest.raises(ConfigError, match="b is 1.5; expected a whole number"):
        url.whole("b", 2, 1, 9)
    with pytest.raises(ConfigError, match="c is 'up'; expected one of left, right"):
        url.choice("c", ("left", "right"))
    with pytest.raises(ConfigError, match="unknown parameter 'd'") as raised:
        url.done()
    assert "secret" not in str(raised.value)
